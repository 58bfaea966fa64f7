"""Cells to ask about, whatever holds them: a file, AnnData, or blocks that come one by one."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import anndata
import numpy as np
import scipy.sparse as sp

from cellkin.matrices.cells import CellFile, open_cells
from cellkin.matrices.held import held_cells
from cellkin.matrices.units import UnitsFinding
from cellkin.wire.errors import InvalidArgumentError
from cellkin.wire.terms import BACKGROUND_CELLS

_RUN_CELLS = 128
_N_RUNS = 24


@dataclass(frozen=True)
class Block:
    """Some cells, in order.

    Parameters
    ----------
    cells
        (n_cells, n_genes) CSR float32 in the query's units.
    names
        Of the cells.
    """

    cells: sp.csr_matrix
    names: Sequence[str]


class Query(Protocol):
    """Cells by genes, read in blocks from the beginning as often as is asked.

    Attributes
    ----------
    gene_names
        Names of the columns.
    units
        What the values were found to be.
    n_cells
        How many there are; None where nobody knows before the last.
    """

    gene_names: list[str]
    units: UnitsFinding
    n_cells: int | None

    def blocks(self, max_cells: int) -> Iterator[Block]:
        """Yield all cells in order and in blocks of no more than so many."""

    def background(self) -> sp.csr_matrix | None:
        """Return cells drawn evenly from all; None where they are too few, or come one by one."""


class WholeQuery:
    """The cells of an open file, or of AnnData."""

    def __init__(self, cells: CellFile) -> None:
        self._cells = cells
        self.gene_names = cells.gene_names
        self.units = cells.units
        self.n_cells: int | None = cells.n_cells

    def blocks(self, max_cells: int) -> Iterator[Block]:
        """Yield all cells in order and in blocks of no more than so many."""
        done = 0
        for cells in self._cells.blocks(max_cells=max_cells):
            yield Block(cells, self._cells.cell_ids[done : done + cells.shape[0]])
            done += cells.shape[0]

    def background(self) -> sp.csr_matrix | None:
        """Return cells drawn evenly from all, in runs, for those are read fast."""
        n_cells = self._cells.n_cells
        if n_cells < BACKGROUND_CELLS:
            return None
        run = min(_RUN_CELLS, n_cells)
        starts = np.unique(np.linspace(0, n_cells - run, _N_RUNS).astype(int))
        ends = np.minimum(starts + run, np.append(starts[1:], n_cells))
        runs = zip(starts.tolist(), ends.tolist(), strict=True)
        matrix = self._cells.matrix
        return sp.vstack([matrix.rows(start, end) for start, end in runs], format="csr")


class BlockwiseQuery:
    """AnnData that comes block by block, all of the same genes; it can be read once.

    Parameters
    ----------
    parts
        AnnData objects.
    layer, raw
        The matrix to read instead of X.

    Raises
    ------
    InvalidArgumentError
        If there is none, or values are no expression.
    """

    def __init__(self, parts: Iterable[Any], layer: str | None, raw: bool) -> None:
        self._layer, self._raw = layer, raw
        rest = iter(parts)
        first = next(rest, None)
        if first is None:
            raise InvalidArgumentError("no block of cells was given; give at least one")
        opened = self._open(first)
        self._parts = chain([opened], map(self._open, rest))
        self.gene_names = opened.gene_names
        self.units = opened.units
        self.n_cells: int | None = None

    def blocks(self, max_cells: int) -> Iterator[Block]:
        """Yield all cells in order and in blocks of no more than so many."""
        n_cells = 0
        for part in self._parts:
            if part.gene_names != self.gene_names:
                raise InvalidArgumentError(
                    f"the block after {n_cells} cells has other genes than the first; give all "
                    "blocks the same columns in one order"
                )
            for block in WholeQuery(part).blocks(max_cells):
                if block.cells.nnz and part.units.units is not self.units.units:
                    raise InvalidArgumentError(
                        f"the block after {n_cells} cells has {part.units.why}, the first "
                        f"{self.units.why}; give all blocks in one kind of units"
                    )
                n_cells += len(block.names)
                yield block

    def background(self) -> sp.csr_matrix | None:
        """Return nothing: of cells that come one by one none can be drawn from the end."""
        return None

    def _open(self, part: Any) -> CellFile:
        return held_cells(part, layer=self._layer, raw=self._raw)


@contextmanager
def open_query(cells: Any, *, layer: str | None = None, raw: bool = False) -> Iterator[Query]:
    """Open cells for reading, whatever holds them.

    Parameters
    ----------
    cells
        A path, AnnData, or an iterable of AnnData blocks.
    layer, raw
        The matrix to read instead of X.

    Raises
    ------
    InputFileError
        If a file cannot be read.
    InvalidArgumentError
        If values are no expression, or there is no such matrix.
    """
    if isinstance(cells, str | Path):
        with open_cells(cells, layer=layer, raw=raw) as file:
            yield WholeQuery(file)
    elif isinstance(cells, anndata.AnnData):
        yield WholeQuery(held_cells(cells, layer=layer, raw=raw))
    else:
        yield BlockwiseQuery(cells, layer, raw)
