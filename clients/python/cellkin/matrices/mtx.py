"""Matrix Market folders, as of Cell Ranger, STARsolo, kallisto, Parse and GEO."""

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
import scipy.sparse as sp

from cellkin.matrices.anndata_tree import HeldRanges
from cellkin.matrices.hdf5 import require_no_choice
from cellkin.matrices.matrix import CompressedMatrix, Storage
from cellkin.matrices.options import ReadOptions
from cellkin.matrices.table import Opened, Table, name_table
from cellkin.matrices.tenx import feature_table
from cellkin.matrices.text import text_lines
from cellkin.wire.errors import InputFileError

_PLAIN = "matrix"
# The word in a matrix's name that is replaced in the names of its lists.
_WORD = re.compile(r"count_matrix|cells_x_genes|matrix|counts|dge", re.IGNORECASE)
_FEATURES = ("features", "genes", "all_genes", "gene_names")
_BARCODES = ("barcodes", "cells", "cell_metadata", "cell_names")
_ENDINGS = (".tsv", ".txt", ".csv")
_PACKED = (".gz", "")
_N_SHOWN = 4
_HEADERS = frozenset(
    [
        *("gene", "genes", "gene_id", "gene_ids", "gene_name", "feature", "feature_id", "id", ""),
        *("barcode", "barcodes", "cell", "cell_id", "cells", "bc_wells", "index", "x"),
    ]
)
# Decides for a square matrix, where the sizes of the lists do not.
_CELLS_FIRST = ("cells_x_genes", "cell_metadata")


@dataclass(frozen=True)
class _Lists:
    """The lists of features and cells of a matrix."""

    features: Path
    barcodes: Path


def is_mtx(path: Path) -> bool:
    """Return whether a file is a Matrix Market file, gzipped or not, by its name."""
    return path.name.lower().endswith((".mtx", ".mtx.gz"))


def is_mtx_folder(path: Path) -> bool:
    """Return whether a folder has a Matrix Market file."""
    return any(map(is_mtx, path.iterdir()))


def open_mtx(path: Path, how: ReadOptions) -> Opened:
    """Read a matrix and the lists of its features and cells.

    Parameters
    ----------
    path
        A folder with one matrix, or the matrix file, with its lists in the same folder.
    how
        Must not ask for a layer, raw or a modality.

    Raises
    ------
    InputFileError
        If the folder has several matrices, lists are missing, or their sizes do not fit.
    """
    require_no_choice(path, "a 10x folder", how)
    matrix = _matrix_of(path) if path.is_dir() else path
    lists = _lists_of(matrix)
    x = scipy.io.mmread(matrix, spmatrix=False)
    features = _rows(lists.features, x.shape)
    barcodes = [row[0] for row in _rows(lists.barcodes, x.shape)]
    cells_first = _cells_first(path, matrix, lists, x.shape, (len(features), len(barcodes)))
    x = sp.csr_matrix(x if cells_first else x.T)
    notes = ["the matrix is text and was loaded whole; Cell Ranger's .h5 files are read in blocks"]
    if cells_first:
        notes.append("the matrix has cells as rows, as the lists' sizes say")
    if _stem(matrix) != _PLAIN:
        names = ", ".join(file.name for file in (matrix, lists.features, lists.barcodes))
        notes.append(f"read {names}")
    storage = Storage(path, "10x folder", slow=True, in_memory=True, notes=notes)
    held = CompressedMatrix(
        storage, x.shape[1], x.indptr, HeldRanges(x.indices), HeldRanges(x.data)
    )
    return Opened(held, lambda: name_table(barcodes), lambda: _var(features, lists.features))


def _var(features: Sequence[Sequence[str]], path: Path) -> Table:
    columns: dict[str, Any] = {
        "gene_ids": np.array([row[0] for row in features]),
        "gene_names": np.array([row[1] if len(row) > 1 else row[0] for row in features]),
    }
    if all(len(row) > 2 for row in features):
        third = "genome" if _is_csv(path) else "feature_types"
        columns[third] = np.array([row[2] for row in features])
    return feature_table(columns)


