"""Read cells-by-genes files of common formats in blocks, in constant memory."""

import csv
import glob
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp

from cellkin.matrices.delimited import is_delimited, open_delimited
from cellkin.matrices.features import hinting, read_genes
from cellkin.matrices.hdf5 import open_hdf5, require_no_modality
from cellkin.matrices.labels import Labels, read_labels
from cellkin.matrices.linear import LinearReader
from cellkin.matrices.loom import is_loom, open_loom
from cellkin.matrices.matrix import MAX_CELLS, MAX_VALUES, Matrix
from cellkin.matrices.mtx import is_mtx, is_mtx_folder, open_mtx
from cellkin.matrices.options import ReadOptions, X
from cellkin.matrices.packed import unpacked_hdf5
from cellkin.matrices.table import Opened, Table
from cellkin.matrices.tenx import is_10x_h5, open_10x_h5
from cellkin.matrices.trees import hdf5_tree, holds_anndata, is_zarr, open_zarr
from cellkin.matrices.units import UnitsFinding, find_units
from cellkin.wire.errors import (
    CellkinError,
    InputFileError,
    InvalidArgumentError,
    NotFoundError,
)

_READABLE = (
    "AnnData (.h5ad, or .zarr as a folder or zip), 10x (.h5, or a folder with matrix.mtx), .loom, "
    "and tables of genes and cells (.csv, .tsv, .txt)"
)
_OF_BAD_FILES = (
    *(OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError, EOFError),
    *(zlib.error, csv.Error),
)
_N_SAMPLES, _SAMPLE_CELLS = 20, 20


class CellFile:
    """An open file of cells, returned by `open_cells`.

    Attributes
    ----------
    path
        The file or folder.
    matrix
        The matrix, cells by genes.
    obs, var
        The annotation of cells and genes.
    cell_ids
        Names of the cells.
    gene_names
        Names of the genes that are read.
    gene_hint
        Returns a sentence on columns of ``var`` whose values look like gene names, or ''.
    notes
        Sentences for the user on how the file was read.
    """

    def __init__(self, path: Path, opened: Opened, how: ReadOptions) -> None:
        self.path = path
        self.matrix: Matrix = opened.matrix
        self.obs: Table = opened.read_obs()
        genes = read_genes(opened, how, path)
        self.var: Table = genes.var
        self.cell_ids: list[str] = self.obs.names()
        self.gene_names: list[str] = genes.names
        self.gene_hint = genes.hint
        self.notes: list[str] = [*genes.notes, *opened.matrix.storage.notes]
        if len(self.cell_ids) != self.n_cells:
            raise InputFileError(
                f"{path}: the matrix has {self.n_cells} cells, but {len(self.cell_ids)} are named"
            )
        found = find_units(self._sample(), str(path), self.matrix.storage.elsewhere, how.units)
        self._linear = LinearReader(found, str(path))
        if not found.whole and (others := self.matrix.storage.elsewhere):
            self.notes.append(
                f"the values that were read are {found.why}; counts may be in {' or '.join(others)}"
            )

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return self.matrix.n_cells

    @property
    def units(self) -> UnitsFinding:
        """Units of the values, by all cells read so far."""
        return self._linear.finding

    @property
    def columns(self) -> list[str]:
        """Names of the columns of ``obs``."""
        return self.obs.columns

    def column(self, name: str, what: str) -> list[str | None]:
        """Return a column of ``obs``.

        Parameters
        ----------
        name
            The column of ``obs``.
        what
            The purpose of the column, for the error message.

        Returns
        -------
        list
            One string per cell, None if missing.

        Raises
        ------
        NotFoundError
            If there is no such column; the message lists the columns.
        """
        if name not in self.columns:
            raise NotFoundError(
                f"{self.path} has no obs column {name!r} for the {what}; it has: "
                + (", ".join(self.columns) or "none, only names; give an .h5ad with obs")
            )
        values = pd.Series(self.obs.column(name))
        if isinstance(values.dtype, pd.CategoricalDtype):
            names = [*map(str, values.cat.categories), None]  # the code of a missing value is -1
            return [names[code] for code in values.cat.codes.tolist()]
        return [
            None if missing else str(v) for v, missing in zip(values, pd.isna(values), strict=True)
        ]

    def labels(self, columns: str, *, literal: bool = False) -> Labels:
        """Return the labels of the cells.

        Parameters
        ----------
        columns
            The column of ``obs``, or several separated by commas, from class to subtype, whose
            values are joined to paths: ``neuron/RGC/alpha``.
        literal
            Whether to keep words such as ``unknown`` and ``nan``, and spaces around labels, as
            they are.

        Returns
        -------
        Labels
            One string per cell, None if missing, with notes for the user.

        Raises
        ------
        NotFoundError
            If there is no such column; the message lists the columns.
        """
        names = [columns] if columns in self.columns else columns.split(",")
        levels = [self.column(name.strip(), "labels") for name in names]
        return read_labels(levels, literal=literal)

    def blocks(
        self,
        start: int = 0,
        stop: int | None = None,
        max_values: int = MAX_VALUES,
        max_cells: int = MAX_CELLS,
    ) -> Iterator[sp.csr_matrix]:
        """Yield blocks of linear expression in order; ``matrix`` yields the values as stored.

        Parameters
        ----------
        start, stop
            The range of cells; all if not given.
        max_values
            Most values of a block, unless one cell has more; approximate for dense matrices.
        max_cells
            Most cells of a block.

        Yields
        ------
        csr_matrix
            As `rows` returns them.

        Raises
        ------
        InputFileError, InvalidArgumentError
            As `rows`.
        """
        for block in self.matrix.blocks(start, stop, max_values, max_cells):
            yield self._linear.linear(block, start)
            start += block.shape[0]

    def read_as(self, units: UnitsFinding) -> None:
        """Read the values in units found in other cells, if these cells show too little."""
        self._linear = LinearReader(units, str(self.path))

    def rows(self, start: int, stop: int) -> sp.csr_matrix:
        """Return the linear expression of a range of cells.

        Parameters
        ----------
        start, stop
            The range, ``0 <= start <= stop <= n_cells``.

        Returns
        -------
        csr_matrix
            (stop - start, n_genes) float32, counts or in proportion to counts; columns of a row
            ascending and distinct, no stored zeros.

        Raises
        ------
        InputFileError
            If the file is damaged there.
        InvalidArgumentError
            If the range is not within the cells, or a value is negative, not finite, or
            contradicts the units.
        """
        return self._linear.linear(self.matrix.rows(start, stop), start)

    def _sample(self) -> sp.csr_matrix:
        n = self.n_cells
        starts = np.unique(np.linspace(0, max(0, n - _SAMPLE_CELLS), _N_SAMPLES).astype(int))
        return sp.vstack(
            [self.matrix.rows(int(s), min(n, int(s) + _SAMPLE_CELLS)) for s in starts],
            format="csr",
        )


