"""The rows of a catalog as its journal has them: those that stand, and those that ever stood."""

import hashlib
import json
from collections.abc import Iterable

from cellkin.store.journal import Change, Row

CATALOG = "catalog"
MARKS = "catalog-marks"
TABLES = (CATALOG, MARKS)


class CatalogRows:
    """What the changes so far come to.

    Attributes
    ----------
    standing
        The rows that stand, by table and key.
    gone
        The rows of versions that were removed, by key, and when that was.
    """

    def __init__(self) -> None:
        self.standing: dict[str, dict[str, Row]] = {table: {} for table in TABLES}
        self.gone: dict[str, tuple[Row, str]] = {}
        self._recorded: dict[str, dict[str, set[bytes]]] = {table: {} for table in TABLES}

    def apply(self, change: Change, at: str) -> None:
        """Let a change happen.

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
        """Say whether a row, with this very content, stands or once stood."""
        return _digest(row) in self._recorded[table].get(row["key"], ())

    def without(self, table: str, rows: Iterable[Row]) -> str:
        """Return the key of a row that stands and is not among these; empty where there is none."""
        keys = {row["key"] for row in rows}
        return next((key for key in self.standing[table] if key not in keys), "")

    def keys(self, table: str) -> set[str]:
        """Return the keys of all rows that ever stood."""
        return set(self._recorded[table])


def _digest(row: Row) -> bytes:
    return hashlib.sha256(json.dumps(dict(row), sort_keys=True).encode()).digest()
