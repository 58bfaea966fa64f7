"""The cells of a reference as a Lance table: parts written on any machine, committed once."""

import json
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any

import lance
import numpy as np
import pyarrow as pa

from cellkin.space.arrays import Float32Matrix, Int64Vector
from cellkin.store.catalog import Entry
from cellkin.store.cell_rows import vector_matrix
from cellkin.store.checked_tables import what_of
from cellkin.store.digest import in_batches, rows_digest
from cellkin.store.failures import reading, writing
from cellkin.store.row_digests import (
    BLOCK_ROWS,
    READ_ROWS,
    ROW_DIGESTS,
    RowChecks,
    RowDigester,
    RowDigests,
    with_their_group,
)
from cellkin.store.schema import cells_schema
from cellkin.store.store import Store
from cellkin.wire.errors import ConflictError, IntegrityError

CELLS = "cells-"
"""Prefix of the names of cell tables."""

_INSTEAD = "restore a backup or index the cells again"
# Blocks read and checked at once when only some of their rows are requested.
_BLOCKS = READ_ROWS // BLOCK_ROWS


def table_name(name: str) -> str:
    """Return the name of the cell table of an index."""
    return f"{CELLS}{name}"


class CellTable:
    """One version of the cells of a reference, from `commit_rows` or `cell_table`.

    If digests are given, each block of rows is compared with its digest when first read.

    Parameters
    ----------
    name
        Name of the Lance table.
    dataset
        The version of the table.
    what
        Description of the rows in errors.
    digests
        Digests of the rows; None if not known yet.

    Attributes
    ----------
    name, version
        Name and version of the Lance table.
    n_cells
        Number of rows.
    dim, expression_dim
        Dimensions of the text and expression vectors; 0 if there are none.
    schema
        Schema of the rows.
    """

    def __init__(
        self,
        name: str,
        dataset: lance.LanceDataset,
        what: str = "",
        digests: RowDigests | None = None,
    ) -> None:
        self._dataset = dataset
        self.name = name
        self.version: int = dataset.version
        self._what = what or f"table {name} version {self.version}"
        with self._reading():
            self.n_cells: int = dataset.count_rows()
            columns = dataset.schema

        def width(name: str) -> int:
            # In a damaged table the column may have any type; its digest differs then.
            kind = columns.field(name).type if name in columns.names else None
            return getattr(kind, "list_size", 0)

        self.dim, self.expression_dim = width("vector"), width("expression")
        self._widths = {"vector": self.dim, "expression": self.expression_dim}
        self.schema = cells_schema(self.dim, self.expression_dim)
        self._checks = None if digests is None else RowChecks(digests, self._what)

    def _reading(self) -> AbstractContextManager[None]:
        return reading(self._what, _INSTEAD)

    def column(self, name: str) -> pa.ChunkedArray:
        """Read ``id``, ``label`` or ``batch``, in row order."""
        return pa.chunked_array([batch[name] for batch in self.batches([name])], pa.string())

    def batches(self, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Yield the rows in order, a few thousand at a time.

        Raises
        ------
        IntegrityError
            If rows differ from those published; the rows before them were yielded.
        """
        columns = self.schema.names if columns is None else columns
        if self._checks is None or self._checks.are_done(columns):
            yield from self._stored(columns)
            return
        first = 0
        for batch in in_batches(self._stored(with_their_group(columns)), READ_ROWS):
            with self._reading():
                self._checks.compare(first, batch)
            first += len(batch)
            yield batch.select(columns)
        self._require_all(first)

    def _stored(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        with self._reading():
            yield from self._dataset.to_batches(
                columns=columns, batch_size=READ_ROWS, scan_in_order=True,
                batch_readahead=2, fragment_readahead=2,
            )  # fmt: skip

    def _require_all(self, n_rows: int) -> None:
        if n_rows != self.n_cells:
            raise IntegrityError(
                f"{self._what}: {n_rows} rows where there are to be {self.n_cells}; {_INSTEAD}"
            )

    @property
    def digest(self) -> str:
        """The SHA-256 of the rows, hexadecimal; the first access reads them all."""
        return self._digested[0]

    @property
    def row_digests(self) -> RowDigests:
        """The digests of the blocks of rows; the first access reads all rows."""
        return self._digested[1]

    @cached_property
    def _digested(self) -> tuple[str, RowDigests]:
        digester = RowDigester()
        with self._reading():
            rows = digester.through(self._stored(self.schema.names))
            digest = rows_digest(self.schema, rows)
        # Rows read from now on must match these digests.
        self._checks = self._checks or RowChecks(digester.digests, self._what)
        return digest, digester.digests

    def require_digest(self, digest: str) -> None:
        """Read all rows and compare them with a digest.

        Raises
        ------
        IntegrityError
            If they differ or cannot be read.
        """
        if self.digest != digest:
            raise IntegrityError(
                f"{self._what} do not have the digest {digest[:16]} of the catalog; the data was "
                f"changed or damaged, {_INSTEAD}"
            )

    def require_start(self, base: "CellTable") -> None:
        """Read all rows and check that they begin with those of another table.

        Raises
        ------
        IntegrityError
            If they do not, or cannot be read.
        """
        whole = base.n_cells // BLOCK_ROWS
        same = self.row_digests.begin_with(base.row_digests, whole)
        if same and base.n_cells % BLOCK_ROWS:
            rest = np.arange(whole * BLOCK_ROWS, base.n_cells)
            parts = [self._taken(rest, name) for name in self.schema.names]
            batch = pa.RecordBatch.from_arrays(parts, schema=self.schema)
            RowChecks(base.row_digests, base._what).compare(int(rest[0]), batch)
        if not same:
            raise IntegrityError(
                f"{base._what} were changed or damaged while they were read; {_INSTEAD}"
            )

    def take_vectors(self, rows: Int64Vector, column: str) -> Float32Matrix:
        """Return the (n_rows, dim) float32 vectors of rows, given in ascending order.

        Raises
        ------
        IntegrityError
            If a block that contains them differs from the published one.
        """
        with self._reading():
            return self._checked_vectors(rows, column)

    def _checked_vectors(self, rows: Int64Vector, column: str) -> Float32Matrix:
        checks = self._checks
        left = np.empty(0, np.int64) if checks is None else checks.left(column, rows)
        if checks is None or not len(left):
            return vector_matrix(self._taken(rows, column))
        vectors: Float32Matrix = np.empty((len(rows), self._widths[column]), np.float32)
        done = ~np.isin(rows // BLOCK_ROWS, left)
        if done.any():
            vectors[done] = vector_matrix(self._taken(rows[done], column))
        for start in range(0, len(left), _BLOCKS):
            blocks = left[start : start + _BLOCKS]
            every = (blocks[:, None] * BLOCK_ROWS + np.arange(BLOCK_ROWS)).ravel()
            every = every[every < self.n_cells]
            read = self._taken(every, column)
            for block in blocks:
                at = int(np.searchsorted(every, block * BLOCK_ROWS))
                part = read.slice(at, BLOCK_ROWS)
                checks.compare(
                    int(block) * BLOCK_ROWS, pa.RecordBatch.from_arrays([part], names=[column])
                )
            mine = np.isin(rows // BLOCK_ROWS, blocks)
            vectors[mine] = vector_matrix(read)[np.searchsorted(every, rows[mine])]
        return vectors

    def _taken(self, rows: Int64Vector, column: str) -> pa.Array:
        with self._reading():
            taken = self._dataset.take(rows.tolist(), columns=[column])[column].combine_chunks()
        if len(taken) != len(rows):
            raise IntegrityError(
                f"{self._what}: {len(taken)} rows where {len(rows)} were asked for; {_INSTEAD}"
            )
        return taken

    def parts(self) -> list[str]:
        """Return the fragments of the rows, as JSON for `commit_rows`."""
        return [json.dumps(f.metadata.to_json()) for f in self._dataset.get_fragments()]

    def to_manifest(self) -> dict[str, Any]:
        """Return the manifest fields for the catalog."""
        return {
            "table": self.name,
            "table_version": self.version,
            "n_cells": self.n_cells,
            "rows_digest": self.digest,
        }


def commit_rows(store: Store, name: str, schema: pa.Schema, parts: Sequence[str]) -> CellTable:
    """Commit parts, in their order, as one table version.

    Parameters
    ----------
    store
        The store of the table.
    name
        Name of the index.
    schema
        Schema from `cells_schema`.
    parts
        Fragments from `write_rows`, or `CellTable.parts` of another version of the table.

    Raises
    ------
    ConflictError
        If some of their files are gone.
    """
    uri = store.table_uri(table_name(name))
    fragments = [lance.FragmentMetadata.from_json(part) for part in parts]
    # Overwriting with existing files only lists them in a new version: no row is copied, and
    # earlier versions stay unchanged.
    operation = lance.LanceOperation.Overwrite(schema, fragments)
    with writing(f"cells of {name!r} in the store at {store.uri}"):
        dataset = lance.LanceDataset.commit(uri, operation)
    data = store.files.walk(f"{table_name(name)}.lance/data")
    there = {PurePosixPath(file.path).name for file in data}
    if not row_files(store, table_name(name), [dataset.version]) <= there:
        raise ConflictError(
            f"cell index {name!r}: rows that this run wrote were removed meanwhile, by a `gc` with "
            "an age below the time that the run takes; nothing was published, run it again"
        )
    # A tag protects the version from Lance's cleanup.
    with writing(f"cells of {name!r} in the store at {store.uri}"):
        dataset.tags.create(f"cells-{dataset.version}", dataset.version)
    return CellTable(table_name(name), dataset)


def cell_table(store: Store, entry: Entry) -> CellTable:
    """Return the cells of an index version, which are compared with their digests when read.

    For an index made without block digests, all rows are compared at once, once per machine.

    Raises
    ------
    IntegrityError
        If they differ from those published, or cannot be read.
    UnavailableError
        If they cannot be read now.
    """
    if ROW_DIGESTS in entry.manifest["files"]:
        folder = store.index_folder(entry, again=False)
        with reading(f"{what_of(entry)}: its file {ROW_DIGESTS}", _INSTEAD):
            digests = RowDigests.load(folder)
        return _opened(store, entry, digests)[1]
    dataset, cells = _opened(store, entry)
    digest = entry.manifest["rows_digest"]
    store.checked.once(entry, digest, dataset, lambda: cells.require_digest(digest))
    return cells


def check_rows(store: Store, entry: Entry) -> CellTable:
    """Read and check all cells of an index version, then return them.

    Raises
    ------
    IntegrityError
        If they differ from those published, or cannot be read.
    UnavailableError
        If they cannot be read now.
    """
    _, cells = _opened(store, entry)
    cells.require_digest(entry.manifest["rows_digest"])
    return cells


def _opened(
    store: Store, entry: Entry, digests: RowDigests | None = None
) -> tuple[lance.LanceDataset, CellTable]:
    what = f"{what_of(entry)}: its cells"
    with reading(what, _INSTEAD):
        dataset = store.checked.open(entry)
    cells = CellTable(entry.manifest["table"], dataset, what, digests)
    if cells.n_cells != entry.manifest["n_cells"]:
        raise IntegrityError(
            f"{what} are {cells.n_cells}, where the catalog says {entry.manifest['n_cells']}; "
            f"the data was changed or damaged, {_INSTEAD}"
        )
    return dataset, cells


def row_files(store: Store, table: str, versions: Sequence[int]) -> set[str]:
    """Return the names of the data files that versions of a table refer to."""
    datasets = (lance.dataset(store.table_uri(table), version=version) for version in versions)
    parts = (part for dataset in datasets for part in dataset.get_fragments())
    return {file.path for part in parts for file in part.data_files()}
