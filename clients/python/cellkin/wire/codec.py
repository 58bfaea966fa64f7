"""Arrays as little-endian bytes, the wire format of vectors and matrices.

Bytes encode 20 to 30 times faster than repeated floats in Python and take the same space.
"""

import sys
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from cellkin.wire.errors import InvalidArgumentError

Scalar = TypeVar("Scalar", np.float32, np.int32, np.int64, np.uint16, np.uint8)

NOT_SMALL = 255
"""The byte of a value that `encode_small` returns apart."""
# Share of values sent apart from which small ones save nothing.
_MOST_APART = 0.5


def encode(array: npt.NDArray[Scalar]) -> bytes:
    """Return the array's values in C order as little-endian bytes."""
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def encode_small(values: npt.NDArray[np.float32]) -> tuple[bytes, npt.NDArray[np.float32]] | None:
    """Return values as one byte each, for whole numbers below 255 as most counts are.

    Parameters
    ----------
    values
        (n,) float32, nonnegative.

    Returns
    -------
    tuple or None
        The bytes, `NOT_SMALL` for all other values, and (n_others,) float32, these values in order;
        None if most are others.
    """
    with np.errstate(invalid="ignore"):  # of NaN, which is sent as it is
        small = np.minimum(values, NOT_SMALL).astype(np.uint8)
    apart = (small != values) | (small == NOT_SMALL)
    others = values[apart]
    if len(others) > _MOST_APART * len(values):
        return None
    small[apart] = NOT_SMALL
    return small.tobytes(), others


def decode(data: bytes, dtype: type[Scalar], field: str) -> npt.NDArray[Scalar]:
    """Read little-endian bytes as a one-dimensional, read-only array.

    Parameters
    ----------
    data
        The bytes of a message field.
    dtype
        Type of one value.
    field
        Name of the field, for the error.

    Raises
    ------
    InvalidArgumentError
        If the length is not a multiple of the value size.
    """
    kind = np.dtype(dtype)
    if len(data) % kind.itemsize:
        raise InvalidArgumentError(
            f"field {field}: {len(data)} bytes are no whole number of {kind.itemsize}-byte values; "
            f"send little-endian {kind.name}",
            field=field,
        )
    if sys.byteorder == "little":
        return np.frombuffer(data, kind)
    return np.frombuffer(data, kind.newbyteorder("<")).astype(kind)
