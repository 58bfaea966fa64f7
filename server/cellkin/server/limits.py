"""Limits of a request: one that exceeds them is refused, never truncated silently."""

from collections.abc import Sequence

import numpy as np

from cellkin.space.arrays import Float32Matrix
from cellkin.space.vectors import directions
from cellkin.wire import codec
from cellkin.wire.errors import DimensionMismatchError, InvalidArgumentError

MOST_GENES = 200_000
"""Most gene names of one request: about twice the size of the largest panel."""
MOST_NAMED = 1000
"""Most genes or cells requested by name."""
MOST_CELLS = 4096
"""Most cells or queries of one message."""
_MOST_SIGNS = 1000


def wanted(n: int, default: int, most: int, field: str) -> int:
    """Return the requested number, or the default if it is 0.

    Raises
    ------
    InvalidArgumentError
        If it is negative or larger than ``most``.
    """
    if not 0 <= n <= most:
        what = "neighbors" if field.endswith("k") else "entries"
        raise InvalidArgumentError(
            f"{field.rpartition('.')[2]} is {n}; ask for 1 to {most} {what}",
            {"limit": str(most)},
            field=field,
        )
    return n or default


def check_names(names: Sequence[str], most: int, field: str) -> None:
    """Check the number and the lengths of names.

    Raises
    ------
    InvalidArgumentError
        If there are more than ``most``, or one is longer than 1000 characters.
    """
    if len(names) > most:
        raise InvalidArgumentError(
            f"{len(names)} names in {field}; send at most {most}",
            {"limit": str(most)},
            field=field,
        )
    for at, name in enumerate(names):
        if len(name) > _MOST_SIGNS:
            raise InvalidArgumentError(
                f"{field}[{at}] has {len(name)} signs; a name has at most {_MOST_SIGNS}",
                field=f"{field}[{at}]",
            )


def read_vectors(data: bytes, dim: int, field: str) -> Float32Matrix:
    """Decode (n, dim) float32 vectors of a message, and normalize them.

    Raises
    ------
    InvalidArgumentError
        If a value is not finite, a vector is zero, or there are too many.
    DimensionMismatchError
        If the number of values is not a multiple of ``dim``.
    """
    values = codec.decode(data, np.float32, field)
    if len(values) % dim:
        raise DimensionMismatchError(
            f"{field}: {len(values)} values are no whole number of vectors of {dim} dimensions",
            {"dim": str(dim)},
            field=field,
        )
    vectors = values.reshape(-1, dim)
    if len(vectors) > MOST_CELLS:
        raise InvalidArgumentError(
            f"{field}: {len(vectors)} vectors; send at most {MOST_CELLS} in one message",
            {"limit": str(MOST_CELLS)},
            field=field,
        )
    unit, n_good = directions(vectors)
    if n_good == len(vectors):
        return unit
    if np.isfinite(values).all():
        raise InvalidArgumentError(
            f"{field}: vector {n_good} is all zero and has no direction", field=field
        )
    raise InvalidArgumentError(f"{field}: some values are not finite", field=field)
