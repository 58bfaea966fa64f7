"""HDF5 files: opening one, saying how a dataset is compressed, reading ranges of it."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import h5py

from cellkin.matrices.options import ReadOptions
from cellkin.matrices.ranges import RangeReader
from cellkin.wire.errors import InputFileError

# HDF5's registered filter numbers. Shuffling and checksums compress nothing.
_GZIP, _SHUFFLE, _CHECKSUM = 1, 2, 3
_FILTERS = {_GZIP: "gzip", 4: "szip", 32000: "lzf", 32001: "blosc", 32015: "zstd", 32026: "blosc2"}
_NOT_COMPRESSING = (_SHUFFLE, _CHECKSUM)
_SLOW = ("gzip", "lzf", "szip")


def open_hdf5(path: Path, stack: ExitStack) -> h5py.File:
    """Open a file for reading until the stack ends."""
    # No reader asks for a chunk twice (see `RangeReader`), and HDF5's cache of chunks would copy
    # every value of an uncompressed file once more.
    return stack.enter_context(h5py.File(path, "r", rdcc_nbytes=0))


def compression(dataset: h5py.Dataset) -> str:
    """Return the name of a dataset's compression, ``uncompressed`` if it has none."""
    packing = [code for code in _filters(dataset) if code not in _NOT_COMPRESSING]
    names = [_FILTERS.get(code, f"HDF5 filter {code}") for code in packing]
    return " and ".join(names) or "uncompressed"


def is_slow(dataset: h5py.Dataset) -> bool:
    """Tell whether decompression caps the reader at a few thousand cells a second."""
    return compression(dataset) in _SLOW


def hdf5_ranges(dataset: h5py.Dataset, axis: int = 0) -> RangeReader:
    """Return a reader of ranges of a dataset along one axis."""
    packed = compression(dataset) != "uncompressed"
    # Along the first axis a part of a chunk is one stretch of the file, along others many.
    return RangeReader(dataset, axis, whole_chunks=packed or axis > 0)


def _filters(dataset: h5py.Dataset) -> list[int]:
    settings = dataset.id.get_create_plist()
    return [settings.get_filter(at)[0] for at in range(settings.get_nfilters())]


def require_no_choice(path: Path, what: str, how: ReadOptions) -> None:
    """Refuse a layer or raw where the format has neither.

    Raises
    ------
    InputFileError
        If one is asked for.
    """
    if how.layer is not None or how.raw:
        asked = f"layer {how.layer!r}" if how.layer is not None else "raw"
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
