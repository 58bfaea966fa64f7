"""The rows of a catalog according to its journal, current and past."""

import hashlib
import json

from cellkin.store.journal import Change, Row

CATALOG = "catalog"
MARKS = "catalog-marks"
TABLES = (CATALOG, MARKS)


class CatalogRows:
    """The result of the changes applied so far.

    Attributes
    ----------
    standing
        The current rows, by table and key.
    gone
        The rows of removed versions with the time of removal, by key.
    """

    def __init__(self) -> None:
        self.standing: dict[str, dict[str, Row]] = {table: {} for table in TABLES}
        self.gone: dict[str, tuple[Row, str]] = {}
        self._recorded: dict[str, dict[str, set[bytes]]] = {table: {} for table in TABLES}

    def apply(self, change: Change, at: str) -> None:
        """Apply a change.

        Parameters
        ----------
        change
            The change.
        at
            When it was recorded, ISO 8601, UTC.
        """
        for table, rows in change.put.items():
            for row in rows:
                key = row["key"]
                self.standing[table][key] = row
                self._recorded[table].setdefault(key, set()).add(_digest(row))
        for table, keys in change.removed.items():
            for key in keys:
                row = self.standing[table].pop(key)
                if table == CATALOG:
                    self.gone[key] = row, at

    def was_recorded(self, table: str, row: Row) -> bool:
        """Return whether a row with exactly this content was ever recorded."""
        return _digest(row) in self._recorded[table].get(row["key"], ())

    def keys(self, table: str) -> set[str]:
        """Return the keys of all rows ever recorded."""
        return set(self._recorded[table])


def _digest(row: Row) -> bytes:
    return hashlib.sha256(json.dumps(dict(row), sort_keys=True).encode()).digest()
