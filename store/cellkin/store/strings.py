"""Strings of an Arrow column by row, read from its memory: a few at a time, thousands a second.

Arrow's own ``take`` has a cost a call, which for ten strings is more than all else of an answer.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cellkin.space.arrays import Int64Vector

_MANY = 256


class Strings:
    """A column of strings without missing values.

    Parameters
    ----------
    column
        Of type string or large_string; mapped from a file, it stays there.
    """

    def __init__(self, column: pa.ChunkedArray) -> None:
        array = column.combine_chunks()
        # A column of several chunks, or of none, comes back as one.
        self._array = array.chunk(0) if isinstance(array, pa.ChunkedArray) else array
        wide = pa.types.is_large_string(self._array.type)
        _, offsets, data = self._array.buffers()
        kind = np.dtype(np.int64 if wide else np.int32)
        begin, end = self._array.offset, self._array.offset + len(self._array) + 1
        starts: npt.NDArray[Any] = (
            np.frombuffer(offsets, kind)[begin:end] if offsets is not None else np.zeros(1, kind)
        )
        # A number out of an array is an object of numpy's, which takes five times as long.
        self._offsets = starts.data
        self._data = memoryview(data) if data is not None else memoryview(b"")

    def __len__(self) -> int:
        """Return the number of strings."""
        return len(self._array)

    def at(self, rows: Int64Vector) -> list[str]:
        """Return the strings of some rows.

        Parameters
        ----------
        rows
            (n,) int64, from 0 on.
        """
        if len(rows) > _MANY:
            taken: list[str] = self._array.take(pa.array(rows)).to_pylist()
            return taken
        offsets, data = self._offsets, self._data
        return [str(data[offsets[row] : offsets[row + 1]], "utf-8") for row in rows.tolist()]
