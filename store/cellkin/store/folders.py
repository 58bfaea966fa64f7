"""Names, digests and listings of folders, shared by local and object stores."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath

from cellkin.store.checked import note_checked, was_checked
from cellkin.store.digest import file_digest
from cellkin.store.small_files import PARTIAL
from cellkin.wire.errors import IntegrityError
from cellkin.wire.names import is_name

_FOLDER = re.compile(r"[0-9a-f]{64}|" + re.escape(PARTIAL) + ".+")


@dataclass(frozen=True)
class Found:
    """A file or folder found in a store, whether or not a version refers to it.

    Parameters
    ----------
    path
        Relative to the store.
    n_files
        1 for a file, or the number of files in the folder.
    n_bytes
        Total size.
    modified
        Modification time; for a folder, of its newest entry at any depth.
    """

    path: str
    n_files: int
    n_bytes: int
    modified: datetime

    @classmethod
    def of(cls, path: str, parts: Iterable["Found"]) -> "Found":
        """Return a folder that contains these parts; at least one."""
        known = list(parts)
        return cls(
            path,
            sum(part.n_files for part in known),
            sum(part.n_bytes for part in known),
            max(part.modified for part in known),
        )


def is_own_folder(path: str) -> bool:
    """Return whether a path is one that cellkin writes, such as ``indexes/NAME/DIGEST``."""
    *_, name, folder = PurePosixPath(path).parts
    return is_name(name) and _FOLDER.fullmatch(folder) is not None


def folder_digest(files: Mapping[str, str]) -> str:
    """Return the name of a folder: the SHA-256 of the names and digests of its files."""
    listing = "".join(f"{name}\0{digest}\n" for name, digest in files.items())
    return hashlib.sha256(listing.encode()).hexdigest()


def file_digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file in a folder by name, hexadecimal."""
    return {path.name: file_digest(path) for path in sorted(folder.iterdir())}


def check_files(folder: Path, files: Mapping[str, str], what: str, again: bool = True) -> None:
    """Check the files of a local folder against their digests.

    Parameters
    ----------
    folder
        Folder of the files.
    files
        SHA-256 of each by name, hexadecimal.
    what
        Description of the files in errors.
    again
        Whether to reread files that were checked before and not touched since.

    Raises
    ------
    IntegrityError
        If one is missing or differs.
    """
    if not again and was_checked(folder, files):
        return
    for name, digest in files.items():
        path = folder / name
        if not path.is_file():
            raise missing(what, name)
        if file_digest(path) != digest:
            raise differing(what, name, digest)
    note_checked(folder, files)


def missing(what: str, name: str) -> IntegrityError:
    """Return the error for a missing file."""
    return IntegrityError(f"{what}: file {name} is missing; publish it again")


def differing(what: str, name: str, digest: str) -> IntegrityError:
    """Return the error for a file whose digest differs from that in the catalog."""
    return IntegrityError(
        f"{what}: file {name} does not have the digest {digest[:16]} of the catalog; the "
        "data was changed or damaged, publish it again"
    )
