"""Small write-once files of a store, such as journal records."""

import errno
import os
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Protocol

import obstore
import obstore.exceptions
from obstore.store import from_url

from cellkin.store.failures import reading, writing
from cellkin.wire.errors import FailedPreconditionError, UnavailableError

PARTIAL = ".partial-"
_READERS = 32
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
# A server retries at its next refresh; a command should not hang for minutes.
_RETRY_S, _RETRIES = 10, 3


class SmallFiles(Protocol):
    """Reads and writes small files by path, relative to the store."""

    def names(self, folder: str, after: str = "") -> list[str]:
        """Return the names in a folder that sort after ``after``; empty if there is no folder.

        Raises
        ------
        UnavailableError
            If the folder cannot be listed: no permission, no connection.
        """

    def top(self) -> list[str]:
        """Return the names of the top-level files and folders; empty if there is no store."""

    def read_all(self, paths: Sequence[str]) -> list[bytes]:
        """Return the contents of files.

        Raises
        ------
        IntegrityError
            If one is missing.
        UnavailableError
            If one cannot be read now.
        """

    def create(self, path: str, content: bytes) -> bool:
        """Create a file atomically and durably; return False, with no effect, if it exists.

        A file that exists with the same content counts as created by this call.
        """


def small_files(root: str) -> SmallFiles:
    """Return the small files of a store, given its absolute folder or object store URI."""
    return SmallObjects(root) if "://" in root else SmallLocalFiles(Path(root))


class SmallLocalFiles:
    """Small files on a local disk."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def names(self, folder: str, after: str = "") -> list[str]:
        """Return the names in a folder; see `SmallFiles.names`."""
        place = self._root / folder
        with reading(f"folder {place}"):
            try:
                return sorted(path.name for path in place.iterdir() if path.name > after)
            except FileNotFoundError:
                return []

    def top(self) -> list[str]:
        """Return the names in the store's folder; see `SmallFiles.top`."""
        return self.names("")

    def read_all(self, paths: Sequence[str]) -> list[bytes]:
        """Return the contents of files; see `SmallFiles.read_all`."""
        return [self._read(path) for path in paths]

    def _read(self, path: str) -> bytes:
        with reading(f"file {self._root / path}", "put it back from a backup"):
            return (self._root / path).read_bytes()

    def create(self, path: str, content: bytes) -> bool:
        """Write a file and link it to its name; see `SmallFiles.create`.

        Linking fails if the name is taken, on network file systems too, and the content is synced
        to disk before the name exists.

        Raises
        ------
        UnavailableError
            If the file was created, but its name could not be synced to disk. Others may have read
            it by then, so it stays.
        """
        final = self._root / path
        partial = final.with_name(f"{PARTIAL}{uuid.uuid4().hex}")
        with writing(f"store {self._root}"):
            if not final.parent.is_dir():
                final.parent.mkdir(exist_ok=True)
                sync(self._root)
            try:
                with partial.open("xb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                try:
                    os.link(partial, final)
                except FileExistsError:
                    # It may be this link, which NFS repeated because its first response was lost.
                    if self._read(path) != content:
                        return False
                except OSError as error:
                    if error.errno in _NO_LINKS:
                        raise FailedPreconditionError(
                            f"{self._root} is on a file system without hard links, on which two "
                            "writers could lose each other's commits; choose another place"
                        ) from error
                    raise
            finally:
                partial.unlink(missing_ok=True)
            try:
                sync(final.parent)
            except OSError as error:
                raise UnavailableError(
                    f"{final} was written and counts, but the disk does not confirm it ({error}), "
                    "so that a power failure may lose it; see what the store has before you run "
                    "this again"
                ) from error
        return True


class SmallObjects:
    """Small files in an object store."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._store = from_url(
            uri,
            retry_config={
                "max_retries": _RETRIES,
                "retry_timeout": timedelta(seconds=_RETRY_S),
            },
        )

    def names(self, folder: str, after: str = "") -> list[str]:
        """Return the names of objects below a folder; see `SmallFiles.names`."""
        start = f"{folder}/"
        with reading(f"folder {self._uri}/{folder}"):
            pages = obstore.list(
                self._store, prefix=start, offset=f"{start}{after}" if after else None
            )
            return sorted(item["path"].removeprefix(start) for page in pages for item in page)

    def top(self) -> list[str]:
        """Return the first parts of object paths; see `SmallFiles.top`."""
        with reading(f"store {self._uri}"):
            found = obstore.list_with_delimiter(self._store)
        return [*found["common_prefixes"], *(item["path"] for item in found["objects"])]

    def read_all(self, paths: Sequence[str]) -> list[bytes]:
        """Return the contents of objects, read concurrently; see `SmallFiles.read_all`."""
        if len(paths) < 2:
            return [self._read(path) for path in paths]
        with ThreadPoolExecutor(min(_READERS, len(paths))) as readers:
            return list(readers.map(self._read, paths))

    def _read(self, path: str) -> bytes:
        with reading(f"file {self._uri}/{path}", "put it back from a backup"):
            return bytes(obstore.get(self._store, path).bytes())

    def create(self, path: str, content: bytes) -> bool:
        """Create an object if its key is new; see `SmallFiles.create`."""
        with writing(f"store {self._uri}"):
            try:
                obstore.put(self._store, path, content, mode="create")
            except obstore.exceptions.AlreadyExistsError:
                # It may be this write, retried because its first response was lost.
                return self._read(path) == content
        return True


def sync(path: Path) -> None:
    """Flush a file, or the entries of a folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
