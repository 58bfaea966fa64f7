"""The matrix of a file, read in blocks of rows, for all formats."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from cellkin.matrices.units import check_values
from cellkin.wire.errors import CellkinError, InputFileError, InvalidArgumentError

# Default limits of a block: at most 8 MB of values and columns, an eighth of the message that a
# server takes by default. A server reads a flat index once per block: by blocks of 400,000 values,
# labeling took 1.3 times as long.
MAX_VALUES = 1_000_000
MAX_CELLS = 1024
# Entries of a dense block: 64 MiB of float32.
_MAX_DENSE_ENTRIES = 2**24
_N_SAMPLED = 64


IsTidy: TypeAlias = Callable[
    [npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.float32], int], bool
]
"""Returns whether rows are as `Matrix.rows` returns them, from indptr, indices and data."""


@dataclass(frozen=True)
class Storage:
    """Storage of a matrix.

    Parameters
    ----------
    path
        The file or folder.
    format
        The format and its compression, such as ``h5ad, gzip``.
    slow
        Whether decompression or text limits the reader to a few thousand cells a second.
    in_memory
        Whether the matrix was loaded whole, because the format requires it.
    elsewhere
        Options that select other matrices of the file, such as ``--layer counts``.
    notes
        Sentences for the user.
    """

    path: Path
    format: str
    slow: bool = False
    in_memory: bool = False
    elsewhere: Sequence[str] = ()
    notes: Sequence[str] = ()


class Matrix(ABC):
    """Cells by genes on disk, read by ranges of cells; not thread-safe.

    Parameters
    ----------
    storage
        Path, format and notes.
    n_cells, n_stored
        Rows and columns on disk.

    Attributes
    ----------
    n_columns
        Number of columns that are read.
    kept
        (n_columns,) int64, their stored indices, ascending; None if all are read.
    is_tidy
        A faster check of sparse rows than this class has, by a caller with compiled code; rows that
        fail it are checked as usual.
    """

    def __init__(self, storage: Storage, n_cells: int, n_stored: int) -> None:
        self.storage = storage
        self.n_cells = n_cells
        self.n_stored = n_stored
        self.n_columns = n_stored
        self.kept: npt.NDArray[np.int64] | None = None
        self.is_tidy: IsTidy | None = None

    def keep(self, columns: npt.NDArray[np.int64]) -> None:
        """Read only these columns from now on.

        Parameters
        ----------
        columns
            (n_columns,) int64, their stored indices, ascending and distinct.
        """
        self.kept = columns
        self.n_columns = len(columns)

    @property
    def path(self) -> Path:
        """The file or folder."""
        return self.storage.path

    def rows(self, start: int, stop: int) -> sp.csr_matrix:
        """Read a range of cells.

        Parameters
        ----------
        start, stop
            The range, ``0 <= start <= stop <= n_cells``.

        Returns
        -------
        csr_matrix
            (stop - start, n_columns) float32 in the file's units; columns of a row ascending and
            distinct, no stored zeros; the arrays are not shared.

        Raises
        ------
        InputFileError
            If the file is damaged there.
        InvalidArgumentError
            If the range is not within the cells, or a value is negative or not finite.
        """
        if not 0 <= start <= stop <= self.n_cells:
            raise InvalidArgumentError(
                f"{self.path}: cells {start} to {stop} of {self.n_cells} were asked for"
            )
        try:
            block, tidy = self._read(start, stop)
        except CellkinError:
            raise
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            raise InputFileError(
                f"{self.path}: cells {start} to {stop} cannot be read ({error}); "
                "the file may be cut short or damaged"
            ) from error
        if self.kept is not None:
            block = block[:, self.kept]
        return block if tidy else self._tidied(block)

    def blocks(
        self,
        start: int = 0,
        stop: int | None = None,
        max_values: int = MAX_VALUES,
        max_cells: int = MAX_CELLS,
    ) -> Iterator[sp.csr_matrix]:
        """Yield a range of cells in order, in blocks as `rows` returns them.

        Parameters
        ----------
        start, stop
            The range; all cells if not given.
        max_values
            Most values of a block, unless one cell has more; approximate for dense matrices.
        max_cells
            Most cells of a block.

        Raises
        ------
        InputFileError, InvalidArgumentError
            As `rows`.
        """
        end = self.n_cells if stop is None else stop
        while start < end:
            until = self._block_stop(start, min(end, start + max_cells), max_values)
            yield self.rows(start, until)
            start = until

    @abstractmethod
    def _read(self, start: int, stop: int) -> tuple[sp.csr_matrix, bool]:
        """Return rows as stored, float32, with all columns, and whether they are known as tidy."""

    @abstractmethod
    def _block_stop(self, start: int, stop: int, max_values: int) -> int:
        """Return the end of a block of `max_values` values, in ``(start, stop]``."""

    def _tidied(self, block: sp.csr_matrix) -> sp.csr_matrix:
        if not block.nnz:
            return block
        if not block.has_canonical_format:
            block.sum_duplicates()
        lowest = block.data.min()
        # A NaN fails every comparison.
        if not (lowest >= 0 and block.data.max() < np.inf):
            check_values(block.data, str(self.path), self.storage.elsewhere)
        if lowest == 0:
            block.eliminate_zeros()
        return block


class CompressedMatrix(Matrix):
    """Compressed sparse rows: CSR, or 10x's CSC of genes by cells.

    Parameters
    ----------
    storage, n_stored
        As for `Matrix`.
    indptr
        (n_cells + 1,) integers, the offset of each cell's values.
    indices, data
        Readers of column indices and values, with ``read(start, stop)`` and ``n``.
    """

    def __init__(
        self,
        storage: Storage,
        n_stored: int,
        indptr: npt.NDArray[np.integer],
        indices: Any,
        data: Any,
    ) -> None:
        super().__init__(storage, len(indptr) - 1, n_stored)
        self._indptr = indptr.astype(np.int64, copy=False)
        self._indices, self._data = indices, data
        if len(indptr) == 0 or indptr[0] != 0 or np.any(np.diff(self._indptr) < 0):
            raise InputFileError(f"{storage.path}: indptr does not ascend from 0; it is damaged")
        if not int(indptr[-1]) == indices.n == data.n:
            raise InputFileError(
                f"{storage.path}: indptr ends at {indptr[-1]}, but there are {indices.n} indices "
                f"and {data.n} values; the file is damaged"
            )

    def _read(self, start: int, stop: int) -> tuple[sp.csr_matrix, bool]:
        first, last = int(self._indptr[start]), int(self._indptr[stop])
        indices = self._indices.read(first, last)
        data = self._data.read(first, last).astype(np.float32, copy=False)
        bounds = self._indptr[start : stop + 1] - first
        tidy = (
            self.is_tidy is not None
            and indices.dtype == np.int32
            and self.is_tidy(bounds, indices, data, self.n_stored)
        )
        ascending = tidy or _ascends(indices, bounds)
        if not tidy and not _within(indices, bounds, self.n_stored, ascending=ascending):
            raise InputFileError(
                f"{self.path}: cells {start} to {stop} name columns beyond the {self.n_stored} "
                "there are; the file is damaged"
            )
        block = sp.csr_matrix((stop - start, self.n_stored), dtype=np.float32)
        # Set, not passed: the constructor would check and convert them again.
        block.indptr = bounds.astype(np.int32)
        block.indices = indices.astype(np.int32, copy=False)
        block.data = data
        # Otherwise scipy would check every value again.
        block.has_canonical_format = ascending
        return block, tidy

    def _block_stop(self, start: int, stop: int, max_values: int) -> int:
        full = np.searchsorted(self._indptr, self._indptr[start] + max_values, side="right") - 1
        return min(max(int(full), start + 1), stop)


class DenseMatrix(Matrix):
    """A dense matrix, cells by genes or genes by cells.

    Parameters
    ----------
    storage, n_cells, n_stored
        As for `Matrix`.
    entries
        Reader of ranges of cells.
    transposed
        Whether the reader returns genes by cells.
    """

    def __init__(
        self,
        storage: Storage,
        n_cells: int,
        n_stored: int,
        entries: Any,
        *,
        transposed: bool = False,
    ) -> None:
        super().__init__(storage, n_cells, n_stored)
        self._entries, self._transposed = entries, transposed
        self._mean_values = 0.0

    def _read(self, start: int, stop: int) -> tuple[sp.csr_matrix, bool]:
        entries = self._entries.read(start, stop)
        return _sparse(np.ascontiguousarray(entries.T if self._transposed else entries)), False

    def _block_stop(self, start: int, stop: int, max_values: int) -> int:
        if not self._mean_values:
            n = min(_N_SAMPLED, self.n_cells)
            self._mean_values = max(1.0, self._read(0, n)[0].nnz / n)
        most = min(max_values / self._mean_values, _MAX_DENSE_ENTRIES / max(1, self.n_stored))
        return int(np.clip(start + int(most), start + 1, stop))


def _ascends(indices: npt.NDArray[np.integer], bounds: npt.NDArray[np.int64]) -> bool:
    """Return whether the columns of each row ascend and are distinct."""
    falls = indices[1:] <= indices[:-1]
    starts = bounds[1:-1]
    # Columns may descend from the end of a row to the start of the next.
    falls[starts[(starts > 0) & (starts < len(indices))] - 1] = False
    return not falls.any()


def _within(
    indices: npt.NDArray[np.integer], bounds: npt.NDArray[np.int64], n: int, *, ascending: bool
) -> bool:
    """Return whether all columns are in [0, n); if ascending, only row ends are checked."""
    filled = bounds[1:] > bounds[:-1]
    looked_at = (
        np.concatenate([indices[bounds[:-1][filled]], indices[bounds[1:][filled] - 1]])
        if ascending
        else indices
    )
    return not len(looked_at) or bool(looked_at.min() >= 0 and looked_at.max() < n)


def _sparse(entries: npt.NDArray[Any]) -> sp.csr_matrix:
    """Return the nonzero entries; scipy's own constructor takes three times as long."""
    present = entries != 0
    flat = np.flatnonzero(present)
    n_columns = entries.shape[1]
    indptr = np.zeros(len(entries) + 1, np.int32)
    np.cumsum(np.count_nonzero(present, axis=1), out=indptr[1:])
    block = sp.csr_matrix(entries.shape, dtype=np.float32)
    block.indptr = indptr
    starts = np.arange(len(entries), dtype=np.int64) * n_columns
    block.indices = (flat - np.repeat(starts, np.diff(indptr))).astype(np.int32)
    block.data = entries.ravel()[flat].astype(np.float32, copy=False)
    return block
