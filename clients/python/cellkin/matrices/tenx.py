"""HDF5 files of Cell Ranger, versions 2 and 3."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from cellkin.matrices.hdf5 import (
    compression,
    hdf5_ranges,
    is_slow,
    require_no_choice,
    text_dataset,
)
from cellkin.matrices.matrix import CompressedMatrix, Storage
from cellkin.matrices.options import ReadOptions
from cellkin.matrices.table import Opened, Table, gene_names, name_table, texts
from cellkin.wire.errors import InputFileError


def open_10x_h5(path: Path, file: h5py.File, how: ReadOptions) -> Opened:
    """Read an open Cell Ranger file."""
    require_no_choice(path, "a 10x file", how)
    group, features = _groups(path, file)
    n_features, n_cells = map(int, group["shape"][:])
    if len(group["indptr"]) != n_cells + 1:
        raise InputFileError(f"{path}: {n_cells} cells but indptr of {len(group['indptr'])}")
    matrix = CompressedMatrix(
        Storage(path, f"10x h5, {compression(group['data'])}", is_slow(group["data"])),
        n_features,
        group["indptr"][:],
        hdf5_ranges(group["indices"]),
        hdf5_ranges(group["data"]),
    )

    def read_var() -> Table:
        columns: dict[str, Any] = {
            "gene_ids": text_dataset(features, "gene_id", "id", "genes"),
            "gene_names": text_dataset(features, "name", "gene_names"),
        }
        for name, stored in (("genome", "genome"), ("feature_types", "feature_type")):
            if stored in features:
                columns[name] = features[stored][:]
        return feature_table(columns)

    return Opened(matrix, lambda: name_table(texts(group["barcodes"][:])), read_var)


def is_10x_h5(file: h5py.File) -> bool:
    """Return whether an HDF5 file is from Cell Ranger."""
    return bool(_v3(file) or _v2(file))


def feature_table(columns: Mapping[str, Any]) -> Table:
    """Return the annotation of features, named by Ensembl id if they have one.

    Parameters
    ----------
    columns
        Columns of strings or bytes, with ``gene_ids`` and ``gene_names``.
    """
    held = {name: np.array(texts(values), dtype=object) for name, values in columns.items()}

    def names() -> npt.NDArray[np.object_]:
        both = gene_names(held["gene_ids"].tolist(), held["gene_names"].tolist())
        return np.array(both, dtype=object)

    return Table(list(held), names, held.__getitem__)


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
