"""The files of a store, on this machine or in an object store."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote

from cellkin.store.folders import Found
from cellkin.store.local_files import LocalFiles
from cellkin.store.object_files import ObjectFiles
from cellkin.wire.errors import InvalidArgumentError

SCHEMES = ("s3", "gs", "az")


class Files(Protocol):
    """The folders and files of a store."""

    def require_safe_writers(self) -> None:
        """Raise if concurrent writers could overwrite each other's commits."""

    def publish(self, parent: str, write: Callable[[Path], None]) -> tuple[str, dict[str, str]]:
        """Write a folder; see `LocalFiles.publish`."""

    def folder(self, path: str, files: Mapping[str, str], what: str, again: bool = True) -> Path:
        """Return a local folder with the files, after checking their digests.

        Without ``again``, files that were checked before and not touched since are not reread.
        """

    def check(self, path: str, files: Mapping[str, str], what: str) -> None:
        """Read the files in the store itself and check their digests.

        Raises
        ------
        IntegrityError
            If a file is missing or differs.
        """

    def found(self, parent: str) -> Iterator[Found]:
        """Yield the folders cellkin wrote two levels below a folder, including unfinished ones.

        These have a name in cellkin's format, are not reached through links and contain only
        files. Anything else is skipped.
        """

    def folders(self) -> list[str]:
        """Return the names of the top-level folders of the store, sorted."""

    def walk(self, folder: str) -> Iterator[Found]:
        """Yield the files below a folder, at any depth; nothing if it does not exist."""

    def touch(self, path: str) -> None:
        """Set the time of a file or folder to now, if possible; `FileNotFoundError` if missing."""

    def remove(self, path: str, keep: Callable[[Found], bool]) -> Found | None:
        """Remove a file or folder unless a last check keeps it.

        Parameters
        ----------
        path
            Relative to the store.
        keep
            Called right before the removal with the current state; True to keep it.

        Returns
        -------
        found
            What was removed; None if it was kept or already gone.
        """

    def read(self, path: str) -> Iterator[bytes]:
        """Yield the bytes of a file, a few MB at a time."""

    def write(self, path: str, chunks: Iterable[bytes]) -> None:
        """Write or replace a file atomically."""


def files_at(uri: str) -> Files:
    """Return the files of the store at a URI.

    Raises
    ------
    InvalidArgumentError
        If the URI is neither a local folder nor an object store.
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
    """Return the folder of a local URI; in ``file://`` URIs, ``%20`` and the like are decoded."""
    path = unquote(uri.removeprefix("file://")) if uri.startswith("file://") else uri
    return Path(path).expanduser().absolute()
