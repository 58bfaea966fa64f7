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
    Int32Vector,
    Int64Vector,
    UInt8Vector,
)
from cellkin.space.vectors import unit_rows
from cellkin.space.votes import vote_shares
from cellkin.wire.errors import FailedPreconditionError, InvalidArgumentError
from cellkin.wire.terms import UnknownReason

KINDS = ("votes", "prototypes", "contrast", "logistic")
"""The kinds of evidence, in the order of their weights."""
TEMPERATURE = 0.1
"""What cosines to prototypes are divided by."""
FLOOR = 1e-3
"""No evidence makes a label less likely than this: one kind cannot veto what the others say."""

# Of a cell that lies where the mean of all does; its logarithm would have no end.
_LEAST_LENGTH = 1e-6
# No measure of novelty says that a cell is nearer than this: one alone cannot vouch for it.
_LEAST_DEFICIT = -1.0

# Of a label of so few cells no probability can be calibrated: hardly any is left when some are held
# out. Where but one label has enough, nothing is measured of the others but what they take from it.
_FEW_CELLS, _ENOUGH_CELLS = 3, 5

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


@dataclass(frozen=True)
class CellCoverage:
    """How much of what a reference knows some cells cover; see `cellkin.space.coverage`.

    Parameters
    ----------
    shallowness
        (n_cells,) float64; 0 for a cell of usual depth.
    lack
        (n_labels, n_labels) float64 from 0 on, how much of what tells two labels apart is missing;
        None where nothing is.
    """

    shallowness: npt.NDArray[np.float64]
    lack: Float64Matrix | None = None

    def depths(self, readout: Readout) -> npt.NDArray[np.float64]:
        """Return (n_cells,) float64 depths, those that are usual as the least of these."""
        return readout.usual_depth * np.exp(-(self.shallowness**2))

    def sharpness(self, readout: Readout) -> Float64Matrix:
        """Return (n_cells, 1) float64 factors of sharpness."""
        return np.exp(-readout.softening * self.shallowness)[:, None]

    def weights(self, by_label: Float64Matrix) -> npt.NDArray[np.float64]:
        """Return (n_cells,) float64 from 0 on: how far cells are from being covered by genes.

        Parameters
        ----------
        by_label
            (n_cells, n_labels) probabilities; what counts is what tells the two largest apart.
        """
        if self.lack is None or by_label.shape[1] < 2:
            return np.zeros(len(by_label))
        two = np.argpartition(-by_label, 1, axis=1)[:, :2]
        return np.asarray(self.lack[two[:, 0], two[:, 1]])

    def least(self, by_label: Float64Matrix, readout: Readout) -> npt.NDArray[np.float64]:
        """Return (n_cells,) float64: from which probability on a label is claimed."""
        more = max(0.0, readout.least_of_few - readout.min_probability)
        least = readout.min_probability + more * self.weights(by_label)
        if not len(readout.least_by_depth):
            return least
        ranges = np.searchsorted(-np.array(DEPTHS[1:-1]), -self.depths(readout), side="left")
        of_depth = readout.least_by_depth[ranges, by_label.argmax(axis=1)]
        return np.maximum(least, np.where(self.shallowness > 0, of_depth, 0))


def evidence(placed: Placed, shares: Float64Matrix, readout: Readout) -> list[Float64Matrix]:
    """Return what each of `KINDS` says: (n_cells, n_labels) probabilities, or of 0 rows.

    Parameters
    ----------
    placed
        The cells.
    shares
        (n_cells, n_labels) float64, from `vote_shares`.
    readout
        The fitted readout.
    """
    none = np.empty((0, readout.n_labels))
    cosines = unit_rows(placed.z) @ readout.prototypes.T
    contrast = logistic = none
    if readout.head_prototypes.shape[1]:
        refined = unit_rows(placed.refined) @ readout.head_prototypes.T
        contrast = softmax(refined / TEMPERATURE)
    if len(readout.coefficients):
        logistic = softmax(placed.z @ readout.coefficients.T + readout.intercepts)
    return [shares, softmax(cosines / TEMPERATURE), contrast, logistic]


def combine(
    kinds: list[Float64Matrix], mix: npt.NDArray[np.float64], sharpness: float | Float64Matrix
) -> Float64Matrix:
    """Return (n_cells, n_labels) calibrated probabilities; see the module.

    Parameters
    ----------
    kinds
        By `KINDS`, (n_cells, n_labels) probabilities.
    mix
        (4,) weights; a kind of weight 0 is not looked at.
    sharpness
        Multiplies the averaged logarithms; one number, or (n_cells, 1).
    """
    used = [(weight, kind) for weight, kind in zip(mix, kinds, strict=True) if weight > 0]
    logs = sum(weight * np.log(np.maximum(kind, FLOOR)) for weight, kind in used)
    return softmax(sharpness * np.asarray(logs))


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


