"""Copy cells as AnnData in HDF5 or zarr, to which elements can be added."""

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
"""Suffixes of copies of cells; ``.h5mu`` for MuData only."""


@dataclass(frozen=True)
class Copy:
    """Layout of a copy.

    Parameters
    ----------
    where
        The AnnData group, '' for the root.
    genes
        The table of genes within it.
    kept
        (n_kept,) int64, the columns of the source's matrix that were copied; None for all.
    """

    where: str = ""
    genes: str = "var"
    kept: npt.NDArray[np.int64] | None = None


def copy_cells(source: Path, target: Path, ending: str, how: ReadOptions) -> Copy:
    """Copy cells, with everything else in the file if the container is the same.

    Parameters
    ----------
    source
        A file of any readable format.
    target
        A path that does not exist.
    ending
        The target's format: one of `COPIES`.
    how
        The matrix to copy if not everything is copied.

    Raises
    ------
    InvalidArgumentError
        If ``.h5mu`` is asked for and the source is not MuData.
    """
    genes = "raw/var" if how.raw else "var"
    with ExitStack() as stack:
        tree = open_tree(source, stack)
        where = "" if tree is None else tree.modality_path(how)
        if ending == H5MU and not where:
            raise InvalidArgumentError(f"{source} is not MuData, so no copy of it is .h5mu")
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
    """Return whether a target of this suffix gets a copy of everything."""
    if tree.is_zarr or ending == ZARR:
        return tree.is_zarr and ending == ZARR
    return ending == H5MU or not tree.has_modalities


@contextmanager
def open_group(path: Path, ending: str, where: str = "") -> Iterator[Any]:
    """Open a copy for writing; consolidated zarr metadata is updated at the end.

    Parameters
    ----------
    path, ending
        The copy.
    where
        The group to add to, '' for the root.
    """
    if ending != ZARR:
        with hdf5_file(path, "r+") as file:
            yield file
        return
    import zarr

    root = zarr.open_group(path, mode="r+", use_consolidated=False)
    yield root
    # Readers use consolidated metadata if present, and would miss the new elements.
    parents = [path / parent for parent in Path(where).parents] if where else []
    for folder in [path / where, *parents]:
        renew_consolidated(folder)


@contextmanager
def new_container(path: Path, ending: str) -> Iterator[Any]:
    """Create an empty file or folder for cells."""
    if ending == ZARR:
        from cellkin.matrices.convert import ZarrFolder

        yield ZarrFolder(path)
        return
    with hdf5_file(path, "w") as file:
        yield _H5adFile(file)


def write_frames(obs: pd.DataFrame, var: pd.DataFrame, ending: str) -> None:
    """Write both tables to memory, to find columns that cannot be written.

    Raises
    ------
    InputFileError
        If a column cannot be written.
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
    """An ``.h5ad`` container."""

    def __init__(self, file: h5py.File) -> None:
        self.root: Any = file

    def make_array(self, group: Any, name: str, dtype: npt.DTypeLike) -> Any:
        """Return an empty resizable array."""
        return group.create_dataset(name, (0,), dtype, maxshape=(None,), chunks=(CHUNK,))


def _copy_bytes(source: Path, target: Path) -> None:
    """Copy a file or folder, decompressed and writable even if the source is read-only."""
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
