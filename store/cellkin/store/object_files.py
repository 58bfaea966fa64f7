"""Files and folders in an object store."""

import hashlib
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path, PurePosixPath

import obstore
import obstore.exceptions
from obstore.store import from_url

from cellkin.store.checked import cache_folder
from cellkin.store.failures import reading, writing
from cellkin.store.folders import (
    Found,
    check_files,
    differing,
    file_digests,
    folder_digest,
    is_own_folder,
    missing,
)
from cellkin.store.local_files import put_in_place
from cellkin.store.small_files import PARTIAL
from cellkin.wire.errors import FailedPreconditionError, IntegrityError

_PROBE = "conditional-put-probe"


class ObjectFiles:
    """Files and folders in an object store; folders that are read are cached on this machine.

    Settings and keys come from the environment (``AWS_ACCESS_KEY_ID``, ``AWS_ENDPOINT``, ...).
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._store = from_url(uri)
        self._cache = cache_folder()

    def require_safe_writers(self) -> None:
        """Check that a PUT conditional on a new key fails if the key exists.

        Lance commits by such a PUT. A store that ignores the condition reports success to every
        writer and keeps only the last commit: the others are silently lost.

        Raises
        ------
        FailedPreconditionError
            If the store ignores the condition.
        PermissionDeniedError, UnavailableError
            If writing is not permitted, or the store cannot be reached.
        """
        key = f"{_PROBE}-{uuid.uuid4().hex}"
        with writing(f"object store {self._uri}"):
            # The first may fail too: if it is retried because its first response was lost.
            is_honored = not self._creates(key)
            try:
                if is_honored or not self._creates(key):
                    return
            finally:
                obstore.delete(self._store, key)
        raise FailedPreconditionError(
            f"object store {self._uri} ignores the condition of a PUT (If-None-Match), so of two "
            "writers one would lose its commits silently; use a store that honors it"
        )

    def _creates(self, key: str) -> bool:
        """Create an object on the condition that there is none; return whether that succeeded."""
        try:
            obstore.put(self._store, key, b"1", mode="create")
        except obstore.exceptions.AlreadyExistsError:
            return False
        return True

    def publish(self, parent: str, write: Callable[[Path], None]) -> tuple[str, dict[str, str]]:
        """Write a folder named by the digest of its content; see `LocalFiles.publish`.

        Files are uploaded one by one: the folder does not count until the catalog refers to it.
        """
        with tempfile.TemporaryDirectory(prefix="cellkin-") as scratch:
            write(Path(scratch))
            files = file_digests(Path(scratch))
            path = f"{parent}/{folder_digest(files)}"
            for name in files:
                obstore.put(self._store, f"{path}/{name}", Path(scratch) / name)
        return path, files

    def folder(self, path: str, files: Mapping[str, str], what: str, again: bool = True) -> Path:
        """Return a cached copy of the folder after checking its digests; see `Files.folder`.

        Raises
        ------
        IntegrityError
            If a file is missing or differs.
        """
        cached = self._cache / path.rpartition("/")[2]
        try:
            check_files(cached, files, what, again)
        except IntegrityError:
            self._download(path, files, cached, what)
        return cached

    def check(self, path: str, files: Mapping[str, str], what: str) -> None:
        """Check the objects themselves, not the cache; see `Files.check`."""
        for name, digest in files.items():
            found = hashlib.sha256()
            try:
                for chunk in self.read(f"{path}/{name}"):
                    found.update(chunk)
            except FileNotFoundError as error:
                raise missing(what, name) from error
            if found.hexdigest() != digest:
                raise differing(what, name, digest)

    def found(self, parent: str) -> Iterator[Found]:
        """Yield the folders cellkin wrote two levels below a folder; see `Files.found`."""
        folders: dict[str, list[Found]] = {}
        for item in self.walk(parent):
            path = "/".join(PurePosixPath(item.path).parts[: _depth(parent) + 2])
            folders.setdefault(path, []).append(item)
        for path, items in sorted(folders.items()):
            # cellkin's folders contain only files, no folders.
            flat = all(_depth(item.path) == _depth(parent) + 3 for item in items)
            if flat and is_own_folder(path):
                yield Found.of(path, items)

    def folders(self) -> list[str]:
        """Return the names of the top-level folders of the store, sorted."""
        with self._reached():
            listed = obstore.list_with_delimiter(self._store)
        return sorted(prefix.rstrip("/") for prefix in listed["common_prefixes"])

    def walk(self, folder: str) -> Iterator[Found]:
        """Yield the files below a folder, at any depth; nothing if it does not exist."""
        with self._reached():
            for page in obstore.list(self._store, prefix=f"{folder}/"):
                for item in page:
                    modified: datetime = item["last_modified"]
                    yield Found(item["path"], 1, item["size"], modified)

    def touch(self, path: str) -> None:
        """Check that a file exists; the time of an object cannot be set.

        Raises
        ------
        FileNotFoundError
            If it does not exist.
        """
        with self._reached():
            obstore.head(self._store, path)

    def remove(self, path: str, keep: Callable[[Found], bool]) -> Found | None:
        """Remove a file or the files below a folder unless ``keep`` returns True."""
        items = list(self.walk(path))
        if not items:
            try:
                with self._reached():
                    head = obstore.head(self._store, path)
            except FileNotFoundError:
                return None
            items = [Found(path, 1, head["size"], head["last_modified"])]
        found = Found.of(path, items)
        if keep(found):
            return None
        with writing(f"object store {self._uri}"):
            obstore.delete(self._store, [item.path for item in items])
        return found

    def read(self, path: str) -> Iterator[bytes]:
        """Yield the bytes of a file, a few MB at a time."""
        with self._reached():
            for chunk in obstore.get(self._store, path).stream():
                yield bytes(chunk)

    def write(self, path: str, chunks: Iterable[bytes]) -> None:
        """Write or replace a file atomically."""
        obstore.put(self._store, path, iter(chunks))

    def _download(self, path: str, files: Mapping[str, str], cached: Path, what: str) -> None:
        with writing(f"cache {self._cache}"):
            self._cache.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=PARTIAL, dir=self._cache) as scratch:
                partial = Path(scratch) / cached.name
                partial.mkdir()
                for name, digest in files.items():
                    found = hashlib.sha256()
                    try:
                        with (partial / name).open("wb") as file:
                            for chunk in self.read(f"{path}/{name}"):
                                file.write(chunk)
                                found.update(chunk)
                    except FileNotFoundError as error:
                        raise missing(what, name) from error
                    if found.hexdigest() != digest:
                        raise differing(what, name, digest)
                put_in_place(partial, cached, files)

    @contextmanager
    def _reached(self) -> Iterator[None]:
        """Translate errors of the object store, except that of a missing file."""
        try:
            yield
        except obstore.exceptions.BaseError as error:
            with reading(f"object store {self._uri}"):
                raise error from None


def _depth(path: str) -> int:
    return len(PurePosixPath(path).parts)