@dataclass(frozen=True)
class Labels:
    """The labels of cells.

    Parameters
    ----------
    winners
        (n_cells,) int32, the most probable label, among equals the lowest; -1 for an empty cell.
    probabilities
        (n_cells,) float32, calibrated, of the winner.
    supports
        (n_cells,) float32 in [0, 1], the winner's share of the neighbors' vote. No probability.
    n_votes
        (n_cells,) uint8, neighbors that carry the winning label.
    novelties
        (n_cells,) float32, see `novelty`.
    reasons
        (n_cells,) uint8, an `UnknownReason`; 0 where the winner is the label.
    by_label
        (n_cells, n_labels) float64 probabilities of all labels.
    kinds
        What these are combined from, see `evidence`.
    """

    winners: Int32Vector
    probabilities: Float32Vector
    supports: Float32Vector
    n_votes: UInt8Vector
    novelties: Float32Vector
    reasons: UInt8Vector
    by_label: Float64Matrix
    kinds: list[Float64Matrix]


def read_labels(
    placed: Placed,
    similarities: Float32Matrix,
    voted: Int32Vector,
    counts: Int64Vector,
    readout: Readout,
    votes_only: bool = False,
    coverage: CellCoverage | None = None,
) -> Labels:
    """Label placed cells.

    Parameters
    ----------
    placed
        The cells.
    similarities, voted
        (n_cells, n_neighbors) float32 cosines, best first, and int32 labels of the neighbors; -1
        where there is none.
    counts
        (n_labels,) int64 reference cells of each label.
    readout
        The fitted readout.
    votes_only
        Whether only neighbors count, as where some of the reference is excluded: it took part in
        all other evidence.
    coverage
        Of these cells; None takes them for well covered.
    """
    k = readout.k
    shares, n_votes = vote_shares(
        similarities[:, :k], voted[:, :k], counts, readout.vote_epsilon, readout.class_balance
    )
    kinds = evidence(placed, shares, readout)
    mix = np.array([1.0, 0, 0, 0]) if votes_only else readout.mix
    sharpness: float | Float64Matrix
    sharpness = readout.votes_sharpness if votes_only else readout.sharpness
    least: float | npt.NDArray[np.float64] = readout.min_probability
    if coverage is not None:
        sharpness = sharpness * coverage.sharpness(readout)
    by_label = capped(combine(kinds, mix, sharpness), readout)
    if coverage is not None:
        least = coverage.least(by_label, readout)
    winners = by_label.argmax(axis=1).astype(np.int32)
    if len(readout.ceilings):
        least = np.where(readout.ceilings[winners] < 1, readout.least_of_capped, least)
    at = np.arange(len(winners)), winners
    probabilities = by_label[at].astype(np.float32)
    close = closeness(placed.z, similarities, voted >= 0, winners, readout, leading=placed.leading)
    far = novelty(close, winners, readout)
    reasons = np.full(len(winners), UnknownReason.KNOWN, np.uint8)
    reasons[probabilities < least] = UnknownReason.LOW_PROBABILITY
    reasons[far > readout.novelty_limit] = UnknownReason.TOO_FAR
    nobody = placed.empty if not votes_only else placed.empty | (voted[:, :k] < 0).all(axis=1)
    reasons[nobody] = UnknownReason.NO_GENE_MATCHED
    winners[nobody] = -1
    probabilities[nobody] = 0
    return Labels(
        winners, probabilities, shares[at].astype(np.float32), n_votes[at].astype(np.uint8),
        far, reasons, by_label, kinds,
    )  # fmt: skip


def few_cells(counts: Int64Vector) -> BoolVector:
    """Return (n_labels,) bool: labels of too few cells to calibrate a probability by.

    Those of fewer than 3; of fewer than 5 where one label alone has more.

    Parameters
    ----------
    counts
        (n_labels,) int64 cells of each label.
    """
    alone = int((counts >= _ENOUGH_CELLS).sum()) == 1
    return np.asarray(counts < (_ENOUGH_CELLS if alone else _FEW_CELLS))


def capped(by_label: Float64Matrix, readout: Readout) -> Float64Matrix:
    """Keep the probabilities of labels at or below their ceilings; what is over goes to all alike.

    Parameters
    ----------
    by_label
        (n_cells, n_labels) probabilities that add up to 1.
    readout
        The fitted readout.
    """
    if not len(readout.ceilings):
        return by_label
    n = by_label.shape[1]
    winners = by_label.argmax(axis=1)
    sure, most = by_label[np.arange(len(winners)), winners], readout.ceilings[winners]
    over = np.flatnonzero(sure > np.maximum(most, 1 / n))
    if not len(over):
        return by_label
    # Mixed with what is alike for all labels, so that their order stays.
    kept = np.maximum(most[over] - 1 / n, 0) / (sure[over] - 1 / n)
    found = by_label.copy()
    found[over] = 1 / n + kept[:, None] * (by_label[over] - 1 / n)
    return found


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


def softmax(logits: npt.NDArray[Any]) -> Float64Matrix:
    """Return (n, n_labels) float64 rows that add up to 1."""
    logits = np.asarray(logits, np.float64)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


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
