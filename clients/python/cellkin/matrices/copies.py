"""Copies of cells as AnnData in HDF5 or zarr, to which more can be added."""

import shutil
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pandas as pd

from cellkin.matrices.anndata_tree import Tree
from cellkin.matrices.cells import open_cells
from cellkin.matrices.consolidated import renew_consolidated
from cellkin.matrices.elements import write_frame
from cellkin.matrices.hdf5_files import hdf5_file
from cellkin.matrices.options import ReadOptions
from cellkin.matrices.packed import is_packed_hdf5, unpack
from cellkin.matrices.trees import open_tree
from cellkin.matrices.writing import CHUNK, write_cells
from cellkin.wire.errors import InvalidArgumentError

H5AD, ZARR, H5MU = ".h5ad", ".zarr", ".h5mu"
COPIES = (H5AD, ZARR, H5MU)
"""Endings of copies of cells; ``.h5mu`` of MuData alone."""


@dataclass(frozen=True)
class Copy:
    """What was copied.

    Parameters
    ----------
    where
        The group that is AnnData, '' for the root.
    genes
        The table of the genes within it.
    kept
        The columns of the source's matrix that it has, or None for all.
    """

    where: str = ""
    genes: str = "var"
    kept: npt.NDArray[np.int64] | None = None


def copy_cells(source: Path, target: Path, ending: str, how: ReadOptions) -> Copy:
    """Copy cells, all that is with them where the container allows it.

    Parameters
    ----------
    source
        A file of any readable format.
    target
        A name that is free.
    ending
        What it will be: one of `COPIES`.
    how
        Which matrix of the source is read where not all are copied.

    Raises
    ------
    InvalidArgumentError
        If MuData is to be written of what is none.
    """
    genes = "raw/var" if how.raw else "var"
    with ExitStack() as stack:
        tree = open_tree(source, stack)
        where = "" if tree is None else tree.modality_path(how)
        if ending == H5MU and not where:
            raise InvalidArgumentError(f"{source} is no MuData, so no copy of it is .h5mu")
        same = tree is not None and is_same_container(tree, ending)
        if tree is not None and not tree.is_zarr and ending == H5AD and where:
            with hdf5_file(target, "w") as file:
                _copy_group(tree.root[where], file)
            return Copy(genes=genes)
    if same:
        _copy_bytes(source, target)
        return Copy(where, genes)
    with open_cells(source, how) as cells, new_container(target, ending) as container:
        write_cells(cells, container)
        return Copy(kept=cells.matrix.kept)


def is_same_container(tree: Tree, ending: str) -> bool:
    """Tell whether all of an open file is copied into a target of an ending."""
    if tree.is_zarr or ending == ZARR:
        return tree.is_zarr and ending == ZARR
    return ending == H5MU or not tree.has_modalities


@contextmanager
def open_group(path: Path, ending: str, where: str = "") -> Iterator[Any]:
    """Open a copy to add to it; copies of zarr's metadata are renewed at the end.

    Parameters
    ----------
    path, ending
        The copy.
    where
        The group that is added to, '' for the root.
    """
    if ending != ZARR:
        with hdf5_file(path, "r+") as file:
            yield file
        return
    import zarr

    root = zarr.open_group(path, mode="r+", use_consolidated=False)
    yield root
    # Readers go by the copy of all metadata, where there is one, and would not see what is new.
    parents = [path / parent for parent in Path(where).parents] if where else []
    for folder in [path / where, *parents]:
        renew_consolidated(folder)


@contextmanager
def new_container(path: Path, ending: str) -> Iterator[Any]:
    """Make an empty file or folder to be filled with cells."""
    if ending == ZARR:
        from cellkin.matrices.convert import ZarrFolder

        yield ZarrFolder(path)
        return
    with hdf5_file(path, "w") as file:
        yield _H5adFile(file)


def write_frames(obs: pd.DataFrame, var: pd.DataFrame, ending: str) -> None:
    """Write both tables into memory alone, to find out what cannot be written.

    Raises
    ------
    InputFileError
        If a column cannot be.
    """
    if ending == ZARR:
        import zarr

        root = zarr.open_group(zarr.storage.MemoryStore(), mode="w", zarr_format=3)
        for name, frame in (("obs", obs), ("var", var)):
            write_frame(root, name, frame)
        return
    with h5py.File("memory", "w", driver="core", backing_store=False) as file:
        for name, frame in (("obs", obs), ("var", var)):
            write_frame(file, name, frame)


class _H5adFile:
    """An ``.h5ad`` file to be filled."""

    def __init__(self, file: h5py.File) -> None:
        self.root: Any = file

    def make_array(self, group: Any, name: str, dtype: npt.DTypeLike) -> Any:
        """Return an empty array that can be resized."""
        return group.create_dataset(name, (0,), dtype, maxshape=(None,), chunks=(CHUNK,))


def _copy_bytes(source: Path, target: Path) -> None:
    """Copy a file or a folder, unpacked, writable whatever the source is."""
    if source.is_dir():
        for path in source.rglob("*"):
            at = target / path.relative_to(source)
            if path.is_dir():
                at.mkdir(parents=True, exist_ok=True)
            else:
                at.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, at)
    elif zipfile.is_zipfile(source):
        with zipfile.ZipFile(source) as archive:
            archive.extractall(target)
    elif is_packed_hdf5(source):
        unpack(source, target)
    else:
        shutil.copyfile(source, target)


def _copy_group(source: h5py.Group, target: h5py.File) -> None:
    for name in source:
        source.copy(name, target)
    for name, value in source.attrs.items():
        target.attrs[name] = value
