"""Novelty: how much farther from its label a cell is than the label's own cells."""

import numpy as np

from cellkin.space.arrays import Float32Matrix, Float32Vector, Int32Vector
from cellkin.space.readout import RATES, BoolMatrix, Float64Matrix, Readout
from cellkin.space.vectors import unit_rows
from cellkin.wire.errors import InvalidArgumentError

# Of a cell that lies where the mean of all does; its logarithm would have no end.
_LEAST_LENGTH = 1e-6
# No measure of novelty says that a cell is nearer than this: one alone cannot vouch for it.
_LEAST_DEFICIT = -1.0


def closeness(
    z: Float32Matrix,
    similarities: Float32Matrix,
    found: BoolMatrix,
    winners: Int32Vector,
    readout: Readout,
    leading: Float32Matrix | None = None,
) -> Float64Matrix:
    """Return in several ways how well cells fit their labels.

    Parameters
    ----------
    z
        (n_cells, dim) float32, as the space places cells.
    similarities, found
        (n_cells, n_neighbors) float32 cosines, best first, and whether there is such a neighbor.
    winners
        (n_cells,) int32, their labels.
    readout
        The fitted readout.
    leading
        (n_cells, leading_dim) float32 of `Placed`; needed where the readout has prototypes there.

    Returns
    -------
    Float64Matrix
        (n_ways, n_cells). The cosine to the label's prototype; then, where there are
        `Readout.discriminants`, the label's discriminant, both once more in the leading components
        if there are any, and minus the logarithm of the length; else the mean cosine to the
        `Readout.n_novelty` nearest neighbors, -1 where there are none.
    """
    cosines = _of_winners(unit_rows(z), readout.prototypes, winners)
    if len(readout.discriminants):
        ways = [cosines, _of_winners(z, readout.discriminants, winners)]
        if leading is not None and readout.leading_prototypes.shape[1]:
            directions = unit_rows(leading)
            ways += [
                _of_winners(directions, of_label, winners)
                for of_label in (readout.leading_prototypes, readout.leading_discriminants)
            ]
        lengths = np.maximum(np.linalg.norm(z, axis=1), _LEAST_LENGTH)
        return np.stack([*ways, -np.log(lengths)]).astype(np.float64)
    near = found[:, : readout.n_novelty]
    total = np.where(near, similarities[:, : readout.n_novelty], 0).sum(axis=1, dtype=np.float64)
    n_found = near.sum(axis=1)
    mean = np.divide(total, n_found, out=np.full(len(winners), -1.0), where=n_found > 0)
    return np.stack([cosines.astype(np.float64), mean])


def _of_winners(
    vectors: Float32Matrix, of_label: Float32Matrix, winners: Int32Vector
) -> Float32Vector:
    """Return each cell's product with what its label has."""
    return np.asarray(np.einsum("cd,cd->c", vectors, of_label[winners]))


def novelty(close: Float64Matrix, winners: Int32Vector, readout: Readout) -> Float32Vector:
    """Return how much farther than its label's own cells a cell is, in their deviations.

    Parameters
    ----------
    close
        (n_ways, n_cells) from `closeness`.
    winners
        (n_cells,) int32, the most probable label.
    readout
        The fitted readout.

    Returns
    -------
    Float32Vector
        (n_cells,) float32; the mean over the ways. Where there are `Readout.discriminants` none of
        them counts less than -1, so that no way makes up for what others find missing.
    """
    means, deviations = readout.novelty_means[:, winners], readout.novelty_deviations[:, winners]
    deficits = (means - close) / deviations
    if len(readout.discriminants):
        deficits = np.maximum(deficits, _LEAST_DEFICIT)
    return np.asarray(deficits.mean(axis=0), np.float32)


def limit_at(readout: Readout, rate: float) -> float:
    """Return the limit of novelty for a share of false alarms.

    Parameters
    ----------
    readout
        The fitted readout.
    rate
        The share of known cells that may be beyond the limit, from the first to the last of
        `RATES`; between two of them the limit is linear in the logarithm of the rate.

    Returns
    -------
    float
        Infinite where nothing was calibrated.

    Raises
    ------
    InvalidArgumentError
        If the rate is outside.
    """
    if not RATES[0] <= rate <= RATES[-1]:
        raise InvalidArgumentError(
            f"false_alarms is {rate:g}; give the share of known cells that may be called unknown, "
            f"from {RATES[0]:g} to {RATES[-1]:g}",
            {"rate": f"{rate:g}"},
            field="header.false_alarms",
        )
    limits = readout.novelty_limits.astype(np.float64)
    if not np.isfinite(limits).all():
        return float("inf")
    return float(np.interp(np.log(rate), np.log(RATES), limits))
