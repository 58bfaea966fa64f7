"""Type aliases for arrays in function signatures, and conversions for compiled code."""

from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

Float32Matrix: TypeAlias = npt.NDArray[np.float32]
Float32Vector: TypeAlias = npt.NDArray[np.float32]
Int64Vector: TypeAlias = npt.NDArray[np.int64]
Int32Vector: TypeAlias = npt.NDArray[np.int32]
UInt8Vector: TypeAlias = npt.NDArray[np.uint8]
UInt8Matrix: TypeAlias = npt.NDArray[np.uint8]
BoolVector: TypeAlias = npt.NDArray[np.bool_]
CsrMatrix: TypeAlias = Any
"""A scipy.sparse.csr_matrix or csr_array; scipy has no types."""

Array = TypeVar("Array", bound=npt.NDArray[Any])


def frozen(array: Array) -> Array:
    """Return a read-only view, because numba treats writable arrays as another type."""
    view = array.view()
    view.flags.writeable = False
    return view


def rows_in(ascending: Int64Vector, wanted: Int64Vector) -> Int64Vector:
    """Return the rows of values in an ascending array, -1 for values that are not in it.

    Parameters
    ----------
    ascending
        (n,) int64, each value once.
    wanted
        (n_wanted,) int64, in any order.

    Returns
    -------
    rows
        (n_wanted,) int64.
    """
    if not len(ascending):
        return np.full(len(wanted), -1, np.int64)
    at = np.minimum(np.searchsorted(ascending, wanted), len(ascending) - 1)
    return np.where(ascending[at] == wanted, at, -1).astype(np.int64)


def canonical(cells: CsrMatrix) -> CsrMatrix:
    """Return cells with sorted indices and no duplicate entries; unchanged if they are so."""
    return cells if cells.has_canonical_format else without_duplicates(cells)


def without_duplicates(cells: CsrMatrix) -> CsrMatrix:
    """Return a copy with sorted indices and the duplicate entries of a cell summed.

    Sums are in double precision, because those of small integers could overflow their type.

    Parameters
    ----------
    cells
        (n_cells, n_columns) CSR of any number type.

    Returns
    -------
    CsrMatrix
        The same in float64.
    """
    copied = cells.astype(np.float64)
    copied.check_format(full_check=True)
    copied.sum_duplicates()
    return copied
