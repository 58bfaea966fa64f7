"""Open HDF5 files, name the compression of datasets, and read ranges of them."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import h5py

from cellkin.matrices.hdf5_direct import DirectReader
from cellkin.matrices.options import ReadOptions
from cellkin.matrices.ranges import RangeReader
from cellkin.wire.errors import InputFileError, MissingDependencyError

# HDF5's registered filter numbers. Shuffling and checksums do not compress.
_GZIP, _SHUFFLE, _CHECKSUM = 1, 2, 3
_FILTERS = {
    _GZIP: "gzip", 4: "szip", 307: "bzip2", 32000: "lzf", 32001: "blosc", 32004: "lz4",
    32008: "bitshuffle", 32013: "zfp", 32015: "zstd", 32017: "sz", 32026: "blosc2",
}  # fmt: skip
_NOT_COMPRESSING = (_SHUFFLE, _CHECKSUM)
_SLOW = ("gzip", "lzf", "szip", "bzip2")


def open_hdf5(path: Path, stack: ExitStack) -> h5py.File:
    """Open a file for reading until the stack closes."""
    # No reader asks for a chunk twice (see `RangeReader`), and HDF5's chunk cache would copy every
    # value of an uncompressed file again.
    return stack.enter_context(h5py.File(path, "r", rdcc_nbytes=0))


def compression(dataset: h5py.Dataset) -> str:
    """Return the name of a dataset's compression, or ``uncompressed``."""
    packing = [code for code in _filters(dataset) if code not in _NOT_COMPRESSING]
    names = [_FILTERS.get(code, f"HDF5 filter {code}") for code in packing]
    return " and ".join(names) or "uncompressed"


def is_slow(dataset: h5py.Dataset) -> bool:
    """Return whether decompression limits the reader to a few thousand cells a second."""
    return any(_FILTERS.get(code) in _SLOW for code in _filters(dataset))


def hdf5_ranges(dataset: h5py.Dataset, axis: int = 0) -> RangeReader:
    """Return a reader of ranges of a dataset along one axis."""
    require_filters(dataset)
    if dataset.ndim == 1 and not _filters(dataset):
        return DirectReader(dataset)
    packed = compression(dataset) != "uncompressed"
    # Along the first axis part of a chunk is contiguous in the file, along others it is not.
    return RangeReader(dataset, axis, whole_chunks=packed or axis > 0)


def require_filters(node: h5py.Dataset | h5py.Group) -> None:
    """Load the filters that decompress a dataset, or all datasets of a group.

    Raises
    ------
    MissingDependencyError
        If HDF5 lacks a filter and hdf5plugin is not installed.
    InputFileError
        If hdf5plugin lacks the filter too.
    """
    datasets: list[h5py.Dataset] = []

    def add(_name: str, held: Any) -> None:
        if isinstance(held, h5py.Dataset):
            datasets.append(held)

    if isinstance(node, h5py.Dataset):
        datasets.append(node)
    else:
        node.visititems(add)
    for code in sorted({code for dataset in datasets for code in _filters(dataset)}):
        if not h5py.h5z.filter_avail(code):
            _load_filter(code, f"{node.file.filename}: {node.name}")


def _load_filter(code: int, where: str) -> None:
    packed = f"{where} is packed by {_FILTERS.get(code, 'a filter')} (HDF5 filter {code})"
    try:
        import hdf5plugin  # noqa: F401  its import registers the filters
    except ImportError as error:
        raise MissingDependencyError(
            f"{packed}, which HDF5 cannot unpack by itself; pip install hdf5plugin"
        ) from error
    if not h5py.h5z.filter_avail(code):
        raise InputFileError(
            f"{packed}, which neither HDF5 nor hdf5plugin can unpack; write the file again with "
            "compression='gzip'"
        )


def _filters(dataset: h5py.Dataset) -> list[int]:
    settings = dataset.id.get_create_plist()
    return [settings.get_filter(at)[0] for at in range(settings.get_nfilters())]


def require_no_choice(path: Path, what: str, how: ReadOptions) -> None:
    """Refuse a layer, raw or a modality for formats that have none.

    Raises
    ------
    InputFileError
        If one is asked for.
    """
    require_no_modality(path, what, how)
    if how.layer is not None or how.raw:
        asked = f"layer {how.layer!r}" if how.layer is not None else "raw"
        raise InputFileError(f"{path} has no {asked}: {what} has one matrix; leave it out")


def require_no_modality(path: Path, what: str, how: ReadOptions) -> None:
    """Refuse a modality for formats that have none.

    Raises
    ------
    InputFileError
        If one is asked for.
    """
    if how.modality is not None:
        raise InputFileError(
            f"{path} has no modality {how.modality!r}: {what} has none; leave it out"
        )


def text_dataset(group: Any, *names: str) -> Any:
    """Return the values of the first of these datasets that a group has.

    Raises
    ------
    KeyError
        If there is none.
    """
    for name in names:
        if name in group:
            return group[name][:]
    raise KeyError(f"none of {', '.join(names)} in {group.name}")
