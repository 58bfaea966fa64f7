"""HDF5 files: opening one, and saying how a dataset is compressed."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import h5py

from cellkin.matrices.ranges import RangeReader
from cellkin.wire.errors import InputFileError

# HDF5's registered filter numbers. Shuffling and checksums (2 and 3) compress nothing.
_FILTERS = {1: "gzip", 4: "szip", 32000: "lzf", 32001: "blosc", 32015: "zstd", 32026: "blosc2"}
_NOT_COMPRESSING = (2, 3)
_SLOW = ("gzip", "szip")


def open_hdf5(path: Path, stack: ExitStack) -> h5py.File:
    """Open a file for reading until the stack ends."""
    return stack.enter_context(h5py.File(path, "r"))


def compression(dataset: h5py.Dataset) -> str:
    """Return the name of a dataset's compression, ``uncompressed`` if it has none."""
    settings = dataset.id.get_create_plist()
    codes = [settings.get_filter(at)[0] for at in range(settings.get_nfilters())]
    names = [_FILTERS.get(c, f"HDF5 filter {c}") for c in codes if c not in _NOT_COMPRESSING]
    return " and ".join(names) or "uncompressed"


def is_slow(dataset: h5py.Dataset) -> bool:
    """Tell whether decompression caps the reader at a few thousand cells a second."""
    return compression(dataset) in _SLOW


def hdf5_ranges(dataset: h5py.Dataset, axis: int = 0) -> RangeReader:
    """Return a reader of ranges of a dataset along one axis."""
    return RangeReader(dataset, axis, whole_chunks=compression(dataset) != "uncompressed")


def require_no_choice(path: Path, what: str, layer: str | None, *, raw: bool) -> None:
    """Refuse a layer or raw where the format has neither.

    Raises
    ------
    InputFileError
        If one is asked for.
    """
    if layer is not None or raw:
        asked = f"layer {layer!r}" if layer is not None else "raw"
        raise InputFileError(f"{path} has no {asked}: {what} has one matrix; leave it out")


def text_dataset(group: Any, *names: str) -> Any:
    """Return the first dataset of a group that exists, whole.

    Raises
    ------
    KeyError
        If there is none.
    """
    for name in names:
        if name in group:
            return group[name][:]
    raise KeyError(f"none of {', '.join(names)} in {group.name}")
