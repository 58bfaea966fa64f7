"""HDF5 files: opening one, saying how a dataset is compressed, unpacking it."""

import zlib
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from cellkin.matrices.ranges import RangeReader
from cellkin.wire.errors import InputFileError

# HDF5's registered filter numbers. Shuffling and checksums compress nothing.
_GZIP, _SHUFFLE, _CHECKSUM = 1, 2, 3
_FILTERS = {_GZIP: "gzip", 4: "szip", 32000: "lzf", 32001: "blosc", 32015: "zstd", 32026: "blosc2"}
_NOT_COMPRESSING = (_SHUFFLE, _CHECKSUM)
_SLOW = ("gzip", "lzf", "szip")


def open_hdf5(path: Path, stack: ExitStack) -> h5py.File:
    """Open a file for reading until the stack ends."""
    return stack.enter_context(h5py.File(path, "r"))


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
    array = GzipVector(dataset) if GzipVector.fits(dataset) else dataset
    return RangeReader(array, axis, whole_chunks=packed)


class GzipVector:
    """A one-dimensional dataset of gzip chunks, unpacked here and not by HDF5.

    HDF5's own filters take some 1.5 times as long, and leave no choice of the decompressor.
    """

    def __init__(self, dataset: h5py.Dataset) -> None:
        self.shape: tuple[int, ...] = dataset.shape
        self.chunks: tuple[int, ...] = dataset.chunks
        self.dtype: np.dtype[Any] = dataset.dtype
        self._dataset = dataset
        self._shuffled = _SHUFFLE in _filters(dataset)

    @staticmethod
    def fits(dataset: h5py.Dataset) -> bool:
        """Tell whether a dataset is one."""
        numbers = dataset.dtype.kind in "iuf" and dataset.dtype.isnative
        return dataset.ndim == 1 and numbers and _filters(dataset) in ([_GZIP], [_SHUFFLE, _GZIP])

    def __getitem__(self, ranges: tuple[slice]) -> npt.NDArray[Any]:
        start, stop = ranges[0].start, min(ranges[0].stop, self.shape[0])
        step = self.chunks[0]
        values = np.empty(max(0, stop - start), self.dtype)
        for low in range(start - start % step, stop, step):
            first, last = max(start, low), min(stop, low + step)
            values[first - start : last - start] = self._chunk(low)[first - low : last - low]
        return values

    def _chunk(self, low: int) -> npt.NDArray[Any]:
        skipped, packed = self._dataset.id.read_direct_chunk((low,))
        if skipped:
            # A writer may leave single chunks as they are; HDF5 knows which filters it left out.
            chunk: npt.NDArray[Any] = self._dataset[low : low + self.chunks[0]]
            return chunk
        size = self.chunks[0] * self.dtype.itemsize
        try:
            unpacked = zlib.decompress(packed, bufsize=size)
        except zlib.error as error:
            raise OSError(f"a chunk cannot be unpacked: {error}") from error
        if len(unpacked) != size:
            raise OSError(f"a chunk has {len(unpacked)} bytes, not {size}")
        if self._shuffled:
            planes = np.frombuffer(unpacked, np.uint8).reshape(self.dtype.itemsize, -1)
            return np.ascontiguousarray(planes.T).view(self.dtype).ravel()
        return np.frombuffer(unpacked, self.dtype)


def _filters(dataset: h5py.Dataset) -> list[int]:
    settings = dataset.id.get_create_plist()
    return [settings.get_filter(at)[0] for at in range(settings.get_nfilters())]


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
