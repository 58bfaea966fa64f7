"""From the mean of a cell's gene vectors to the vector that is searched."""

import numpy as np

from cellkin.space.arrays import Float32Matrix
from cellkin.space.projection import CellSpace
from cellkin.space.vectors import unit_rows


def place_means(means: Float32Matrix, space: CellSpace) -> Float32Matrix:
    """Take the reference mean off, apply the head, and scale to unit length.

    Parameters
    ----------
    means
        (n_cells, n) float32 weighted means of gene vectors.
    space
        The fitted recipe.

    Returns
    -------
    Float32Matrix
        (n_cells, space.dim) float32, unit rows.
    """
    z = means - space.center
    if space.head is not None:
        z = np.asarray(z @ space.head.T, np.float32)
    return unit_rows(z)
