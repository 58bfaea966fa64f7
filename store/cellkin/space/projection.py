"""The projection: cells as weighted means of gene embeddings, defined once for all layers."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
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
)
from cellkin.space.blocks import BLOCK_CELLS, Block, Share, parts_of, sharing
from cellkin.space.products import all_products
from cellkin.space.recipe import Recipe
from cellkin.space.vectors import unit_rows
from cellkin.wire.errors import InvalidArgumentError

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
    with sharing(threads) as share:
        means = _Means(columns, space, threads, share)
        means.add(cells)
        return means.take()


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
    block = Block.of(cells, columns.n_columns, 1, map)
    bounds, genes, shares = _Chooser.of(columns, space).choose(block, np.arange(block.n_cells))
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
    block = Block.of(cells, columns.n_columns, 1, map)
    kernels.count_columns(
        *block.arrays, frozen(columns.rows), frozen(columns.shared), columns.n_genes,
        detected, mass,
    )  # fmt: skip


class Projector(Protocol):
    """Compute weighted means of blocks of cells on some device."""

    def means(self, blocks: Iterable[CsrMatrix]) -> Iterator[tuple[Float32Matrix, BoolVector]]:
        """Yield the results of `weighted_means` for all blocks, in order.

        Results of consecutive blocks may be joined, and a block may be requested before the result
        of the previous one is consumed.
        """


@dataclass(frozen=True)
class CpuProjector:
    """Compute weighted means on the CPU."""

    space: CellSpace
    columns: GeneColumns
    threads: int = 1

    def means(self, blocks: Iterable[CsrMatrix]) -> Iterator[tuple[Float32Matrix, BoolVector]]:
        """Yield the results of `weighted_means` for all blocks, in order; see `Projector.means`.

        Genes are chosen per block, which is fastest for blocks that fit the cache, and vectors are
        added for many cells at once.
        """
        with sharing(self.threads) as share:
            means = _Means(self.columns, self.space, self.threads, share)
            for block in blocks:
                means.add(block)
                if means.n_cells >= BLOCK_CELLS * self.threads:
                    yield means.take()
            if means.n_cells:
                yield means.take()


@dataclass(frozen=True)
class _Chooser:
    """Choose the genes of cells; made by ``of``."""

    recipe: Recipe
    columns: tuple[Any, ...]

    @classmethod
    def of(cls, columns: GeneColumns, space: CellSpace) -> "_Chooser":
        """Prepare the columns for the kernel."""
        weights = np.zeros(columns.n_columns, np.float32)
        matched = columns.rows >= 0
        weights[matched] = space.weights[columns.rows[matched]]
        return cls(space.recipe, (
            frozen(columns.rows), frozen(columns.shared), bool(columns.shared.any()),
            columns.ordered, frozen(weights), columns.n_genes,
        ))  # fmt: skip

    def choose(
        self, block: Block, cells: Int64Vector
    ) -> tuple[Int64Vector, Int32Vector, Float32Vector]:
        """Return the bounds, genes, which ascend, and shares of some cells."""
        recipe, indptr = self.recipe, block.arrays[0]
        n_entries = indptr[cells + 1] - indptr[cells]
        most = int((np.minimum(n_entries, recipe.top_n) if recipe.top_n else n_entries).sum())
        bounds = np.empty(len(cells) + 1, np.int64)
        genes, shares = np.empty(most, np.int32), np.empty(most, np.float32)
        rows, shared, n_shared, in_order, weights, n_genes = self.columns
        kernels.choose_genes(
            *block.arrays, frozen(cells), rows, shared, n_shared, in_order,
            weights, n_genes, kernels.EXPRESSIONS[recipe.expression], recipe.top_n,
            bounds, genes, shares,
        )  # fmt: skip
        return bounds, genes[: bounds[-1]], shares[: bounds[-1]]


class _Means:
    """Compute weighted means: the genes of blocks are chosen, then the vectors of all added."""

    def __init__(self, columns: GeneColumns, space: CellSpace, threads: int, share: Share) -> None:
        self.n_cells = 0
        self._columns, self._chooser = columns, _Chooser.of(columns, space)
        self._vectors = aligned(space.vectors)
        self._threads, self._share = threads, share
        self._chosen: list[tuple[Int64Vector, Int32Vector, Float32Vector]] = []

    def add(self, cells: CsrMatrix) -> None:
        """Choose the genes of a block's cells."""
        block = Block.of(cells, self._columns.n_columns, self._threads, self._share)
        parts = block.parts(self._threads)
        self._chosen += self._share(lambda part: self._chooser.choose(block, part), parts)
        self.n_cells += block.n_cells

    def take(self) -> tuple[Float32Matrix, BoolVector]:
        """Return the means of the cells added since the last call, and which are empty."""
        bounds, genes, shares = zip(*self._chosen, strict=True)
        counts = np.concatenate([np.diff(part) for part in bounds])
        ends = np.cumsum(counts)
        begins = ends - counts
        joined = (_joined(genes), _joined(shares), frozen(self._vectors.reshape(-1)))
        n_genes, dim = self._vectors.shape
        means = empty_aligned(self.n_cells, dim)

        def gather_part(part: slice) -> None:
            sums = means[part].reshape(-1)
            gather.add_vectors(begins[part], ends[part], *joined, n_genes, dim, sums)

        for _ in self._share(gather_part, parts_of(self.n_cells, self._threads)):
            pass
        self._chosen, self.n_cells = [], 0
        return means, counts == 0


def _joined(parts: tuple[npt.NDArray[Any], ...]) -> npt.NDArray[Any]:
    """Concatenate arrays; a single one is not copied."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def linear_expression(cells: CsrMatrix) -> CsrMatrix:
    """Undo ``log1p``: return ``expm1`` of the stored values.

    Zeros stay zero; duplicate entries add up on the linear scale.
    """
    # scipy's expm1 would sum duplicate logarithms, in place in arrays the caller may not own.
    return sp.csr_matrix((np.expm1(cells.data), cells.indices, cells.indptr), shape=cells.shape)