@contextmanager
def open_cells(path: str | Path, how: ReadOptions = X) -> Iterator[CellFile]:
    """Open a file of cells for reading in blocks.

    Parameters
    ----------
    path
        AnnData as ``.h5ad`` or zarr; a 10x ``.h5`` file or folder, or one ``.mtx`` file; a loom
        file; a CSV or TSV table of genes and cells.
    how
        The matrix to read, and its gene names and units.

    Raises
    ------
    InputFileError
        If the file is missing, truncated, of an unknown format, or lacks that matrix.
    InvalidArgumentError
        If its values are negative or not finite, are on two scales, or contradict the given
        units.
    """
    where = Path(path)
    with ExitStack() as stack:
        with refusing(where):
            cells = CellFile(where, _open(where, how, stack), how)
        with hinting(cells.gene_hint):
            yield cells


@contextmanager
def open_matrix(path: str | Path, how: ReadOptions = X) -> Iterator[Matrix]:
    """Open only the matrix of a file, with the columns that `open_cells` reads.

    Parameters and errors are those of `open_cells`, but values are checked only when read.
    """
    where = Path(path)
    with ExitStack() as stack:
        with refusing(where):
            opened = _open(where, how, stack)
            read_genes(opened, how, where)
        yield opened.matrix


def expand(paths: Sequence[str | Path]) -> list[Path]:
    """Expand paths and glob patterns to files; those of a pattern are sorted by name.

    Raises
    ------
    InputFileError
        If a path or pattern matches no file.
    InvalidArgumentError
        If a file is matched twice.
    """
    found: dict[Path, Path] = {}
    for given in paths:
        pattern = str(given)
        # An existing file is not a pattern: brackets are common in sample names.
        matches = (
            [pattern]
            if Path(pattern).exists()
            # Path.glob does not accept absolute patterns.
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
    if is_zarr(path):
        return open_zarr(path, stack).opened(how)
    if path.is_dir():
        require_no_modality(path, "a folder of text", how)
        if is_mtx_folder(path):
            return open_mtx(path, how)
        raise InputFileError(f"{path} is a folder of no known format; readable are {_READABLE}")
    if (file := unpacked_hdf5(path, stack)) is not None:
        return _open_hdf5(path, file, how, stack)
    require_no_modality(path, "a file of text", how)
    if is_mtx(path):
        return open_mtx(path, how)
    if is_delimited(path):
        return open_delimited(path, how)
    raise InputFileError(
        f"{path} cannot be read as {path.suffix or 'a file of cells'}: it is neither HDF5 nor "
        f"zarr; readable are {_READABLE}"
    )


def _open_hdf5(path: Path, file: Path, how: ReadOptions, stack: ExitStack) -> Opened:
    """Open HDF5; `file` is a temporary file if `path` is gzipped."""
    root = open_hdf5(file, stack)
    notes = (
        []
        if file == path
        else [f"{path.name} is packed by gzip: it was decompressed to a temporary file"]
    )
    if is_loom(root):
        require_no_modality(path, "a loom file", how)
        opened = open_loom(path, root, how)
    elif holds_anndata(root):
        return hdf5_tree(path, root, notes).opened(how)
    elif is_10x_h5(root):
        opened = open_10x_h5(path, root, how)
    else:
        raise InputFileError(
            f"{path} is HDF5 of no known kind (it has {', '.join(root) or 'nothing'}); "
            f"readable are {_READABLE}"
        )
    matrix = opened.matrix
    matrix.storage = replace(matrix.storage, notes=[*matrix.storage.notes, *notes])
    return opened


@contextmanager
def refusing(path: Path) -> Iterator[None]:
    """Convert readers' errors about a bad file to one `InputFileError` that names it."""
    try:
        yield
    except CellkinError:
        raise
    except _OF_BAD_FILES as e:
        raise InputFileError(
            f"{path} cannot be read as {path.suffix or 'a folder of cells'} ({e}); "
            "it may be cut short or of another format"
        ) from e
