"""Fit a text space: the weights of genes, the center, and the head."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from cellkin.indexer.spaces.contrast import Contrast, fit_head, fit_view_head
from cellkin.indexer.spaces.sample import Sample
from cellkin.indexer.spaces.thinning import KEEP, molecules, thin
from cellkin.indexer.threads import threads_for
from cellkin.space.arrays import BoolVector, CsrMatrix, Float32Matrix, Float32Vector, Int64Vector
from cellkin.space.classifier import Placed
from cellkin.space.projection import CellSpace, gene_columns, place_means, weighted_means
from cellkin.space.vectors import NearestMeasured

_LEAST_CELLS = 3
_NOISE = 1e-3
# Training draws each of these cells about nine times.
_VIEW_CELLS = 5_000
_N_VIEWS = 4


def label_dispersion(sample: Sample) -> Float32Vector:
    """Compute how well each gene separates the labels: ``eta^2 = B / (B + W + 0.001)``.

    ``B`` is the variance of the labels' means of log expression, all labels with the same weight,
    and ``W`` the mean variance within labels. Labels with fewer than 3 cells are ignored, unless
    fewer than two labels would be left.

    Returns
    -------
    Float32Vector
        (n_genes,) float32 in [0, 1).
    """
    moments, counts = sample.moments, sample.counts()
    # With a single label there is no variance between means: all weights would be 0.
    enough = np.flatnonzero(counts >= min(_LEAST_CELLS, np.sort(counts)[-2:][0]))
    means, squares = (x[enough] / counts[enough, None] for x in (moments.sums, moments.squares))
    between, within = means.var(axis=0), (squares - means**2).mean(axis=0)
    return np.asarray(between / (between + np.maximum(within, 0) + _NOISE), np.float32)


@dataclass(frozen=True)
class FittedText:
    """A text space fitted to a sample.

    Parameters
    ----------
    space
        The space; its center is the estimated mean of the reference.
    gene_ids
        (n_genes,) int64 NCBI GeneIDs of the columns of `place`.
    own_means, own_empty
        The `means` of the cells that it was fitted to.
    nearest
        Nearest measured genes of all others, if weights were imputed from them.
    """

    space: CellSpace
    gene_ids: Int64Vector
    own_means: Float32Matrix
    own_empty: BoolVector
    nearest: NearestMeasured | None = None

    @property
    def n_components(self) -> int:
        """Number of dimensions after the head."""
        return self.space.dim

    @property
    def coefficients(self) -> Float32Matrix:
        """0 rows, as there is no logistic regression."""
        return np.empty((0, self.n_components), np.float32)

    @property
    def intercepts(self) -> Float32Vector:
        """Empty, as there is no logistic regression."""
        return np.empty(0, np.float32)

    @property
    def own(self) -> Placed:
        """The cells that it was fitted to, placed."""
        return self.finish(place_means(self.own_means, self.space), self.own_empty)

    def place(self, cells: CsrMatrix) -> Placed:
        """Place cells; columns are the genes of the sample."""
        means, empty = self.means(cells)
        return self.finish(place_means(means, self.space), empty)

    def finish(self, z: Float32Matrix, empty: BoolVector) -> Placed:
        """Return placed cells for (n_cells, dim) unit vectors, with zeros for empty cells."""
        z[empty] = 0
        return Placed(z, empty)

    def means(self, cells: CsrMatrix) -> tuple[Float32Matrix, BoolVector]:
        """Return the `weighted_means` of cells over the genes of the sample."""
        return _means(cells, self.gene_ids, self.space)


def _means(
    cells: CsrMatrix, gene_ids: Int64Vector, space: CellSpace
) -> tuple[Float32Matrix, BoolVector]:
    columns = gene_columns(space.rows_of(gene_ids), len(space.gene_ids))
    return weighted_means(cells, columns, space)


def fit_text(
    space: CellSpace,
    sample: Sample,
    counts: Int64Vector | None = None,
    carry: bool = True,
    training: Contrast | None = None,
) -> FittedText:
    """Fit the weights, center and head of a space's recipe.

    Parameters
    ----------
    space
        A space with gene vectors, and weights if they do not depend on labels.
    sample
        The labeled cells.
    counts
        (n_labels,) int64 cells of each label in the whole reference, whose mean is the center;
        None if the sample is the whole reference.
    carry
        Whether to impute weights of genes that the sample lacks. This takes most of the time, and
        is useless if only cells with the same genes are placed.
    training
        How the head is trained.

    Raises
    ------
    InvalidArgumentError
        If the head is trained on thinned cells and the values are not counts; see `molecules`.
    """
    recipe, nearest = space.recipe, None
    # With a single label all genes have the same weight.
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
    means, empty = _means(sample.cells, sample.gene_ids, space)
    fitted = FittedText(space, sample.gene_ids, means, empty, nearest)
    if not recipe.centered or empty.all():
        return fitted
    share = np.ones(sample.n_cells) if counts is None else (counts / sample.counts())[sample.labels]
    share = np.where(empty, 0, share)
    center = (share / share.sum()) @ means
    space = replace(space, center=np.asarray(center, np.float32))
    fitted = replace(fitted, space=space)
    if recipe.head == "supcon" and sample.n_labels > 1:
        head = fit_head((means - space.center)[~empty], sample.labels[~empty], training)
    elif recipe.head == "nt-xent" and (views := _views(fitted, sample.cells)).shape[1] > 1:
        head = fit_view_head(views, training)
    else:  # no head, or nothing to separate
        return fitted
    return replace(fitted, space=replace(space, head=head))


def _views(fitted: FittedText, cells: CsrMatrix) -> npt.NDArray[np.float32]:
    """Return (n_views, n_cells, dim) centered means of thinned cells, without empty cells."""
    rng = np.random.default_rng(0)
    drawn = np.sort(rng.permutation(cells.shape[0])[:_VIEW_CELLS])
    counts = molecules(cells[drawn])
    views = [fitted.means(thin(counts, KEEP, rng)) for _ in range(_N_VIEWS)]
    seen = ~np.any([empty for _, empty in views], axis=0)
    return np.stack([means[seen] - fitted.space.center for means, _ in views])
