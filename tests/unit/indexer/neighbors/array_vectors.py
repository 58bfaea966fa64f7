"""Vectors in memory, for tests of neighbor indexes."""

from collections.abc import Iterator

import numpy as np

from cellkin.space.arrays import Float32Matrix, Int64Vector

BATCH_ROWS = 8192


class ArrayVectors:
    """Vectors in memory.

    Parameters
    ----------
    matrix
        (n, dim) float32, unit rows.
    """

    def __init__(self, matrix: Float32Matrix) -> None:
        self._matrix = np.ascontiguousarray(matrix, np.float32)
        self.n: int = self._matrix.shape[0]
        self.dim: int = self._matrix.shape[1]

    def batches(self) -> Iterator[Float32Matrix]:
        """Yield the rows in order."""
        for start in range(0, self.n, BATCH_ROWS):
            yield self._matrix[start : start + BATCH_ROWS]

    def take(self, rows: Int64Vector) -> Float32Matrix:
        """Return some rows."""
        return self._matrix[rows]
