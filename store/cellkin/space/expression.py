"""The expression space: cells as weighted sums of loadings fitted on a reference.

Like every cell space it has the form ``z = sum_g w_g v_g - m``. Here ``v_g`` are loadings of highly
variable genes, and ``w_g`` is chosen so that ``sum_g w_g v_g - m`` is the projection of the cell's
z-scores. A gene that is not expressed has ``w_g = 0``, so the cost of a cell depends on its
expressed genes; a gene that was not measured is left out, which is imputing the reference mean.

A second map of the same form places cells for the contrastive head and for novelty: log expression
of the genes that separate labels times loadings, without z-scores. The logarithms of a cell are
computed once for both.
"""

# The compiled functions have no annotations.
# mypy: disable-error-code="no-untyped-call"

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from cellkin.space.arrays import (
    BoolVector,
    CsrMatrix,
    Float32Matrix,
    Float32Vector,
    Int32Vector,
    Int64Vector,
    canonical,
    rows_in,
)
from cellkin.space.classifier import Placed
from cellkin.space.expression_kernel import sort_by_gene, weigh_genes
from cellkin.space.gather import add_vectors
from cellkin.wire.errors import InvalidArgumentError

PER_CELL = 10_000.0
"""The total a cell's expression is scaled to before the logarithm."""
CLIP = 10.0
"""Upper limit of z-scores."""
_PART_CELLS = 1024
# Dimensions added at once; see `cellkin.space.gather`.
_LANES = 32


@dataclass(frozen=True)
class ExpressionSpace:
    """Loadings fitted on a reference, with the statistics of its z-scores.

    Parameters
    ----------
    gene_ids
        (n_genes,) int64 NCBI GeneIDs, ascending: all genes of the reference, summed in a cell's
        total.
    shares
        (n_genes,) float32, each gene's mean share of a reference cell's expression; they sum to 1.
    variable
        (n_variable,) int32 rows of ``gene_ids``: the highly variable genes.
    means, deviations
        (n_variable,) float32 of ``ln(1 + 10,000 x / total)`` over the reference; deviations > 0.
    loadings
        (n_variable, dim) float32 with orthonormal columns.
    center
        (dim,) float32, the mean of the reference cells before centering.
    weighted
        (n_weighted,) int32 rows of ``gene_ids``, ascending: the input genes of the head; empty
        without a head.
    weighted_means
        (n_weighted,) float32 of ``ln(1 + 10,000 x / total)`` over the reference.
    weighted_loadings
        (n_weighted, refined_dim) float32: the product of gene weights (how well a gene separates
        labels), principal components and head.
    leading_loadings
        (n_weighted, leading_dim) float32: the loadings of the same genes on the leading principal
        components, before the head.
    """

    gene_ids: Int64Vector
    shares: Float32Vector
    variable: Int32Vector
    means: Float32Vector
    deviations: Float32Vector
    loadings: Float32Matrix
    center: Float32Vector
    weighted: Int32Vector
    weighted_means: Float32Vector
    weighted_loadings: Float32Matrix
    leading_loadings: Float32Matrix

    @property
    def dim(self) -> int:
        """Dimension of a cell vector."""
        return int(self.loadings.shape[1])

    @cached_property
    def _maps(self) -> "tuple[_Map, _Map]":
        """The maps of the variable and of the weighted genes."""
        n, zeros = len(self.gene_ids), self.means / self.deviations.astype(np.float64)
        both = np.concatenate([self.weighted_loadings, self.leading_loadings], axis=1)
        return (
            _Map.of(self.variable, self.loadings, zeros, n),
            _Map.of(self.weighted, both, self.weighted_means.astype(np.float64), n),
        )

    @property
    def refined_dim(self) -> int:
        """Dimension of a refined cell vector; 0 without a head."""
        return int(self.weighted_loadings.shape[1])

    @property
    def leading_dim(self) -> int:
        """Number of leading components of the head's input genes; 0 without a head."""
        return int(self.leading_loadings.shape[1])

    def rows_of(self, gene_ids: Int64Vector) -> Int64Vector:
        """Return the rows of GeneIDs, -1 for genes not in the reference.

        Parameters
        ----------
        gene_ids
            (n,) int64, in any order; 0 for no gene.
        """
        return rows_in(self.gene_ids, gene_ids)


