"""Fit a text space: how much each gene counts, and the head that refines where cells lie."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from cellkin.indexer.spaces.contrast import fit_head, fit_view_head
from cellkin.indexer.spaces.sample import Sample, log_expression
from cellkin.indexer.spaces.thinning import KEEP, molecules, thin
from cellkin.indexer.threads import threads_for
from cellkin.space.arrays import BoolVector, CsrMatrix, Float32Matrix, Float32Vector, Int64Vector
from cellkin.space.projection import CellSpace, gene_columns, place_means, weighted_means
from cellkin.space.readout import Placed
from cellkin.space.vectors import NearestMeasured

_LEAST_CELLS = 3
_NOISE = 1e-3
# The steps of the training draw each of these about nine times.
_VIEW_CELLS = 5_000
_N_VIEWS = 4


def label_dispersion(sample: Sample) -> Float32Vector:
    """Return how well each gene tells labels apart: ``eta^2 = B / (B + W + 0.001)``.

    ``B`` is the variance of the labels' means of log expression, labels weighing alike, and ``W``
    the mean variance within labels. Labels of fewer than 3 cells have no part in it, unless fewer
    than two labels would be left.

    Returns
    -------
    Float32Vector
        (n_genes,) float32 in [0, 1).
    """
    logs = log_expression(sample.cells)
    counts = sample.counts()
    # Between the means of one label there is no variance: no gene would weigh anything.
    enough = np.flatnonzero(counts >= min(_LEAST_CELLS, np.sort(counts)[-2:][0]))
    one_hot = sp.csr_matrix(
        (1.0 / counts[sample.labels], (sample.labels, np.arange(sample.n_cells))),
        shape=(sample.n_labels, sample.n_cells),
    )
    means = (one_hot @ logs).toarray()[enough]
    squares = (one_hot @ logs.multiply(logs)).toarray()[enough]
    between, within = means.var(axis=0), (squares - means**2).mean(axis=0)
    return np.asarray(between / (between + np.maximum(within, 0) + _NOISE), np.float32)


@dataclass(frozen=True)
class FittedText:
    """A text space fitted to a sample.

    Parameters
    ----------
    space
        The space, its centre the estimated mean of the reference.
    gene_ids
        (n_genes,) int64 NCBI GeneIDs of the columns that `place` takes.
    nearest
        The nearest measured genes of all others, where weights were carried by them.
    """

    space: CellSpace
    gene_ids: Int64Vector
    nearest: NearestMeasured | None = None

    @property
    def n_components(self) -> int:
        """All dimensions: neighbors are compared as the head places cells."""
        return self.space.dim

    @property
    def coefficients(self) -> Float32Matrix:
        """No logistic regression: of 0 rows."""
        return np.empty((0, self.n_components), np.float32)

    @property
    def intercepts(self) -> Float32Vector:
        """No logistic regression: of 0 rows."""
        return np.empty(0, np.float32)

    def place(self, cells: CsrMatrix) -> Placed:
        """Place cells over the genes of the sample."""
        means, empty = self.means(cells)
        return self.finish(place_means(means, self.space), empty)

    def finish(self, z: Float32Matrix, empty: BoolVector) -> Placed:
        """Return (n_cells, dim) unit vectors of the space as placed cells, the empty ones at 0."""
        z[empty] = 0
        return Placed(z, empty)

    def means(self, cells: CsrMatrix) -> tuple[Float32Matrix, BoolVector]:
        """Return the `weighted_means` of cells over the genes of the sample."""
        columns = gene_columns(self.space.rows_of(self.gene_ids), len(self.space.gene_ids))
        return weighted_means(cells, columns, self.space)


def fit_text(
    space: CellSpace, sample: Sample, counts: Int64Vector | None = None, carry: bool = True
) -> FittedText:
    """Fit the weights, centre and head that the recipe of a space asks for.

    Parameters
    ----------
    space
        A space with gene vectors; weights that do not depend on labels are fitted already.
    sample
        The labelled cells.
    counts
        (n_labels,) int64 cells of each label in the whole reference, which the centre is the mean
        of; None where the sample is all of it.
    carry
        Whether genes that the sample lacks get the weights of others, which takes most of the time
        and is for nothing where only cells of the same genes are placed.

    Raises
    ------
    InvalidArgumentError
        If the head is trained by views and the cells are no counts; see `molecules`.
    """
    recipe, nearest = space.recipe, None
    # Of one label no gene tells anything: all weigh alike.
    if recipe.gene_weighting == "eta2" and sample.n_labels > 1:
        rows = space.rows_of(sample.gene_ids)
        met = np.flatnonzero(rows >= 0)
        own = label_dispersion(sample)[met]
        if carry:
            with threads_for(len(space.vectors) * len(met)):
                nearest = NearestMeasured.of(space.vectors, rows[met], recipe.carry_k)
            weights = nearest.carry(own, recipe.carry_temperature)
        else:
            weights = np.zeros(len(space.vectors), np.float32)
            weights[rows[met]] = own
        space = replace(space, weights=weights)
    fitted = FittedText(space, sample.gene_ids, nearest)
    means, empty = fitted.means(sample.cells)
    if not recipe.centered or empty.all():
        return fitted
    share = np.ones(sample.n_cells) if counts is None else (counts / sample.counts())[sample.labels]
    share = np.where(empty, 0, share)
    center = (share / share.sum()) @ means
    space = replace(space, center=np.asarray(center, np.float32))
    fitted = FittedText(space, sample.gene_ids, nearest)
    if recipe.head == "supcon" and sample.n_labels > 1:
        head = fit_head((means - space.center)[~empty], sample.labels[~empty])
    elif recipe.head == "nt-xent" and (views := _views(fitted, sample.cells)).shape[1] > 1:
        head = fit_view_head(views)
    else:  # or there is nothing to be drawn apart
        return fitted
    return replace(fitted, space=replace(space, head=head))


def _views(fitted: FittedText, cells: CsrMatrix) -> npt.NDArray[np.float32]:
    """Return (n_views, n_cells, dim) centered means of thinned cells that are empty in no view."""
    rng = np.random.default_rng(0)
    drawn = np.sort(rng.permutation(cells.shape[0])[:_VIEW_CELLS])
    counts = molecules(cells[drawn])
    views = [fitted.means(thin(counts, KEEP, rng)) for _ in range(_N_VIEWS)]
    seen = ~np.any([empty for _, empty in views], axis=0)
    return np.stack([means[seen] - fitted.space.center for means, _ in views])
