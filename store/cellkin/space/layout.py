"""The two-dimensional layout of a reference, and positions of other cells in it."""

# numba infers types; compiled functions have no annotations.
# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cellkin.space.arrays import Float32Matrix, Int64Vector, UInt8Vector, frozen
from cellkin.space.compiled import compiled
from cellkin.space.largest import largest_products

PLACED_BY = 15
"""Number of nearest fitted cells by which a cell is placed."""
# Cosine distances below are rounding errors.
_NEAR = 1e-6
_STEPS = 100


@dataclass(frozen=True)
class Layout:
    """Positions of the cells of a reference in two dimensions.

    They were fitted to some of the cells; every other cell is placed by the positions of the
    nearest fitted cells.

    Parameters
    ----------
    positions
        (n_cells, 2) float32, finite.
    n_same
        (n_cells,) uint8, of the `PLACED_BY` nearest fitted cells, the number with the cell's label;
        a fitted cell does not count itself.
    fitted
        (n_fitted,) int64 rows of the fitted cells, ascending.
    vectors
        (n_fitted, dim) float32 unit rows of the fitted cells, by name of the space.
    """

    positions: Float32Matrix
    n_same: UInt8Vector
    fitted: Int64Vector
    vectors: Mapping[str, Float32Matrix]

    def place(self, z: Float32Matrix, space: str) -> Float32Matrix:
        """Place cells by their vectors.

        A position is the weighted geometric median of the positions of the nearest fitted cells,
        which keeps out of the gap between two groups where a mean falls into it. Weights are the
        inverse of the cosine distance, so a fitted cell gets its own position. The position of a
        cell does not depend on the other cells.

        Parameters
        ----------
        z
            (n_cells, dim) float32 unit rows, as vectors of the space are searched.
        space
            Name of the space.

        Returns
        -------
        Float32Matrix
            (n_cells, 2) float32; NaN where the vector is zero.
        """
        placed = among(self.positions[self.fitted], *self.nearest(z, space))
        placed[~z.any(axis=1)] = np.nan
        return placed

    def nearest(self, z: Float32Matrix, space: str) -> tuple[Float32Matrix, Int64Vector]:
        """Return (n_cells, k) float32 cosines and int64 positions in ``fitted``, best first."""
        vectors = self.vectors[space]
        return largest_products(vectors, z, min(PLACED_BY, len(vectors)))


def among(
    positions: Float32Matrix, similarities: Float32Matrix, nearest: Int64Vector
) -> Float32Matrix:
    """Place cells among their nearest fitted cells; see `Layout.place`.

    Parameters
    ----------
    positions
        (n_fitted, 2) float32.
    similarities, nearest
        (n_cells, k) float32 cosines, best first, and int64 rows of ``positions``.
    """
    placed = np.empty((len(nearest), 2), np.float32)
    _place(frozen(positions), frozen(similarities), frozen(nearest), placed)
    return placed


@compiled
def _place(positions, similarities, nearest, placed):
    n_cells, k = nearest.shape
    weights = np.empty(k)
    for cell in range(n_cells):
        total, x, y = 0.0, 0.0, 0.0
        for i in range(k):
            weights[i] = 1.0 / max(1.0 - similarities[cell, i], _NEAR)
            total += weights[i]
            x += weights[i] * positions[nearest[cell, i], 0]
            y += weights[i] * positions[nearest[cell, i], 1]
        x, y = x / total, y / total
        for _ in range(_STEPS):  # Weiszfeld's algorithm
            total, next_x, next_y = 0.0, 0.0, 0.0
            for i in range(k):
                at_x, at_y = positions[nearest[cell, i], 0], positions[nearest[cell, i], 1]
                pull = weights[i] / max(np.sqrt((at_x - x) ** 2 + (at_y - y) ** 2), _NEAR)
                total += pull
                next_x += pull * at_x
                next_y += pull * at_y
            next_x, next_y = next_x / total, next_y / total
            moved = abs(next_x - x) + abs(next_y - y)
            x, y = next_x, next_y
            if moved < _NEAR:
                break
        placed[cell, 0] = x
        placed[cell, 1] = y
