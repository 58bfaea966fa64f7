"""From a cell's place to its label: evidence, a calibrated probability, and whether it is unknown.

Evidence comes in four kinds, each a probability for every label:

* ``votes``: the nearest reference cells, each with ``1 / max(1 - cosine, epsilon)``;
* ``prototypes``: softmax of the cosines to the labels' mean vectors, over a temperature;
* ``contrast``: the same of the refined cells, which a linear head trained by supervised contrast
  places by the genes that tell labels apart;
* ``logistic``: a multinomial logistic regression.

All but the votes are linear in the cell before the softmax, so what a gene adds to a label can be
said exactly. Their logarithms are averaged with fixed weights, and sharpened or softened by one
temperature fitted on cells of donors that had no part in the fit.
"""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from cellkin.space.arrays import (
    BoolVector,
    Float32Matrix,
    Float32Vector,
)
from cellkin.space.vectors import unit_rows
from cellkin.wire.errors import FailedPreconditionError

KINDS = ("votes", "prototypes", "contrast", "logistic")
"""The kinds of evidence, in the order of their weights."""
TEMPERATURE = 0.1
"""What cosines to prototypes are divided by."""
FLOOR = 1e-3
"""No evidence makes a label less likely than this: one kind cannot veto what the others say."""


RATES = (0.001, 0.005, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5)
"""The shares of false alarms that limits of novelty are kept for."""

DEPTHS = (1.0, 0.5, 0.25, 0.125, 0.0625, 0.0)
"""Ends of the ranges of depth that are judged apart; see `cellkin.space.coverage`."""

Float64Matrix: TypeAlias = npt.NDArray[np.float64]
BoolMatrix: TypeAlias = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Readout:
    """What turns the vectors of one cell space into labels; fitted on a reference.

    Parameters
    ----------
    k, n_novelty
        Neighbors that vote, and those whose mean cosine says how far a cell is.
    vote_epsilon, class_balance
        The least distance; a vote counts ``n_c ** -class_balance``, with ``n_c`` reference cells of
        its label.
    n_components
        Leading dimensions that neighbors are compared in.
    prototypes
        (n_labels, dim) float32, unit rows: the mean direction of each label's cells in all
        dimensions.
    head_prototypes
        (n_labels, refined_dim) float32, unit rows: the same of refined cells; of 0 columns where
        there is no head.
    coefficients, intercepts
        (n_labels, dim) and (n_labels,) float32 of the logistic regression; of 0 rows without one.
    discriminants
        (n_labels, dim) float32 of the least squares of being of a label or not, but for constants;
        of 0 rows where there is no regression.
    leading_prototypes, leading_discriminants
        (n_labels, leading_dim) float32: the mean direction of each label's cells in the leading
        components of the genes that tell labels apart, unit rows, and the discriminants of the
        cells' directions there; of 0 columns where there are no such components.
    mix
        (4,) float64 by `KINDS`, adding up to 1.
    sharpness, votes_sharpness
        What the averaged logarithms are multiplied by, and those of the votes where they are asked
        for alone; above 1 for more certain answers.
    novelty_means, novelty_deviations
        (n_ways, n_labels) float32 of the rows of `closeness`, by label, of the reference's own
        cells; of the length, of all its cells.
    novelty_limit
        A cell whose novelty is above this is unknown.
    novelty_limits
        (n_rates,) float32, the limits for false alarms of `RATES`; infinite where nothing was
        calibrated.
    min_probability
        A label less probable than this is not claimed.
    ceilings
        (n_labels,) float32, the most that a probability of each label may be: of labels of too few
        cells none could be calibrated. Empty for no limit.
    detection
        (n_genes of an expression space,) float32, the share of the reference's cells that each gene
        is detected in; empty where coverage is not looked at, see `cellkin.space.coverage`.
    usual_depth
        Nearly all of the reference's cells detect at least this part of the genes that its mean
        cell does.
    softening
        How fast sharpness falls where a cell detects fewer.
    least_of_few
        Where genes are missing that tell labels apart, a label less probable than this is not
        claimed.
    least_by_depth
        (n_ranges, n_labels) float32 by range of `DEPTHS` and label: of a cell that is shallow, a
        label less probable than this is not claimed. Of no rows where it was not measured.
    least_of_capped
        A label that has a ceiling below 1 is not claimed where it is less probable than this.
    """

    k: int
    n_novelty: int
    vote_epsilon: float
    class_balance: float
    n_components: int
    prototypes: Float32Matrix
    head_prototypes: Float32Matrix
    coefficients: Float32Matrix
    intercepts: Float32Vector
    discriminants: Float32Matrix
    leading_prototypes: Float32Matrix
    leading_discriminants: Float32Matrix
    mix: npt.NDArray[np.float64]
    sharpness: float
    votes_sharpness: float
    novelty_means: Float32Matrix
    novelty_deviations: Float32Matrix
    novelty_limit: float
    novelty_limits: Float32Vector
    min_probability: float
    # What follows is missing from indexes that were made before it was measured.
    ceilings: Float32Vector = field(default_factory=lambda: np.empty(0, np.float32))
    detection: Float32Vector = field(default_factory=lambda: np.empty(0, np.float32))
    usual_depth: float = 0.0
    softening: float = 0.0
    least_of_few: float = 0.0
    least_by_depth: Float32Matrix = field(default_factory=lambda: np.empty((0, 0), np.float32))
    least_of_capped: float = 1.0

    @property
    def n_labels(self) -> int:
        """Labels there are."""
        return len(self.prototypes)

    @property
    def n_neighbors(self) -> int:
        """Neighbors to look for."""
        return max(self.k, self.n_novelty)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return its arrays, for storage."""
        return {name: value for name, value in vars(self).items() if hasattr(value, "shape")}

    def numbers(self) -> dict[str, float]:
        """Return its numbers, for storage."""
        return {name: value for name, value in vars(self).items() if not hasattr(value, "shape")}


def neighbor_vectors(z: Float32Matrix, n_components: int) -> Float32Matrix:
    """Return (n_cells, n_components) float32 unit rows: what an index holds of cells."""
    return unit_rows(np.ascontiguousarray(z[:, :n_components]))


@dataclass(frozen=True)
class Placed:
    """Cells in a space.

    Parameters
    ----------
    z
        (n_cells, dim) float32.
    empty
        (n_cells,) bool, cells none of whose genes has a vector.
    refined
        (n_cells, refined_dim) float32, where a head places them; of no columns without one.
    leading
        (n_cells, leading_dim) float32, their leading components among the genes that the head sees;
        of no columns without one.
    """

    z: Float32Matrix
    empty: BoolVector
    refined: Float32Matrix = field(default_factory=lambda: np.empty((0, 0), np.float32))
    leading: Float32Matrix = field(default_factory=lambda: np.empty((0, 0), np.float32))


def read_readout(arrays: Mapping[str, npt.NDArray[Any]], numbers: Mapping[str, float]) -> Readout:
    """Make a readout of what `Readout.arrays` and `Readout.numbers` returned.

    Raises
    ------
    FailedPreconditionError
        If parts are missing, as in an index that was made before there were such.
    """
    needed = {
        part.name
        for part in fields(Readout)
        if part.default is MISSING and part.default_factory is MISSING
    }
    missing = sorted(needed - arrays.keys() - numbers.keys())
    if missing:
        raise FailedPreconditionError(
            f"the index is of an older format, without {' and '.join(missing)}; make it again with "
            "cellkin cells index",
            {"missing": ", ".join(missing)},
        )
    return Readout(**arrays, **numbers)  # type: ignore[arg-type]  # the fields say their types
