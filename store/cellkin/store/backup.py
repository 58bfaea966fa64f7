"""Incremental, consistent copies of stores that are being served and written to.

The journal is read first. The files its versions refer to never change, so they can be copied
while others write; the journal is written last, so the copy never lists a version it lacks.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import PurePosixPath
from threading import Lock
from typing import Any

from cellkin.store.catalog import Entry
from cellkin.store.catalog_rows import CatalogRows
from cellkin.store.catalog_view import RowReader
from cellkin.store.cell_table import row_files
from cellkin.store.checked_tables import what_of
from cellkin.store.failures import reading, writing
from cellkin.store.files import files_at
from cellkin.store.folders import is_own_folder
from cellkin.store.journal import Journal, record_path
from cellkin.store.maintenance import damage
from cellkin.store.small_files import small_files
from cellkin.store.store import Store, make_folder, refuse_file
from cellkin.store.table_files import DATA, SUFFIX, TAGS, VERSIONS, manifest_paths
from cellkin.wire.errors import (
    ConflictError,
    FailedPreconditionError,
    IntegrityError,
    InvalidArgumentError,
)

Progress = Callable[[int, int], None]
_COPIERS = 4


@dataclass(frozen=True)
class Copied:
    """Result of a copy.

    Parameters
    ----------
    store
        The copy.
    n_versions
        Versions in the copy.
    n_files, n_bytes
        Files copied by this call, and their size.
    n_files_before
        Files that the copy already had.
    """

    store: Store
    n_versions: int
    n_files: int
    n_bytes: int
    n_files_before: int


@dataclass(frozen=True)
class _File:
    """A file to copy.

    Parameters
    ----------
    path
        Relative to the store.
    n_bytes
        Its size.
    digest
        Its SHA-256, hexadecimal; empty if the catalog has none.
    """

    path: str
    n_bytes: int
    digest: str = ""


def copy_store(uri: str, destination: str, progress: Progress) -> Copied:
    """Copy a store to another location, or update an earlier copy of it.

    Parameters
    ----------
    uri
        The store: a local folder or an object store.
    destination
        A location without a store, or with an earlier copy of this one; files that are there are
        not copied again.
    progress
        Called with the bytes copied and the total bytes to copy.

    Returns
    -------
    copied
        What was copied. Check each version of the copy with `damage` to verify it.

    Raises
    ------
    FailedPreconditionError
        If the destination has another store or a later state of this one, or the store has no
        journal.
    InvalidArgumentError
        If the destination is the store itself, or a file.
    IntegrityError
        If the catalog is damaged, or files of a version are missing or damaged.
    ConflictError
        If something was removed while it was copied, or the destination was written to.
    """
    store = Store.open(uri)
    refuse_file(destination)
    copy = Store(destination, files_at(destination))
    if copy.root == store.root:
        raise InvalidArgumentError(f"{destination} is the store itself; name another place")
    copy.files.require_safe_writers()
    entries, records = _snapshot(store)
    n_records = _require_earlier(copy, uri, records)
    source = _Files(store)
    made_of = [(entry, list(source.of(entry))) for entry in entries]
    files = {file.path: file for _, parts in made_of for file in parts}
    there = _sizes(copy, files)
    todo = [file for file in files.values() if there.get(file.path) != file.n_bytes]
    differing = {file.path for file in todo if file.path in there}
    for entry, parts in made_of:
        if differing.intersection(file.path for file in parts):
            _require_whole(store, entry)
    with writing(f"store {destination}"):
        # Table manifests refer to data files, which must exist first.
        manifests = [file for file in todo if _is_manifest(file)]
        others = [file for file in todo if not _is_manifest(file)]
        _copy(store, copy, [others, manifests], progress)
        make_folder(destination)
        _append(copy, records, n_records)
    copy.catalog.upgrade()
    n_bytes = sum(file.n_bytes for file in todo)
    return Copied(copy, len(entries), len(todo), n_bytes, len(files) - len(todo))


def _snapshot(store: Store) -> tuple[list[Entry], list[bytes]]:
    """Return the versions of a store at one moment, and the journal records up to it."""
    store.catalog.view()  # raises if the catalog is damaged
    if not store.catalog.has_journal:
        raise FailedPreconditionError(
            f"the store at {store.uri} was written by an earlier cellkin and has no journal, "
            "without which no copy is consistent; run `cellkin store upgrade` first, which adds it "
            "and changes nothing else"
        )
    files = small_files(store.root)
    journal, rows = Journal(files, store.uri), CatalogRows()
    for record in journal.catch_up():
        rows.apply(record.change, record.at)
    contents = files.read_all([record_path(number + 1) for number in range(len(journal))])
    return list(RowReader().view(rows).all_entries), contents


def _require_earlier(copy: Store, uri: str, records: Sequence[bytes]) -> int:
    """Return how many of the records a copy has; raise unless it is an earlier state."""
    if not copy.catalog.is_there():
        return 0
    files = small_files(copy.root)
    journal = Journal(files, copy.uri)
    journal.catch_up()
    n = len(journal)
    last = files.read_all([record_path(n)])[0] if n else b""
    if not n or n > len(records) or records[n - 1] != last:
        raise FailedPreconditionError(
            f"{copy.uri} has a store that is no earlier state of the one at {uri}: what would be "
            "copied does not go on from what it has; choose a new folder"
        )
    return n


def _append(copy: Store, records: Sequence[bytes], n_there: int) -> None:
    """Write the records that a copy lacks; raise if another process wrote one of them."""
    files = small_files(copy.root)
    for number in range(n_there + 1, len(records) + 1):
        if not files.create(record_path(number), records[number - 1]):
            raise ConflictError(
                f"{copy.uri} was written to while the store was copied into it, so that it is no "
                "copy of it any more; choose a new folder, and write to copies only when done"
            )


def _is_manifest(file: _File) -> bool:
    return f"/{VERSIONS}/" in file.path


class _Files:
    """Lists the files of versions.

    Parameters
    ----------
    store
        The store; each of its folders is listed once.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._folders: dict[str, dict[str, int]] = {}
        self._tags: dict[str, dict[str, int]] = {}

    def of(self, entry: Entry) -> Iterator[_File]:
        """Yield the files of a version.

        Raises
        ------
        ConflictError
            If the version was removed meanwhile.
        IntegrityError
            If files are missing.
        """
        manifest = entry.manifest
        _require_own_paths(manifest, what_of(entry))
        if "path" in manifest:
            for name, digest in manifest["files"].items():
                yield self._file(entry, f"{manifest['path']}/{name}", digest)
        if "table" in manifest:
            table, version = manifest["table"], manifest["table_version"]
            there = self._sizes(f"{table}{SUFFIX}")
            both = manifest_paths(table, version)
            yield self._file(entry, both[1] if both[1] in there else both[0])
            for name in self._rows(entry):
                yield self._file(entry, f"{table}{SUFFIX}/{DATA}/{name}")
            for path, tagged in self._tagged(table).items():
                if tagged == version:  # the tag protects the version from Lance's cleanup
                    yield self._file(entry, path)

    def _file(self, entry: Entry, path: str, digest: str = "") -> _File:
        sizes = self._sizes(path.rpartition("/")[0] if digest else path.partition("/")[0])
        if path in sizes:
            return _File(path, sizes[path], digest)
        self._require_there(entry)
        raise IntegrityError(
            f"{what_of(entry)}: file {path} is missing; publish it again and remove this "
            "version, or restore it from an earlier copy"
        )

    def _rows(self, entry: Entry) -> set[str]:
        table, version = entry.manifest["table"], entry.manifest["table_version"]
        try:
            with reading(what_of(entry)):
                return row_files(self._store, table, [version])
        except IntegrityError:
            self._require_there(entry)
            raise

    def _require_there(self, entry: Entry) -> None:
        """Raise if a version was removed meanwhile."""
        if entry not in self._store.catalog.entries():
            raise ConflictError(
                f"{what_of(entry)} was removed while the store was copied; run it again"
            )

    def _sizes(self, folder: str) -> dict[str, int]:
        if folder not in self._folders:
            found = self._store.files.walk(folder)
            self._folders[folder] = {file.path: file.n_bytes for file in found}
        return self._folders[folder]

    def _tagged(self, table: str) -> dict[str, int]:
        if table not in self._tags:
            paths = self._sizes(f"{table}{SUFFIX}")
            tags = [path for path in paths if path.startswith(f"{table}{SUFFIX}/{TAGS}/")]
            self._tags[table] = {path: _tagged(self._store, path) for path in tags}
        return self._tags[table]


