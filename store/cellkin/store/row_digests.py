"""Digests of blocks of reference cells, so that a few rows can be checked alone.

Checking the digest of a whole table requires reading all of it. A file of the index keeps a digest
for each block of rows and group of columns; reading some rows compares only the blocks that contain
them, each once.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from safetensors.numpy import load

from cellkin.space.arrays import Int64Vector, UInt8Matrix
from cellkin.store.array_files import save_arrays
from cellkin.store.cell_rows import vector_matrix
from cellkin.store.digest import in_batches, rows_digest
from cellkin.store.schema import cells_schema
from cellkin.wire.errors import IntegrityError

BLOCK_ROWS = 1024
"""Rows per block."""
ROW_DIGESTS = "rows.safetensors"
"""The file of an index with the digests of its cells."""
READ_ROWS = 8 * BLOCK_ROWS
"""Rows read and compared at once."""

_NAMES = "names"
_NAME_SCHEMA = cells_schema(0, 0)
_NAME_COLUMNS = _NAME_SCHEMA.names


def with_their_group(columns: Iterable[str]) -> list[str]:
    """Return columns, extended by those that share a digest with them."""
    wanted = list(dict.fromkeys(columns))
    names = _NAME_COLUMNS if set(wanted) & set(_NAME_COLUMNS) else []
    return [*names, *(name for name in wanted if name not in _NAME_COLUMNS)]


@dataclass(frozen=True)
class RowDigests:
    """The digests of the rows of a cell table.

    Parameters
    ----------
    blocks
        (n_blocks, 32) uint8, the SHA-256 of each block of `BLOCK_ROWS` rows, by group of columns:
        ``names`` (ids, labels and batches), and each vector column by its own name.
    """

    blocks: Mapping[str, UInt8Matrix]

    def save(self, folder: Path) -> None:
        """Write the digests as a file of an index."""
        save_arrays(self.blocks, folder / ROW_DIGESTS)

    @classmethod
    def load(cls, folder: Path) -> "RowDigests":
        """Read the digests from the files of an index."""
        return cls(load((folder / ROW_DIGESTS).read_bytes()))

    def begin_with(self, others: "RowDigests", n_blocks: int) -> bool:
        """Return whether the first blocks equal those of other digests."""
        return self.blocks.keys() == others.blocks.keys() and all(
            np.array_equal(of[:n_blocks], others.blocks[group][:n_blocks])
            for group, of in self.blocks.items()
        )


class RowDigester:
    """Computes digests of rows that pass through it."""

    def __init__(self) -> None:
        self._found: dict[str, list[bytes]] = {}

    def through(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yield the rows in batches of `READ_ROWS` and compute their digests."""
        for batch in in_batches(batches, READ_ROWS):
            for _, part in _blocks(batch):
                for group, columns in _groups(part).items():
                    self._found.setdefault(group, []).append(_digest(columns))
            yield batch

    @property
    def digests(self) -> RowDigests:
        """The digests of the rows so far."""
        return RowDigests(
            {
                group: np.frombuffer(b"".join(found), np.uint8).reshape(-1, 32)
                for group, found in self._found.items()
            }
        )


class RowChecks:
    """Compares blocks of a table with their digests, each once.

    A block is compared when first read and not again: later damage is found by another process.

    Parameters
    ----------
    digests
        Expected digests of the rows.
    what
        Description of the rows in errors.
    """

    def __init__(self, digests: RowDigests, what: str) -> None:
        self._blocks, self._what = digests.blocks, what
        self._same = {group: np.zeros(len(of), bool) for group, of in digests.blocks.items()}

    def are_done(self, columns: Iterable[str]) -> bool:
        """Return whether all blocks of these columns were compared."""
        return all(self._same[_group_of(name)].all() for name in columns)

    def left(self, column: str, rows: Int64Vector) -> Int64Vector:
        """Return the blocks that contain these rows and were not compared yet, ascending."""
        blocks = np.unique(rows // BLOCK_ROWS)
        return blocks[~self._same[_group_of(column)][blocks]]

    def compare(self, first: int, batch: pa.RecordBatch) -> None:
        """Compare rows with their digests.

        Parameters
        ----------
        first
            Number of the first row, which starts a block.
        batch
            The rows, up to the end of a block or of the table.

        Raises
        ------
        IntegrityError
            If they differ.
        """
        for start, part in _blocks(batch):
            block = (first + start) // BLOCK_ROWS
            for group, columns in _groups(part).items():
                if self._same[group][block]:
                    continue
                if _digest(columns) != self._blocks[group][block].tobytes():
                    raise IntegrityError(
                        f"{self._what}: rows {first + start} to {first + start + len(part) - 1} "
                        f"({group}) do not have the digest that they were published with; the data "
                        "was changed or damaged, restore a backup or index the cells again",
                    )
                self._same[group][block] = True


def _blocks(batch: pa.RecordBatch) -> Iterator[tuple[int, pa.RecordBatch]]:
    for start in range(0, len(batch), BLOCK_ROWS):
        yield start, batch.slice(start, BLOCK_ROWS)


def _group_of(column: str) -> str:
    return _NAMES if column in _NAME_COLUMNS else column


def _groups(batch: pa.RecordBatch) -> dict[str, pa.RecordBatch]:
    """Return the columns of a record batch by group, complete groups only."""
    there = batch.schema.names
    groups = {name: [name] for name in there if name not in _NAME_COLUMNS}
    if set(_NAME_COLUMNS) <= set(there):
        groups[_NAMES] = _NAME_COLUMNS
    return {group: batch.select(columns) for group, columns in groups.items()}


def _digest(columns: pa.RecordBatch) -> bytes:
    if columns.schema.names == _NAME_COLUMNS:
        return bytes.fromhex(rows_digest(_NAME_SCHEMA, [columns]))
    # Vectors are most of the data, and their floats are contiguous.
    return hashlib.sha256(vector_matrix(columns.column(0)).data).digest()