def _matrix_of(folder: Path) -> Path:
    """Return the matrix of a folder: ``matrix.mtx``, or the only one that has lists."""
    for packed in _PACKED:
        if (plain := folder / f"{_PLAIN}.mtx{packed}").is_file():
            return plain
    found = sorted(filter(is_mtx, folder.iterdir()))
    # A matrix may be there both gzipped and not.
    found = list({_stem(path): path for path in found}.values())
    listed = [path for path in found if _find(path, _FEATURES) and _find(path, _BARCODES)]
    if len(listed) == 1 or len(found) == 1:
        return (listed or found)[0]
    raise InputFileError(
        f"{folder} has {len(found)} matrices: {', '.join(path.name for path in found)}; give one "
        f"of them, such as {(listed or found)[0]}"
    )


def _lists_of(matrix: Path) -> _Lists:
    features, barcodes = _find(matrix, _FEATURES), _find(matrix, _BARCODES)
    if features is None or barcodes is None:
        what, words = ("features", _FEATURES) if features is None else ("cells", _BARCODES)
        looked_for = list(dict.fromkeys(_candidates(matrix, words)))[:_N_SHOWN]
        raise InputFileError(
            f"{matrix} has no list of its {what} beside it, such as {', '.join(looked_for)}, each "
            "also with .gz; docs/files.md has all names"
        )
    return _Lists(features, barcodes)


def _find(matrix: Path, words: Sequence[str]) -> Path | None:
    for name in _candidates(matrix, words):
        for packed in _PACKED:
            if (path := matrix.with_name(name + packed)).is_file():
                return path
    return None


def _candidates(matrix: Path, words: Sequence[str]) -> Iterator[str]:
    """Yield the possible names of a list of features or cells, without ``.gz``."""
    stem = _stem(matrix)
    places = list(_WORD.finditer(stem))
    for ending in _ENDINGS:
        for word in words:
            if places:
                start, stop = places[-1].span()
                yield f"{stem[:start]}{word}{stem[stop:]}{ending}"
            yield f"{stem}.{word}{ending}"
            yield f"{stem}_{word}{ending}"
    # As in the Single Cell Expression Atlas.
    yield f"{stem}.mtx_{'rows' if words is _FEATURES else 'cols'}"


def _stem(matrix: Path) -> str:
    return re.sub(r"\.mtx(\.gz)?$", "", matrix.name, flags=re.IGNORECASE)


def _is_csv(path: Path) -> bool:
    return path.name.endswith((".csv", ".csv.gz"))


def _rows(path: Path, shape: tuple[int, int]) -> list[list[str]]:
    """Return the rows of a list, without a header."""
    lines = text_lines(path)
    if _is_csv(path):
        rows = list(csv.reader(lines))
    else:
        # R quotes text by default.
        rows = [[_unquoted(field) for field in line.split("\t")] for line in lines]
    while rows and not any(rows[-1]):
        rows.pop()
    if rows and len(rows) - 1 in shape and rows[0][0].strip().lower() in _HEADERS:
        return rows[1:]
    return rows


def _unquoted(field: str) -> str:
    quoted = len(field) > 1 and field[0] == field[-1] == '"'
    return field[1:-1] if quoted else field


def _cells_first(
    path: Path,
    matrix: Path,
    lists: _Lists,
    shape: tuple[int, int],
    listed: tuple[int, int],
) -> bool:
    """Return whether the rows are cells, by the sizes of the lists."""
    as_usual, turned = shape == listed, shape == listed[::-1]
    if as_usual and turned:
        names = matrix.name + lists.barcodes.name
        return any(word in names for word in _CELLS_FIRST)
    if not as_usual and not turned:
        raise InputFileError(
            f"{path}: the matrix has {shape[0]} features, the list of them {listed[0]}; it has "
            f"{shape[1]} cells, the list of them {listed[1]}"
        )
    return turned
