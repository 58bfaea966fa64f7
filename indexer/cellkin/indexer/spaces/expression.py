"""Fit an expression space: variable genes, principal components, class means, a regression.

The loadings span the leading principal components of the genes' z-scores, the mean of each label,
and the coefficients of a logistic regression on the z-scores. Neighbors, prototypes and regression
therefore share the same few coordinates per cell, and the latter two lose nothing by the
projection.

The contrastive head has its own loadings, of log expression weighted by how well each gene
separates the labels: z-scores, in which all genes have equal weight, are mostly noise (ADR 20).
The leading components of the weighted expression are also used for novelty (ADR 21).
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import qr

from cellkin.indexer.spaces.components import principal_axes
from cellkin.indexer.spaces.contrast import Contrast, fit_head
from cellkin.indexer.spaces.logistic import fit_logistic
from cellkin.indexer.spaces.sample import Sample, label_sums
from cellkin.indexer.spaces.text import label_dispersion
from cellkin.indexer.spaces.variable_genes import most_variable
from cellkin.space.arrays import (
    CsrMatrix,
    Float32Matrix,
    Float32Vector,
    Int32Vector,
    Int64Vector,
)
from cellkin.space.classifier import Float64Matrix, Placed
from cellkin.space.expression import (
    CLIP,
    ExpressionColumns,
    ExpressionSpace,
    place_expression,
)
from cellkin.space.projection import Float64Vector

N_COMPONENTS = 50
"""Principal components in which neighbors are searched."""
N_WEIGHTED = 1000
"""Number of genes of the contrastive head: those that separate the labels best."""
_MORE_COMPONENTS = 100
_HEAD_COMPONENTS = 100
_LEADING_COMPONENTS = 20


@dataclass(frozen=True)
class FittedExpression:
    """An expression space and its logistic regression.

    Parameters
    ----------
    space
        The space.
    n_components
        Number of leading dimensions in which neighbors are searched, at most `N_COMPONENTS`.
    coefficients, intercepts
        (n_labels, dim) and (n_labels,) float32.
    own
        The cells that it was fitted to, as `place` places them.
    """

    space: ExpressionSpace
    n_components: int
    coefficients: Float32Matrix
    intercepts: Float32Vector
    own: Placed

    def place(self, cells: CsrMatrix) -> Placed:
        """Place cells; columns are all genes of the space, in its order."""
        columns = ExpressionColumns.of(np.arange(len(self.space.gene_ids)))
        return place_expression(cells, columns, self.space)


def fit_expression(
    sample: Sample, approximate: bool = False, training: Contrast | None = None
) -> FittedExpression:
    """Fit an expression space to labeled cells.

    Parameters
    ----------
    sample
        The cells. Their labels shape the space, so they must not be used to evaluate it.
    approximate
        Whether the principal axes are approximate, as for the parts of a sample that are fitted
        only to evaluate the whole; see `principal_axes`.
    training
        How the head is trained.
    """
    variable = most_variable(sample.moments.mean, sample.moments.variance)
    means, deviations = _log_moments(sample, variable)
    z = sample.logs.dense(variable, means, 1 / deviations, CLIP)
    coefficients, intercepts = _regression(z, sample)
    center = z.mean(axis=0, dtype=np.float64)
    z -= center.astype(np.float32)
    n = min(_MORE_COMPONENTS, len(z) - 1, z.shape[1])
    _, components = principal_axes(z, n, approximate)
    mean_of = label_sums(z, sample) / sample.counts()[:, None]
    basis = _orthonormal(np.concatenate([components, mean_of, coefficients]))
    loadings = np.ascontiguousarray(basis.T, np.float32)
    head, second = _head(sample, approximate, training)
    space = ExpressionSpace(
        sample.gene_ids,
        (sample.moments.mean / sample.moments.mean.sum()).astype(np.float32),
        variable.astype(np.int32),
        means.astype(np.float32),
        deviations.astype(np.float32),
        loadings,
        np.asarray(basis @ center, np.float32),
        *head,
    )
    empty = sample.logs.n_detected == 0
    own = Placed(z @ loadings, empty, *second)
    for vectors in (own.z, own.refined, own.leading):
        vectors[empty] = 0
    return FittedExpression(
        space,
        min(N_COMPONENTS, len(components)),
        np.asarray(coefficients @ basis.T, np.float32),
        np.asarray(intercepts + coefficients @ center, np.float32),
        own,
    )


def _log_moments(sample: Sample, genes: Int64Vector) -> tuple[Float64Vector, Float64Vector]:
    """Return the means and deviations of the log expression of some genes; no deviation is 0."""
    n = sample.n_cells
    means = sample.moments.sums[:, genes].sum(axis=0) / n
    squares = sample.moments.squares[:, genes].sum(axis=0)
    deviations = np.sqrt(np.maximum(squares - n * means**2, 0) / max(n - 1, 1))
    # The same value in all cells leaves rounding noise.
    deviations[deviations <= 1e-6 * means] = 1.0
    return means, deviations


def _head(
    sample: Sample, approximate: bool, training: Contrast | None
) -> tuple[
    tuple[Int32Vector, Float32Vector, Float32Matrix, Float32Matrix],
    tuple[Float32Matrix, Float32Matrix],
]:
    """Fit the contrastive head.

    Parameters
    ----------
    sample
        The labeled cells.
    approximate, training
        As in `fit_expression`.

    Returns
    -------
    head
        Genes, means and both loadings of an `ExpressionSpace`.
    placed
        ``refined`` and ``leading`` of the cells.
    """
    weights = label_dispersion(sample)
    best = np.argsort(-weights, kind="stable")[:N_WEIGHTED]
    genes = np.sort(best[weights[best] > 0])
    if sample.n_labels < 2 or sample.n_cells < 3 or not len(genes):  # nothing to separate
        none, nothing = np.empty((0, 0), np.float32), np.empty((sample.n_cells, 0), np.float32)
        return (np.empty(0, np.int32), np.empty(0, np.float32), none, none), (nothing, nothing)
    means, _ = _log_moments(sample, genes)
    weighted = sample.logs.dense(genes, means, weights[genes])
    n = min(_HEAD_COMPONENTS, len(weighted) - 1, len(genes))
    _, axes = principal_axes(weighted, n, approximate)
    components = weighted @ axes.T.astype(np.float32)
    head = fit_head(components, sample.labels, training)
    return (
        genes.astype(np.int32),
        means.astype(np.float32),
        np.ascontiguousarray((head @ axes * weights[genes]).T, np.float32),
        np.ascontiguousarray((axes[:_LEADING_COMPONENTS] * weights[genes]).T, np.float32),
    ), (components @ head.T, components[:, :_LEADING_COMPONENTS].copy())


def _regression(z: Float32Matrix, sample: Sample) -> tuple[Float64Matrix, Float64Vector]:
    if sample.n_labels < 2:
        return np.zeros((sample.n_labels, z.shape[1])), np.zeros(sample.n_labels)
    return fit_logistic(z, sample.labels, sample.n_labels)


def _orthonormal(rows: Float64Matrix) -> Float64Matrix:
    """Return orthonormal rows, the first n with the same span as the first n given, for all n."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    q, r = qr((rows / np.maximum(lengths, 1e-12)).T, mode="economic", check_finite=False)
    kept = np.abs(np.diag(r)) > 1e-6
    signs = np.where(np.diag(r) < 0, -1.0, 1.0)
    return np.asarray((q * signs)[:, kept].T)
