"""The Lance tables of the catalog: a second copy of the journal's rows.

They are the only copy in stores of earlier releases, and what those releases read.
"""

from collections.abc import Sequence

import lance
import pyarrow as pa

from cellkin.store import schema
from cellkin.store.catalog_rows import CATALOG, MARKS
from cellkin.store.failures import reading, writing
from cellkin.store.journal import Row
from cellkin.store.small_files import SmallFiles
from cellkin.wire.errors import IntegrityError

_SCHEMAS = {CATALOG: schema.CATALOG, MARKS: schema.MARKS}
_BATCH = 500
# By default, Lance retries an unresponsive object store for three minutes.
_PATIENCE = {"client_max_retries": "3", "client_retry_timeout": "10"}
_REMEDY = (
    "if the store has a journal, move the table out of the store and run `cellkin store upgrade`, "
    "which writes it again; otherwise put it back from a backup"
)


class CatalogTables:
    """Reads and writes the tables.

    Parameters
    ----------
    root
        An absolute folder or the URI of an object store.
    files
        The small files of the same store, to distinguish a missing table from an unreadable one:
        Lance raises the same error for both.
    """

    def __init__(self, root: str, files: SmallFiles) -> None:
        self._root, self._files = root, files
        self._read: dict[str, tuple[object, list[Row]]] = {}

    def read(self, table: str, again: bool = False) -> list[Row] | None:
        """Return the rows of a table as last committed; None if there is no such table.

        Parameters
        ----------
        table
            Its name.
        again
            Whether to read the rows again if the version has not changed.

        Raises
        ------
        IntegrityError
            If it exists and is damaged.
        UnavailableError
            If it cannot be read now.
        """
        with reading(f"table {table} of the store at {self._root}", _REMEDY):
            try:
                dataset = lance.dataset(self._uri(table), storage_options=_PATIENCE)
            except ValueError:
                if self._files.names(f"{table}.lance/_versions"):
                    raise
                return None
            known, state = self._read.get(table), _state_of(dataset)
            if known is None or known[0] != state or again:
                rows = dataset.to_table(columns=_SCHEMAS[table].names).to_pylist()
                known = state, rows
                self._read[table] = known
            return known[1]

    def remains(self, table: str) -> bool:
        """Return whether a table has any files, readable or not."""
        return bool(self._files.names(f"{table}.lance"))

    def make(self, table: str) -> None:
        """Create an empty table.

        Raises
        ------
        ConflictError
            If another writer created it first.
        """
        with writing(f"table {table} of the store at {self._root}"):
            lance.write_dataset(
                _SCHEMAS[table].empty_table(),
                self._uri(table),
                mode="create",
                storage_options=_PATIENCE,
            )

    def write(self, table: str, put: Sequence[Row], removed: Sequence[str]) -> None:
        """Insert or replace rows by key, and delete the rows with the removed keys.

        Raises
        ------
        CellkinError
            If the system prevents it; see `cellkin.store.failures.writing`.
        """
        uri, columns = self._uri(table), _SCHEMAS[table]
        with writing(f"table {table} of the store at {self._root}"):
            if put:
                rows = pa.Table.from_pylist([dict(row) for row in put], schema=columns)
                merge = lance.dataset(uri, storage_options=_PATIENCE).merge_insert(["key"])
                merge.when_matched_update_all().when_not_matched_insert_all().execute(rows)
            for start in range(0, len(removed), _BATCH):
                keys = ", ".join(f"'{_quoted(key)}'" for key in removed[start : start + _BATCH])
                lance.dataset(uri, storage_options=_PATIENCE).delete(f"key IN ({keys})")

    def refuse_remains(self) -> None:
        """Raise if there are tables of versions, whose catalog must have been lost.

        Raises
        ------
        IntegrityError
            If there are such tables.
        """
        starts = "corpus-", "embedding-", "cells-"
        for name in self._files.top():
            if name.startswith(starts) and name.endswith(".lance"):
                raise IntegrityError(
                    f"{self._root} has the table {name} and no catalog, which was lost; put "
                    "journal/ back from a backup, or choose another folder"
                )

    def _uri(self, table: str) -> str:
        return f"{self._root}/{table}.lance"


def _state_of(dataset: lance.LanceDataset) -> object:
    """Return what identifies the rows of a table; a table made again counts its versions anew."""
    files = (file.path for part in dataset.get_fragments() for file in part.data_files())
    return dataset.version, list(files)


def _quoted(text: str) -> str:
    return text.replace("'", "''")
