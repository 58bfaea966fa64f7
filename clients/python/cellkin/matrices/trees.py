"""Open AnnData on disk, in HDF5 or zarr."""

import zipfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from cellkin.matrices.anndata_tree import Tree
from cellkin.matrices.hdf5 import compression, hdf5_ranges, is_slow, open_hdf5, require_filters
from cellkin.matrices.modalities import modalities
from cellkin.matrices.packed import unpacked_hdf5
from cellkin.wire.errors import InputFileError, MissingDependencyError

_ZIP_SIGNATURE = b"PK\x03\x04"
_ZARR_ROOTS = ("zarr.json", ".zgroup")
_N_SHOWN = 3


def open_tree(path: Path, stack: ExitStack) -> Tree | None:
    """Open an AnnData file, or one of several modalities, until the stack closes.

    Parameters
    ----------
    path
        A file or folder of any kind.
    stack
        Closes the file.

    Returns
    -------
    Tree or None
        None if the file is neither zarr nor HDF5 with AnnData.

    Raises
    ------
    MissingDependencyError
        If the file is zarr and zarr is not installed.
    """
    if is_zarr(path):
        return open_zarr(path, stack)
    file = None if path.is_dir() else unpacked_hdf5(path, stack)
    if file is None:
        return None
    root = open_hdf5(file, stack)
    return hdf5_tree(path, root) if holds_anndata(root) else None


def open_zarr(path: Path, stack: ExitStack) -> Tree:
    """Open a zarr folder or archive until the stack closes, without checking its contents.

    Raises
    ------
    InputFileError
        If it is an archive of other files, or a truncated one.
    MissingDependencyError
        If zarr is not installed.
    """
    try:
        from cellkin.matrices.zarr_tree import zarr_tree
    except ImportError as error:
        _require_zarr_root(path)
        raise MissingDependencyError(
            f"{path} needs {error.name}, which is not installed; pip install 'zarr>=3'"
        ) from error
    try:
        return zarr_tree(path, stack)
    except FileNotFoundError:
        _require_zarr_root(path)
        raise


def _require_zarr_root(path: Path) -> None:
    """Refuse an archive without zarr at its root.

    Called only if zarr did not open it: listing an archive of many chunks takes seconds.
    """
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if any(name in names for name in _ZARR_ROOTS):
        return
    if "[Content_Types].xml" in names:
        raise InputFileError(
            f"{path} is a spreadsheet or document of an office program; save the table as .csv"
        )
    some = ", ".join(names[:_N_SHOWN]) + (", ..." if len(names) > _N_SHOWN else "")
    raise InputFileError(
        f"{path} is a zip archive of other files ({some}); unpack it and give the file or folder. "
        "An archive is read only as zarr, with zarr.json or .zgroup at its root"
    )


def hdf5_tree(path: Path, root: Any, notes: Sequence[str] = ()) -> Tree:
    """Return the `Tree` of an open HDF5 file.

    Parameters
    ----------
    path
        The file's name in errors.
    root
        An ``h5py.File``.
    notes
        Sentences for the user.
    """
    return Tree(
        path, root, "h5ad", hdf5_ranges, compression, is_slow, ready=require_filters, notes=notes
    )


def holds_anndata(root: Any) -> bool:
    """Return whether an open HDF5 file is AnnData or has modalities that are."""
    return ("obs" in root and "var" in root) or bool(modalities(root))


def is_zarr(path: Path) -> bool:
    """Return whether a path is a zarr folder, or a zip archive, which `open_zarr` examines."""
    if path.is_dir():
        return any((path / name).is_file() for name in _ZARR_ROOTS)
    with path.open("rb") as file:
        return file.read(len(_ZIP_SIGNATURE)) == _ZIP_SIGNATURE
