"""Table versions whose rows are compared with their digest before they are used.

A digest covers all rows, so all are compared once before some columns or rows are read. The result
is remembered, also on this machine's disk, as long as no file of the version is touched; see
`cellkin.store.checked`. For object stores, only the process remembers it.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lance
import pyarrow as pa

from cellkin.store import schema
from cellkin.store.catalog import Entry
from cellkin.store.checked import note_state, noted_state, state_of
from cellkin.store.digest import table_digest
from cellkin.store.failures import reading
from cellkin.store.table_files import DATA, SUFFIX, manifest_paths
from cellkin.wire.errors import IntegrityError


class CheckedTables:
    """Reads and checks the tables of a store.

    Parameters
    ----------
    uri_of
        Returns the URI of a table.
    root
        The local folder of the store; None for an object store.
    """

    def __init__(self, uri_of: Callable[[str], str], root: Path | None) -> None:
        self._uri_of, self._root = uri_of, root
        self._whole: dict[tuple[str, int, str], Any] = {}

    def open(self, entry: Entry) -> lance.LanceDataset:
        """Open the table of a version without checking its rows."""
        uri = self._uri_of(entry.manifest["table"])
        return lance.dataset(uri, version=entry.manifest["table_version"])

    def read(self, entry: Entry, columns: list[str] | None = None) -> pa.Table:
        """Read a version of a corpus, gene embedding or gene set collection.

        Parameters
        ----------
        entry
            The version.
        columns
            Columns to read; those the table lacks are left out. None for all, which are compared
            each time.

        Raises
        ------
        IntegrityError
            If the rows differ from those published, or are missing or damaged.
        UnavailableError
            If they cannot be read now.
        """
        with reading(what_of(entry)):
            dataset = self.open(entry)
            if columns is None:
                return self._all(entry, dataset)
            wanted = [name for name in columns if name in dataset.schema.names]
            if self._is_whole(entry, entry.digest, self._state(entry, entry.digest, dataset)):
                return _typed(dataset.to_table(columns=wanted))
            return self._all(entry, dataset).select(wanted)

    def rows(self, entry: Entry, where: str) -> pa.Table:
        """Read the rows of a version that match a Lance filter; see `read`."""
        with reading(what_of(entry)):
            dataset = self.open(entry)
            self.once(entry, entry.digest, dataset, lambda: _compared(entry, dataset))
            return _typed(dataset.to_table(filter=where))

    def once(
        self, entry: Entry, digest: str, dataset: lance.LanceDataset, compare: Callable[[], object]
    ) -> None:
        """Compare the rows of a version, unless they passed and no file was touched since.

        Parameters
        ----------
        entry
            The version.
        digest
            Expected digest of all rows.
        dataset
            The table of the version.
        compare
            Raises if the rows have another digest.
        """
        with reading(what_of(entry)):
            state = self._state(entry, digest, dataset)
        if not self._is_whole(entry, digest, state):
            compare()
            self._note(entry, digest, state)

    def _all(self, entry: Entry, dataset: lance.LanceDataset) -> pa.Table:
        # Taken before reading the rows: files written meanwhile must be compared again.
        state = self._state(entry, entry.digest, dataset)
        rows = _compared(entry, dataset)
        self._note(entry, entry.digest, state)
        return rows

    def _is_whole(self, entry: Entry, digest: str, state: Any) -> bool:
        if state is None:
            return False
        return self._whole.get(_key(entry, digest)) == state or (
            self._root is not None and noted_state(self._place(entry)) == state
        )

    def _note(self, entry: Entry, digest: str, state: Any) -> None:
        if state is None:
            return
        self._whole[_key(entry, digest)] = state
        if self._root is not None:
            note_state(self._place(entry), state)

    def _place(self, entry: Entry) -> Path:
        """Return the path that identifies the note of a version; no such file exists."""
        folder = Path(self._uri_of(entry.manifest["table"]))
        return folder / f"version-{entry.manifest['table_version']}"

    def _state(self, entry: Entry, digest: str, dataset: lance.LanceDataset) -> Any:
        """Return a state that changes when a file of the version does; None if one is missing."""
        if self._root is None:
            return digest
        table, version = entry.manifest["table"], entry.manifest["table_version"]
        root = self._root
        there = [path for path in manifest_paths(table, version) if (root / path).exists()]
        rows = [
            f"{table}{SUFFIX}/{DATA}/{file.path}"
            for part in dataset.get_fragments()
            for file in part.data_files()
        ]
        try:
            return state_of(root, dict.fromkeys([*there, *rows], digest)) if there else None
        except OSError:
            return None


def what_of(entry: Entry) -> str:
    """Return the description of a version for errors."""
    return f"{entry.kind.noun} {entry.full_name}"


def _compared(entry: Entry, dataset: lance.LanceDataset) -> pa.Table:
    rows = _typed(dataset.to_table())
    if table_digest(rows) != entry.digest:
        raise IntegrityError(
            f"{what_of(entry)}: its {len(rows)} rows do not have the digest {entry.digest[:16]} of "
            "the catalog; the data was changed or damaged, restore a backup or publish it again"
        )
    return rows


def _key(entry: Entry, digest: str) -> tuple[str, int, str]:
    return entry.manifest["table"], entry.manifest["table_version"], digest


def _typed(rows: pa.Table) -> pa.Table:
    """Return rows with the types they had when published, before LanceDB changed them."""
    schema = _canonical(rows.schema)
    # In a damaged table there may be other columns; the cast raises then.
    fields = [schema.field(name) for name in rows.column_names if name in schema.names]
    return rows.cast(pa.schema(fields))


def _canonical(read: pa.Schema) -> pa.Schema:
    if "vector" in read.names:
        # In a damaged table the column may have any type; its digest differs then.
        return schema.embedding_schema(getattr(read.field("vector").type, "list_size", 0))
    if "set" in read.names:
        return schema.GENE_SETS
    return schema.corpus_schema(read.names)
