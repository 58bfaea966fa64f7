"""Files of cells by genes, of every common format, read in blocks so that memory stays constant."""

import glob
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from cellkin.matrices.anndata_tree import Tree
from cellkin.matrices.hdf5 import compression, hdf5_ranges, is_slow, open_hdf5
from cellkin.matrices.loom import is_loom, open_loom
from cellkin.matrices.matrix import MAX_CELLS, MAX_VALUES, Matrix
from cellkin.matrices.options import ReadOptions, X
from cellkin.matrices.table import Opened, Table
from cellkin.matrices.tenx import is_10x_folder, is_10x_h5, open_10x_folder, open_10x_h5
from cellkin.matrices.units import UnitsFinding, find_units
from cellkin.wire.errors import (
    CellkinError,
    InputFileError,
    InvalidArgumentError,
    MissingDependencyError,
    NotFoundError,
)

_READABLE = (
    "AnnData (.h5ad, or .zarr as a folder or zip), 10x (.h5, or a folder with matrix.mtx), .loom"
)
_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_ZIP_SIGNATURE = b"PK"
_ZARR_ROOTS = ("zarr.json", ".zgroup")
_N_SAMPLES, _SAMPLE_CELLS = 4, 50


class CellFile:
    """An open file of cells; make one with `open_cells`.

    Attributes
    ----------
    path
        The file or folder.
    matrix
        Its cells by genes.
    obs, var
        The annotation of cells and genes.
    cell_ids
        Names of the cells.
    gene_names
        Names of the columns.
    units
        What the values are.
    notes
        Sentences for the user on how the file was read.
    """

    def __init__(self, path: Path, opened: Opened) -> None:
        self.path = path
        self.matrix: Matrix = opened.matrix
        self.obs: Table = opened.read_obs()
        self.var: Table = opened.read_var()
        self.cell_ids: list[str] = self.obs.names()
        self.gene_names: list[str] = self.var.names()
        self.notes: list[str] = list(opened.matrix.storage.notes)
        for names, n, what in (
            (self.cell_ids, self.matrix.n_cells, "cells"),
            (self.gene_names, self.matrix.n_columns, "genes"),
        ):
            if len(names) != n:
                raise InputFileError(
                    f"{path}: the matrix has {n} {what}, but {len(names)} are named"
                )
        self.units: UnitsFinding = find_units(
            self._sample(), str(path), self.matrix.storage.elsewhere
        )

    @property
    def n_cells(self) -> int:
        """Cells of the file."""
        return self.matrix.n_cells

    @property
    def columns(self) -> list[str]:
        """Names of the cells' annotation."""
        return self.obs.columns

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
        if name not in self.columns:
            raise NotFoundError(
                f"{self.path} has no obs column {name!r} for the {what}; it has: "
                + (", ".join(self.columns) or "none")
            )
        values = pd.Series(self.obs.column(name))
        return [
            None if missing else str(v) for v, missing in zip(values, pd.isna(values), strict=True)
        ]

    def labels(self, columns: str) -> list[str | None]:
        """Return the labels of the cells.

        Parameters
        ----------
        columns
            The column of ``obs``, or several from class to subtype with commas between, whose
            values make paths: ``neuron/RGC/alpha``.

        Returns
        -------
        list
            One string a cell, None where a value is missing.

        Raises
        ------
        NotFoundError
            If there is no such column; the message lists those there are.
        """
        names = [columns] if columns in self.columns else columns.split(",")
        levels = zip(*(self.column(name.strip(), "labels") for name in names), strict=True)
        return [None if None in path else "/".join(path) for path in levels]

    def blocks(
        self,
        start: int = 0,
        stop: int | None = None,
        max_values: int = MAX_VALUES,
        max_cells: int = MAX_CELLS,
    ) -> Iterator[sp.csr_matrix]:
        """Yield the cells in order and in blocks; see `Matrix.blocks`."""
        return self.matrix.blocks(start, stop, max_values, max_cells)

    def _sample(self) -> sp.csr_matrix:
        n = self.n_cells
        starts = np.unique(np.linspace(0, max(0, n - _SAMPLE_CELLS), _N_SAMPLES).astype(int))
        return sp.vstack(
            [self.matrix.rows(int(s), min(n, int(s) + _SAMPLE_CELLS)) for s in starts],
            format="csr",
        )


