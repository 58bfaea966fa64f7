"""Garbage collection: find what no version refers to, and remove it once it is old enough.

Only files and folders with names that cellkin writes are considered, and links are not followed.
Each is looked up in the catalog again right before its removal.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
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
from cellkin.store.journal import FOLDER as JOURNAL
from cellkin.store.small_files import PARTIAL
from cellkin.store.store import STAGING, Store
from cellkin.store.table_files import DATA, SUFFIX, TAGS, VERSIONS, version_of
from cellkin.wire.errors import ConflictError, FailedPreconditionError, InvalidArgumentError
from cellkin.wire.names import is_name

LEAST_AGE = timedelta(hours=1)
"""Minimum age without ``force``: anything younger may belong to a run in progress."""
FOLDER, VERSION, ROWS, UNFINISHED = "folder", "table version", "rows", "unfinished file"
_DATA = re.compile(r"[0-9a-f-]{32,}\.lance|" + re.escape(PARTIAL) + ".+")
_REMEDY = "run `cellkin store verify`"
_KINDS = {
    f"{Kind.CORPUS}-": (Kind.CORPUS, {"gene_id", "text_sha256", "symbol"}),
    f"{Kind.EMBEDDING}-": (Kind.EMBEDDING, {"gene_id", "text_sha256", "vector"}),
    f"{Kind.GENE_SETS}-": (Kind.GENE_SETS, {"set", "gene_ids", "weights"}),
    CELLS: (Kind.INDEX, {"id", "label", "batch"}),
    # Staged vectors of an unfinished embedding run.
    STAGING: (Kind.EMBEDDING, {"text_sha256", "vector"}),
}
"""Prefix of table names: the kind of their versions, and columns they always have."""


@dataclass(frozen=True)
class Orphan:
    """Something in a store that no version refers to, such as leftovers of an interrupted run.

    Parameters
    ----------
    what
        ``folder``, ``table version``, ``rows`` of no version, or ``unfinished file``.
    where
        Path relative to the store.
    n_files, n_bytes
        Number of files and their total size.
    modified
        Time of the newest file, or of the removal of the version it belonged to, if later.
    """

    what: str
    where: str
    n_files: int
    n_bytes: int
    modified: datetime


def orphans(
    store: Store, kind: Kind | None = None, older_than: timedelta = timedelta(0)
) -> list[Orphan]:
    """Find what no version refers to, by kind and location.

    Parameters
    ----------
    store
        The store.
    kind
        Only files of this kind of version, if given.
    older_than
        Only what is older than this.
    """
    return list(_Search(store, older_than).orphans(kind))


def collect(
    store: Store, older_than: timedelta, kind: Kind | None = None, force: bool = False
) -> list[Orphan]:
    """Remove orphans of a minimum age; files of versions are never touched.

    Parameters
    ----------
    store
        The store.
    older_than
        Younger orphans stay: they may belong to a run in progress.
    kind
        Only files of this kind of version, if given.
    force
        Whether the age may be less than `LEAST_AGE`; no other process should write then.

    Returns
    -------
    list
        What this call removed; not what another call removed at the same time.

    Raises
    ------
    InvalidArgumentError
        If the age is below `LEAST_AGE` and not forced.
    FailedPreconditionError
        If the catalog never had a version but there are files of versions.
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
        found = store.files.remove(orphan.where, partial(_stays, store, search, orphan))
        if found is not None:
            removed.append(replace(orphan, n_files=found.n_files, n_bytes=found.n_bytes))
            if orphan.what == VERSION:
                _untag(store, orphan.where)
    return removed


def _stays(store: Store, search: "_Search", orphan: Orphan, now: Found) -> bool:
    """Return whether an orphan must not be removed; make way for its removal otherwise."""
    if search.is_wanted(orphan, now):
        return True
    if orphan.what == VERSION:
        _supersede(store, *version_of(orphan.where))
    return False