@dataclass(frozen=True)
class ExpressionColumns:
    """Mapping from the columns of a matrix of cells to the genes of a space; made by ``of``.

    Parameters
    ----------
    order
        (n_used,) int64, the columns that match a gene, by ascending row of the gene.
    rows
        (n_used,) int64, rows of these genes.
    n_columns
        Number of columns of the matrix.
    """

    order: Int64Vector
    rows: Int64Vector
    n_columns: int

    @classmethod
    def of(cls, rows: Int64Vector) -> "ExpressionColumns":
        """Build the mapping from the gene row of each column.

        Parameters
        ----------
        rows
            (n_columns,) int64; -1 for no gene.
        """
        used = np.flatnonzero(rows >= 0)
        order = used[np.argsort(rows[used], kind="stable")]
        return cls(order, rows[order], len(rows))

    @cached_property
    def genes(self) -> Int64Vector:
        """(n_matched,) int64 distinct rows of the matched genes, ascending."""
        return np.unique(self.rows)

    @cached_property
    def places(self) -> Int32Vector:
        """(n_columns,) int32 places of the columns' genes in `genes`, -1 for no gene."""
        places = np.full(self.n_columns, -1, np.int32)
        places[self.order] = np.searchsorted(self.genes, self.rows)
        return places

    @cached_property
    def ordered(self) -> bool:
        """Whether each column matches a gene of its own, in the order of the genes."""
        return self.n_columns == len(self.order) == len(self.genes) and bool(
            (np.diff(self.order) > 0).all()
        )


def place_expression(
    cells: CsrMatrix, columns: ExpressionColumns, space: ExpressionSpace, threads: int = 1
) -> Placed:
    """Place cells in an expression space.

    A cell's vector is bitwise independent of the other cells, the block and the order of the
    columns. If only some of the space's genes were measured, a cell is scaled to the share of these
    genes in the reference's expression, so that z-scores stay comparable.

    Parameters
    ----------
    cells
        (n_cells, n_columns) CSR of any number type, linear expression: finite and not negative.
    columns
        The genes of the columns; columns of the same gene are summed.
    space
        The fitted space.
    threads
        Number of threads.

    Returns
    -------
    Placed
        ``z``, ``refined`` and ``leading`` are not scaled to unit length, and zero for empty cells.
    """
    return ExpressionPlacer(columns, space).place(cells, threads)


class ExpressionPlacer:
    """Place blocks of cells of the same columns in an expression space.

    Parameters
    ----------
    columns, space
        As in `place_expression`.
    """

    def __init__(self, columns: ExpressionColumns, space: ExpressionSpace) -> None:
        self._columns, self._space = columns, space
        rows = columns.genes
        self._maps = space._maps
        self._offsets = [part.offset(rows) for part in self._maps]
        variable, weighted = (part.places[rows] for part in self._maps)
        deviations = space.deviations.astype(np.float64)
        self._tables = (
            ((variable >= 0) | (weighted >= 0)).astype(np.uint8),
            variable,
            weighted,
            # The kernel reads the first even if there is no variable gene.
            np.append(1.0 / deviations, 0.0),
            np.append(CLIP + (space.means / space.deviations).astype(np.float64), 0.0),
            PER_CELL * float(space.shares[rows].sum(dtype=np.float64)),
        )

    def place(self, cells: CsrMatrix, threads: int = 1) -> Placed:
        """Place a block of cells; see `place_expression`."""
        if cells.shape[1] != self._columns.n_columns:
            raise InvalidArgumentError(
                f"cells of {cells.shape[1]} columns; their genes are given for "
                f"{self._columns.n_columns}"
            )
        columns, ordered = self._columns, self._columns.ordered
        indptr, indices, values = _arrays(canonical(cells) if ordered else cells)
        (plain, refined), offsets, center = self._maps, self._offsets, self._space.center
        z = np.zeros((cells.shape[0], self._space.dim), np.float32)
        second = np.zeros((cells.shape[0], len(refined.total)), np.float32)
        empty = np.zeros(cells.shape[0], bool)

        def place(start: int) -> None:
            part = slice(start, min(start + _PART_CELLS, len(z)))
            ours = indptr[start : part.stop + 1], indices, values
            if not ordered:
                ours = _sorted_by_gene(*ours, columns)
            by_variable, by_weighted = weigh_genes(*ours, *self._tables, empty[part])
            some = ~empty[part]
            z[part][some] = (plain.sums(*by_variable) - offsets[0] - center)[some]
            if second.shape[1]:
                second[part][some] = (refined.sums(*by_weighted) - offsets[1])[some]

        starts = range(0, len(z), _PART_CELLS)
        if threads == 1:
            for start in starts:
                place(start)
        else:
            with ThreadPoolExecutor(threads, "expression") as pool:
                list(pool.map(place, starts))
        refined_dim = self._space.refined_dim
        return Placed(z, empty, second[:, :refined_dim], second[:, refined_dim:])


