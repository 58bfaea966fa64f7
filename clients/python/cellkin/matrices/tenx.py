"""What Cell Ranger writes: its HDF5 files of versions 2 and 3, and its folders of text."""

import gzip
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import scipy.io
import scipy.sparse as sp

from cellkin.matrices.anndata_tree import HeldRanges
from cellkin.matrices.hdf5 import (
    compression,
    hdf5_ranges,
    is_slow,
    require_no_choice,
    text_dataset,
)
from cellkin.matrices.matrix import CompressedMatrix, Storage
from cellkin.matrices.options import ReadOptions
from cellkin.matrices.table import Opened, Table, gene_names, texts
from cellkin.wire.errors import InputFileError

_GENES = "Gene Expression"
_MATRIX = "matrix.mtx"
_FEATURES = ("features.tsv", "genes.tsv")


def open_10x_h5(path: Path, file: h5py.File, how: ReadOptions) -> Opened:
    """Read an open HDF5 file of Cell Ranger."""
    require_no_choice(path, "a 10x file", how)
    group, features = _groups(path, file)
    # The features are read once, when they are needed: a worker needs their types only.
    types = texts(features["feature_type"][:]) if "feature_type" in features else None
    kept, notes = _genes(path, types)
    n_features, n_cells = map(int, group["shape"][:])
    if len(group["indptr"]) != n_cells + 1:
        raise InputFileError(f"{path}: {n_cells} cells but indptr of {len(group['indptr'])}")
    matrix = CompressedMatrix(
        Storage(path, f"10x h5, {compression(group['data'])}", is_slow(group["data"]), notes=notes),
        n_features,
        group["indptr"][:],
        hdf5_ranges(group["indices"]),
        hdf5_ranges(group["data"]),
        kept,
    )

    def read_var() -> Table:
        columns: dict[str, Any] = {
            "gene_ids": text_dataset(features, "gene_id", "id", "genes"),
            "gene_names": text_dataset(features, "name", "gene_names"),
        }
        if "genome" in features:
            columns["genome"] = features["genome"][:]
        return _var(columns, kept)

    return Opened(matrix, lambda: _obs(texts(group["barcodes"][:])), read_var)


def open_10x_folder(path: Path, how: ReadOptions, _stack: ExitStack) -> Opened:
    """Read a folder of ``matrix.mtx``, ``barcodes.tsv`` and ``features.tsv``, packed or not."""
    require_no_choice(path, "a 10x folder", how)
    features = _lines(path, *_FEATURES)
    types = [row[2] for row in features] if features and len(features[0]) > 2 else None
    kept, notes = _genes(path, types)
    x = sp.csr_matrix(scipy.io.mmread(_file(path, _MATRIX)).T)
    if x.shape[1] != len(features):
        raise InputFileError(
            f"{path}: the matrix has {x.shape[1]} features, the list of them {len(features)}"
        )
    storage = Storage(
        path,
        "10x folder",
        slow=True,
        in_memory=True,
        notes=[
            *notes,
            "the matrix is text and was loaded whole; Cell Ranger's .h5 files are read in blocks",
        ],
    )
    matrix = CompressedMatrix(
        storage, x.shape[1], x.indptr, HeldRanges(x.indices), HeldRanges(x.data), kept
    )

    def read_var() -> Table:
        ids = [row[0] for row in features]
        names = [row[1] if len(row) > 1 else row[0] for row in features]
        return _var({"gene_ids": np.array(ids), "gene_names": np.array(names)}, kept)

    return Opened(matrix, lambda: _obs([row[0] for row in _lines(path, "barcodes.tsv")]), read_var)


def is_10x_folder(path: Path) -> bool:
    """Tell whether a folder has a Cell Ranger matrix."""
    return any((path / f"{_MATRIX}{suffix}").is_file() for suffix in ("", ".gz"))


def is_10x_h5(file: h5py.File) -> bool:
    """Tell whether an HDF5 file is Cell Ranger's."""
    return bool(_v3(file) or _v2(file))


def _v3(file: h5py.File) -> bool:
    return isinstance(file.get("matrix"), h5py.Group)


def _v2(file: h5py.File) -> list[str]:
    return [
        name
        for name, group in file.items()
        if isinstance(group, h5py.Group) and "barcodes" in group and "indptr" in group
    ]


def _groups(path: Path, file: h5py.File) -> tuple[h5py.Group, h5py.Group]:
    if _v3(file):
        return file["matrix"], file["matrix/features"]
    genomes = _v2(file)
    if len(genomes) > 1:
        raise InputFileError(
            f"{path} has a matrix for each of the genomes {', '.join(genomes)}; "
            "give a file of one genome"
        )
    return file[genomes[0]], file[genomes[0]]


def _genes(
    path: Path, types: Sequence[str] | None
) -> tuple[npt.NDArray[np.int64] | None, list[str]]:
    """Return which features are genes, None for all, and a note on those that are not."""
    others = Counter(t for t in types or () if t != _GENES)
    if types is None or not others:
        return None, []
    kept = np.flatnonzero(np.array(types) == _GENES)
    kinds = ", ".join(sorted(others))
    if not len(kept):
        raise InputFileError(f"{path} has no {_GENES} features, only {kinds}")
    return kept, [f"left out {others.total()} features that are not genes: {kinds}"]


def _obs(names: list[str]) -> Table:
    return Table([], lambda: names, dict[str, Any]().__getitem__)


def _var(columns: dict[str, Any], kept: npt.NDArray[np.int64] | None) -> Table:
    held = {name: np.array(texts(values), dtype=object) for name, values in columns.items()}

    def names() -> npt.NDArray[np.object_]:
        both = gene_names(held["gene_ids"].tolist(), held["gene_names"].tolist())
        return np.array(both, dtype=object)

    return Table(list(held), names, held.__getitem__, kept)


def _file(folder: Path, *names: str) -> Path:
    for name in names:
        for suffix in (".gz", ""):
            if (folder / (name + suffix)).is_file():
                return folder / (name + suffix)
    raise InputFileError(f"{folder} has a {_MATRIX} but no {' or '.join(names)}")


def _lines(folder: Path, *names: str) -> list[list[str]]:
    path = _file(folder, *names)
    content = path.read_bytes()
    text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
    return [line.split("\t") for line in text.splitlines()]