@contextmanager
def open_cells(path: str | Path, how: ReadOptions = X) -> Iterator[CellFile]:
    """Open a file of cells of any common format for reading in blocks.

    Parameters
    ----------
    path
        AnnData as ``.h5ad`` or zarr, a 10x ``.h5`` file or folder, or a loom file.
    how
        Which matrix is read, and as what.

    Raises
    ------
    InputFileError
        If the file is missing, cut short, of another format, or without that matrix.
    InvalidArgumentError
        If its values are no expression.
    """
    where = Path(path)
    with ExitStack() as stack:
        with _refusing(where):
            cells = CellFile(where, _open(where, how, stack))
        yield cells


@contextmanager
def open_matrix(path: str | Path, how: ReadOptions = X) -> Iterator[Matrix]:
    """Open the matrix of a file alone, without the annotation of cells and genes.

    Takes and raises what `open_cells` does, but values are looked at only when they are read.
    """
    where = Path(path)
    with ExitStack() as stack:
        with _refusing(where):
            matrix = _open(where, how, stack).matrix
        yield matrix


def is_h5ad(path: Path) -> bool:
    """Tell whether a file is AnnData in HDF5."""
    if not path.is_file() or _signature(path) != _HDF5_SIGNATURE:
        return False
    with ExitStack() as stack:
        return _is_anndata(open_hdf5(path, stack))


def expand(paths: Sequence[str | Path]) -> list[Path]:
    """Return the files that paths and patterns name, those of a pattern in order of name.

    Raises
    ------
    InputFileError
        If a path or pattern names no file.
    InvalidArgumentError
        If a file is named twice.
    """
    found: dict[Path, Path] = {}
    for given in paths:
        pattern = str(given)
        # A file of that very name comes first: brackets are common in sample names.
        matches = (
            [pattern]
            if Path(pattern).exists()
            # Path.glob takes no absolute pattern.
            else sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207
        )
        if not matches:
            raise InputFileError(f"no file {pattern}")
        for match in map(Path, matches):
            if match.resolve() in found:
                raise InvalidArgumentError(
                    f"{match} is given twice (also as {found[match.resolve()]}); name it once"
                )
            found[match.resolve()] = match
    return list(found.values())


def _open(path: Path, how: ReadOptions, stack: ExitStack) -> Opened:
    if not path.exists():
        raise InputFileError(f"no file {path}")
    if path.is_dir():
        if any((path / name).is_file() for name in _ZARR_ROOTS):
            return _open_zarr(path, how, stack)
        if is_10x_folder(path):
            return open_10x_folder(path, how, stack)
        raise InputFileError(f"{path} is a folder of no known format; readable are {_READABLE}")
    signature = _signature(path)
    if signature == _HDF5_SIGNATURE:
        return _open_hdf5(path, how, stack)
    if signature.startswith(_ZIP_SIGNATURE):
        return _open_zarr(path, how, stack)
    raise InputFileError(
        f"{path} cannot be read as {path.suffix or 'a file of cells'}: it is neither HDF5 nor "
        f"zarr; readable are {_READABLE}"
    )


def _open_hdf5(path: Path, how: ReadOptions, stack: ExitStack) -> Opened:
    file = open_hdf5(path, stack)
    if is_loom(file):
        return open_loom(path, file, how)
    if _is_anndata(file):
        tree = Tree(path, file, "h5ad", hdf5_ranges, compression, is_slow)
        return tree.opened(how)
    if is_10x_h5(file):
        return open_10x_h5(path, file, how)
    raise InputFileError(
        f"{path} is HDF5 of no known kind (it has {', '.join(file) or 'nothing'}); "
        f"readable are {_READABLE}"
    )


def _signature(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(len(_HDF5_SIGNATURE))


def _is_anndata(file: Any) -> bool:
    return "obs" in file and "var" in file


def _open_zarr(path: Path, how: ReadOptions, stack: ExitStack) -> Opened:
    try:
        from cellkin.matrices.zarr_tree import open_zarr
    except ImportError as error:
        raise MissingDependencyError(
            f"{path} needs {error.name}, which is not installed; pip install 'zarr>=3'"
        ) from error
    return open_zarr(path, how, stack)


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """Turn what readers raise of a bad file into one error with its name."""
    try:
        yield
    except CellkinError:
        raise
    except (OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError, EOFError) as e:
        raise InputFileError(
            f"{path} cannot be read as {path.suffix or 'a folder of cells'} ({e}); "
            "it may be cut short or of another format"
        ) from e
