"""Vectors in half precision: two bytes a value, for files, and the float32 that they stand for."""

import numpy as np
import numpy.typing as npt

from cellkin.indexer.models.contract import unit_rows
from cellkin.space.arrays import Float32Matrix


def as_half(vectors: Float32Matrix) -> npt.NDArray[np.float16]:
    """Round unit vectors to half precision, (n, dim) float32 to float16."""
    return vectors.astype(np.float16)


def from_half(halves: npt.NDArray[np.float16], model: str) -> Float32Matrix:
    """Return the unit vectors that half-precision values stand for.

    Rounding these again gives the same values, unless few of them make up nearly all of the length:
    otherwise scaling to unit length moves a value by less than half of the distance to the next.

    Parameters
    ----------
    halves
        (n, dim) float16.
    model
        Name of the model, for the error message.

    Returns
    -------
    Float32Matrix
        (n, dim) float32, unit rows.

    Raises
    ------
    FailedPreconditionError
        If a row has a value that is not finite, or is zero.
    """
    return unit_rows(halves.astype(np.float32), model)