@dataclass(frozen=True)
class _Map:
    """Loadings of some genes of a space.

    Parameters
    ----------
    places
        (n_genes of the space,) int32 rows of the loadings, -1 for other genes.
    loadings
        (n, padded dim) float32.
    means
        (n, dim) float64, loadings times the mean weight of each gene.
    total
        (dim,) float64, the sum of ``means`` over genes.
    """

    places: Int32Vector
    loadings: Float32Matrix
    means: npt.NDArray[np.float64]
    total: npt.NDArray[np.float64]

    @classmethod
    def of(
        cls, genes: Int32Vector, loadings: Float32Matrix, means: npt.NDArray[Any], n_genes: int
    ) -> "_Map":
        """Build a map from gene rows, their loadings and their mean weights."""
        places = np.full(n_genes, -1, np.int32)
        places[genes] = np.arange(len(genes), dtype=np.int32)
        products = means[:, None] * loadings.astype(np.float64)
        return cls(places, _padded(loadings), products, products.sum(axis=0))

    def offset(self, rows: Int64Vector) -> npt.NDArray[np.float64]:
        """Return (dim,) float64, the sum of ``means`` over the measured genes."""
        missing = np.ones(len(self.means), bool)
        places = self.places[rows]
        missing[places[places >= 0]] = False
        if not missing.any():
            return self.total
        return np.asarray(self.total - self.means[missing].sum(axis=0))

    def sums(
        self, bounds: Int64Vector, chosen: Int32Vector, weights: Float32Vector
    ) -> Float32Matrix:
        """Return (n_cells, dim) float32 sums of weighted loadings."""
        n_genes, dim = self.loadings.shape
        sums = np.empty((len(bounds) - 1, dim), np.float32)
        add_vectors(
            bounds[:-1], bounds[1:], chosen, weights, self.loadings.reshape(-1), n_genes, dim,
            sums.reshape(-1),
        )  # fmt: skip
        return sums[:, : self.means.shape[1]]


def _padded(loadings: Float32Matrix) -> Float32Matrix:
    """Pad loadings with zero columns to a multiple of the SIMD width."""
    n, dim = loadings.shape
    if dim % _LANES == 0:
        return np.ascontiguousarray(loadings)
    padded = np.zeros((n, -(-dim // _LANES) * _LANES), np.float32)
    padded[:, :dim] = loadings
    return padded


def z_scores(
    cells: CsrMatrix, columns: ExpressionColumns, space: ExpressionSpace
) -> tuple[npt.NDArray[np.float64], BoolVector]:
    """Return the z-scores that `place_expression` projects, dense: for attributions of a few cells.

    Parameters
    ----------
    cells, columns, space
        As in `place_expression`.

    Returns
    -------
    scores
        (n_cells, n_variable) float64, 0 for genes that were not measured and for empty cells.
    measured
        (n_variable,) bool.
    """
    ours, rows = by_gene(cells, columns)
    linear = np.zeros((cells.shape[0], len(space.gene_ids)))
    linear[:, rows] = ours.toarray()
    totals = linear.sum(axis=1, keepdims=True)
    per_cell = PER_CELL * space.shares[rows].sum(dtype=np.float64)
    factor = np.divide(per_cell, totals, out=np.zeros_like(totals), where=totals > 0)
    measured = np.isin(space.variable, rows)
    scores = np.log1p(linear[:, space.variable] * factor) - space.means
    scores = np.minimum(scores / space.deviations, CLIP)
    return np.where(measured & (totals > 0), scores, 0.0), measured


def by_gene(cells: CsrMatrix, columns: ExpressionColumns) -> tuple[CsrMatrix, Int64Vector]:
    """Return cells by matched gene, with columns of the same gene and duplicate entries summed.

    Parameters
    ----------
    cells, columns
        As in `place_expression`.

    Returns
    -------
    cells
        (n_cells, n_matched) CSR with sorted indices.
    rows
        (n_matched,) int64 distinct rows of the matched genes, ascending.
    """
    if columns.ordered:
        return canonical(cells), columns.genes
    bounds, genes, sums = _sorted_by_gene(*_arrays(cells), columns)
    ours = sp.csr_matrix((sums, genes, bounds), shape=(cells.shape[0], len(columns.genes)))
    ours.has_canonical_format = True
    return ours, columns.genes


def _sorted_by_gene(
    indptr: Int64Vector,
    indices: Int32Vector,
    values: npt.NDArray[np.floating],
    columns: ExpressionColumns,
) -> tuple[Int64Vector, Int32Vector, npt.NDArray[np.floating]]:
    """Return cells by matched gene, as arrays of the same kind."""
    bounds, n = np.empty(len(indptr), np.int64), int(indptr[-1] - indptr[0])
    genes, sums = np.empty(n + 1, np.int32), np.empty(n + 1, np.float64)
    sort_by_gene(indptr, indices, values, columns.places, len(columns.genes), bounds, genes, sums)
    return bounds, genes[: bounds[-1]], sums[: bounds[-1]]


def _arrays(cells: CsrMatrix) -> tuple[Int64Vector, Int32Vector, npt.NDArray[np.floating]]:
    """Return cells as the kernels take them."""
    return (
        np.ascontiguousarray(cells.indptr, np.int64),
        np.ascontiguousarray(cells.indices, np.int32),
        np.ascontiguousarray(cells.data, None if cells.data.dtype == np.float32 else np.float64),
    )
