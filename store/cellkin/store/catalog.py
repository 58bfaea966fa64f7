"""The catalog: the one LanceDB table that says which versions exist.

A version is written once and never changed. Its catalog row is committed last, so whatever a crash
leaves behind is an orphan file and never half a version.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import lancedb
import pyarrow as pa

from cellkin.store import schema
from cellkin.wire.errors import ConflictError, NotFoundError
from cellkin.wire.names import LATEST, VersionName

_TABLE = "catalog"
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


class Catalog:
    """The versions of one store.

    Parameters
    ----------
    database
        An open LanceDB connection; the table is made at the first commit.
    """

    def __init__(self, database: lancedb.DBConnection) -> None:
        self._database = database

    def entries(self, kind: Kind, name: str | None = None) -> list[Entry]:
        """Return the versions of a kind, by name and then age, as committed at this moment."""
        if _TABLE not in self._database.list_tables().tables:
            return []
        query = f"kind = '{kind}'" + (f" AND name = '{name}'" if name else "")
        rows = self._database.open_table(_TABLE).search().where(query).limit(None).to_list()
        found = [
            Entry(
                Kind(row["kind"]),
                row["name"],
                row["version"],
                row["created_at"],
                row["digest"],
                json.loads(row["manifest"]),
            )
            for row in rows
        ]
        return sorted(found, key=lambda entry: (entry.name, entry.order))

    def resolve(self, kind: Kind, wanted: VersionName) -> Entry:
        """Return the version a name means now.

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
        for entry in versions:
            if entry.version == wanted.selector:
                return entry
        raise NotFoundError(
            f"{kind.noun} {wanted.name!r} has no version {wanted.selector!r}; there is: "
            + ", ".join(entry.version for entry in versions),
            {"kind": kind, "name": wanted.name},
        )

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
            table = self._database.create_table(_TABLE, schema=schema.CATALOG, exist_ok=True)
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
