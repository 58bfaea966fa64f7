"""The journal: every change of a store's catalog, one small file per change.

Records are ``journal/00000001.json`` and so on. Each is written once, by an operation that fails if
the name is taken, and contains the digest of the previous record. So only one of two concurrent
writers succeeds, and a record that was changed, lost or replaced is detected.
"""

import hashlib
import json
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeAlias

from cellkin.store.small_files import SmallFiles
from cellkin.wire.errors import (
    CellkinError,
    FailedPreconditionError,
    IntegrityError,
    UnavailableError,
)

FOLDER = "journal"
_FORMAT = 1
_NAME = re.compile(r"(\d{8,})\.json")
_REMEDY = (
    "put the files of journal/ back from a backup; or move that folder out of the store and run "
    "`cellkin store upgrade`, which begins another with what the tables of the catalog have"
)

Row: TypeAlias = Mapping[str, str]
"""A row of a catalog table; its ``key`` is unique within the table."""


@dataclass(frozen=True)
class Change:
    """An atomic change of the catalog.

    Parameters
    ----------
    put
        Rows to insert or to replace by key, by table.
    removed
        Keys of rows to remove, by table.
    """

    put: Mapping[str, Sequence[Row]] = field(default_factory=dict)
    removed: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Record:
    """One journal record.

    Parameters
    ----------
    store
        Random id of the store, chosen with the first record.
    number
        Sequence number from 1.
    before
        Digest of the previous record; empty for the first.
    at
        Time of writing, ISO 8601, UTC.
    change
        The change.
    digest
        SHA-256 of all the fields, hexadecimal.
    """

    store: str
    number: int
    before: str
    at: str
    change: Change
    digest: str


class Journal:
    """The records of one store; only the digests of read records are kept in memory.

    Parameters
    ----------
    files
        The small files of the store.
    where
        The store's name in errors.
    """

    def __init__(self, files: SmallFiles, where: str) -> None:
        self._files, self._where = files, where
        self._store = ""
        self._digests: list[str] = []

    def __len__(self) -> int:
        """Return the number of records read so far."""
        return len(self._digests)

    @property
    def store(self) -> str:
        """Random id of the store; empty before a record was read."""
        return self._store

    def digest(self, number: int) -> str:
        """Return the digest of a record; empty if it was not read."""
        return self._digests[number - 1] if 0 < number <= len(self._digests) else ""

    def is_there(self) -> bool:
        """Return whether there is any record, read or not."""
        return bool(self._numbers(0))

    def catch_up(self) -> list[Record]:
        """Read and check the records that were added since the last call.

        Returns
        -------
        list
            The new records; empty if there is no journal.

        Raises
        ------
        IntegrityError
            If a record is missing or was changed, or records read before are gone: the store was
            replaced by another one or an older copy.
        UnavailableError
            If they cannot be read now, or all of them are gone.
        """
        known = len(self)
        numbers = self._numbers(known)
        if not numbers and known:
            raise self._lost(known)
        for expected, number in enumerate(numbers, max(known, 1)):
            if number != expected:
                raise self._damaged(expected, "is missing")
        contents = self._files.read_all([record_path(number) for number in numbers])
        digests, records = list(self._digests), []
        for number, content in zip(numbers, contents, strict=True):
            record = self._record(number, content)
            if number == known:
                if record.digest != digests[-1]:
                    raise self._exchanged(number)
                continue
            if record.before != (digests[-1] if digests else ""):
                raise self._damaged(number, "does not follow the one before it")
            digests.append(record.digest)
            records.append(record)
        self._digests = digests
        self._store = records[0].store if records else self._store
        return records

    def append(self, change: Change) -> Record | None:
        """Write and return the next record; return None, with no effect, if another was first."""
        fields = {
            "format": _FORMAT,
            "store": self._store or uuid.uuid4().hex,
            "number": len(self) + 1,
            "before": self.digest(len(self)),
            "at": datetime.now(UTC).isoformat(timespec="microseconds"),
            # Makes every record unique, so that a writer recognizes its own.
            "writer": uuid.uuid4().hex,
            "put": {table: [dict(row) for row in rows] for table, rows in change.put.items()},
            "removed": {table: list(keys) for table, keys in change.removed.items()},
        }
        content = _encode(fields)
        if not self._files.create(record_path(len(self) + 1), content):
            return None
        record = self._record(len(self) + 1, content)
        self._digests.append(record.digest)
        self._store = record.store
        return record

    def _numbers(self, known: int) -> list[int]:
        """Return the numbers of existing records, starting with the last known one."""
        names = set(self._files.names(FOLDER, _name(known - 1) if known > 1 else ""))
        matches = (_NAME.fullmatch(name) for name in names)
        numbers = {int(match[1]) for match in matches if match}
        return sorted(n for n in numbers if n >= known and _name(n) in names)

    def _record(self, number: int, content: bytes) -> Record:
        try:
            fields = json.loads(content)
            digest = fields.pop("sha256")
            if _encode(fields) != content or fields["number"] != number:
                raise self._damaged(number, "was changed")
            if fields["format"] != _FORMAT:
                raise FailedPreconditionError(
                    f"the store at {self._where} was written by a later cellkin (its journal has "
                    f"format {fields['format']}, this one reads {_FORMAT}); install that"
                )
            change = Change(fields["put"], fields["removed"])
            return Record(fields["store"], number, fields["before"], fields["at"], change, digest)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise self._damaged(number, "cannot be read") from error

    def _damaged(self, number: int, what: str) -> IntegrityError:
        return IntegrityError(
            f"record {number} of the journal of the store at {self._where} {what}; {_REMEDY}"
        )

    def _lost(self, known: int) -> CellkinError:
        numbers = self._numbers(0)
        if not numbers:
            return UnavailableError(
                f"the journal of the store at {self._where} is not there any more"
            )
        return IntegrityError(
            f"the journal of the store at {self._where} has {numbers[-1]} records and had {known}: "
            f"it lost the last ones, or an older copy was put in its place; {_REMEDY}"
        )

    def _exchanged(self, number: int) -> IntegrityError:
        return IntegrityError(
            f"record {number} of the journal of the store at {self._where} is not the one that was "
            "read before: another store, or another copy of it, was put in its place; start again "
            "what runs if that is meant"
        )


def _name(number: int) -> str:
    return f"{number:08d}.json"


def record_path(number: int) -> str:
    """Return the path of a record, relative to the store."""
    return f"{FOLDER}/{_name(number)}"


def _encode(fields: Mapping[str, object]) -> bytes:
    digest = hashlib.sha256(_canonical(fields)).hexdigest()
    return _canonical({**fields, "sha256": digest}) + b"\n"


def _canonical(fields: Mapping[str, object]) -> bytes:
    return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()
