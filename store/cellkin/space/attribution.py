"""Contributions of genes to a cell's score for a label; exact, as the projection is linear."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cellkin.space.arrays import (
    BoolVector,
    CsrMatrix,
    Float32Matrix,
    Float32Vector,
    Int64Vector,
)
from cellkin.space.expression import ExpressionColumns, ExpressionSpace, z_scores
from cellkin.space.projection import CellSpace, Float64Vector, GeneColumns, chosen_genes


@dataclass(frozen=True)
class Attribution:
    """Contribution of each gene of a cell, or of a mean of cells, to the score for one label.

    The score is ``<H (sum_g w_g v_g - m), p>`` for the label's direction ``p``, or for ``p - q`` in
    a comparison with another label of direction ``q``. As the weights of a cell sum to one, it is
    the sum of the contributions ``w_g <H (v_g - m), p>``.

    Parameters
    ----------
    class_row
        The label, a row of the prototypes; -1 if no gene of the cell has a vector.
    genes
        (n,) int64, rows of the space's genes, ascending: the genes used for the cell.
    weights
        (n,) float32, shares of the genes in the cell, which sum to 1; or their z-scores.
    contributions
        (n,) float32, contributions of the genes to the score.
    score
        The sum of all contributions; in an expression space, plus the constant term of the
        reference mean.
    similarity
        Cosine of the cell and the label, in [-1, 1]; in a comparison, minus that of the other
        label, in [-2, 2].
    """

    class_row: int
    genes: Int64Vector
    weights: Float32Vector
    contributions: Float32Vector
    score: float
    similarity: float

    def largest(self, n: int) -> Int64Vector:
        """Return positions of the ``n`` largest contributions by absolute value, largest first."""
        order: Int64Vector = np.argsort(-np.abs(self.contributions), kind="stable")[:n]
        return order


def attribute(
    cells: CsrMatrix,
    columns: GeneColumns,
    space: CellSpace,
    prototypes: Float32Matrix,
    class_row: int | None = None,
    against: int | None = None,
    mean: bool = False,
) -> list[Attribution]:
    """Compute the contributions of genes to the scores of cells.

    Parameters
    ----------
    cells
        (n_cells, n_columns) CSR, linear expression: finite and not negative.
    columns
        The genes of the columns.
    space
        The cell space.
    prototypes
        (n_classes, space.dim) float32, unit rows; a label with a zero row is never chosen.
    class_row
        The label to explain, or None for the one nearest to each cell; ties go to the first.
    against
        The label to compare with, or None.
    mean
        Whether to explain the mean of the non-empty cells instead of each cell.

    Returns
    -------
    list
        One `Attribution` per cell, or a single one for the mean.
    """
    present = _present(prototypes)
    chosen = [
        (genes, weights.astype(np.float64))
        for genes, weights in chosen_genes(cells, columns, space)
    ]
    if mean:
        chosen = [_mean_weights(chosen, len(space.gene_ids))]
    explained = []
    for genes, weights in chosen:
        if not len(genes):
            explained.append(_nothing())
            continue
        parts = placed(space.vectors[genes], space)
        z = weights @ parts
        row = _nearest(z @ prototypes.T, present) if class_row is None else class_row
        explained.append(
            _attribution(row, genes, weights, weights * (parts @ _to(prototypes, row, against)), z)
        )
    return explained


def attribute_expression(
    cells: CsrMatrix,
    columns: ExpressionColumns,
    space: ExpressionSpace,
    prototypes: Float32Matrix,
    class_row: int | None = None,
    against: int | None = None,
    mean: bool = False,
) -> list[Attribution]:
    """Compute the contributions of genes to the scores of cells in an expression space.

    The weight of a gene is its z-score, which is negative for a gene the cell lacks. The reference
    mean belongs to no gene: it is part of the score but of no contribution.

    Parameters
    ----------
    cells, columns, space
        As in `cellkin.space.expression.place_expression`.
    prototypes
        (n_classes, dim) float32, unit rows; a label with a zero row is never chosen. ``dim`` may
        cover only the leading dimensions of the space.
    class_row, against, mean
        As in `attribute`.

    Returns
    -------
    list
        One `Attribution` per cell, or a single one for the mean; genes are rows of
        ``space.gene_ids``: the variable genes that were measured.
    """
    present = _present(prototypes)
    scores, measured = z_scores(cells, columns, space)
    n = prototypes.shape[1]
    parts = space.loadings[:, :n].astype(np.float64)
    genes = space.variable[measured].astype(np.int64)
    if mean:
        some = scores.any(axis=1)
        # Without cells the sum is 0, as for an empty cell.
        scores = scores.sum(axis=0, keepdims=True) / max(int(some.sum()), 1)
    explained = []
    for cell in scores:
        if not cell.any():
            explained.append(_nothing())
            continue
        z = cell @ parts - space.center[:n]
        row = _nearest(z @ prototypes.T, present) if class_row is None else class_row
        direction = _to(prototypes, row, against)
        no_gene = -float(space.center[:n] @ direction)
        contributions = (cell * (parts @ direction))[measured]
        explained.append(_attribution(row, genes, cell[measured], contributions, z, no_gene))
    return explained


def _attribution(
    row: int,
    genes: Int64Vector,
    weights: Float64Vector,
    contributions: Float64Vector,
    z: Float64Vector,
    no_gene: float = 0.0,
) -> Attribution:
    """Build the attribution of a cell at ``z``; ``no_gene`` is the constant term of the score."""
    length = float(np.linalg.norm(z))
    score = float(contributions.sum()) + no_gene
    return Attribution(
        row,
        genes,
        weights.astype(np.float32),
        contributions.astype(np.float32),
        score,
        score / length if length else 0.0,
    )


def _to(prototypes: Float32Matrix, row: int, against: int | None) -> Float64Vector:
    """Return the direction of a label, minus that of the label it is compared with, if any."""
    direction: Float64Vector = prototypes[row].astype(np.float64)
    if against is not None:
        direction -= prototypes[against]
    return direction


def _mean_weights(
    chosen: Sequence[tuple[Int64Vector, Float64Vector]], n_genes: int
) -> tuple[Int64Vector, Float64Vector]:
    """Return the union of the cells' genes and their mean weights over non-empty cells."""
    total, n_cells = np.zeros(n_genes), 0
    for genes, weights in chosen:
        total[genes] += weights
        n_cells += len(genes) > 0
    genes = np.flatnonzero(total)
    return genes, total[genes] / max(n_cells, 1)


def placed(vectors: Float32Matrix, space: CellSpace) -> Float64Vector:
    """Return ``H (v_g - m)`` of genes in float64, so that sums are exact to float32.

    Parameters
    ----------
    vectors
        (n_genes, dim) float32, their vectors.
    space
        The text space: its head ``H`` and, if its recipe is centered, its center ``m``.

    Returns
    -------
    Float64Vector
        (n_genes, dim) float64, of the head's width if there is one.
    """
    moved = vectors.astype(np.float64)
    if space.recipe.centered:
        moved -= space.center
    return moved if space.head is None else moved @ space.head.T.astype(np.float64)


def _present(prototypes: Float32Matrix) -> BoolVector:
    """Return (n_classes,) bool, the labels that have cells."""
    return np.asarray(np.einsum("cd,cd->c", prototypes, prototypes) > 0)


def _nearest(scores: Float64Vector, present: BoolVector) -> int:
    return int(np.argmax(np.where(present, scores, -np.inf)))


def _nothing() -> Attribution:
    none = np.empty(0, np.float32)
    return Attribution(-1, np.empty(0, np.int64), none, none, 0.0, 0.0)
