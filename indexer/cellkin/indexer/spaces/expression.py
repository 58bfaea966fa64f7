"""Fit an expression space: variable genes, principal components, class means, a regression.

The loadings span the leading principal components of the genes' z-scores, the mean of each label,
and the coefficients of a logistic regression on the z-scores. Neighbors, prototypes and regression
therefore share the same few coordinates per cell, and the latter two lose nothing by the
projection.

The contrastive head has its own loadings, of log expression weighted by how well each gene
separates the labels: z-scores, in which all genes have equal weight, are mostly noise (ADR 20).
The leading components of the weighted expression are also used for novelty (ADR 21).
"""

import warnings
from dataclasses import dataclass

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from cellkin.indexer.spaces.components import principal_axes
from cellkin.indexer.spaces.contrast import fit_head
from cellkin.indexer.spaces.sample import Sample, log_expression
from cellkin.indexer.spaces.text import label_dispersion
from cellkin.indexer.spaces.variable_genes import highly_variable
from cellkin.indexer.threads import threads_for
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

N_COMPONENTS = 50
"""Principal components in which neighbors are searched."""
N_WEIGHTED = 1000
"""Number of genes of the contrastive head: those that separate the labels best."""
_MORE_COMPONENTS = 100
_HEAD_COMPONENTS = 100
_LEADING_COMPONENTS = 20
_PENALTY = 0.1
_STEPS = 100


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
    """

    space: ExpressionSpace
    n_components: int
    coefficients: Float32Matrix
    intercepts: Float32Vector

    def place(self, cells: CsrMatrix) -> Placed:
        """Place cells; columns are all genes of the space, in its order."""
        columns = ExpressionColumns.of(np.arange(len(self.space.gene_ids)))
        return place_expression(cells, columns, self.space)


def fit_expression(sample: Sample) -> FittedExpression:
    """Fit an expression space to labeled cells.

    Parameters
    ----------
    sample
        The cells. Their labels shape the space, so they must not be used to evaluate it.
    """
    logs = log_expression(sample.cells)
    variable = highly_variable(logs)
    with threads_for(sample.n_cells * len(variable)):
        return _fit(sample, logs, variable)


def _fit(sample: Sample, logs: CsrMatrix, variable: Int64Vector) -> FittedExpression:
    values = logs[:, variable].toarray()
    means = values.mean(axis=0)
    deviations = values.std(axis=0, ddof=1)
    deviations[deviations == 0] = 1.0
    z = np.minimum((values - means) / deviations, CLIP).astype(np.float32)
    coefficients, intercepts = _regression(z, sample)
    center = z.mean(axis=0, dtype=np.float64)
    z -= center.astype(np.float32)
    _, components = principal_axes(z, min(_MORE_COMPONENTS, len(z) - 1, z.shape[1]))
    mean_of = np.stack([z[sample.labels == i].mean(axis=0) for i in range(sample.n_labels)])
    basis = _orthonormal(np.concatenate([components, mean_of, coefficients]))
    totals = np.asarray(sample.cells.sum(axis=1)).ravel().astype(np.float64)
    shares = sample.cells.T @ (1.0 / np.where(totals > 0, totals, 1.0))
    head = _head(logs, sample)
    space = ExpressionSpace(
        sample.gene_ids,
        (shares / shares.sum()).astype(np.float32),
        variable.astype(np.int32),
        means.astype(np.float32),
        deviations.astype(np.float32),
        np.ascontiguousarray(basis.T, np.float32),
        np.asarray(basis @ center, np.float32),
        *head,
    )
    return FittedExpression(
        space,
        min(N_COMPONENTS, len(components)),
        np.asarray(coefficients @ basis.T, np.float32),
        np.asarray(intercepts + coefficients @ center, np.float32),
    )


def _head(
    logs: CsrMatrix, sample: Sample
) -> tuple[Int32Vector, Float32Vector, Float32Matrix, Float32Matrix]:
    """Fit the contrastive head; return genes, means and both loadings of an `ExpressionSpace`.

    Parameters
    ----------
    logs
        (n_cells, n_genes) CSR of log expression.
    sample
        The labeled cells.
    """
    weights = label_dispersion(sample)
    best = np.argsort(-weights, kind="stable")[:N_WEIGHTED]
    genes = np.sort(best[weights[best] > 0])
    if sample.n_labels < 2 or sample.n_cells < 3 or not len(genes):  # nothing to separate
        none = np.empty((0, 0), np.float32)
        return np.empty(0, np.int32), np.empty(0, np.float32), none, none
    values = logs[:, genes].toarray()
    means = values.mean(axis=0)
    weighted = ((values - means) * weights[genes]).astype(np.float32)
    _, axes = principal_axes(weighted, min(_HEAD_COMPONENTS, len(weighted) - 1, len(genes)))
    head = fit_head((weighted @ axes.T).astype(np.float32), sample.labels)
    return (
        genes.astype(np.int32),
        means.astype(np.float32),
        np.ascontiguousarray((head @ axes * weights[genes]).T, np.float32),
        np.ascontiguousarray((axes[:_LEADING_COMPONENTS] * weights[genes]).T, np.float32),
    )


def _regression(z: Float32Matrix, sample: Sample) -> tuple[Float64Matrix, Float64Matrix]:
    if sample.n_labels < 2:
        return np.zeros((sample.n_labels, z.shape[1])), np.zeros(sample.n_labels)
    with warnings.catch_warnings():
        # Early stopping regularizes a little more, which does no harm here.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = LogisticRegression(C=_PENALTY, max_iter=_STEPS, tol=1e-3).fit(z, sample.labels)
    coefficients, intercepts = model.coef_.astype(np.float64), model.intercept_.astype(np.float64)
    if sample.n_labels == 2:  # scikit-learn returns one row for two labels
        half = coefficients / 2
        return np.concatenate([-half, half]), np.concatenate([-intercepts / 2, intercepts / 2])
    return coefficients, intercepts


def _orthonormal(rows: Float64Matrix) -> Float64Matrix:
    """Return orthonormal rows, the first n with the same span as the first n given, for all n."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    q, r = np.linalg.qr((rows / np.maximum(lengths, 1e-12)).T)
    kept = np.abs(np.diag(r)) > 1e-6
    signs = np.where(np.diag(r) < 0, -1.0, 1.0)
    return np.asarray((q * signs)[:, kept].T)
