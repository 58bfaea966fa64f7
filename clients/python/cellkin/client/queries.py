"""Queries: cells of a file, of AnnData, or of a stream of blocks."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import anndata
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from cellkin.matrices.cells import CellFile, open_cells
from cellkin.matrices.features import ColumnsRead, hinting
from cellkin.matrices.held import held_cells, instead_of
from cellkin.matrices.options import ReadOptions, X
from cellkin.matrices.units import UnitsFinding
from cellkin.wire.background import background_runs
from cellkin.wire.errors import InvalidArgumentError, NotFoundError

_LOOKED_AT = 64


@dataclass(frozen=True)
class Block:
    """A block of cells.

    Parameters
    ----------
    cells
        (n_cells, n_genes) CSR float32, linear expression.
    names
        Names of the cells.
    """

    cells: sp.csr_matrix
    names: Sequence[str]


class Query(Protocol):
    """Cells by genes, read in blocks.

    Attributes
    ----------
    gene_names
        Names of the columns.
    n_cells
        Number of cells; None if unknown until all are read.
    columns_read
        The columns of the matrix that are read.
    notes
        Sentences for the user on how the cells were read.
    gene_hint
        Returns a sentence on columns with better gene names; see `Genes`.
    """

    gene_names: list[str]
    n_cells: int | None
    columns_read: ColumnsRead
    notes: list[str]
    gene_hint: Callable[[], str]

    @property
    def units(self) -> UnitsFinding:
        """Units of the values, by all cells read so far."""

    def blocks(self, max_cells: int) -> Iterator[Block]:
        """Yield all cells in order, in blocks of at most ``max_cells``."""

    def column(self, name: str) -> Any:
        """Return a column of ``obs``, from pandas or numpy; see `CellFile`."""

    def background(self, n_wanted: int) -> sp.csr_matrix | None:
        """Return about ``n_wanted`` evenly spaced cells, chosen by `background_runs`.

        None if there are too few cells, or if they are a stream.
        """


class WholeQuery:
    """The cells of an open file or of AnnData; ``cell_ids`` are their names."""

    def __init__(self, cells: CellFile) -> None:
        self._cells = cells
        self.cell_ids = cells.cell_ids
        self.gene_names = cells.gene_names
        self.n_cells: int | None = cells.n_cells
        self.columns_read = ColumnsRead(cells.matrix.n_stored, cells.matrix.kept)
        self.notes = cells.notes
        self.gene_hint = cells.gene_hint

    @property
    def units(self) -> UnitsFinding:
        """Units of the values, by all cells read so far."""
        return self._cells.units

    def blocks(self, max_cells: int) -> Iterator[Block]:
        """Yield all cells in order, in blocks of at most ``max_cells``."""
        done = 0
        for cells in self._cells.blocks(max_cells=max_cells):
            yield Block(cells, self._cells.cell_ids[done : done + cells.shape[0]])
            done += cells.shape[0]

    def column(self, name: str) -> Any:
        """Return a column of ``obs``, from pandas or numpy.

        Raises
        ------
        NotFoundError
            If the column does not exist; the message lists the existing ones.
        """
        if name not in self._cells.columns:
            raise NotFoundError(
                f"{self._cells.path} has no obs column {name!r}; there is: "
                + (", ".join(self._cells.columns) or "none")
            )
        return self._cells.obs.column(name)

    def background(self, n_wanted: int) -> sp.csr_matrix | None:
        """Return about ``n_wanted`` evenly spaced cells, None if there are too few."""
        runs = background_runs(self._cells.n_cells, n_wanted)
        if not runs:
            return None
        return sp.vstack([self._cells.rows(*run) for run in runs], format="csr")

    def chosen(self, rows: npt.NDArray[np.int64]) -> sp.csr_matrix:
        """Return the cells at the given rows.

        Parameters
        ----------
        rows
            (n_chosen,) int64, ascending and distinct.

        Returns
        -------
        csr_matrix
            (n_chosen, n_genes) float32, linear expression.
        """
        ends = np.flatnonzero(np.diff(rows) != 1) + 1
        runs = [run for run in np.split(rows, ends) if len(run)]
        parts = [self._cells.rows(int(run[0]), int(run[-1]) + 1) for run in runs]
        empty = sp.csr_matrix((0, len(self.gene_names)), dtype=np.float32)
        return sp.vstack(parts or [empty], format="csr")

    def drawn(
        self, rows: npt.NDArray[np.int64], most_cells: int, most_values: int
    ) -> npt.NDArray[np.int64]:
        """Return evenly spaced rows of the given ones, as many as the limits allow.

        Parameters
        ----------
        rows
            (n_rows,) int64, ascending and distinct, at least one.
        most_cells, most_values
            Limits; the number of values is estimated from a few of the cells.
        """
        looked_at = self.chosen(evenly(rows, _LOOKED_AT))
        values = max(1.0, looked_at.nnz / looked_at.shape[0])
        return evenly(rows, max(1, min(most_cells, int(most_values / values))))


def evenly(rows: npt.NDArray[np.int64], n: int) -> npt.NDArray[np.int64]:
    """Return up to n evenly spaced rows."""
    n = min(n, len(rows))
    return rows[np.linspace(0, len(rows) - 1, n).round().astype(np.int64)]


class BlockwiseQuery:
    """A stream of AnnData blocks with the same genes; it can be read once.

    Parameters
    ----------
    parts
        AnnData objects.
    how
        The matrix to read, and how to interpret it.

    Raises
    ------
    InvalidArgumentError
        If there is no block, or values are not valid expression.
    """

    def __init__(self, parts: Iterable[Any], how: ReadOptions) -> None:
        self._how = how
        rest = iter(parts)
        first = next(rest, None)
        if first is None:
            raise InvalidArgumentError("no block of cells was given; give at least one")
        opened = self._open(first)
        self._parts = chain([opened], map(self._open, rest))
        self.gene_names = opened.gene_names
        self._first, self._scales = opened.units, dict[str, int]()
        self.n_cells: int | None = None
        self.columns_read = ColumnsRead(opened.matrix.n_stored, opened.matrix.kept)
        self.notes = opened.notes
        self.gene_hint = opened.gene_hint

    @property
    def units(self) -> UnitsFinding:
        """Units of the first block, with a caution if blocks so far had several units."""
        if len(self._scales) < 2:
            return self._first
        kinds = ", ".join(f"{n:,} {scale}" for scale, n in self._scales.items())
        said = f"cells are of several units ({kinds}); each block was read by its own"
        return replace(self._first, caution=said)

    def blocks(self, max_cells: int) -> Iterator[Block]:
        """Yield all cells in order, in blocks of at most ``max_cells``."""
        n_cells = 0
        for part in self._parts:
            if part.gene_names != self.gene_names:
                raise InvalidArgumentError(
                    f"the block after {n_cells} cells has other genes than the first; give all "
                    "blocks the same columns in one order"
                )
            if not part.units.sure:
                # Too few cells to infer units; blocks of one stream most likely have the same
                # units.
                part.read_as(self._first)
            for block in WholeQuery(part).blocks(max_cells):
                n_cells += len(block.names)
                if block.cells.nnz:
                    scale = part.units.scale.name
                    self._scales[scale] = self._scales.get(scale, 0) + len(block.names)
                yield block

    def column(self, name: str) -> Any:
        """Raise: the column is incomplete until all blocks are read."""
        raise InvalidArgumentError(
            f"the column {name!r} was asked for, and cells come in blocks; give AnnData or a path"
        )

    def background(self, n_wanted: int) -> sp.csr_matrix | None:
        """Return None: a one-pass stream cannot be sampled."""
        return None

    def _open(self, part: Any) -> CellFile:
        if not isinstance(part, anndata.AnnData):
            raise InvalidArgumentError(
                f"a block of cells is a {type(part).__name__}; give AnnData objects"
            )
        return held_cells(part, self._how)


@contextmanager
def open_query(cells: Any, how: ReadOptions = X) -> Iterator[Query]:
    """Open a file, AnnData or blocks of AnnData as a query.

    Parameters
    ----------
    cells
        A path, AnnData, or an iterable of AnnData blocks.
    how
        The matrix to read, and how to interpret it.

    Raises
    ------
    InputFileError
        If a file cannot be read.
    InvalidArgumentError
        If cells have another type, values are not valid expression, or the matrix does not exist.
    """
    if isinstance(cells, str | Path):
        with open_cells(cells, how) as file:
            yield WholeQuery(file)
    elif isinstance(cells, anndata.AnnData):
        held = WholeQuery(held_cells(cells, how))
        with hinting(held.gene_hint):
            yield held
    elif _may_have_blocks(cells):
        parts = BlockwiseQuery(cells, how)
        with hinting(parts.gene_hint):
            yield parts
    else:
        instead = instead_of(cells) or "give AnnData, a path, or an iterable of AnnData objects"
        raise InvalidArgumentError(f"cells are given as {type(cells).__name__}; {instead}")


def require_anndata(cells: Any) -> None:
    """Raise if cells are not AnnData.

    Raises
    ------
    InvalidArgumentError
        If they are not.
    """
    if not isinstance(cells, anndata.AnnData):
        instead = instead_of(cells) or "give AnnData, such as anndata.read_h5ad(path)"
        raise InvalidArgumentError(f"cells are given as {type(cells).__name__}; {instead}")


def _may_have_blocks(cells: Any) -> bool:
    """Return whether an object may yield AnnData; tables and matrices yield names and rows."""
    return isinstance(cells, Iterable) and not hasattr(cells, "shape")
