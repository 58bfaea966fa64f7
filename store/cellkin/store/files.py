"""Folders of files that are written whole or not at all, on this machine or in an object store."""

import hashlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import obstore
import obstore.exceptions
from obstore.store import from_url

from cellkin.store.checked import cache_folder, note_checked, was_checked
from cellkin.store.digest import file_digest
from cellkin.wire.errors import (
    FailedPreconditionError,
    IntegrityError,
    InvalidArgumentError,
    UnavailableError,
)

_PARTIAL = ".partial-"
_PROBE = "conditional-put-probe"
SCHEMES = ("s3", "gs", "az")


@dataclass(frozen=True)
class Found:
    """A file or a folder of files that lies in a store, whether or not a version refers to it.

    Parameters
    ----------
    path
        Relative to the store.
    n_bytes
        Its size, or that of its files.
    modified
        When it, or the newest of them, was written.
    """

    path: str
    n_bytes: int
    modified: datetime


class Files(Protocol):
    """Where a store keeps its folders of files."""

    def require_safe_writers(self) -> None:
        """Refuse a place where two writers at one time could lose each other's commits."""

    def publish(self, parent: str, write: Callable[[Path], None]) -> tuple[str, dict[str, str]]:
        """Write a folder; see `LocalFiles.publish`."""

    def folder(self, path: str, files: Mapping[str, str], what: str, again: bool = True) -> Path:
        """Return a folder of this machine with the files, their digests checked.

        Without ``again``, files that were checked before and not touched since are taken as whole.
        """

    def found(self, parent: str) -> Iterator[Found]:
        """Yield the folders below a folder, unfinished ones among them."""

    def sizes(self, folder: str) -> Iterator[Found]:
        """Yield the files of a folder; none where there is no such folder."""

    def remove(self, path: str) -> None:
        """Remove a folder and what is in it."""

    def remove_file(self, path: str) -> None:
        """Remove a file."""


def files_at(uri: str) -> Files:
    """Return the files of the store at a URI.

    Raises
    ------
    InvalidArgumentError
        If the URI is neither a folder of this machine nor an object store.
    """
    if "://" not in uri or uri.startswith("file://"):
        return LocalFiles(local_root(uri))
    if uri.partition("://")[0] not in SCHEMES:
        raise InvalidArgumentError(
            f"store {uri}: give a folder of this machine, or a URI of "
            + ", ".join(f"{scheme}://" for scheme in SCHEMES)
        )
    return ObjectFiles(uri)


def local_root(uri: str) -> Path:
    """Return the folder a local URI names."""
    return Path(uri.removeprefix("file://")).expanduser().absolute()


