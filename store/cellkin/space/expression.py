"""The expression space: cells as weighted sums of loadings fitted on a reference.

Like every cell space it has the form ``z = sum_g w_g v_g - m``. Here ``v_g`` are loadings of highly
variable genes, and ``w_g`` is chosen so that ``sum_g w_g v_g - m`` is the projection of the cell's
z-scores. A gene that is not expressed has ``w_g = 0``, so the cost of a cell depends on its
expressed genes; a gene that was not measured is left out, which is imputing the reference mean.

A second map of the same form places cells for the contrastive head and for novelty: log expression
of the genes that separate labels times loadings, without z-scores. The logarithms of a cell are
computed once for both.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

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
    rows_in,
    without_duplicates,
)
from cellkin.space.classifier import Placed
from cellkin.space.compiled import compiled
from cellkin.space.gather import add_vectors
from cellkin.wire.errors import InvalidArgumentError

PER_CELL = 10_000.0
"""The total a cell's expression is scaled to before the logarithm."""
CLIP = 10.0
"""Upper limit of z-scores."""
_PART_CELLS = 1024
# Dimensions added at once; see `cellkin.space.gather`.
_LANES = 32
_FEW = 16


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
    if cells.shape[1] != columns.n_columns:
        raise InvalidArgumentError(
            f"cells of {cells.shape[1]} columns; their genes are given for {columns.n_columns}"
        )
    ours, rows = by_gene(cells, columns)
    plain, refined = space._maps
    offsets = plain.offset(rows), refined.offset(rows)
    variable, weighted = plain.places[rows], refined.places[rows]
    choosing = (
        np.ascontiguousarray(ours.indptr, np.int64),
        np.ascontiguousarray(ours.indices, np.int32),
        np.ascontiguousarray(ours.data, None if ours.data.dtype == np.float32 else np.float64),
        # One byte per gene fits the first-level cache.
        ((variable >= 0) | (weighted >= 0)).astype(np.uint8),
        variable,
        weighted,
        1.0 / space.deviations.astype(np.float64),
        (space.means / space.deviations).astype(np.float64),
        PER_CELL * float(space.shares[rows].sum(dtype=np.float64)),
    )
    z = np.zeros((cells.shape[0], space.dim), np.float32)
    second = np.zeros((cells.shape[0], len(refined.total)), np.float32)
    empty = np.zeros(cells.shape[0], bool)

    def place(start: int) -> None:
        stop = min(start + _PART_CELLS, len(z))
        by_variable, by_weighted = _choose(start, stop, *choosing, empty)
        some = ~empty[start:stop]
        z[start:stop][some] = (plain.sums(*by_variable) - offsets[0] - space.center)[some]
        if second.shape[1]:
            second[start:stop][some] = (refined.sums(*by_weighted) - offsets[1])[some]

    starts = range(0, len(z), _PART_CELLS)
    if threads == 1:
        for start in starts:
            place(start)
    else:
        with ThreadPoolExecutor(threads, "expression") as pool:
            list(pool.map(place, starts))
    return Placed(z, empty, second[:, : space.refined_dim], second[:, space.refined_dim :])


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
    unique, position = np.unique(columns.rows, return_inverse=True)
    ordered = len(unique) == len(columns.rows) and (np.diff(columns.order) > 0).all()
    if ordered and len(columns.order) == columns.n_columns:
        return cells if cells.has_canonical_format else without_duplicates(cells), unique
    gather: npt.NDArray[np.float32] = np.ones(len(columns.order), np.float32)
    chosen = sp.csr_matrix(
        (gather, (columns.order, position)), shape=(columns.n_columns, len(unique))
    )
    ours = sp.csr_matrix(cells).astype(np.float64) @ chosen
    ours.sort_indices()
    return ours, unique


@compiled
def _total(values):
    """Return the sum of a cell's values in double precision."""
    # Eight accumulators, because each addition to a single one would wait for the one before.
    a, b, c, d = 0.0, 0.0, 0.0, 0.0
    e, f, g, h = 0.0, 0.0, 0.0, 0.0
    n_whole = len(values) - len(values) % 8
    for i in range(0, n_whole, 8):
        a += values[i]
        b += values[i + 1]
        c += values[i + 2]
        d += values[i + 3]
        e += values[i + 4]
        f += values[i + 5]
        g += values[i + 6]
        h += values[i + 7]
    for i in range(n_whole, len(values)):
        a += values[i]
    return ((a + b) + (c + d)) + ((e + f) + (g + h))


@compiled
def _met(columns, either, places):
    """Write the positions of a cell's variable or weighted genes; return their number."""
    n = 0
    for i in range(len(columns)):
        # Stored unconditionally: the branch would be mispredicted.
        places[n] = i
        n += either[np.uint32(columns[i])]
    return n


@compiled
def _choose(start, stop, indptr, indices, values, either, variable, weighted, scales, zeros,
            per_cell, empty):  # fmt: skip
    """Return the inputs of `add_vectors` for some cells, by variable and by weighted genes."""
    bounds = np.zeros(stop - start + 1, np.int64)
    other_bounds = np.zeros(stop - start + 1, np.int64)
    most = indptr[stop] - indptr[start]
    # One extra element, because the place after the last is also written.
    chosen, weights = np.empty(most + 1, np.int32), np.empty(most + 1, np.float32)
    others, logs_of = np.empty(most + 1, np.int32), np.empty(most + 1, np.float32)
    places = np.empty(most, np.int32)
    logs = np.empty(_FEW + 1, np.float64)
    n, n_others = 0, 0
    for cell in range(start, stop):
        begin, end = indptr[cell], indptr[cell + 1]
        columns, x = indices[begin:end], values[begin:end]
        total = _total(x)
        if total > 0.0:
            factor = per_cell / total
            # Most values are small counts, so their logarithms are cached per cell.
            logs[:] = 0.0
            for j in range(_met(columns, either, places)):
                value = x[places[j]]
                if not value > 0.0:
                    continue
                column = columns[places[j]]
                count = int(min(value, _FEW))
                if count == value:
                    if logs[count] == 0.0:
                        logs[count] = np.log(1.0 + count * factor)
                    expression = logs[count]
                else:
                    expression = np.log(1.0 + value * factor)
                row = variable[column]
                if row >= 0:
                    chosen[n] = row
                    weights[n] = min(expression * scales[row], CLIP + zeros[row])
                    n += 1
                # Stored unconditionally, as in `_met`.
                others[n_others], logs_of[n_others] = weighted[column], expression
                n_others += weighted[column] >= 0
        else:
            empty[cell] = True
        bounds[cell - start + 1], other_bounds[cell - start + 1] = n, n_others
    return (bounds, chosen[:n], weights[:n]), (other_bounds, others[:n_others], logs_of[:n_others])
