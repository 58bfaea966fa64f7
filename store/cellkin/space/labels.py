"""From the evidence about a cell to its label, its probability, and whether it is unknown."""

from dataclasses import dataclass
from typing import Any

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
from cellkin.space.novelty import closeness, novelty
from cellkin.space.products import all_products
from cellkin.space.readout import DEPTHS, FLOOR, TEMPERATURE, Float64Matrix, Placed, Readout
from cellkin.space.vectors import unit_rows
from cellkin.space.votes import vote_shares
from cellkin.wire.terms import UnknownReason

# Of a label of so few cells no probability can be calibrated: hardly any is left when some are held
# out. Where but one label has enough, nothing is measured of the others but what they take from it.
_FEW_CELLS, _ENOUGH_CELLS = 3, 5


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
    cosines = all_products(unit_rows(placed.z), readout.prototypes)
    contrast = logistic = none
    if readout.head_prototypes.shape[1]:
        refined = all_products(unit_rows(placed.refined), readout.head_prototypes)
        contrast = softmax(refined / TEMPERATURE)
    if len(readout.coefficients):
        logistic = softmax(all_products(placed.z, readout.coefficients) + readout.intercepts)
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
    """Label placed cells; what is read of a cell is the same to the bit whatever the others are.

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


def softmax(logits: npt.NDArray[Any]) -> Float64Matrix:
    """Return (n, n_labels) float64 rows that add up to 1."""
    logits = np.asarray(logits, np.float64)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))
