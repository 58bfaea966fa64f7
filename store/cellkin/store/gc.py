"""Garbage collection: what no version refers to is found, and removed when it is old enough.

Only what cellkin wrote is looked at, by its names and through no link. Each thing is looked up in
the catalog again right before it goes.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import lance

from cellkin.store.catalog import Kind
from cellkin.store.cell_table import CELLS, row_files
from cellkin.store.failures import RAISED, reading, writing
from cellkin.store.folders import Found
from cellkin.store.small_files import PARTIAL
from cellkin.store.store import STAGING, Store
from cellkin.store.table_files import DATA, SUFFIX, VERSIONS, version_of
from cellkin.wire.errors import ConflictError, FailedPreconditionError, InvalidArgumentError
from cellkin.wire.names import is_name

LEAST_AGE = timedelta(hours=1)
"""Younger things may belong to a run that is at work; they go only where that is forced."""
FOLDER, VERSION, ROWS = "folder", "table version", "rows"
_DATA = re.compile(r"[0-9a-f-]{32,}\.lance|" + re.escape(PARTIAL) + ".+")
_KINDS = {
    f"{Kind.CORPUS}-": (Kind.CORPUS, {"gene_id", "text_sha256", "symbol"}),
    f"{Kind.EMBEDDING}-": (Kind.EMBEDDING, {"gene_id", "text_sha256", "vector"}),
    CELLS: (Kind.INDEX, {"id", "label", "batch"}),
    # What is staged are the vectors of an embedding run.
    STAGING: (Kind.EMBEDDING, {"text_sha256", "vector"}),
}
"""How the names of tables begin, whose versions they have, and columns that they surely have."""


@dataclass(frozen=True)
class Orphan:
    """Something in a store that no version refers to: what an interrupted run left.

    Parameters
    ----------
    what
        ``folder``, ``table version``, or ``rows`` of no version.
    where
        Its path, relative to the store.
    n_files, n_bytes
        Its files and their size.
    modified
        When the newest of them was written; when the version was removed that they were of, if
        that is later.
    """

    what: str
    where: str
    n_files: int
    n_bytes: int
    modified: datetime


def orphans(
    store: Store, kind: Kind | None = None, older_than: timedelta = timedelta(0)
) -> list[Orphan]:
    """Find what no version refers to, by kind and place.

    Parameters
    ----------
    store
        The store.
    kind
        Only what versions of this kind are made of, where given.
    older_than
        Only what is older.
    """
    return list(_Search(store, older_than).orphans(kind))


def collect(
    store: Store, older_than: timedelta, kind: Kind | None = None, force: bool = False
) -> list[Orphan]:
    """Remove the orphans of a certain age; what a version refers to is never touched.

    Parameters
    ----------
    store
        The store.
    older_than
        Younger orphans stay: they may belong to a run that is at work.
    kind
        Only what versions of this kind are made of, where given.
    force
        Whether the age may be less than `LEAST_AGE`; then no other process should write.

    Returns
    -------
    list
        What was removed, by this call and not by another at the same time.

    Raises
    ------
    InvalidArgumentError
        If the age is below `LEAST_AGE` and not forced.
    FailedPreconditionError
        If the catalog has no version, and never had one, while there are files of versions.
    UnavailableError, IntegrityError
        If the catalog cannot be read.
    """
    if older_than < LEAST_AGE and not force:
        raise InvalidArgumentError(
            f"an age of {older_than.total_seconds() / 3600:g} h is less than "
            f"{LEAST_AGE.total_seconds() / 3600:g} h: what is younger may belong to a run that is "
            "at work; --force where none is"
        )
    _require_versions(store)
    search = _Search(store, older_than)
    removed = []
    for orphan in list(search.orphans(kind)):
        if orphan.what == VERSION:
            _supersede(store, *version_of(orphan.where))
        found = store.files.remove(orphan.where, partial(search.is_wanted, orphan))
        if found is not None:
            removed.append(replace(orphan, n_files=found.n_files, n_bytes=found.n_bytes))
            if orphan.what == VERSION:
                _untag(store, orphan.where)
    return removed


def _require_versions(store: Store) -> None:
    """Refuse a catalog that knows of nothing while there are files: it may be the wrong one."""
    references = _References.of(store)
    if references.standing or references.removed:
        return
    found = orphans(store)
    if found:
        raise FailedPreconditionError(
            f"the catalog of the store at {store.uri} has no version, while there is "
            f"{found[0].where}"
            + (f" and {len(found) - 1} more" if len(found) > 1 else "")
            + "; nothing was removed. A catalog that was lost is put back by `cellkin store "
            "restore`; of a store that never had a version, remove the folder"
        )


@dataclass(frozen=True)
class _References:
    """What versions refer to: paths of folders, and ``TABLE.lance/VERSION``.

    Parameters
    ----------
    standing
        What a version of the catalog refers to.
    removed
        What a version referred to that was removed from the catalog, and when that was.
    """

    standing: set[str]
    removed: Mapping[str, datetime]

    @classmethod
    def of(cls, store: Store) -> "_References":
        """Read them from the catalog as it is now."""
        view = store.catalog.view()
        standing = {part for entry in view.all_entries for part in _parts(entry.manifest)}
        removed: dict[str, datetime] = {}
        for each in view.removed:
            when = datetime.fromisoformat(each.removed_at)
            for part in _parts(each.entry.manifest):
                removed[part] = max(when, removed.get(part, when))
        return cls(standing, removed)

    def has(self, path: str) -> bool:
        """Tell whether a folder, a table, or a version of one by its manifest, is referred to."""
        key = _key(path)
        return any(part == key or part.startswith(f"{key}/") for part in self.standing)

    def modified(self, found: Found) -> datetime:
        """Return when something was written; when its version was removed, if that is later."""
        key = _key(found.path)
        times = [
            when for part, when in self.removed.items() if part == key or part.startswith(f"{key}/")
        ]
        return max([found.modified, *times])


def _parts(manifest: Mapping[str, Any]) -> Iterator[str]:
    if "path" in manifest:
        yield manifest["path"]
    if "table" in manifest:
        yield _version_key(manifest["table"], manifest["table_version"])


def _key(path: str) -> str:
    table, version = version_of(path)
    return _version_key(table, version) if version else path


def _version_key(table: str, version: int) -> str:
    return f"{table}{SUFFIX}/{version}"


class _Search:
    """Looks for orphans of a certain age, counted from when the search begins."""

    def __init__(self, store: Store, older_than: timedelta) -> None:
        self._store = store
        self._limit = datetime.now(UTC) - older_than
        self._rows: dict[str, set[str]] = {}

    def orphans(self, kind: Kind | None) -> Iterator[Orphan]:
        """Yield them; versions of a table come before its rows."""
        references = _References.of(self._store)
        if kind in (None, Kind.INDEX):
            for folder in self._store.files.found("indexes"):
                if not references.has(folder.path):
                    yield from self._old(FOLDER, folder, references)
        for name in self._store.tables():
            if kind in (None, _kind_of(name)) and _kind_of(name) is not None:
                yield from self._of_table(name, references)

    def is_wanted(self, orphan: Orphan, now: Found) -> bool:
        """Tell whether an orphan is referred to or young, by what there is now."""
        if orphan.what != ROWS:
            references = _References.of(self._store)
            return references.modified(now) > self._limit or references.has(orphan.where)
        if now.modified > self._limit:
            return True
        # Versions of a table keep their rows, whether or not the catalog knows of them yet.
        folder, _, name = orphan.where.partition(f"/{DATA}/")
        manifests = self._store.files.walk(f"{folder}/{VERSIONS}")
        return any(name in self._rows_of(manifest.path) for manifest in manifests)

    def _old(self, what: str, found: Found, references: _References) -> Iterator[Orphan]:
        modified = references.modified(found)
        if modified <= self._limit:
            yield Orphan(what, found.path, found.n_files, found.n_bytes, modified)

    def _of_table(self, name: str, references: _References) -> Iterator[Orphan]:
        folder = f"{name}{SUFFIX}"
        files = list(self._store.files.walk(folder))
        versions = {file: number for file in files if (number := version_of(file.path)[1])}
        unused = versions and not references.has(folder)
        if unused and not _is_own(self._store, name):
            return
        newest = max(versions.values(), default=0)
        gone = set()
        for manifest, number in versions.items():
            # The newest version stays where others are used, or it has no rows: Lance counts on
            # from it.
            stays = number == newest and not (unused and self._rows_of(manifest.path))
            if not stays and not references.has(manifest.path):
                for orphan in self._old(VERSION, manifest, references):
                    gone.add(manifest.path)
                    yield orphan
        kept = (self._rows_of(m.path) for m in versions if m.path not in gone)
        committed = set().union(*kept)
        start = f"{folder}/{DATA}/"
        data = {
            file.path.removeprefix(start): file for file in files if file.path.startswith(start)
        }
        stray = [f for n, f in data.items() if _DATA.fullmatch(n) and n not in committed]
        # A run that is at work on the table goes on to write: its first rows may be old.
        if stray and max(file.modified for file in stray) <= self._limit:
            for file in stray:
                yield from self._old(ROWS, file, references)

    def _rows_of(self, manifest: str) -> set[str]:
        """Return the names of the files that a version of a table refers to."""
        table, version = version_of(manifest)
        if version and manifest not in self._rows:
            with reading(f"version {version} of table {table}", "run `cellkin store verify`"):
                try:
                    self._rows[manifest] = row_files(self._store, table, [version])
                except RAISED:
                    # Another clean-up may have removed the version meanwhile.
                    if any(
                        f.path == manifest
                        for f in self._store.files.walk(f"{table}{SUFFIX}/{VERSIONS}")
                    ):
                        raise
        return self._rows.get(manifest, set())


def _kind_of(table: str) -> Kind | None:
    """Return the kind whose versions a table is for; None where it is for none."""
    for start, (kind, _) in _KINDS.items():
        if table.startswith(start) and (start == STAGING or is_name(table.removeprefix(start))):
            return kind
    return None


def _is_own(store: Store, table: str) -> bool:
    """Tell whether a table has the columns that cellkin writes; a name may be anyone's."""
    columns = next(columns for start, (_, columns) in _KINDS.items() if table.startswith(start))
    try:
        return columns <= set(lance.dataset(store.table_uri(table)).schema.names)
    except RAISED:
        return False


def _supersede(store: Store, table: str, version: int) -> None:
    """Let the newest version of a table that is to go be followed by one without rows.

    A table itself is never dropped: a writer may be at work in it.
    """
    uri = store.table_uri(table)
    # Where another writer is first, the version is no longer the newest.
    with suppress(ConflictError), writing(f"table {table}"):
        dataset = lance.dataset(uri)
        if dataset.version == version:
            lance.write_dataset(dataset.schema.empty_table(), uri, mode="overwrite")


def _untag(store: Store, manifest: str) -> None:
    """Forget the tags of a version that was removed."""
    table, version = version_of(manifest)
    with suppress(*RAISED):
        tags = lance.dataset(store.table_uri(table)).tags
        for tag, of in tags.list().items():
            if of["version"] == version:
                tags.delete(tag)
