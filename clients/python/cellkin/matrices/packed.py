"""Gzipped HDF5 files, such as ``cells.h5ad.gz``: decompressed to a temporary file."""

import gzip
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path

import h5py

from cellkin.wire.errors import ResourceExhaustedError

_GZIP_SIGNATURE = b"\x1f\x8b"
_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
# HDF5 may begin after a user block; that of MuData has 512 bytes.
_HDF5_STARTS = (0, 512, 1024, 2048)
_PART = 16 * 2**20
# Bytes left free on the disk for other programs.
_LEFT_FREE = 256 * 2**20


def unpacked_hdf5(path: Path, stack: ExitStack) -> Path | None:
    """Return the HDF5 file of a path, decompressed if necessary.

    Parameters
    ----------
    path
        Any file.
    stack
        Removes the temporary file when it closes.

    Returns
    -------
    Path or None
        The file itself if it is HDF5, a temporary file if it is gzipped HDF5, else None.

    Raises
    ------
    ResourceExhaustedError
        If the disk has no space to decompress it.
    """
    if h5py.is_hdf5(path):
        return path
    if not is_packed_hdf5(path):
        return None
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cellkin-")))
    unpack(path, folder / path.stem)
    return folder / path.stem


def is_packed_hdf5(path: Path) -> bool:
    """Return whether a file is gzipped HDF5."""
    with path.open("rb") as file:
        if file.read(len(_GZIP_SIGNATURE)) != _GZIP_SIGNATURE:
            return False
    size = len(_HDF5_SIGNATURE)
    with gzip.open(path) as packed:
        head = packed.read(_HDF5_STARTS[-1] + size)
    return any(head[at : at + size] == _HDF5_SIGNATURE for at in _HDF5_STARTS)


def unpack(path: Path, target: Path) -> None:
    """Decompress a file to another.

    Raises
    ------
    ResourceExhaustedError
        If less than 256 MiB would be left free on the disk.
    """
    with gzip.open(path) as packed, target.open("wb") as file:
        while part := packed.read(_PART):
            if shutil.disk_usage(target.parent).free < len(part) + _LEFT_FREE:
                raise ResourceExhaustedError(
                    f"{path} is packed by gzip, and {target.parent} has no room to unpack it; "
                    "set TMPDIR to a folder on a larger disk, or gunzip it there yourself"
                )
            file.write(part)
