"""Where a store keeps its files: on this machine or in an object store."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

from cellkin.store.folders import Found
from cellkin.store.local_files import LocalFiles
from cellkin.store.object_files import ObjectFiles
from cellkin.wire.errors import InvalidArgumentError

SCHEMES = ("s3", "gs", "az")


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

    def check(self, path: str, files: Mapping[str, str], what: str) -> None:
        """Read the files where they are, and refuse them if they are not those of the catalog.

        Raises
        ------
        IntegrityError
            If a file is missing or differs.
        """

    def found(self, parent: str) -> Iterator[Found]:
        """Yield what cellkin wrote two levels below a folder, unfinished folders among it.

        That is what has a name of cellkin's own, is reached through no link and holds nothing but
        files. What others put there is passed over.
        """

    def folders(self) -> list[str]:
        """Return the names of the folders of the store, ascending."""

    def walk(self, folder: str) -> Iterator[Found]:
        """Yield the files below a folder, at any depth; none where there is no such folder."""

    def touch(self, path: str) -> None:
        """Let a file or folder be young where it can be; `FileNotFoundError` if it is gone."""

    def remove(self, path: str, keep: Callable[[Found], bool]) -> Found | None:
        """Remove a file or a folder unless it is wanted after all.

        Parameters
        ----------
        path
            Relative to the store.
        keep
            Is asked right before the removal, with what is there now; True if it is wanted.

        Returns
        -------
        found
            What was removed; None where it was wanted, or gone already.
        """

    def read(self, path: str) -> Iterator[bytes]:
        """Yield the bytes of a file, some MB at a time."""

    def write(self, path: str, chunks: Iterable[bytes]) -> None:
        """Write a file, whole or not at all; one that is there is replaced."""


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
