"""Find the vectors of the largest cosines: a screen by 8-bit integers, then exact products.

The screen reads a quarter of the memory. Each vector is rounded to 8 bits and the query to 16, and
the lengths of what was rounded off bound the error of every product (Cauchy-Schwarz). Only vectors
that may be among the largest are multiplied exactly, so nothing is lost.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cellkin.space.arrays import BoolVector, Float32Matrix, Float32Vector, Int64Vector
from cellkin.space.compiled import compiled, compiled_sums

_MOST_CODE, _MOST_QUERY = 127, 32767
# Of the lengths of what is rounded off, which are computed in single precision.
_MORE = 1.001


@dataclass(frozen=True)
class Screen:
    """Vectors rounded to 8 bits.

    Parameters
    ----------
    codes
        (n, dim) int8; a vector is about its codes times its scale.
    scales, errors, lengths
        (n,) float32; the length of what was rounded off, at most; and that of the rounded vector.
    """

    codes: npt.NDArray[np.int8]
    scales: Float32Vector
    errors: Float32Vector
    lengths: Float32Vector

    @classmethod
    def of(cls, vectors: Float32Matrix) -> "Screen":
        """Round (n, dim) float32 vectors."""
        codes = np.empty(vectors.shape, np.int8)
        scales, errors, lengths = np.empty((3, len(vectors)), np.float32)
        _round(vectors, codes, scales, errors, lengths)
        return cls(codes, scales, errors, lengths)

    def bounds(self, vector: Float32Vector) -> tuple[Float32Vector, Float32Vector]:
        """Return (n,) float32 numbers that the products with a vector are between.

        Parameters
        ----------
        vector
            (dim,) float32.
        """
        dim = len(vector)
        # The largest codes whose products with any 8-bit codes sum to 31 bits.
        finest = min(_MOST_QUERY, (2**31 - 1) // (_MOST_CODE * max(dim, 1)))
        scale = float(np.abs(vector).max(initial=0)) / finest or 1.0
        codes = np.rint(vector.astype(np.float64) / scale).astype(np.int16)
        length = float(np.linalg.norm(vector.astype(np.float64)))
        error = float(np.linalg.norm(vector - codes * scale))
        sums = np.empty(len(self.codes), np.int32)
        _sums(self.codes, codes, sums)
        # Products in single precision, these and exact ones, are off by this, times the lengths.
        error = _MORE * error + dim * 2.0**-22 * length
        least, most = np.empty((2, len(sums)), np.float32)
        _bound(
            sums, self.scales, self.errors, self.lengths, np.float32(scale),
            np.float32(_MORE * length), np.float32(error), least, most,
        )  # fmt: skip
        return least, most


def products(
    vectors: Float32Matrix, vector: Float32Vector, rows: Int64Vector | None = None
) -> Float32Vector:
    """Return the products of vectors with one; each is the same whichever others are asked for.

    Parameters
    ----------
    vectors
        (n, dim) float32.
    vector
        (dim,) float32.
    rows
        (m,) int64, the vectors wanted; None for all.
    """
    rows = np.arange(len(vectors)) if rows is None else rows
    found = np.empty(len(rows), np.float32)
    _products(vectors, vector, rows, found)
    return found


def candidates(
    least: Float32Vector, most: Float32Vector, passing: BoolVector, k: int
) -> Int64Vector:
    """Return the rows that may be among the k largest, ascending.

    Parameters
    ----------
    least, most
        (n,) float32 numbers that the values are between.
    passing
        (n,) bool, the rows to choose from.
    k
        Rows wanted, at least 1.
    """
    least = np.where(passing, least, np.float32(-np.inf))
    k = min(k, len(least))
    limit = np.partition(least, len(least) - k)[len(least) - k] if k else np.float32(0)
    return np.flatnonzero((most >= limit) & passing)


@compiled
def _round(vectors, codes, scales, errors, lengths):
    """Write codes, scales, and the lengths of what is rounded off and of what is left."""
    n, dim = vectors.shape
    for i in range(n):
        largest = np.float64(0)
        for j in range(dim):
            largest = max(largest, abs(np.float64(vectors[i, j])))
        scale = np.float32(largest / _MOST_CODE)
        scales[i] = scale
        error, length = np.float64(0), np.float64(0)
        for j in range(dim):
            code = np.float64(0)
            if scale > 0:
                code = np.rint(np.float64(vectors[i, j]) / scale)
                code = np.float64(min(max(code, -_MOST_CODE), _MOST_CODE))
            codes[i, j] = np.int8(code)
            off = np.float64(vectors[i, j]) - code * scale
            error += off * off
            length += code * scale * code * scale
        errors[i], lengths[i] = np.sqrt(error), np.sqrt(length)


@compiled
def _sums(codes, query, sums):
    for i in range(len(codes)):
        row = codes[i]
        total = np.int32(0)
        for j in range(len(query)):
            total += np.int32(row[j]) * np.int32(query[j])
        sums[i] = total


@compiled
def _bound(sums, scales, errors, lengths, scale, length, error, least, most):
    """Write the bounds of products; ``length`` is the query's, ``error`` what it is off."""
    for i in range(len(sums)):
        about = np.float32(sums[i]) * (scales[i] * scale)
        off = errors[i] * length + lengths[i] * error
        least[i] = about - off
        most[i] = about + off


@compiled_sums
def _products(vectors, vector, rows, found):
    dim = len(vector)
    for i in range(len(rows)):
        row = vectors[rows[i]]
        total = np.float32(0)
        for j in range(dim):
            total += row[j] * vector[j]
        found[i] = total
