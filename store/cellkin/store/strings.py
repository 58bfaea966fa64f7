"""Fast access to a few strings of an Arrow column by row, read directly from its buffers.

Arrow's own ``take`` has a cost per call that, for ten strings, exceeds the rest of a response.
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
        Column of type string or large_string; a memory-mapped one is not copied.
    """

    def __init__(self, column: pa.ChunkedArray) -> None:
        # Combining a single chunk would copy it.
        array = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
        # Depending on the number of chunks, the result may still be a chunked array.
        self._array = array.chunk(0) if isinstance(array, pa.ChunkedArray) else array
        wide = pa.types.is_large_string(self._array.type)
        _, offsets, data = self._array.buffers()
        kind = np.dtype(np.int64 if wide else np.int32)
        begin, end = self._array.offset, self._array.offset + len(self._array) + 1
        starts: npt.NDArray[Any] = (
            np.frombuffer(offsets, kind)[begin:end] if offsets is not None else np.zeros(1, kind)
        )
        # Indexing a memoryview is five times as fast as creating a numpy scalar.
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
            (n,) int64 row numbers, not negative.
        """
        if len(rows) > _MANY:
            taken: list[str] = self._array.take(pa.array(rows)).to_pylist()
            return taken
        offsets, data = self._offsets, self._data
        return [str(data[offsets[row] : offsets[row + 1]], "utf-8") for row in rows.tolist()]
