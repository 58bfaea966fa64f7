"""Novelty: how much farther a cell is from its label than the label's own cells are."""

import numpy as np

from cellkin.space.arrays import Float32Matrix, Float32Vector, Int32Vector
from cellkin.space.classifier import RATES, BoolMatrix, Float64Matrix, LabelClassifier
from cellkin.space.vectors import unit_rows
from cellkin.wire.errors import InvalidArgumentError

# Minimum length before the logarithm, for cells at the mean of all.
_LEAST_LENGTH = 1e-6
# Lower bound of each measure, so that no single one makes up for the others.
_LEAST_DEFICIT = -1.0


def closeness(
    z: Float32Matrix,
    similarities: Float32Matrix,
    found: BoolMatrix,
    winners: Int32Vector,
    classifier: LabelClassifier,
    leading: Float32Matrix | None = None,
) -> Float64Matrix:
    """Return several measures of how well cells fit their labels.

    Parameters
    ----------
    z
        (n_cells, dim) float32, the placed cells.
    similarities, found
        (n_cells, n_neighbors) float32 cosines, best first, and bool, whether the neighbor exists.
    winners
        (n_cells,) int32, the predicted labels.
    classifier
        The fitted classifier.
    leading
        (n_cells, leading_dim) float32 of `Placed`; required if the classifier has prototypes there.

    Returns
    -------
    Float64Matrix
        (n_ways, n_cells). The cosine to the label's prototype; then, with
        `LabelClassifier.discriminants`, the label's discriminant, both again in the leading
        components if there are any, and minus the logarithm of the length; without, the mean cosine
        to the `LabelClassifier.n_novelty` nearest neighbors, -1 if there are none.
    """
    cosines = _of_winners(unit_rows(z), classifier.prototypes, winners)
    if len(classifier.discriminants):
        ways = [cosines, _of_winners(z, classifier.discriminants, winners)]
        if leading is not None and classifier.leading_prototypes.shape[1]:
            directions = unit_rows(leading)
            ways += [
                _of_winners(directions, of_label, winners)
                for of_label in (classifier.leading_prototypes, classifier.leading_discriminants)
            ]
        lengths = np.maximum(np.linalg.norm(z, axis=1), _LEAST_LENGTH)
        return np.stack([*ways, -np.log(lengths)]).astype(np.float64)
    near = found[:, : classifier.n_novelty]
    total = np.where(near, similarities[:, : classifier.n_novelty], 0).sum(axis=1, dtype=np.float64)
    n_found = near.sum(axis=1)
    mean = np.divide(total, n_found, out=np.full(len(winners), -1.0), where=n_found > 0)
    return np.stack([cosines.astype(np.float64), mean])


def _of_winners(
    vectors: Float32Matrix, of_label: Float32Matrix, winners: Int32Vector
) -> Float32Vector:
    """Return the product of each cell with the vector of its label."""
    return np.asarray(np.einsum("cd,cd->c", vectors, of_label[winners]))


def novelty(
    close: Float64Matrix, winners: Int32Vector, classifier: LabelClassifier
) -> Float32Vector:
    """Return how much farther from its label each cell is than the label's own cells.

    Parameters
    ----------
    close
        (n_ways, n_cells) from `closeness`.
    winners
        (n_cells,) int32, the predicted labels.
    classifier
        The fitted classifier.

    Returns
    -------
    Float32Vector
        (n_cells,) float32 in deviations of the label's own cells; the mean over the measures. With
        `LabelClassifier.discriminants` each is at least -1, so that none makes up for the others.
    """
    means, deviations = (
        classifier.novelty_means[:, winners],
        classifier.novelty_deviations[:, winners],
    )
    deficits = (means - close) / deviations
    if len(classifier.discriminants):
        deficits = np.maximum(deficits, _LEAST_DEFICIT)
    return np.asarray(deficits.mean(axis=0), np.float32)


def limit_at(classifier: LabelClassifier, rate: float) -> float:
    """Return the novelty limit for a rate of false alarms.

    Parameters
    ----------
    classifier
        The fitted classifier.
    rate
        The share of known cells that may be beyond the limit, from the first to the last of
        `RATES`; between them the limit is interpolated linearly in the logarithm of the rate.

    Returns
    -------
    float
        The limit; infinite if it was not calibrated.

    Raises
    ------
    InvalidArgumentError
        If the rate is out of range.
    """
    if not RATES[0] <= rate <= RATES[-1]:
        raise InvalidArgumentError(
            f"false_alarms is {rate:g}; give the share of known cells that may be called unknown, "
            f"from {RATES[0]:g} to {RATES[-1]:g}",
            {"rate": f"{rate:g}"},
            field="header.false_alarms",
        )
    limits = classifier.novelty_limits.astype(np.float64)
    if not np.isfinite(limits).all():
        return float("inf")
    return float(np.interp(np.log(rate), np.log(RATES), limits))
