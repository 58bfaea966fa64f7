"""The catalog: the LanceDB tables that say which versions exist, and what names mean.

A version is written once and never changed. Its catalog row is committed last, so whatever a crash
leaves behind is an orphan file and never half a version. What does move, aliases and retractions,
is kept apart.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

import lance
import pyarrow as pa

from cellkin.store import schema
from cellkin.wire.errors import (
    ConflictError,
    InvalidArgumentError,
    NotFoundError,
    RetractedError,
)
from cellkin.wire.names import LATEST, VersionName, check_alias

if TYPE_CHECKING:
    import lancedb

CATALOG = "catalog"
_MARKS = "catalog-marks"
_ATTEMPTS = 20


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
    """

    all_entries: Sequence[Entry]
    aliases: Mapping[tuple[Kind, str, str], str]
    retractions: Mapping[tuple[Kind, str, str], Retraction]

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
        what = "version" if wanted.is_version else "alias"
        aliases = [a for k, n, a in self.aliases if (k, n) == (kind, wanted.name)]
        raise NotFoundError(
            f"{kind.noun} {wanted.name!r} has no {what} {wanted.selector!r}; there is: "
            + ", ".join([*(entry.version for entry in versions), LATEST, *sorted(aliases)]),
            {"kind": kind, "name": wanted.name},
        )


class Database(Protocol):
    """Where the catalog's tables are."""

    def table_uri(self, name: str) -> str:
        """Return where a table lies, for Lance itself."""

    @property
    def database(self) -> "lancedb.DBConnection":
        """The LanceDB connection, for writing; importing it takes more than a second."""


class Catalog:
    """The versions of one store.

    Parameters
    ----------
    place
        Where the tables are; they are made at the first commit.
    """

    def __init__(self, place: Database) -> None:
        self._place = place

    def view(self) -> CatalogView:
        """Return the catalog as committed at this moment."""
        return CatalogView(self.entries(), self.aliases(), self.retractions())

    def entries(self, kind: Kind | None = None, name: str | None = None) -> list[Entry]:
        """Return the versions, by kind, name and age, as committed at this moment.

        Parameters
        ----------
        kind, name
            Only these, where given.
        """
        conditions = [f"kind = '{kind}'"] if kind else []
        conditions += [f"name = '{name}'"] if name else []
        found = [
            Entry(
                Kind(row["kind"]),
                row["name"],
                row["version"],
                row["created_at"],
                row["digest"],
                json.loads(row["manifest"]),
            )
            for row in self._rows(CATALOG, conditions)
        ]
        return sorted(found, key=lambda entry: (entry.kind, entry.name, entry.order))

    def aliases(self) -> dict[tuple[Kind, str, str], str]:
        """Return what aliases mean, (kind, name, alias) to version; not ``latest``."""
        rows = self._rows(_MARKS, ["mark = 'alias'"])
        return {(Kind(r["kind"]), r["name"], r["selector"]): r["value"] for r in rows}

    def retractions(self) -> dict[tuple[Kind, str, str], Retraction]:
        """Return the versions that were withdrawn: (kind, name, version) to why."""
        rows = self._rows(_MARKS, ["mark = 'retraction'"])
        return {
            (Kind(r["kind"]), r["name"], r["selector"]): Retraction(**json.loads(r["value"]))
            for r in rows
        }

    def resolve(self, kind: Kind, wanted: VersionName) -> Entry:
        """Return the version a name means now; see `CatalogView.resolve`."""
        return self.view().resolve(kind, wanted)

    def version(self, kind: Kind, wanted: VersionName) -> Entry:
        """Return the version a name means now, retracted or not; see `CatalogView.version`."""
        return self.view().version(kind, wanted)

    def commit(self, kind: Kind, name: str, digest: str, manifest: Mapping[str, Any]) -> Entry:
        """Make a version exist, under the next free number of the day.

        The insert is conditional on the key, so of two writers that chose the same number one
        inserts nothing and takes the next.

        Raises
        ------
        ConflictError
            If other writers took every number tried.
        """
        now = datetime.now(UTC)
        day = now.strftime("%Y-%m-%d")
        for _ in range(_ATTEMPTS):
            today = [e.order[1] for e in self.entries(kind, name) if e.order[0] == day]
            version = f"{day}.{max(today, default=0) + 1}"
            row = {
                "key": f"{kind}/{name}@{version}",
                "kind": str(kind),
                "name": name,
                "version": version,
                "created_at": now.isoformat(timespec="seconds"),
                "digest": digest,
                "manifest": json.dumps(manifest, sort_keys=True),
            }
            table = self._place.database.create_table(CATALOG, schema=schema.CATALOG, exist_ok=True)
            result = (
                table.merge_insert("key")
                .when_not_matched_insert_all()
                .execute(pa.Table.from_pylist([row], schema=schema.CATALOG))
            )
            if result.num_inserted_rows:
                return Entry(kind, name, version, row["created_at"], digest, dict(manifest))
        raise ConflictError(
            f"{kind.noun} {name!r}: other writers took {_ATTEMPTS} version numbers in a row; "
            "run the command again when they are done"
        )

    def set_alias(self, entry: Entry, alias: str) -> None:
        """Let an alias mean a version from now on, whatever it meant before.

        Raises
        ------
        InvalidArgumentError
            If the alias is ``latest``, which is always the newest version, or no alias at all.
        """
        check_alias(alias)
        if alias == LATEST:
            raise InvalidArgumentError(
                "'latest' is always the newest version; choose another alias, such as stable"
            )
        self._mark("alias", entry, alias, entry.version)

    def retract(self, entry: Entry, reason: str, replacement: Entry | None = None) -> None:
        """Withdraw a version: it stays readable for what was made from it, and is refused else.

        Raises
        ------
        InvalidArgumentError
            If no reason is given, or the version is to replace itself.
        """
        if not reason.strip():
            raise InvalidArgumentError("a retraction needs a reason; say what is wrong")
        if replacement is not None and replacement.full_name == entry.full_name:
            raise InvalidArgumentError(f"{entry.full_name} cannot replace itself; name another")
        value = {"reason": reason, "replacement": replacement.full_name if replacement else ""}
        self._mark("retraction", entry, entry.version, json.dumps(value))

    def _mark(self, mark: str, entry: Entry, selector: str, value: str) -> None:
        row = {
            "key": f"{mark}/{entry.kind}/{entry.name}@{selector}",
            "mark": mark,
            "kind": str(entry.kind),
            "name": entry.name,
            "selector": selector,
            "value": value,
            "changed_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        table = self._place.database.create_table(_MARKS, schema=schema.MARKS, exist_ok=True)
        (
            table.merge_insert("key")
            .when_matched_update_all()
            .when_not_matched_insert_all()
            .execute(pa.Table.from_pylist([row], schema=schema.MARKS))
        )

    def _rows(self, table: str, conditions: list[str]) -> list[dict[str, Any]]:
        # Lance itself reads them: to import LanceDB takes a server longer than to start.
        try:
            dataset = lance.dataset(self._place.table_uri(table))
        except ValueError:  # Lance's word for a table that is not there: nothing was committed yet
            return []
        rows: list[dict[str, Any]] = dataset.to_table(
            filter=" AND ".join(conditions) or None
        ).to_pylist()
        return rows
