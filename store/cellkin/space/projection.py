"""The projection: cells as weighted means of gene vectors, one definition for all layers."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from cellkin.space.arrays import (
    BoolVector,
    CsrMatrix,
    Float32Matrix,
    Float32Vector,
    Int32Vector,
    Int64Vector,
)
from cellkin.space.recipe import Recipe
from cellkin.space.vectors import unit_rows


@dataclass(frozen=True)
class CellSpace:
    """A fitted recipe: everything needed to place a cell, as arrays.

    Parameters
    ----------
    recipe
        The choices.
    gene_ids, taxa
        (n_genes,) int64 NCBI GeneIDs ascending, and int32 NCBI taxonomy ids: the genes with text.
    vectors
        (n_genes, dim) float32, unit rows.
    weights
        (n_genes,) float32, at least 0.
    measured
        (n_genes,) bool: weighed by the reference's own cells, not carried from nearby genes.
    center
        (dim,) float32, the mean of the reference cells before centring.
    head
        (out_dim, dim) float32 applied after centring, or None for the identity.
    """

    recipe: Recipe
    gene_ids: Int64Vector
    taxa: Int32Vector
    vectors: Float32Matrix
    weights: Float32Vector
    measured: BoolVector
    center: Float32Vector
    head: Float32Matrix | None = None

    @property
    def dim(self) -> int:
        """Width of a cell vector."""
        return len(self.center) if self.head is None else len(self.head)

    def rows_of(self, gene_ids: Int64Vector) -> Int64Vector:
        """Return the rows of genes by GeneID, -1 for those without text.

        Parameters
        ----------
        gene_ids
            (n,) int64, in any order; 0 where there is no gene.
        """
        if not len(self.gene_ids):
            return np.full(len(gene_ids), -1, np.int64)
        at = np.minimum(np.searchsorted(self.gene_ids, gene_ids), len(self.gene_ids) - 1)
        return np.where(self.gene_ids[at] == gene_ids, at, -1).astype(np.int64)


def gene_columns(rows: Int64Vector, n_genes: int) -> CsrMatrix:
    """Return the 0/1 matrix that maps a matrix's columns to genes.

    Columns of the same gene add up; columns of none vanish. Multiplying by it also puts the genes
    of a cell in ascending order, on which the tie rule rests.

    Parameters
    ----------
    rows
        (n_columns,) int64, the gene of each column or -1.
    n_genes
        Genes of the space.

    Returns
    -------
    CsrMatrix
        (n_columns, n_genes) float32.
    """
    columns = np.flatnonzero(rows >= 0)
    ones = np.ones(len(columns), np.float32)
    return sp.csr_matrix((ones, (columns, rows[columns])), shape=(len(rows), n_genes))


def weighted_means(
    cells: CsrMatrix, weights: Float32Vector, vectors: Float32Matrix, top_n: int
) -> tuple[Float32Matrix, BoolVector]:
    """Return each cell's weighted mean of the vectors of its top genes.

    Parameters
    ----------
    cells
        (n_cells, n_genes) CSR, linear expression, not negative.
    weights
        (n_genes,) float32, multiplies the expression.
    vectors
        (n_genes, dim) float32.
    top_n
        Genes of a cell that count; among equal weights those of the lowest column.

    Returns
    -------
    means
        (n_cells, dim) float32; zero where a cell expresses no weighted gene.
    empty
        (n_cells,) bool: those cells.
    """
    weighted = sp.csr_matrix(cells, dtype=np.float64, copy=True)
    weighted.sort_indices()
    weighted.data *= weights[weighted.indices]
    _keep_top(weighted, top_n)
    totals = np.asarray(weighted.sum(axis=1)).ravel()
    empty = ~(totals > 0)
    # The sum of a row runs over its own genes in their order and nothing else, so a cell's vector
    # does not depend on the block it came in.
    scale = np.divide(1.0, totals, out=np.zeros_like(totals), where=~empty)
    weighted.data *= np.repeat(scale, np.diff(weighted.indptr))
    return np.asarray(weighted.astype(np.float32) @ vectors, np.float32), empty


def _keep_top(weighted: CsrMatrix, top_n: int) -> None:
    """Zero all but the ``top_n`` largest values of each row, in place."""
    bounds = weighted.indptr
    for row in np.flatnonzero(np.diff(bounds) > top_n):
        values = weighted.data[bounds[row] : bounds[row + 1]]
        limit = np.partition(values, len(values) - top_n)[len(values) - top_n]
        ties = np.flatnonzero(values == limit)
        surplus = len(ties) - (top_n - np.count_nonzero(values > limit))
        values[values < limit] = 0
        values[ties[len(ties) - surplus :]] = 0


def project(
    cells: CsrMatrix, columns: CsrMatrix, space: CellSpace
) -> tuple[Float32Matrix, BoolVector]:
    """Place cells in a cell space.

    Parameters
    ----------
    cells
        (n_cells, n_columns) CSR, linear expression.
    columns
        (n_columns, n_genes) from `gene_columns`.
    space
        The fitted recipe.

    Returns
    -------
    z
        (n_cells, space.dim) float32, unit rows; zero where no gene of a cell has a vector.
    empty
        (n_cells,) bool: those cells.
    """
    means, empty = weighted_means(cells @ columns, space.weights, space.vectors, space.recipe.top_n)
    z = means - space.center
    if space.head is not None:
        z = z @ space.head.T
    z[empty] = 0
    return unit_rows(z), empty


def linear_expression(cells: CsrMatrix) -> CsrMatrix:
    """Undo ``log1p``: return ``expm1`` of the values, zeros kept."""
    return cells.expm1()
