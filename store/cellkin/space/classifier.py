"""The classifier of a cell space: evidence, calibrated probabilities, and limits for unknown cells.

There are four kinds of evidence, each a probability for every label:

* ``votes``: the nearest reference cells, weighted by ``1 / max(1 - cosine, epsilon)``;
* ``prototypes``: softmax of the cosines to the labels' mean vectors, divided by a temperature;
* ``contrast``: the same for refined cells, which a linear head trained by supervised contrast
  places by the genes that separate labels;
* ``logistic``: a multinomial logistic regression.

All but the votes are linear in the cell before the softmax, so the contribution of a gene to a
label is exact. The logarithms are averaged with fixed weights, and scaled by one sharpness fitted
on cells of held-out donors.
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
"""Divisor of cosines to prototypes before the softmax."""
FLOOR = 1e-3
"""Lower bound of probabilities in each kind of evidence, so that no kind can veto the others."""


RATES = (0.001, 0.005, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5)
"""Rates of false alarms with a stored novelty limit."""

DEPTHS = (1.0, 0.5, 0.25, 0.125, 0.0625, 0.0)
"""Boundaries of the ranges of depth in ``LabelClassifier.least_by_depth``."""

Float64Matrix: TypeAlias = npt.NDArray[np.float64]
BoolMatrix: TypeAlias = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class LabelClassifier:
    """The fitted classifier of one cell space: turns vectors into labels.

    Parameters
    ----------
    k, n_novelty
        Number of neighbors for votes, and for the mean cosine in novelty.
    vote_epsilon, class_balance
        The minimum distance; a vote is weighted by ``n_c ** -class_balance``, with ``n_c``
        reference cells of its label.
    n_components
        Number of leading dimensions in which neighbors are searched.
    prototypes
        (n_labels, dim) float32, unit rows: the mean direction of each label's cells in all
        dimensions.
    head_prototypes
        (n_labels, refined_dim) float32, unit rows: the same for refined cells; 0 columns without a
        head.
    coefficients, intercepts
        (n_labels, dim) and (n_labels,) float32 of the logistic regression; 0 rows without one.
    discriminants
        (n_labels, dim) float32, least-squares coefficients of the membership in each label, without
        intercepts; 0 rows without a regression.
    leading_prototypes, leading_discriminants
        (n_labels, leading_dim) float32: the mean direction of each label's cells in the leading
        components of the genes that separate labels, unit rows, and the discriminants of the
        cells' directions there; 0 columns without such components.
    mix
        (4,) float64 weights of `KINDS`, with sum 1.
    sharpness, votes_sharpness
        Factor of the averaged logarithms, and of those of votes used alone; above 1 for more
        certain labels.
    novelty_means, novelty_deviations
        (n_ways, n_labels) float32 of the rows of ``closeness`` for the reference's own cells, by
        label; of the length, over all its cells.
    novelty_limit
        A cell with a novelty above this is unknown.
    novelty_limits
        (n_rates,) float32, the limits for the rates of false alarms `RATES`; infinite if not
        calibrated.
    min_probability
        Minimum probability of a label.
    ceilings
        (n_labels,) float32, the maximum probability of each label, because those of labels with too
        few cells could not be calibrated. Empty for no limit.
    detection
        (n_genes of an expression space,) float32, the share of the reference's cells in which each
        gene is detected; empty if coverage is not used, see ``cellkin.space.coverage``.
    usual_depth
        Nearly all reference cells detect at least this fraction of the mean number of genes.
    softening
        How fast sharpness falls for cells that detect fewer.
    least_of_few
        Minimum probability of a label if genes that separate labels are missing.
    least_by_depth
        (n_ranges, n_labels) float32, minimum probability of a label in a shallow cell, by range of
        `DEPTHS` and label; 0 rows if it was not measured.
    least_of_capped
        Minimum probability of a label with a ceiling below 1.
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
    # Missing in indexes of older formats.
    ceilings: Float32Vector = field(default_factory=lambda: np.empty(0, np.float32))
    detection: Float32Vector = field(default_factory=lambda: np.empty(0, np.float32))
    usual_depth: float = 0.0
    softening: float = 0.0
    least_of_few: float = 0.0
    least_by_depth: Float32Matrix = field(default_factory=lambda: np.empty((0, 0), np.float32))
    least_of_capped: float = 1.0

    @property
    def n_labels(self) -> int:
        """Number of labels."""
        return len(self.prototypes)

    @property
    def n_neighbors(self) -> int:
        """Number of neighbors to search."""
        return max(self.k, self.n_novelty)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return the fields that are arrays, for storage."""
        return {name: value for name, value in vars(self).items() if hasattr(value, "shape")}

    def numbers(self) -> dict[str, float]:
        """Return the fields that are numbers, for storage."""
        return {name: value for name, value in vars(self).items() if not hasattr(value, "shape")}


def neighbor_vectors(z: Float32Matrix, n_components: int) -> Float32Matrix:
    """Return the cell vectors that an index stores.

    Parameters
    ----------
    z
        (n_cells, dim) float32.
    n_components
        Leading dimensions to keep.

    Returns
    -------
    Float32Matrix
        (n_cells, n_components) float32 rows of unit length.
    """
    return unit_rows(np.ascontiguousarray(z[:, :n_components]))


@dataclass(frozen=True)
class Placed:
    """Cells in a space.

    Parameters
    ----------
    z
        (n_cells, dim) float32.
    empty
        (n_cells,) bool, whether the cell expresses no gene of the space.
    refined
        (n_cells, refined_dim) float32, output of the head; 0 columns without a head.
    leading
        (n_cells, leading_dim) float32, leading components of the head's input genes; 0 columns
        without a head.
    """

    z: Float32Matrix
    empty: BoolVector
    refined: Float32Matrix = field(default_factory=lambda: np.empty((0, 0), np.float32))
    leading: Float32Matrix = field(default_factory=lambda: np.empty((0, 0), np.float32))


def read_classifier(
    arrays: Mapping[str, npt.NDArray[Any]], numbers: Mapping[str, float]
) -> LabelClassifier:
    """Build a classifier from what `LabelClassifier.arrays` and `LabelClassifier.numbers` return.

    Parameters
    ----------
    arrays, numbers
        By name of the field.

    Raises
    ------
    FailedPreconditionError
        If required fields are missing, as in an index of an older format, or some are unknown, as
        in one of a newer format.
    """
    unknown = sorted(
        (arrays.keys() | numbers.keys()) - {part.name for part in fields(LabelClassifier)}
    )
    if unknown:
        raise FailedPreconditionError(
            f"the index is of a newer format, with {' and '.join(unknown)}; read it with the "
            "release that made it, or a newer one",
            {"unknown": ", ".join(unknown)},
        )
    needed = {
        part.name
        for part in fields(LabelClassifier)
        if part.default is MISSING and part.default_factory is MISSING
    }
    missing = sorted(needed - arrays.keys() - numbers.keys())
    if missing:
        raise FailedPreconditionError(
            f"the index is of an older format, without {' and '.join(missing)}; make it again with "
            "cellkin cells index",
            {"missing": ", ".join(missing)},
        )
    return LabelClassifier(**arrays, **numbers)  # type: ignore[arg-type]  # the fields say their types
