"""The projection: cells as weighted means of gene embeddings, defined once for all layers."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from threading import local
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from cellkin.space import gather, kernels
from cellkin.space.aligned import aligned, empty_aligned
from cellkin.space.arrays import (
    BoolVector,
    CsrMatrix,
    Float32Matrix,
    Float32Vector,
    Int32Vector,
    Int64Vector,
    frozen,
    rows_in,
    without_duplicates,
)
from cellkin.space.products import all_products
from cellkin.space.recipe import Recipe
from cellkin.space.vectors import unit_rows
from cellkin.wire.errors import InvalidArgumentError

BLOCK_CELLS = 2048
"""Approximate number of cells per pass over the vectors."""

Float64Vector: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True)
class CellSpace:
    """A fitted recipe: all arrays needed to place a cell.

    Parameters
    ----------
    recipe
        The recipe.
    gene_ids, taxa
        (n_genes,) int64 NCBI GeneIDs ascending, and int32 NCBI taxonomy ids: the genes with text.
    vectors
        (n_genes, dim) float32, unit rows; copied once if not aligned.
    weights
        (n_genes,) float32, at least 0.
    measured
        (n_genes,) bool, whether the weight is from the reference's cells, not from nearby genes.
    center
        (dim,) float32, the mean of the reference cells before centering.
    head
        (out_dim, dim) float32 applied after centering, or None for the identity.
    """

    recipe: Recipe
    gene_ids: Int64Vector
    taxa: Int32Vector
    vectors: Float32Matrix
    weights: Float32Vector
    measured: BoolVector
    center: Float32Vector
    head: Float32Matrix | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "vectors", aligned(self.vectors))

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Unpickled arrays may be unaligned, and would then be copied for every block.
        self.__dict__.update(state)
        self.__post_init__()

    @property
    def dim(self) -> int:
        """Dimension of a cell vector."""
        return len(self.center) if self.head is None else len(self.head)

    def rows_of(self, gene_ids: Int64Vector) -> Int64Vector:
        """Return the rows of GeneIDs, -1 for genes without text.

        Parameters
        ----------
        gene_ids
            (n,) int64, in any order; 0 for no gene.
        """
        return rows_in(self.gene_ids, gene_ids)


@dataclass(frozen=True)
class GeneColumns:
    """Mapping from the columns of a matrix of cells to the genes of a space; see `gene_columns`.

    Parameters
    ----------
    rows
        (n_columns,) int32, the row of each column's gene, -1 for none.
    shared
        (n_columns,) bool, whether another column has the same gene; their values are summed.
    n_genes
        Number of genes of the space.
    ordered
        Whether the matched genes ascend, so that the genes of a cell need no sorting.
    """

    rows: Int32Vector
    shared: BoolVector
    n_genes: int
    ordered: bool

    @property
    def n_columns(self) -> int:
        """Number of columns of the matrix."""
        return len(self.rows)


def gene_columns(rows: Int64Vector, n_genes: int) -> GeneColumns:
    """Build the mapping from columns of a matrix to genes.

    Columns of the same gene are summed; columns without a gene are ignored.

    Parameters
    ----------
    rows
        (n_columns,) int64, the gene of each column or -1.
    n_genes
        Number of genes of the space.
    """
    rows = np.asarray(rows, np.int64)
    if len(rows) and not -1 <= rows.min() <= rows.max() < n_genes:
        raise InvalidArgumentError(
            f"columns of genes {rows.min()} to {rows.max()}; the space has 0 to {n_genes - 1}, "
            "and -1 stands for no gene"
        )
    matched = rows[rows >= 0]
    n_columns_of = np.bincount(matched, minlength=n_genes)
    shared = np.zeros(len(rows), bool)
    shared[rows >= 0] = n_columns_of[matched] > 1
    return GeneColumns(rows.astype(np.int32), shared, n_genes, bool((np.diff(matched) > 0).all()))


def weighted_means(
    cells: CsrMatrix, columns: GeneColumns, space: CellSpace, threads: int = 1
) -> tuple[Float32Matrix, BoolVector]:
    """Return each cell's weighted mean of the vectors of its genes, as defined by the recipe.

    A cell's mean is bitwise independent of the other cells, the block, the number of threads and
    the order of the columns.

    Parameters
    ----------
    cells
        (n_cells, n_columns) CSR of any number type, linear expression: finite and not negative.
    columns
        The genes of the columns.
    space
        The fitted recipe.
    threads
        Number of threads.

    Returns
    -------
    means
        (n_cells, dim of the vectors) float32; zero if a cell expresses no weighted gene.
    empty
        (n_cells,) bool, whether the cell expresses no weighted gene.
    """
    # BLAS would be faster for cells with nearly all genes, but on some CPUs the last bits of a row
    # of its product depend on the row's position.
    with _sharing(threads) as share:
        block = _Block.of(cells, columns, threads, share)
        work = _Means(block, columns, space)
        for _ in share(work.gather, block.parts(threads)):
            pass
    return work.means, work.empty


def project(
    cells: CsrMatrix, columns: GeneColumns, space: CellSpace, threads: int = 1
) -> tuple[Float32Matrix, BoolVector]:
    """Place cells in a cell space.

    Like its mean, a cell's vector is bitwise independent of the other cells.

    Parameters
    ----------
    cells, columns, space, threads
        As in `weighted_means`.

    Returns
    -------
    z
        (n_cells, space.dim) float32, unit rows; zero for empty cells.
    empty
        (n_cells,) bool, whether the cell expresses no weighted gene.
    """
    means, empty = weighted_means(cells, columns, space, threads)
    z = place_means(means, space)
    z[empty] = 0
    return z, empty


def place_means(means: Float32Matrix, space: CellSpace) -> Float32Matrix:
    """Subtract the reference mean from weighted means, apply the head, and scale to unit length.

    Parameters
    ----------
    means
        (n_cells, dim of the vectors) float32.
    space
        The fitted recipe.

    Returns
    -------
    Float32Matrix
        (n_cells, space.dim) float32, unit rows.
    """
    z = means - space.center if space.recipe.centered else means
    if space.head is not None:
        z = all_products(z, space.head)
    return unit_rows(z)


def chosen_genes(
    cells: CsrMatrix, columns: GeneColumns, space: CellSpace
) -> Iterator[tuple[Int64Vector, Float64Vector]]:
    """Yield the genes used for each cell and their shares, which sum to 1.

    Parameters
    ----------
    cells, columns, space
        As in `weighted_means`.

    Yields
    ------
    tuple
        (n,) int64 rows of the space, ascending, and (n,) float64; empty if a cell expresses no
        weighted gene.
    """
    block = _Block.of(cells, columns, 1, map)
    bounds, genes, shares = _Means(block, columns, space).choose(np.arange(block.n_cells))
    for begin, end in pairwise(bounds.tolist()):
        weights = shares[begin:end].astype(np.float64)
        yield (
            genes[begin:end].astype(np.int64),
            weights / weights.sum() if len(weights) else weights,
        )


def count_detected(
    cells: CsrMatrix,
    columns: GeneColumns,
    detected: Int64Vector,
    mass: Float64Vector,
) -> None:
    """Add the gene statistics of a block of cells, in place.

    Parameters
    ----------
    cells, columns
        As in `weighted_means`.
    detected
        (n_genes,) int64, increased by the number of cells that express each gene of the space.
    mass
        (n_columns,) float64, increased by each column's sum, matched or not.
    """
    block = _Block.of(cells, columns, 1, map)
    kernels.count_columns(
        *block.arrays, frozen(columns.rows), frozen(columns.shared), columns.n_genes,
        detected, mass,
    )  # fmt: skip


class Projector(Protocol):
    """Compute weighted means of blocks of cells on some device."""

    def means(self, blocks: Iterable[CsrMatrix]) -> Iterator[tuple[Float32Matrix, BoolVector]]:
        """Return the result of `weighted_means` for every block, in order.

        A block may be requested before the result of the previous one is consumed.
        """


@dataclass(frozen=True)
class CpuProjector:
    """Compute weighted means on the CPU."""

    space: CellSpace
    columns: GeneColumns
    threads: int = 1

    def means(self, blocks: Iterable[CsrMatrix]) -> Iterator[tuple[Float32Matrix, BoolVector]]:
        """Return the result of `weighted_means` for every block, in order."""
        for block in blocks:
            yield weighted_means(block, self.columns, self.space, self.threads)


@dataclass(frozen=True)
class _Block:
    """A block of cells as read-only int64, int32 and float32 arrays for the kernels."""

    n_cells: int
    arrays: tuple[Int64Vector, Int32Vector, Float32Vector]

    @classmethod
    def of(cls, cells: CsrMatrix, columns: GeneColumns, threads: int, share: "_Share") -> "_Block":
        """Convert a matrix, sorting and summing duplicates if needed; the check uses threads."""
        if cells.shape[1] != columns.n_columns:
            raise InvalidArgumentError(
                f"cells of {cells.shape[1]} columns; their genes are given for {columns.n_columns}"
            )
        block = cls(cells.shape[0], cls._arrays(cells))
        if all(share(lambda part: block._is_ascending(part, columns), block.parts(threads))):
            return block
        return cls(cells.shape[0], cls._arrays(without_duplicates(cells)))

    def parts(self, threads: int) -> list[Int64Vector]:
        """Split the cells into parts of about `BLOCK_CELLS`, the same number for each thread."""
        n_parts = threads * max(1, round(self.n_cells / (threads * BLOCK_CELLS)))
        return np.array_split(np.arange(self.n_cells), n_parts)

    def _is_ascending(self, cells: Int64Vector, columns: GeneColumns) -> bool:
        if not len(cells):
            return True
        indptr, indices, _ = self.arrays
        first, last = int(cells[0]), int(cells[-1]) + 1
        return bool(kernels.is_ascending(indptr, indices, columns.n_columns, first, last))

    @staticmethod
    def _arrays(cells: CsrMatrix) -> tuple[Int64Vector, Int32Vector, Float32Vector]:
        return (
            frozen(np.ascontiguousarray(cells.indptr, np.int64)),
            frozen(np.ascontiguousarray(cells.indices, np.int32)),
            frozen(np.ascontiguousarray(cells.data, np.float32)),
        )


class _Means:
    """Compute the weighted means of one block, in parts."""

    def __init__(self, block: _Block, columns: GeneColumns, space: CellSpace) -> None:
        self.means = empty_aligned(block.n_cells, space.vectors.shape[1])
        self.empty = np.empty(block.n_cells, bool)
        self._block, self._space, self._held = block, space, local()
        weights = np.zeros(columns.n_columns, np.float32)
        matched = columns.rows >= 0
        weights[matched] = space.weights[columns.rows[matched]]
        self._columns = (
            frozen(columns.rows), frozen(columns.shared), bool(columns.shared.any()),
            columns.ordered, frozen(weights), columns.n_genes,
        )  # fmt: skip
        self._vectors = frozen(aligned(space.vectors).reshape(-1))

    def n_entries(self, cells: Int64Vector) -> Int64Vector:
        """Return the maximum number of genes used for each of some cells."""
        top_n, indptr = self._space.recipe.top_n, self._block.arrays[0]
        n_entries: Int64Vector = indptr[cells + 1] - indptr[cells]
        return np.minimum(n_entries, top_n) if top_n else n_entries

    def choose(self, cells: Int64Vector) -> tuple[Int64Vector, Int32Vector, Float32Vector]:
        """Return the bounds, genes, which ascend, and shares of some cells.

        Genes and shares are valid until the next call from the same thread.
        """
        recipe = self._space.recipe
        bounds = np.empty(len(cells) + 1, np.int64)
        genes, shares = self._entries(int(self.n_entries(cells).sum()))
        rows, shared, n_shared, in_order, weights, n_genes = self._columns
        kernels.choose_genes(
            *self._block.arrays, frozen(cells), rows, shared, n_shared, in_order,
            weights, n_genes, kernels.EXPRESSIONS[recipe.expression], recipe.top_n,
            bounds, genes, shares,
        )  # fmt: skip
        return bounds, genes, shares

    def _entries(self, n: int) -> tuple[Int32Vector, Float32Vector]:
        """Return arrays reused by this thread, because allocating and freeing them is slow."""
        held: tuple[Int32Vector, Float32Vector] | None = getattr(self._held, "entries", None)
        if held is None or len(held[0]) < n:
            held = np.empty(n, np.int32), np.empty(n, np.float32)
            self._held.entries = held
        return held[0][:n], held[1][:n]

    def gather(self, cells: Int64Vector) -> None:
        """Compute the means of consecutive cells."""
        if not len(cells):
            return
        n_genes, dim = self._space.vectors.shape
        bounds, genes, shares = self.choose(cells)
        means = self.means[cells[0] : cells[-1] + 1].reshape(-1)
        gather.add_vectors(
            bounds[:-1], bounds[1:], genes, shares, self._vectors, n_genes, dim, means
        )
        self.empty[cells] = bounds[:-1] == bounds[1:]


_Share: TypeAlias = Callable[..., Iterable[Any]]


@contextmanager
def _sharing(threads: int) -> Iterator[_Share]:
    """Yield ``map``, or the ``map`` of a thread pool."""
    if threads == 1:
        yield map
    else:
        with ThreadPoolExecutor(threads, "projection") as pool:
            yield pool.map


def linear_expression(cells: CsrMatrix) -> CsrMatrix:
    """Undo ``log1p``: return ``expm1`` of the stored values.

    Zeros stay zero; duplicate entries add up on the linear scale.
    """
    # scipy's expm1 would sum duplicate logarithms, in place in arrays the caller may not own.
    return sp.csr_matrix((np.expm1(cells.data), cells.indices, cells.indptr), shape=cells.shape)