class LocalFiles:
    """Folders on a disk of this machine."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def require_safe_writers(self) -> None:
        """Do nothing: renaming is atomic on a local disk."""

    def publish(self, parent: str, write: Callable[[Path], None]) -> tuple[str, dict[str, str]]:
        """Write a folder under the digest of its content.

        The files are written elsewhere, synced to the disk and moved into place in one step, so
        the folder is there whole or not at all. The same content again is the same folder.

        Parameters
        ----------
        parent
            Where the folder goes, relative to the store.
        write
            Writes the files into the empty folder it is given.

        Returns
        -------
        path
            Relative to the store; its last part is the digest.
        files
            SHA-256 of each file by name, hexadecimal.
        """
        place = self._root / parent
        partial = place / f"{_PARTIAL}{uuid.uuid4().hex}"
        partial.mkdir(parents=True)
        try:
            write(partial)
            files = _digests(partial)
            folder = place / _folder_digest(files)
            for path in partial.iterdir():
                _sync(path)
            _sync(partial)
            if not folder.exists():
                partial.rename(folder)
                _sync(place)
                note_checked(folder, files)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return f"{parent}/{folder.name}", files

    def folder(self, path: str, files: Mapping[str, str], what: str, again: bool = True) -> Path:
        """Return the folder, its digests checked; see `Files.folder`.

        Raises
        ------
        IntegrityError
            If a file is missing or differs.
        """
        _check(self._root / path, files, what, again)
        return self._root / path

    def found(self, parent: str) -> Iterator[Found]:
        """Yield the folders two levels below, unfinished ones among them."""
        for folder in sorted((self._root / parent).glob("*/*")):
            stats = [file.stat() for file in folder.iterdir()]
            newest = max([folder.stat().st_mtime, *(s.st_mtime for s in stats)])
            yield Found(
                folder.relative_to(self._root).as_posix(),
                sum(s.st_size for s in stats),
                datetime.fromtimestamp(newest, UTC),
            )

    def sizes(self, folder: str) -> Iterator[Found]:
        """Yield the files of a folder; none where there is no such folder."""
        place = self._root / folder
        for file in sorted(place.iterdir()) if place.is_dir() else []:
            stat = file.stat()
            when = datetime.fromtimestamp(stat.st_mtime, UTC)
            yield Found(file.relative_to(self._root).as_posix(), stat.st_size, when)

    def remove(self, path: str) -> None:
        """Remove a folder and what is in it."""
        shutil.rmtree(self._root / path)

    def remove_file(self, path: str) -> None:
        """Remove a file."""
        (self._root / path).unlink()


class ObjectFiles:
    """Folders in an object store; what is read is kept in a cache of this machine.

    Settings and keys are those of the environment (``AWS_ACCESS_KEY_ID``, ``AWS_ENDPOINT``, ...).
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._store = from_url(uri)
        self._cache = cache_folder()

    def require_safe_writers(self) -> None:
        """Make sure that a PUT on condition that the key is new fails where it is not.

        Lance commits by such a PUT. A store that ignores the condition reports success to every
        writer and keeps the last one's commit: the others are lost and nobody is told.

        Raises
        ------
        FailedPreconditionError
            If the store ignores the condition.
        UnavailableError
            If it cannot be reached.
        """
        key = f"{_PROBE}-{uuid.uuid4().hex}"
        try:
            obstore.put(self._store, key, b"1", mode="create")
            try:
                obstore.put(self._store, key, b"2", mode="create")
            except obstore.exceptions.AlreadyExistsError:
                return
            finally:
                obstore.delete(self._store, key)
        except obstore.exceptions.BaseError as error:
            raise UnavailableError(
                f"object store {self._uri} cannot be written: {error}"
            ) from error
        raise FailedPreconditionError(
            f"object store {self._uri} ignores the condition of a PUT (If-None-Match), so of two "
            "writers one would lose its commits silently; use a store that honors it"
        )

    def publish(self, parent: str, write: Callable[[Path], None]) -> tuple[str, dict[str, str]]:
        """Write a folder under the digest of its content; see `LocalFiles.publish`.

        The files are uploaded one by one: until the catalog names the folder it does not exist.
        """
        with tempfile.TemporaryDirectory(prefix="cellkin-") as scratch:
            write(Path(scratch))
            files = _digests(Path(scratch))
            path = f"{parent}/{_folder_digest(files)}"
            for name in files:
                obstore.put(self._store, f"{path}/{name}", Path(scratch) / name)
        return path, files

    def folder(self, path: str, files: Mapping[str, str], what: str, again: bool = True) -> Path:
        """Return a cached copy of the folder, its digests checked; see `Files.folder`.

        Raises
        ------
        IntegrityError
            If a file is missing or differs.
        """
        cached = self._cache / path.rpartition("/")[2]
        try:
            _check(cached, files, what, again)
        except IntegrityError:
            self._download(path, files, cached, what)
            _check(cached, files, what)
        return cached

    def found(self, parent: str) -> Iterator[Found]:
        """Yield the folders two levels below."""
        folders: dict[str, Found] = {}
        for page in obstore.list(self._store, prefix=f"{parent}/"):
            for item in page:
                path = item["path"].rpartition("/")[0]
                known = folders.get(path, Found(path, 0, item["last_modified"]))
                newest = max(known.modified, item["last_modified"])
                folders[path] = Found(path, known.n_bytes + item["size"], newest)
        yield from sorted(folders.values(), key=lambda folder: folder.path)

    def sizes(self, folder: str) -> Iterator[Found]:
        """Yield the files of a folder; none where there is no such folder."""
        for page in obstore.list(self._store, prefix=f"{folder}/"):
            for item in page:
                yield Found(item["path"], item["size"], item["last_modified"])

    def remove(self, path: str) -> None:
        """Remove a folder and what is in it."""
        for page in obstore.list(self._store, prefix=f"{path}/"):
            obstore.delete(self._store, [item["path"] for item in page])

    def remove_file(self, path: str) -> None:
        """Remove a file."""
        obstore.delete(self._store, path)

    def _download(self, path: str, files: Mapping[str, str], cached: Path, what: str) -> None:
        self._cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=_PARTIAL, dir=self._cache) as scratch:
            for name in files:
                try:
                    chunks = obstore.get(self._store, f"{path}/{name}").stream()
                except FileNotFoundError as error:
                    raise IntegrityError(
                        f"{what}: file {name} is missing; publish it again"
                    ) from error
                with (Path(scratch) / name).open("wb") as file:
                    for chunk in chunks:
                        file.write(chunk)
            shutil.rmtree(cached, ignore_errors=True)
            Path(scratch).rename(cached)
            Path(scratch).mkdir()  # for the context to remove


def _digests(folder: Path) -> dict[str, str]:
    return {path.name: file_digest(path) for path in sorted(folder.iterdir())}


def _folder_digest(files: Mapping[str, str]) -> str:
    listing = "".join(f"{name}\0{digest}\n" for name, digest in files.items())
    return hashlib.sha256(listing.encode()).hexdigest()


def _check(folder: Path, files: Mapping[str, str], what: str, again: bool = True) -> None:
    if not again and was_checked(folder, files):
        return
    for name, digest in files.items():
        path = folder / name
        if not path.is_file():
            raise IntegrityError(f"{what}: file {name} is missing; publish it again")
        if file_digest(path) != digest:
            raise IntegrityError(
                f"{what}: file {name} does not have the digest {digest[:16]} of the catalog; the "
                "data was changed or damaged, publish it again"
            )
    note_checked(folder, files)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
