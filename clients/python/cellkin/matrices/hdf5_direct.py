"""Read uncompressed HDF5 arrays from their file, at the places that HDF5 names."""

import os
from functools import cached_property
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from cellkin.matrices.ranges import RangeReader


class DirectReader(RangeReader):
    """Read ranges of an uncompressed one-dimensional HDF5 dataset.

    The bytes on disk are the values, so that they need not pass through HDF5, which takes two to
    three times as long. Where that is not certain, ranges are read by HDF5. Not thread-safe.

    Parameters
    ----------
    dataset
        The dataset, without filters.
    """

    def __init__(self, dataset: h5py.Dataset) -> None:
        super().__init__(dataset, 0, whole_chunks=False)
        self._dataset, self._dtype = dataset, dataset.dtype

    def _get(self, start: int, stop: int) -> npt.NDArray[Any]:
        # The id of a closed file is not valid, and its descriptor may be another file's by now.
        if start >= stop or not self._dataset.id.valid or self._runs is None:
            return super()._get(start, stop)
        firsts, places = self._runs
        values = np.empty(stop - start, self._dtype)
        size = values.itemsize
        into = values.data.cast("B")
        handle = h5py.h5i.get_file_id(self._dataset.id).get_vfd_handle()
        run = int(np.searchsorted(firsts, start, side="right")) - 1
        at = start
        while at < stop:
            end = min(stop, int(firsts[run + 1]))
            place = int(places[run]) + (at - int(firsts[run])) * size
            _fill(into[(at - start) * size : (end - start) * size], handle, place)
            at, run = end, run + 1
        return values

    @cached_property
    def _runs(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]] | None:
        """First value of each stretch of consecutive bytes, with the end, and its place.

        None if the bytes are not known to be the values.
        """
        dataset, file = self._dataset, self._dataset.file
        if not (
            hasattr(os, "preadv")
            # What this process writes by another handle of the file may be in HDF5's memory only.
            and file.mode == "r"
            and file.driver == "sec2"
            and file.userblock_size == 0
            and self._dtype.kind in "iuf"
            and self._dtype.isnative
            and dataset.id.get_type() == h5py.h5t.py_create(self._dtype)
            and not dataset.is_virtual
            and dataset.external is None
        ):
            return None
        if dataset.chunks is None:
            place = dataset.id.get_offset()
            return None if place is None else (np.array([0, self.n]), np.array([place]))
        return _runs_of_chunks(dataset, self.n)


def _runs_of_chunks(
    dataset: h5py.Dataset, n: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]] | None:
    """Join chunks that follow each other in the file; None if some are missing."""
    if not hasattr(dataset.id, "chunk_iter"):  # HDF5 before 1.14
        return None
    found: list[tuple[int, int]] = []
    dataset.id.chunk_iter(lambda chunk: found.append((chunk.chunk_offset[0], chunk.byte_offset)))
    step = dataset.chunks[0]
    firsts, places = np.array(sorted(found), np.int64).reshape(-1, 2).T
    if not np.array_equal(firsts, np.arange(0, n, step)):
        return None
    begins = np.diff(places, prepend=-1) != step * dataset.dtype.itemsize
    begins[:1] = True
    return np.append(firsts[begins], n), places[begins]


def _fill(into: memoryview, handle: int, place: int) -> None:
    """Read bytes of a file."""
    while into:
        n = os.preadv(handle, [into], place)
        if n == 0:
            raise OSError(f"the file ends before byte {place + len(into)}")
        into, place = into[n:], place + n
