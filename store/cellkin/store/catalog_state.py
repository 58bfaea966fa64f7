"""The current state of a catalog: its journal, checked against the tables that mirror it."""

import json
import logging
from collections.abc import Mapping, Sequence

from cellkin.store.catalog_rows import CATALOG, MARKS, TABLES, CatalogRows
from cellkin.store.catalog_tables import CatalogTables
from cellkin.store.failures import RAISED
from cellkin.store.journal import FOLDER, Change, Journal, Record, Row
from cellkin.store.small_files import small_files
from cellkin.wire.errors import CellkinError, ConflictError, IntegrityError, UnavailableError

_log = logging.getLogger("cellkin.store")
_ROUNDS = 3
_JOURNAL = "journal"
"""Key and mark of the row that names the last record that removed rows, or else the first record.

Records lost from the end of the journal are detected by the rows they put into the tables; a
removal puts no row, so this row stands for it.
"""

_Tables = Mapping[str, Sequence[Row] | None]


class CatalogState:
    """The rows of one store's catalog; what was read and checked is cached in memory.

    A change takes effect with its journal record. The tables are updated afterwards, so they may
    lag behind, briefly or because a writer was killed, but never lead: a row that no record put
    means damage. Stores of earlier releases have only the tables, until the first write creates a
    journal from their rows.

    Parameters
    ----------
    root
        An absolute folder or the URI of an object store.
    """

    def __init__(self, root: str) -> None:
        self._root = root
        files = small_files(root)
        self._journal = Journal(files, root)
        self._tables = CatalogTables(root, files)
        self._rows = CatalogRows()
        self._last_removal = 0
        # Keys read from tables without a journal: none of them may be missing later.
        self._seen: dict[str, set[str]] = {table: set() for table in TABLES}
        self._last_read: _Tables = {}
        self._compared: dict[str, Sequence[Row]] = {}

    @property
    def has_journal(self) -> bool:
        """Whether any journal record was read."""
        return len(self._journal) > 0

    def is_there(self) -> bool:
        """Return whether there is a catalog, intact or damaged.

        Raises
        ------
        UnavailableError
            If this cannot be determined now.
        """
        return self._journal.is_there() or self._tables.remains(CATALOG)

    def create(self) -> None:
        """Create the catalog of a new store.

        Raises
        ------
        IntegrityError
            If there are tables of versions whose catalog was lost.
        """
        self._tables.refuse_remains()
        self._append(Change())  # does nothing if another process was first
        self.read()
        self.mirror()

    def read(self) -> CatalogRows:
        """Return the current rows.

        Raises
        ------
        IntegrityError
            If the journal or a table is damaged, they contradict each other, or the catalog is not
            a later state of the one read before.
        UnavailableError
            If one of them cannot be read now, or the catalog is gone.
        """
        self._catch_up()
        tables = {table: self._tables.read(table, not self.has_journal) for table in TABLES}
        if not self.has_journal or self._contradiction(tables):
            # Rows that a writer put into the tables meanwhile were in the journal first.
            self._catch_up()
        self._last_read = tables
        if not self.has_journal:
            self._rows = self._unrecorded(tables)
        self._continue()
        if not self.has_journal:
            self._seen = {table: self._rows.keys(table) for table in TABLES}
        elif what := self._contradiction(tables):
            raise IntegrityError(
                f"the journal of the store at {self._root} contradicts the tables of the catalog: "
                f"{what}. If {FOLDER}/ lost its last records, is an older copy, or an earlier "
                "cellkin wrote to the store, move that folder out of the store; if the table was "
                "damaged, move the table out; then run `cellkin store upgrade`, which makes the "
                "one from the other"
            )
        return self._rows

    def append(self, change: Change) -> bool:
        """Record a change; return False, with no effect, if another writer was first.

        If there is no journal, only create one from the rows of the tables and return False.
        """
        if not self.has_journal:
            self._begin()
            return False
        return self._append(change)

    def mirror(self) -> None:
        """Bring the tables up to date; if that fails now, the next writer will.

        The recorded change holds whether or not this succeeds, so nothing is raised.
        """
        try:
            tables = self._last_read
            for _ in range(_ROUNDS):
                if self._mirror(tables):
                    return
                tables = {table: self._tables.read(table) for table in TABLES}
        except (CellkinError, *RAISED) as error:
            _log.warning(
                "the tables of the catalog of %s could not be brought up to date, which the next "
                "write does: %s", self._root, error,
            )  # fmt: skip

    def upgrade(self) -> None:
        """Create the journal if there is none, and bring the tables up to date.

        Raises
        ------
        CellkinError
            As for `read`, but not if the journal was moved away.
        """
        self._catch_up()
        if not self.has_journal:
            self._begin(again=True)
        self.read()
        self.mirror()

    def lag(self) -> list[str]:
        """Describe how the tables, as last read, lag behind the journal."""
        found = []
        for table in TABLES if self.has_journal else ():
            rows = self._last_read[table]
            put, removed = self._difference(table, rows or [])
            if rows is None:
                found.append(f"the table {table} is not there")
            elif put or removed:
                found.append(
                    f"the table {table} has older rows than the journal, such as that of "
                    f"{put[0]['key'] if put else removed[0]}"
                )
        return [
            f"{what}; answers come from the journal, and the next write or `cellkin store upgrade` "
            "brings it up to date, after the table was moved out of the store if it is damaged"
            for what in found
        ]

    def _catch_up(self) -> None:
        for record in self._journal.catch_up():
            self._apply(record)

    def _append(self, change: Change) -> bool:
        record = self._journal.append(change)
        if record is not None:
            self._apply(record)
        return record is not None

    def _apply(self, record: Record) -> None:
        if record.number == 1:
            self._rows = CatalogRows()
        if record.number == 1 or any(record.change.removed.values()):
            self._last_removal = record.number
        self._rows.apply(record.change, record.at)

    def _begin(self, again: bool = False) -> None:
        """Write all rows of the tables as the first record, unless another process did."""
        tables = {table: self._tables.read(table) for table in TABLES}
        rows = self._unrecorded(tables, again)
        put = {table: list(rows.standing[table].values()) for table in TABLES}
        self._append(Change(put))

    def _unrecorded(self, tables: _Tables, again: bool = False) -> CatalogRows:
        """Return the rows of tables without a journal."""
        if tables[CATALOG] is None and not self._tables.remains(CATALOG):
            raise UnavailableError(
                f"there is no catalog at {self._root} any more; if the store was moved, or is on "
                "a disk that is not mounted now, bring it back"
            )
        for table, rows in tables.items():
            if rows is None and self._tables.remains(table):
                raise IntegrityError(
                    f"table {table} of the store at {self._root} has lost its manifests; put them "
                    "back from a backup"
                )
        marks = tables[MARKS] or ()
        if not again and any(row["key"] == _JOURNAL for row in marks):
            raise IntegrityError(
                f"the store at {self._root} has lost its journal; put {FOLDER}/ back from a "
                "backup, or run `cellkin store upgrade`, which begins another with what the "
                "tables of the catalog have"
            )
        found = CatalogRows()
        found.apply(Change({table: rows or () for table, rows in tables.items()}), "")
        return found

    def _continue(self) -> None:
        """Raise if the catalog lacks rows that were read from tables without a journal."""
        for table, seen in self._seen.items():
            for key in sorted(seen - self._rows.keys(table)):
                raise IntegrityError(
                    f"the catalog of the store at {self._root} had {key} and has it no longer: it "
                    "lost a part, or an older copy or another store was put in its place"
                )

    def _contradiction(self, tables: _Tables) -> str:
        """Describe a row of the tables that was never recorded; empty if there is none."""
        for table, rows in tables.items():
            if rows is None or self._compared.get(table) is rows:
                continue
            for row in rows:
                if not self._rows.was_recorded(table, row) and not self._is_end(row):
                    return f"table {table} has a row of {row['key']} that no record of it put"
            self._compared[table] = rows
        return ""

    def _is_end(self, row: Row) -> bool:
        """Return whether a row names a record of this journal."""
        try:
            end = json.loads(row["value"])
            digest = self._journal.digest(end["number"])
            return (
                (row["key"], row["selector"]) == (_JOURNAL, self._journal.store)
                and digest != ""
                and digest == end["sha256"]
            )
        except (ValueError, KeyError, TypeError):
            return False

    def _difference(self, table: str, rows: Sequence[Row]) -> tuple[list[Row], list[str]]:
        """Return the rows that a table lacks, and the keys of its extra rows."""
        stands = dict(self._rows.standing[table])
        if table == MARKS:
            stands[_JOURNAL] = self._end()
        there = {row["key"]: row for row in rows}
        put = [row for key, row in stands.items() if there.get(key) != row]
        return put, [key for key in there if key not in stands]

    def _mirror(self, tables: _Tables) -> bool:
        """Write missing rows to the tables; return False if another writer interfered."""
        number = len(self._journal)
        try:
            for table, rows in tables.items():
                put, removed = self._difference(table, rows or [])
                if rows is None:
                    self._tables.make(table)
                if put or removed:
                    self._tables.write(table, put, removed)
        except ConflictError:
            return False
        # If another writer was faster, its rows may have been replaced by older ones here.
        self._catch_up()
        return len(self._journal) == number

    def _end(self) -> Row:
        number = self._last_removal
        end = {"number": number, "sha256": self._journal.digest(number)}
        return {
            "key": _JOURNAL,
            "mark": _JOURNAL,
            "kind": "",
            "name": "",
            "selector": self._journal.store,
            "value": json.dumps(end),
            "changed_at": "",
        }
