"""Arrays whose rows begin where the cache's lines do: a load across two lines costs twice."""

import numpy as np

from cellkin.space.arrays import Float32Matrix

_LINE_BYTES = 64


def empty_aligned(n: int, dim: int) -> Float32Matrix:
    """Return an (n, dim) float32 matrix of no particular values that begins on a line."""
    n_bytes = 4 * n * dim
    buffer = np.empty(n_bytes + _LINE_BYTES, np.uint8)
    start = -buffer.ctypes.data % _LINE_BYTES
    return buffer[start : start + n_bytes].view(np.float32).reshape(n, dim)


def aligned(matrix: Float32Matrix) -> Float32Matrix:
    """Return a matrix as it is if its rows are together and begin on a line, else a copy."""
    if matrix.flags.c_contiguous and matrix.ctypes.data % _LINE_BYTES == 0:
        return matrix
    copy = empty_aligned(*matrix.shape)
    copy[:] = matrix
    return copy
