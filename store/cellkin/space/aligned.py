"""Arrays aligned to cache lines: a load that crosses two lines costs twice."""

import numpy as np

from cellkin.space.arrays import Float32Matrix

_LINE_BYTES = 64


def empty_aligned(n: int, dim: int) -> Float32Matrix:
    """Return an uninitialized (n, dim) float32 matrix that begins on a cache line."""
    n_bytes = 4 * n * dim
    buffer = np.empty(n_bytes + _LINE_BYTES, np.uint8)
    start = -buffer.ctypes.data % _LINE_BYTES
    return buffer[start : start + n_bytes].view(np.float32).reshape(n, dim)


def aligned(matrix: Float32Matrix) -> Float32Matrix:
    """Return the matrix itself if it is C-contiguous and begins on a cache line, else a copy."""
    if matrix.flags.c_contiguous and matrix.ctypes.data % _LINE_BYTES == 0:
        return matrix
    copy = empty_aligned(*matrix.shape)
    copy[:] = matrix
    return copy
