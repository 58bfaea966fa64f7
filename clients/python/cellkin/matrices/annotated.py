"""Answers written beside the cells, as an AnnData file."""

import shutil
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import numpy.typing as npt

from cellkin.matrices.cells import is_h5ad, open_cells
from cellkin.matrices.options import ReadOptions, X
from cellkin.matrices.writing import CHUNK, write_cells
from cellkin.wire.errors import InputFileError


def write_annotated(
    source: Path,
    target: Path,
    obs: dict[str, Any],
    obsm: dict[str, npt.NDArray[np.float32]],
    var: dict[str, Any],
    uns: dict[str, Any],
    how: ReadOptions = X,
) -> None:
    """Write an ``.h5ad`` copy of a file with columns added.

    Of an ``.h5ad`` source everything is copied, as bytes; of other formats the matrix that was
    read, obs and var.

    Parameters
    ----------
    source
        The file, of any readable format; stays as it is.
    target
        Written whole or not at all.
    obs, obsm, var, uns
        What to add under each name, replacing what has it.
    how
        The matrix that was read; ``var`` belongs to its genes.

    Raises
    ------
    InputFileError
        If the target cannot be written.
    """
    partial = target.with_name(f".{target.name}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        genes = "var"
        if is_h5ad(source):
            shutil.copyfile(source, partial)
            genes = "raw/var" if how.raw else "var"
        else:
            with open_cells(source, how) as cells, _H5adFile(partial) as file:
                write_cells(cells, file)
        with h5py.File(partial, "r+") as held:
            _add(held, {"obs": obs, genes: var}, {"obsm": obsm, "uns": uns})
        partial.replace(target)
    except OSError as error:
        raise InputFileError(f"{target} cannot be written ({error})") from error
    finally:
        partial.unlink(missing_ok=True)


def _add(
    file: h5py.File, columns: dict[str, dict[str, Any]], elements: dict[str, dict[str, Any]]
) -> None:
    for axis, added in columns.items():
        frame = anndata.io.read_elem(file[axis])
        for name, values in added.items():
            frame[name] = values
        anndata.io.write_elem(file, axis, frame)
    for group, added in elements.items():
        held = file.require_group(group)
        for name, value in added.items():
            if name in held:
                del held[name]
            anndata.io.write_elem(held, name, value)


class _H5adFile:
    """An ``.h5ad`` file to be filled."""

    def __init__(self, path: Path) -> None:
        self.root: Any = h5py.File(path, "w")

    def __enter__(self) -> "_H5adFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.root.close()

    def write_frame(self, name: str, frame: Any) -> None:
        """Write a table under the root."""
        anndata.io.write_elem(self.root, name, frame)

    def make_array(self, group: Any, name: str, dtype: npt.DTypeLike) -> Any:
        """Return an empty array that can be resized."""
        return group.create_dataset(name, (0,), dtype, maxshape=(None,), chunks=(CHUNK,))
