"""Read ranges of an array on disk without decoding a chunk twice."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

# Larger chunks are not cached: each range is then read on its own, however slowly.
_MAX_HELD_BYTES = 256 * 2**20


class RangeReader:
    """Read ranges along one axis of an HDF5 or zarr array.

    A compressed chunk can only be decoded whole, and the ranges asked for rarely end at a chunk
    boundary. The reader therefore reads up to the end of the last chunk and caches this chunk for
    the next range. Not thread-safe.

    Parameters
    ----------
    array
        An ``h5py.Dataset`` or a ``zarr.Array``.
    axis
        The axis of the ranges; the others are read whole.
    whole_chunks
        Whether part of a chunk costs as much as all of it: False for uncompressed arrays.
    notes
        Sentences for the user about the array.
    """

    def __init__(
        self, array: Any, axis: int, *, whole_chunks: bool, notes: Sequence[str] = ()
    ) -> None:
        self.n = int(array.shape[axis])
        self.notes = notes
        self._array, self._axis = array, axis
        self._step = _step(array, axis) if whole_chunks else 1
        self._held_start = 0
        self._held: npt.NDArray[Any] | None = None

    def read(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Return ``array[start:stop]`` along the axis, as a copy."""
        if self._step == 1 or start >= stop:
            return self._get(start, stop)
        parts = []
        at = start
        if self._held is not None and 0 <= start - self._held_start < self._length(self._held):
            first = start - self._held_start
            parts.append(self._part(self._held, first, stop - self._held_start))
            at += self._length(parts[0])
        if at < stop:
            low = at - at % self._step
            high = min(self.n, stop + -stop % self._step)
            window = self._get(low, high)
            parts.append(self._part(window, at - low, stop - low))
            last = (high - 1) - (high - 1) % self._step
            self._held_start, self._held = last, self._part(window, last - low, high - low)
        return parts[0].copy() if len(parts) == 1 else np.concatenate(parts, axis=self._axis)

    def _get(self, start: int, stop: int) -> npt.NDArray[Any]:
        return np.asarray(self._array[(slice(None),) * self._axis + (slice(start, stop),)])

    def _part(self, values: npt.NDArray[Any], start: int, stop: int) -> npt.NDArray[Any]:
        return values[(slice(None),) * self._axis + (slice(start, stop),)]

    def _length(self, values: npt.NDArray[Any]) -> int:
        return int(values.shape[self._axis])


def _step(array: Any, axis: int) -> int:
    """Return the chunk length along the axis, or 1 if not chunked or the chunks are too large."""
    if array.chunks is None:
        return 1
    across = int(np.prod([n for at, n in enumerate(array.shape) if at != axis], dtype=np.int64))
    step = int(array.chunks[axis])
    wide = step * across * array.dtype.itemsize > _MAX_HELD_BYTES
    return 1 if wide and across > 1 else step
