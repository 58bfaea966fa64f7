"""A snapshot of a catalog: its versions, and how names resolve."""

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
"""Values of the ``mark`` column of the marks table."""


class Kind(StrEnum):
    """The kinds of versions."""

    CORPUS = "corpus"
    EMBEDDING = "embedding"
    INDEX = "index"
    GENE_SETS = "gene-sets"

    @property
    def noun(self) -> str:
        """The kind as shown in errors and tables."""
        return _NOUNS.get(self, str(self))


_NOUNS = {
    Kind.EMBEDDING: "gene embedding",
    Kind.INDEX: "cell index",
    Kind.GENE_SETS: "gene set collection",
}


@dataclass(frozen=True)
class Entry:
    """One version of the catalog.

    Parameters
    ----------
    kind, name, version
        Together unique.
    created_at
        ISO 8601, UTC.
    digest
        SHA-256 of the content, hexadecimal.
    manifest
        The version's sources, settings and file locations, as JSON values.
    """

    kind: Kind
    name: str
    version: str
    created_at: str
    digest: str
    manifest: Mapping[str, Any]

    @property
    def full_name(self) -> str:
        """``name@version``, which always refers to this version."""
        return f"{self.name}@{self.version}"

    @property
    def order(self) -> tuple[str, int]:
        """Sort key that orders the versions of a name by age."""
        day, _, number = self.version.rpartition(".")
        return day, int(number)


@dataclass(frozen=True)
class Retraction:
    """Why a version was retracted.

    Parameters
    ----------
    reason
        Human-readable reason.
    replacement
        The version to use instead, ``name@version``; empty if there is none.
    """

    reason: str
    replacement: str


@dataclass(frozen=True)
class Removed:
    """A version removed from the catalog; its number is never reused.

    Parameters
    ----------
    entry
        The removed version.
    removed_at
        ISO 8601, UTC.
    """

    entry: Entry
    removed_at: str


@dataclass(frozen=True)
class CatalogView:
    """A snapshot of the catalog, in which names always resolve to the same versions.

    Parameters
    ----------
    all_entries
        The versions, sorted by kind, name and age.
    aliases
        The aliases except ``latest``: (kind, name, alias) to version.
    retractions
        The retractions, by (kind, name, version).
    removed
        The removed versions, with the time of removal.
    """

    all_entries: Sequence[Entry]
    aliases: Mapping[tuple[Kind, str, str], str]
    retractions: Mapping[tuple[Kind, str, str], Retraction]
    removed: Sequence[Removed] = ()

    def entries(self, kind: Kind | None = None, name: str | None = None) -> list[Entry]:
        """Return the versions, sorted by kind, name and age.

        Parameters
        ----------
        kind, name
            Only versions of this kind and name, if given.
        """
        return [
            entry
            for entry in self.all_entries
            if kind in (None, entry.kind) and name in (None, entry.name)
        ]

    def retraction(self, entry: Entry) -> Retraction | None:
        """Return the retraction of a version, or None if it is not retracted."""
        return self.retractions.get((entry.kind, entry.name, entry.version))

    def aliases_of(self, entry: Entry) -> list[str]:
        """Return the aliases of a version except ``latest``, sorted."""
        key = entry.kind, entry.name, entry.version
        return sorted(a for (k, n, a), version in self.aliases.items() if (k, n, version) == key)

    def resolve(self, kind: Kind, wanted: VersionName) -> Entry:
        """Return the version a name refers to.

        ``latest`` is the newest version that is not retracted.

        Raises
        ------
        NotFoundError
            If there is none; the message lists the available ones.
        RetractedError
            If the version was retracted; the message gives the reason and the replacement.
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
        """Return the version a name refers to, retracted or not; ``latest`` is the newest.

        For versions made from it, and for maintenance.

        Raises
        ------
        NotFoundError
            If there is none; the message lists the available ones.
        """
        versions = self.entries(kind, wanted.name)
        if versions and wanted.selector == LATEST:
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
                    + (", ".join(entry.version for entry in versions) or "none any more"),
                    {"kind": kind, "name": wanted.name},
                )
        if not versions:
            names = sorted({entry.name for entry in self.entries(kind)})
            raise NotFoundError(
                f"no {kind.noun} {wanted.name!r} in this store; there is: "
                + (", ".join(names) or "none yet"),
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
    """Parses rows into views; each row is parsed once."""

    def __init__(self) -> None:
        self._entries: dict[str, tuple[Row, Entry]] = {}

    def view(self, rows: CatalogRows) -> CatalogView:
        """Return the catalog described by rows.

        Raises
        ------
        IntegrityError
            If a row cannot be parsed.
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
    # Only without a journal: otherwise a row that no record put was rejected before.
    return IntegrityError(
        f"the catalog's row of {row['key']} is damaged; put the tables of the catalog back from a "
        "backup"
    )
