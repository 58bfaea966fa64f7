"""The cells of a reference as a Lance table: parts that were written anywhere, committed once."""

import json
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from typing import Any

import lance
import numpy as np
import pyarrow as pa

from cellkin.space.arrays import Float32Matrix, Int64Vector
from cellkin.space.projection import CellSpace, place_means
from cellkin.space.readout import neighbor_vectors
from cellkin.store.catalog import Entry
from cellkin.store.cell_index import (
    EXPRESSION,
    TEXT,
    read_readout,
    read_text_space,
    space_digests,
)
from cellkin.store.cell_rows import vector_matrix
from cellkin.store.digest import rows_digest
from cellkin.store.schema import cells_schema
from cellkin.store.store import Store
from cellkin.wire.errors import FailedPreconditionError, IntegrityError

CELLS = "cells-"
"""How the names of tables of cells begin."""

_BATCH_ROWS = 8192


def table_name(name: str) -> str:
    """Return the table of the cells of an index."""
    return f"{CELLS}{name}"


class CellTable:
    """One version of the cells of a reference; get one by `commit_rows` or `cell_table`.

    Attributes
    ----------
    name, version
        The Lance table and its version.
    n_cells
        Rows.
    dim, expression_dim
        Widths of the vectors in the text and in the expression space; 0 where they have none.
    schema
        The columns.
    """

    def __init__(self, name: str, dataset: lance.LanceDataset) -> None:
        self._dataset = dataset
        self.name = name
        self.version: int = dataset.version
        self.n_cells: int = dataset.count_rows()
        columns = dataset.schema

        def width(name: str) -> int:
            return columns.field(name).type.list_size if name in columns.names else 0

        self.dim: int = width("vector")
        self.expression_dim: int = width("expression")
        self.schema = cells_schema(self.dim, self.expression_dim)

    def column(self, name: str) -> pa.ChunkedArray:
        """Read one of ``id``, ``label`` and ``batch``, in the order of the rows."""
        return self._dataset.to_table(columns=[name])[name]

    def batches(self, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Yield the rows in order, some thousand at a time."""
        yield from self._dataset.to_batches(
            columns=columns, batch_size=_BATCH_ROWS, scan_in_order=True,
            batch_readahead=2, fragment_readahead=2,
        )  # fmt: skip

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of the rows, hexadecimal; reads them all, once."""
        return rows_digest(self.schema, self.batches())

    def take_vectors(self, rows: Int64Vector, column: str) -> Float32Matrix:
        """Return the (n_rows, dim) float32 vectors of rows of ascending number."""
        taken = self._dataset.take(np.asarray(rows).tolist(), columns=[column])
        return vector_matrix(taken[column].combine_chunks())

    def parts(self) -> list[str]:
        """Return the files of the rows, as JSON for `commit_rows`."""
        return [json.dumps(f.metadata.to_json()) for f in self._dataset.get_fragments()]

    def to_manifest(self) -> dict[str, Any]:
        """Return what the catalog keeps."""
        return {
            "table": self.name,
            "table_version": self.version,
            "n_cells": self.n_cells,
            "rows_digest": self.digest,
        }


def commit_rows(store: Store, name: str, schema: pa.Schema, parts: Sequence[str]) -> CellTable:
    """Make one table version of parts, in their order.

    Parameters
    ----------
    store
        Where the table is.
    name
        Name of the index.
    schema
        From `cells_schema`.
    parts
        What `write_rows` returned, or the `CellTable.parts` of another version of the table.
    """
    uri = store.table_uri(table_name(name))
    fragments = [lance.FragmentMetadata.from_json(part) for part in parts]
    # Overwriting by files that are there already names them in a new version; no row is copied,
    # and the versions before stay as they are.
    operation = lance.LanceOperation.Overwrite(schema, fragments)
    dataset = lance.LanceDataset.commit(uri, operation)
    # A tag keeps Lance's clean-up away from the version.
    dataset.tags.create(f"cells-{dataset.version}", dataset.version)
    return CellTable(table_name(name), dataset)


def cell_table(store: Store, entry: Entry) -> CellTable:
    """Return the cells of an index version.

    Raises
    ------
    IntegrityError
        If they cannot be read.
    """
    table = entry.manifest["table"]
    try:
        uri, version = store.table_uri(table), entry.manifest["table_version"]
        return CellTable(table, lance.dataset(uri, version=version))
    except (ValueError, OSError, RuntimeError) as error:
        raise IntegrityError(
            f"cell index {entry.full_name}: its cells cannot be read ({error}); index them again"
        ) from error


def check_rows(store: Store, entry: Entry) -> None:
    """Refuse rows that are not those the version was made with; reads them all.

    Raises
    ------
    IntegrityError
        If their digest differs or they cannot be read.
    """
    cells = cell_table(store, entry)
    try:
        digest = cells.digest
    except (ValueError, OSError, RuntimeError) as error:
        raise IntegrityError(
            f"cell index {entry.full_name}: its cells cannot be read ({error}); index them again"
        ) from error
    if digest != entry.manifest["rows_digest"]:
        raise IntegrityError(
            f"cell index {entry.full_name}: its cells do not have the digest "
            f"{entry.manifest['rows_digest'][:16]} of the catalog; index them again"
        )


def row_files(store: Store, table: str, versions: Sequence[int]) -> set[str]:
    """Return the names of the files that versions of a table refer to."""
    datasets = (lance.dataset(store.table_uri(table), version=version) for version in versions)
    parts = (part for dataset in datasets for part in dataset.get_fragments())
    return {file.path for part in parts for file in part.data_files()}


class CellVectors:
    """The vectors of the cells of a reference as an index holds them, read in batches.

    Parameters
    ----------
    cells
        The rows.
    column
        The column of the vectors.
    dim
        Width of a vector in the index.
    place
        Turns stored vectors into those of the index: (n, dim) float32 unit rows.
    query
        Turns stored vectors into those that a search for them takes; None for ``place``.

    Attributes
    ----------
    n, dim
        Cells, and the width of a vector.
    """

    def __init__(
        self,
        cells: CellTable,
        column: str,
        dim: int,
        place: Callable[[Float32Matrix], Float32Matrix],
        query: Callable[[Float32Matrix], Float32Matrix] | None = None,
    ) -> None:
        self._cells = cells
        self._column = column
        self._place, self._query = place, query or place
        self.n = cells.n_cells
        self.dim = dim

    @classmethod
    def of_text(cls, cells: CellTable, space: CellSpace) -> "CellVectors":
        """Return the vectors of the text space."""
        return cls(cells, "vector", space.dim, lambda means: place_means(means, space))

    @classmethod
    def of_expression(cls, cells: CellTable, n_components: int) -> "CellVectors":
        """Return the vectors of the expression space that neighbors are looked for by."""
        place = partial(neighbor_vectors, n_components=n_components)
        # Whoever searches gives all dimensions; the regression is read from the others.
        return cls(cells, "expression", n_components, place, lambda z: z)

    def batches(self) -> Iterator[Float32Matrix]:
        """Yield the (n, dim) float32 unit rows in order, some thousand at a time."""
        for batch in self._cells.batches([self._column]):
            yield self._place(vector_matrix(batch[self._column]))

    def named(self) -> Iterator[tuple[list[str], list[str], Float32Matrix]]:
        """Yield ids and labels beside the rows of `batches`."""
        for batch in self._cells.batches(["id", "label", self._column]):
            vectors = self._place(vector_matrix(batch[self._column]))
            yield batch["id"].to_pylist(), batch["label"].to_pylist(), vectors

    def take(self, rows: Int64Vector) -> Float32Matrix:
        """Return the (n_rows, dim) float32 unit rows of some cells, by ascending row number."""
        return self._place(self._cells.take_vectors(rows, self._column))

    def queries(self, rows: Int64Vector) -> Float32Matrix:
        """Return some cells as a search takes them: all dimensions of their space, float32."""
        return self._query(self._cells.take_vectors(rows, self._column))


def read_vectors(store: Store, entry: Entry, space: str = TEXT) -> CellVectors:
    """Return the vectors of the cells of a published index, exactly as they were indexed.

    Parameters
    ----------
    store
        Where it is.
    entry
        The version.
    space
        `TEXT` or `EXPRESSION`.

    Raises
    ------
    FailedPreconditionError
        If the index has no such space.
    """
    folder, cells = store.index_folder(entry), cell_table(store, entry)
    if space not in space_digests(entry):
        raise FailedPreconditionError(f"{entry.full_name} has no {space} space")
    if space == EXPRESSION:
        return CellVectors.of_expression(cells, read_readout(folder, EXPRESSION).n_components)
    text = read_text_space(folder)
    assert text is not None  # its file is among the digests
    return CellVectors.of_text(cells, text)
