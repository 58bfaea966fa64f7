"""Arrays as little-endian bytes, the wire format of vectors and matrices.

Bytes encode 20 to 30 times faster than repeated floats in Python and take the same space.
"""

import sys
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from cellkin.wire.errors import InvalidArgumentError

Scalar = TypeVar("Scalar", np.float32, np.int32, np.int64, np.uint8)


def encode(array: npt.NDArray[Scalar]) -> bytes:
    """Return the array's values in C order as little-endian bytes."""
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


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