def _require_versions(store: Store) -> None:
    """Raise if the catalog has no versions but there are files: it may be the wrong one."""
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
    """References of versions: paths of folders, and ``TABLE.lance/VERSION``.

    Parameters
    ----------
    standing
        References of the versions in the catalog.
    removed
        References of removed versions, with the time of removal.
    """

    standing: set[str]
    removed: Mapping[str, datetime]

    @classmethod
    def of(cls, store: Store) -> "_References":
        """Read the references from the current catalog."""
        view = store.catalog.view()
        standing = {part for entry in view.all_entries for part in _parts(entry.manifest)}
        removed: dict[str, datetime] = {}
        for each in view.removed:
            when = datetime.fromisoformat(each.removed_at)
            for part in _parts(each.entry.manifest):
                removed[part] = max(when, removed.get(part, when))
        return cls(standing, removed)

    def has(self, path: str) -> bool:
        """Return whether a folder, table or table version (by its manifest) is referred to."""
        key = _key(path)
        return any(part == key or part.startswith(f"{key}/") for part in self.standing)

    def modified(self, found: Found) -> datetime:
        """Return the time of modification, or of the removal of its version, if later."""
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
    """Searches for orphans of a minimum age at the start of the search."""

    def __init__(self, store: Store, older_than: timedelta) -> None:
        self._store = store
        self._limit = datetime.now(UTC) - older_than
        self._rows: dict[str, set[str]] = {}

    def orphans(self, kind: Kind | None) -> Iterator[Orphan]:
        """Yield orphans; versions of a table come before its rows."""
        references = _References.of(self._store)
        if kind in (None, Kind.INDEX):
            for folder in self._store.files.found("indexes"):
                if not references.has(folder.path):
                    yield from self._old(FOLDER, folder, references)
        if kind is None:
            yield from self._unfinished(self._store.files.walk(JOURNAL), references)
        for name in self._store.tables():
            if kind in (None, _kind_of(name)) and _kind_of(name) is not None:
                yield from self._of_table(name, references)

    def is_wanted(self, orphan: Orphan, now: Found) -> bool:
        """Return whether an orphan is now referred to or too young."""
        if orphan.what in (FOLDER, VERSION):
            references = _References.of(self._store)
            return references.modified(now) > self._limit or references.has(orphan.where)
        if now.modified > self._limit or orphan.what == UNFINISHED:
            return now.modified > self._limit
        # Table versions keep their rows even if they are not in the catalog yet.
        folder, _, name = orphan.where.partition(f"/{DATA}/")
        manifests = self._store.files.walk(f"{folder}/{VERSIONS}")
        return any(name in self._rows_of(manifest.path) for manifest in manifests)

    def _old(self, what: str, found: Found, references: _References) -> Iterator[Orphan]:
        modified = references.modified(found)
        if modified <= self._limit:
            yield Orphan(what, found.path, found.n_files, found.n_bytes, modified)

    def _unfinished(self, files: Iterable[Found], references: _References) -> Iterator[Orphan]:
        """Yield the files that killed processes left among manifests, tags and records."""
        for file in files:
            folder, _, name = file.path.rpartition("/")
            if name.startswith(PARTIAL) and folder.endswith((JOURNAL, VERSIONS, TAGS)):
                yield from self._old(UNFINISHED, file, references)

    def _of_table(self, name: str, references: _References) -> Iterator[Orphan]:
        folder = f"{name}{SUFFIX}"
        files = list(self._store.files.walk(folder))
        versions = {file: number for file in files if (number := version_of(file.path)[1])}
        unused = versions and not references.has(folder)
        if unused and not _is_own(self._store, name):
            return
        yield from self._unfinished(files, references)
        newest = max(versions.values(), default=0)
        gone = set()
        for manifest, number in versions.items():
            # The newest version stays if others are in use or it has no rows: Lance numbers the
            # next version from it.
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
        # A run in progress keeps writing to the table: its first rows may be old.
        if stray and max(file.modified for file in stray) <= self._limit:
            for file in stray:
                yield from self._old(ROWS, file, references)

    def _rows_of(self, manifest: str) -> set[str]:
        """Return the names of the files that a version of a table refers to."""
        table, version = version_of(manifest)
        if version and manifest not in self._rows:
            with reading(f"version {version} of table {table}", _REMEDY):
                try:
                    self._rows[manifest] = row_files(self._store, table, [version])
                except RAISED:
                    # Another collection may have removed the version meanwhile.
                    if any(
                        f.path == manifest
                        for f in self._store.files.walk(f"{table}{SUFFIX}/{VERSIONS}")
                    ):
                        raise
        return self._rows.get(manifest, set())


def _kind_of(table: str) -> Kind | None:
    """Return the kind of the versions in a table; None if it is not a cellkin table."""
    for start, (kind, _) in _KINDS.items():
        if table.startswith(start) and (start == STAGING or is_name(table.removeprefix(start))):
            return kind
    return None


def _is_own(store: Store, table: str) -> bool:
    """Return whether a table has the columns that cellkin writes; its name alone proves nothing."""
    columns = next(columns for start, (_, columns) in _KINDS.items() if table.startswith(start))
    try:
        return columns <= set(lance.dataset(store.table_uri(table)).schema.names)
    except RAISED:
        return False


def _supersede(store: Store, table: str, version: int) -> None:
    """Add an empty version if the version to be removed is the newest of its table.

    The table itself is never dropped: a writer may be using it.
    """
    uri = store.table_uri(table)
    with reading(f"table {table}", _REMEDY):
        dataset = lance.dataset(uri)
    # If another writer is first, the version is no longer the newest.
    with suppress(ConflictError), writing(f"table {table}"):
        if dataset.version == version:
            lance.write_dataset(dataset.schema.empty_table(), uri, mode="overwrite")


def _untag(store: Store, manifest: str) -> None:
    """Delete the tags of a removed version."""
    table, version = version_of(manifest)
    with suppress(*RAISED):
        tags = lance.dataset(store.table_uri(table)).tags
        for tag, of in tags.list().items():
            if of["version"] == version:
                tags.delete(tag)