def _require_own_paths(manifest: Mapping[str, Any], what: str) -> None:
    """Raise if a version names files elsewhere: nothing is written outside the copy."""
    path, table = manifest.get("path"), manifest.get("table")
    names = [*manifest.get("files", ()), *([table] if table else [])]
    inside = all(PurePosixPath(name).name == name for name in names)
    if path is not None:
        inside &= path.count("/") == 2 and path.startswith("indexes/") and is_own_folder(path)
    if not inside:
        raise IntegrityError(
            f"{what}: the catalog names files that cellkin does not write ({path or table}); it "
            "was changed or damaged"
        )


def _tagged(store: Store, path: str) -> int:
    """Return the version that a Lance tag points to; 0 if the tag is gone or cannot be parsed."""
    try:
        return int(json.loads(b"".join(store.files.read(path)))["version"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return 0


def _sizes(copy: Store, paths: Mapping[str, _File]) -> dict[str, int]:
    """Return the sizes of all files of a copy below the top-level folders of these paths."""
    tops = {"/".join(PurePosixPath(path).parts[:1]) for path in paths}
    return {file.path: file.n_bytes for top in tops for file in copy.files.walk(top)}


def _require_whole(store: Store, entry: Entry) -> None:
    """Raise if a version is damaged: its files must not replace those of a copy."""
    if wrong := damage(store, entry):
        raise IntegrityError(
            f"{entry.full_name}: {wrong}. The copy has other files of it, and was not changed; if "
            "they are whole, restore it from there"
        )


def _copy(store: Store, copy: Store, turns: Sequence[Sequence[_File]], progress: Progress) -> None:
    """Copy groups of files, finishing each group before starting the next."""
    total, done, lock = sum(file.n_bytes for files in turns for file in files), 0, Lock()

    def chunks(file: _File) -> Iterator[bytes]:
        nonlocal done
        digest = hashlib.sha256()
        for chunk in store.files.read(file.path):
            digest.update(chunk)
            yield chunk
            with lock:
                done += len(chunk)
                progress(min(done, total), total)
        if file.digest and digest.hexdigest() != file.digest:
            raise IntegrityError(
                f"{file.path} of the store at {store.uri} does not have the digest "
                f"{file.digest[:16]} of the catalog; the data was changed or damaged"
            )

    def one(file: _File) -> None:
        try:
            copy.files.write(file.path, chunks(file))
        except FileNotFoundError as error:
            raise ConflictError(
                f"{file.path} was removed while the store was copied; run the command again"
            ) from error

    progress(0, total)
    for files in turns:
        with ThreadPoolExecutor(_COPIERS) as copiers:
            try:
                list(copiers.map(one, files))
            except BaseException:
                copiers.shutdown(cancel_futures=True)
                raise
