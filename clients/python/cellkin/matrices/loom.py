"""Loom files: HDF5 with a dense matrix of genes by cells."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from cellkin.matrices.hdf5 import compression, hdf5_ranges, is_slow
from cellkin.matrices.matrix import DenseMatrix, Storage
from cellkin.matrices.options import ReadOptions
from cellkin.matrices.table import Opened, Table, is_ensembl, texts
from cellkin.wire.errors import InputFileError

_CELL_NAMES = ("CellID", "obs_names", "barcode", "Barcode")
_GENE_IDS = ("Accession", "gene_ids", "ensembl_id")
_GENE_NAMES = ("Gene", "var_names")


def open_loom(path: Path, file: h5py.File, how: ReadOptions) -> Opened:
    """Read an open loom file."""
    layer = how.layer
    layers = sorted(file["layers"]) if "layers" in file else []
    elsewhere = [f"--layer {name}" for name in layers if name != layer]
    has = f"; it has {', '.join(elsewhere) or 'no other matrix'}"
    if how.raw:
        raise InputFileError(f"{path} has no raw: a loom file has layers{has}")
    if layer is not None and layer not in layers:
        raise InputFileError(f"{path} has no layer {layer!r}{has}")
    entries = file["matrix"] if layer is None else file["layers"][layer]
    n_genes, n_cells = map(int, entries.shape)
    matrix = DenseMatrix(
        Storage(path, f"loom, {compression(entries)}", is_slow(entries), elsewhere=elsewhere),
        n_cells,
        n_genes,
        hdf5_ranges(entries, axis=1),
        transposed=True,
    )
    return Opened(
        matrix,
        lambda: _table(path, file["col_attrs"], _CELL_NAMES),
        lambda: _table(path, file["row_attrs"], _gene_attributes(file["row_attrs"])),
    )


def is_loom(file: h5py.File) -> bool:
    """Return whether an HDF5 file is a loom file."""
    return isinstance(file.get("matrix"), h5py.Dataset) and "row_attrs" in file


def _gene_attributes(attributes: h5py.Group) -> tuple[str, ...]:
    """Return the attributes that may hold gene names: Ensembl ids first, if there are any."""
    for name in _GENE_IDS:
        if name in attributes and len(attributes[name]):
            first = texts(attributes[name][:100])
            if sum(map(is_ensembl, first)) > len(first) / 2:
                return (name, *_GENE_NAMES)
    return (*_GENE_NAMES, *_GENE_IDS)


def _table(path: Path, attributes: h5py.Group, names: tuple[str, ...]) -> Table:
    found = [name for name in names if name in attributes]
    if not found:
        raise InputFileError(
            f"{path}: {attributes.name} has none of {', '.join(names)}; "
            f"it has {', '.join(attributes) or 'nothing'}"
        )
    columns = [
        name
        for name, values in attributes.items()
        if isinstance(values, h5py.Dataset) and values.ndim == 1 and name != found[0]
    ]
    return Table(columns, lambda: attributes[found[0]][:], lambda name: _values(attributes[name]))


def _values(dataset: h5py.Dataset) -> Any:
    values = dataset[:]
    return values if values.dtype.kind in "biuf" else np.array(texts(values), dtype=object)
