"""AnnData files, read in blocks of cells so that memory stays constant."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy.sparse as sp

from cellkin.matrices.units import UnitsFinding, find_units
from cellkin.wire.errors import InputFileError, NotFoundError

_SAMPLE_CELLS = 200
# About 4 MiB of values and columns a block: within a gRPC message, and out of the last-level cache
# of no machine.
_BLOCK_VALUES = 400_000
_MAX_BLOCK_CELLS = 1024


class CellFile:
    """An open ``.h5ad`` file; make one with `open_cells`.

    Attributes
    ----------
    path
        The file.
    cell_ids
        Names of the cells.
    gene_names
        Names of the columns.
    units
        What the values are.
    """

    def __init__(self, path: Path, data: anndata.AnnData) -> None:
        self.path = path
        self._obs = data.obs
        self.cell_ids: list[str] = data.obs_names.astype(str).tolist()
        self.gene_names: list[str] = data.var_names.astype(str).tolist()
        self._x = _row_major(data.X, path)
        self.units: UnitsFinding = find_units(self._sample(), str(path))

    @property
    def n_cells(self) -> int:
        """Cells of the file."""
        return len(self.cell_ids)

    def column(self, name: str, what: str) -> list[str | None]:
        """Return a column of the cells' annotation.

        Parameters
        ----------
        name
            The column of ``obs``.
        what
            What it is needed for, for the error.

        Returns
        -------
        list
            One string a cell, None where the value is missing.

        Raises
        ------
        NotFoundError
            If there is no such column; the message lists those there are.
        """
        if name not in self._obs.columns:
            raise NotFoundError(
                f"{self.path} has no obs column {name!r} for the {what}; it has: "
                + (", ".join(map(str, self._obs.columns)) or "none")
            )
        column = self._obs[name]
        return [
            None if missing else str(v) for v, missing in zip(column, pd.isna(column), strict=True)
        ]

    def blocks(self) -> Iterator[sp.csr_matrix]:
        """Yield all cells in order, a few hundred at a time, as float32 CSR in the file's units."""
        start = 0
        while start < self.n_cells:
            stop = min(start + self._block_cells, self.n_cells)
            yield _csr(self._x[start:stop])
            start = stop

    def _sample(self) -> npt.NDArray[np.floating]:
        starts = np.unique(np.linspace(0, max(0, self.n_cells - 50), 4).astype(int))
        parts = [_csr(self._x[s : s + _SAMPLE_CELLS // 4]) for s in starts] if self.n_cells else []
        per_cell = sum(p.nnz for p in parts) / max(1, sum(p.shape[0] for p in parts))
        self._block_cells = int(np.clip(_BLOCK_VALUES / max(1.0, per_cell), 1, _MAX_BLOCK_CELLS))
        return np.concatenate([part.data for part in parts]) if parts else np.empty(0, np.float32)


@contextmanager
def open_cells(path: Path) -> Iterator[CellFile]:
    """Open an AnnData file for reading in blocks.

    Raises
    ------
    InputFileError
        If the file is missing, cut short, no ``.h5ad``, or without a matrix.
    """
    if not path.is_file():
        raise InputFileError(f"no file {path}")
    try:
        data = anndata.read_h5ad(path, backed="r")
    except (OSError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise InputFileError(
            f"{path} cannot be read as .h5ad ({error}); it may be cut short or of another format"
        ) from error
    try:
        if data.X is None:
            raise InputFileError(f"{path} has no matrix X; give a file with counts in X")
        yield CellFile(path, data)
    finally:
        data.file.close()


def write_annotated(
    source: Path,
    target: Path,
    obs: dict[str, Any],
    obsm: dict[str, npt.NDArray[np.float32]],
    var: dict[str, Any],
    uns: dict[str, Any],
) -> None:
    """Copy a file with columns added; the matrix is copied as bytes and never loaded.

    Parameters
    ----------
    source
        The ``.h5ad`` file; stays as it is.
    target
        Written whole or not at all.
    obs, obsm, var, uns
        What to add under each name, replacing what has it.
    """
    partial = target.with_name(f".{target.name}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, partial)
        with h5py.File(partial, "r+") as file:
            for axis, columns in (("obs", obs), ("var", var)):
                frame = anndata.io.read_elem(file[axis])
                for name, values in columns.items():
                    frame[name] = values
                anndata.io.write_elem(file, axis, frame)
            for group, elements in (("obsm", obsm), ("uns", uns)):
                held = file.require_group(group)
                for name, value in elements.items():
                    if name in held:
                        del held[name]
                    anndata.io.write_elem(held, name, value)
        partial.replace(target)
    except OSError as error:
        raise InputFileError(f"{target} cannot be written ({error})") from error
    finally:
        partial.unlink(missing_ok=True)


def _row_major(x: Any, path: Path) -> Any:
    """Return something whose row slices are cheap."""
    if getattr(x, "format", None) == "csc":
        return x.to_memory().tocsr()
    if isinstance(x, h5py.Dataset) or getattr(x, "format", None) == "csr":
        return x
    raise InputFileError(f"{path}: X is {type(x).__name__}; a dense or sparse matrix is needed")


def _csr(rows: Any) -> sp.csr_matrix:
    matrix = sp.csr_matrix(rows, dtype=np.float32)
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    return matrix
