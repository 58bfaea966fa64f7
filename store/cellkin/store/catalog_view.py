"""What a catalog has at one moment: versions, and what names mean."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from cellkin.store.catalog_rows import CATALOG, MARKS, CatalogRows
from cellkin.store.journal import Row
from cellkin.wire.errors import IntegrityError, NotFoundError, RetractedError
from cellkin.wire.names import LATEST, VersionName

ALIAS, RETRACTION = "alias", "retraction"
"""What rows of the marks are."""


class Kind(StrEnum):
    """What a version is a version of."""

    CORPUS = "corpus"
    EMBEDDING = "embedding"
    INDEX = "index"

    @property
    def noun(self) -> str:
        """The kind as errors and tables call it."""
        return {"corpus": "corpus", "embedding": "gene embedding", "index": "cell index"}[self]


@dataclass(frozen=True)
class Entry:
    """One version of the catalog.

    Parameters
    ----------
    kind, name, version
        What it is; together unique.
    created_at
        ISO 8601, UTC.
    digest
        SHA-256 of the content, hexadecimal.
    manifest
        Everything the version was made from and by, JSON values.
    """

    kind: Kind
    name: str
    version: str
    created_at: str
    digest: str
    manifest: Mapping[str, Any]

    @property
    def full_name(self) -> str:
        """``name@version``, which never moves."""
        return f"{self.name}@{self.version}"

    @property
    def order(self) -> tuple[str, int]:
        """Sorts the versions of a name by age."""
        day, _, number = self.version.rpartition(".")
        return day, int(number)


@dataclass(frozen=True)
class Retraction:
    """Why a version was withdrawn.

    Parameters
    ----------
    reason
        In words.
    replacement
        The version to use instead, ``name@version``; empty where there is none.
    """

    reason: str
    replacement: str


@dataclass(frozen=True)
class Removed:
    """A version that is in the catalog no longer; its number is never given again.

    Parameters
    ----------
    entry
        The version as it was.
    removed_at
        ISO 8601, UTC.
    """

    entry: Entry
    removed_at: str


@dataclass(frozen=True)
class CatalogView:
    """The catalog as it was at one moment: names mean the same however often they are asked.

    Parameters
    ----------
    all_entries
        The versions, by kind, name and age.
    aliases
        What aliases mean, (kind, name, alias) to version; not ``latest``.
    retractions
        The versions that were withdrawn: (kind, name, version) to why.
    removed
        The versions that were removed, and when.
    """

    all_entries: Sequence[Entry]
    aliases: Mapping[tuple[Kind, str, str], str]
    retractions: Mapping[tuple[Kind, str, str], Retraction]
    removed: Sequence[Removed] = ()

    def entries(self, kind: Kind | None = None, name: str | None = None) -> list[Entry]:
        """Return the versions, by kind, name and age.

        Parameters
        ----------
        kind, name
            Only these, where given.
        """
        return [
            entry
            for entry in self.all_entries
            if kind in (None, entry.kind) and name in (None, entry.name)
        ]

    def retraction(self, entry: Entry) -> Retraction | None:
        """Return why a version was withdrawn, None where it was not."""
        return self.retractions.get((entry.kind, entry.name, entry.version))

    def aliases_of(self, entry: Entry) -> list[str]:
        """Return the aliases that mean a version, ascending; not ``latest``."""
        key = entry.kind, entry.name, entry.version
        return sorted(a for (k, n, a), version in self.aliases.items() if (k, n, version) == key)

    def resolve(self, kind: Kind, wanted: VersionName) -> Entry:
        """Return the version a name means.

        ``latest`` is the newest version that was not retracted.

        Raises
        ------
        NotFoundError
            If there is none; the message lists what there is.
        RetractedError
            If the version was withdrawn; the message says why and what to use instead.
        """
        found = self.version(kind, wanted)
        if wanted.selector == LATEST:
            standing = [e for e in self.entries(kind, wanted.name) if not self.retraction(e)]
            found = standing[-1] if standing else found
        why = self.retraction(found)
        if why is not None:
            instead = f"use {why.replacement}" if why.replacement else "there is no replacement"
            raise RetractedError(
                f"{kind.noun} {found.full_name} was retracted: {why.reason}; {instead}",
                {"reason": why.reason, "replacement": why.replacement},
            )
        return found

    def version(self, kind: Kind, wanted: VersionName) -> Entry:
        """Return the version a name means, retracted or not; ``latest`` is the newest.

        For what was made from a version, and for looking after versions.

        Raises
        ------
        NotFoundError
            If there is none; the message lists what there is.
        """
        versions = self.entries(kind, wanted.name)
        if not versions:
            names = sorted({entry.name for entry in self.entries(kind)})
            raise NotFoundError(
                f"no {kind.noun} {wanted.name!r} in this store; there is: "
                + (", ".join(names) or "none yet"),
                {"kind": kind, "name": wanted.name},
            )
        if wanted.selector == LATEST:
            return versions[-1]
        selector = wanted.selector
        if not wanted.is_version:
            selector = self.aliases.get((kind, wanted.name, selector), selector)
        for entry in versions:
            if entry.version == selector:
                return entry
        for removed in self.removed:
            if (removed.entry.kind, removed.entry.full_name) == (kind, f"{wanted.name}@{selector}"):
                raise NotFoundError(
                    f"{kind.noun} {removed.entry.full_name} was removed on "
                    f"{removed.removed_at[:10]}; there is: "
                    + ", ".join(entry.version for entry in versions),
                    {"kind": kind, "name": wanted.name},
                )
        what = "version" if wanted.is_version else "alias"
        aliases = [a for k, n, a in self.aliases if (k, n) == (kind, wanted.name)]
        raise NotFoundError(
            f"{kind.noun} {wanted.name!r} has no {what} {wanted.selector!r}; there is: "
            + ", ".join([*(entry.version for entry in versions), LATEST, *sorted(aliases)]),
            {"kind": kind, "name": wanted.name},
        )


class RowReader:
    """Makes views of rows; a row that was read before is not read again."""

    def __init__(self) -> None:
        self._entries: dict[str, tuple[Row, Entry]] = {}

    def view(self, rows: CatalogRows) -> CatalogView:
        """Return what rows say.

        Raises
        ------
        IntegrityError
            If a row cannot be read.
        """
        entries = [self._entry(row) for row in rows.standing[CATALOG].values()]
        marks = list(rows.standing[MARKS].values())
        return CatalogView(
            sorted(entries, key=lambda entry: (entry.kind, entry.name, entry.order)),
            {_marked(row): row["value"] for row in marks if row["mark"] == ALIAS},
            {_marked(row): _why(row) for row in marks if row["mark"] == RETRACTION},
            [Removed(self._entry(row), at) for row, at in rows.gone.values()],
        )

    def _entry(self, row: Row) -> Entry:
        known = self._entries.get(row["key"])
        if known is not None and known[0] == row:
            return known[1]
        try:
            entry = Entry(
                Kind(row["kind"]), row["name"], row["version"], row["created_at"], row["digest"],
                json.loads(row["manifest"]),
            )  # fmt: skip
            readable = entry.order[1] > 0 and isinstance(entry.manifest, dict)
        except (ValueError, TypeError) as error:
            raise _damaged(row) from error
        if not readable:
            raise _damaged(row)
        self._entries[row["key"]] = row, entry
        return entry


def _marked(row: Row) -> tuple[Kind, str, str]:
    try:
        return Kind(row["kind"]), row["name"], row["selector"]
    except ValueError as error:
        raise _damaged(row) from error


def _why(row: Row) -> Retraction:
    try:
        return Retraction(**json.loads(row["value"]))
    except (ValueError, TypeError) as error:
        raise _damaged(row) from error


def _damaged(row: Row) -> IntegrityError:
    # Only where no journal is: a row that no record put is refused before.
    return IntegrityError(
        f"the catalog's row of {row['key']} is damaged; put the tables of the catalog back from a "
        "backup"
    )
