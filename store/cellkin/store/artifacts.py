"""Folders of files that are written whole or not at all."""

import hashlib
import os
import shutil
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

from cellkin.store.digest import file_digest
from cellkin.wire.errors import IntegrityError

_PARTIAL = ".partial-"


def write_folder(parent: Path, write: Callable[[Path], None]) -> tuple[Path, dict[str, str]]:
    """Write a folder under the digest of its content.

    The files are written elsewhere, synced to the disk and moved into place in one step, so the
    folder is there whole or not at all. The same content again is the same folder.

    Parameters
    ----------
    parent
        Where the folder goes.
    write
        Writes the files into the empty folder it is given.

    Returns
    -------
    folder
        Its name is the SHA-256 of the files' names and digests.
    files
        SHA-256 of each file by name.
    """
    partial = parent / f"{_PARTIAL}{uuid.uuid4().hex}"
    partial.mkdir(parents=True)
    try:
        write(partial)
        files = {path.name: file_digest(path) for path in sorted(partial.iterdir())}
        listing = "".join(f"{name}\0{digest}\n" for name, digest in files.items())
        folder = parent / hashlib.sha256(listing.encode()).hexdigest()
        for path in partial.iterdir():
            _sync(path)
        _sync(partial)
        if not folder.exists():
            partial.rename(folder)
            _sync(parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder, files


def check_folder(folder: Path, files: Mapping[str, str], what: str) -> None:
    """Compare a folder with the digests it was published with.

    Raises
    ------
    IntegrityError
        If a file is missing or differs.
    """
    for name, digest in files.items():
        path = folder / name
        if not path.is_file():
            raise IntegrityError(f"{what}: file {name} is missing; publish it again")
        if file_digest(path) != digest:
            raise IntegrityError(
                f"{what}: file {name} does not have the digest {digest[:16]} of the catalog; the "
                "data was changed or damaged, publish it again"
            )


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
