"""Labels of cells from evidence, with probabilities and reasons why cells are unknown."""

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
from cellkin.space.classifier import (
    DEPTHS,
    FLOOR,
    TEMPERATURE,
    Float64Matrix,
    LabelClassifier,
    Placed,
)
from cellkin.space.novelty import closeness, novelty
from cellkin.space.products import all_products
from cellkin.space.vectors import unit_rows
from cellkin.space.votes import vote_shares
from cellkin.wire.terms import UnknownReason

# With fewer cells the probability of a label cannot be calibrated: holding some out leaves hardly
# any. If only one label has enough cells, calibration measures only what others take from it.
_FEW_CELLS, _ENOUGH_CELLS = 3, 5
# A predicted label stays this much more probable than a guess, or it would tie with the others.
_LEAST_ABOVE_GUESS = 1e-3


@dataclass(frozen=True)
class CellCoverage:
    """Coverage of a reference by cells; see `cellkin.space.coverage`.

    Parameters
    ----------
    shallowness
        (n_cells,) float64; 0 for a cell of usual depth.
    lack
        (n_labels, n_labels) float64, at least 0: how much of the difference between two labels is
        missing; None if nothing is.
    """

    shallowness: npt.NDArray[np.float64]
    lack: Float64Matrix | None = None

    def depths(self, classifier: LabelClassifier) -> npt.NDArray[np.float64]:
        """Return (n_cells,) float64 depths, with the usual depth for those above it."""
        return classifier.usual_depth * np.exp(-(self.shallowness**2))

    def sharpness(self, classifier: LabelClassifier) -> Float64Matrix:
        """Return (n_cells, 1) float64 factors for the sharpness."""
        return np.exp(-classifier.softening * self.shallowness)[:, None]

    def weights(self, by_label: Float64Matrix) -> npt.NDArray[np.float64]:
        """Return (n_cells,) float64, at least 0: the lack of genes for each cell.

        Parameters
        ----------
        by_label
            (n_cells, n_labels) probabilities; the lack is that of the two most probable labels.
        """
        if self.lack is None or by_label.shape[1] < 2:
            return np.zeros(len(by_label))
        two = np.argpartition(-by_label, 1, axis=1)[:, :2]
        return np.asarray(self.lack[two[:, 0], two[:, 1]])

    def least(
        self, by_label: Float64Matrix, classifier: LabelClassifier
    ) -> npt.NDArray[np.float64]:
        """Return (n_cells,) float64, the minimum probability of a label."""
        more = max(0.0, classifier.least_of_few - classifier.min_probability)
        least = classifier.min_probability + more * self.weights(by_label)
        if not len(classifier.least_by_depth):
            return least
        ranges = np.searchsorted(-np.array(DEPTHS[1:-1]), -self.depths(classifier), side="left")
        of_depth = classifier.least_by_depth[ranges, by_label.argmax(axis=1)]
        return np.maximum(least, np.where(self.shallowness > 0, of_depth, 0))


def evidence(
    placed: Placed, shares: Float64Matrix, classifier: LabelClassifier
) -> list[Float64Matrix]:
    """Return the evidence of each of `KINDS`: (n_cells, n_labels) probabilities, or 0 rows.

    Parameters
    ----------
    placed
        The cells.
    shares
        (n_cells, n_labels) float64, from `vote_shares`.
    classifier
        The fitted classifier.
    """
    none = np.empty((0, classifier.n_labels))
    cosines = all_products(unit_rows(placed.z), classifier.prototypes)
    contrast = logistic = none
    if classifier.head_prototypes.shape[1]:
        refined = all_products(unit_rows(placed.refined), classifier.head_prototypes)
        contrast = softmax(refined / TEMPERATURE)
    if len(classifier.coefficients):
        logistic = softmax(all_products(placed.z, classifier.coefficients) + classifier.intercepts)
    return [shares, softmax(cosines / TEMPERATURE), contrast, logistic]


def combine(
    kinds: list[Float64Matrix], mix: npt.NDArray[np.float64], sharpness: float | Float64Matrix
) -> Float64Matrix:
    """Return (n_cells, n_labels) calibrated probabilities; see `cellkin.space.classifier`.

    Parameters
    ----------
    kinds
        For each of `KINDS`, (n_cells, n_labels) probabilities.
    mix
        (4,) weights; a kind of weight 0 is not used.
    sharpness
        Factor of the averaged logarithms; one number, or (n_cells, 1).
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
        (n_cells,) int32, the predicted (most probable) label, ties go to the lowest; -1 for an
        empty cell, or one without neighbors if only votes are used.
    probabilities
        (n_cells,) float32, calibrated probability of the predicted label; 0 if that is -1.
    supports
        (n_cells,) float32 in [0, 1], the predicted label's share of the neighbors' votes. Not a
        probability.
    n_votes
        (n_cells,) uint8, number of neighbors with the predicted label.
    novelties
        (n_cells,) float32, see `novelty`.
    reasons
        (n_cells,) uint8, an `UnknownReason`; 0 if the cell is not unknown.
    least
        (n_cells,) float64, minimum probability of a label or ancestor by the coverage of the cell.
        A label with a ceiling may need more; an ancestor does not, because it is as probable as
        its labels with their ceilings.
    by_label
        (n_cells, n_labels) float64 probabilities of all labels.
    kinds
        The evidence that ``by_label`` is combined from; see `evidence`.
    """

    winners: Int32Vector
    probabilities: Float32Vector
    supports: Float32Vector
    n_votes: UInt8Vector
    novelties: Float32Vector
    reasons: UInt8Vector
    least: npt.NDArray[np.float64]
    by_label: Float64Matrix
    kinds: list[Float64Matrix]


def read_labels(
    placed: Placed,
    similarities: Float32Matrix,
    voted: Int32Vector,
    counts: Int64Vector,
    classifier: LabelClassifier,
    votes_only: bool = False,
    coverage: CellCoverage | None = None,
) -> Labels:
    """Label placed cells; the results of a cell are bitwise independent of the other cells.

    Parameters
    ----------
    placed
        The cells.
    similarities, voted
        (n_cells, n_neighbors) float32 cosines, best first, and int32 labels of the neighbors; -1
        if missing.
    counts
        (n_labels,) int64 reference cells of each label.
    classifier
        The fitted classifier.
    votes_only
        Whether votes are the only evidence, as when reference cells are excluded: all other
        evidence was fitted to them too.
    coverage
        Coverage of these cells; None if they are well covered.
    """
    k = classifier.k
    shares, n_votes = vote_shares(
        similarities[:, :k], voted[:, :k], counts, classifier.vote_epsilon, classifier.class_balance
    )
    kinds = evidence(placed, shares, classifier)
    mix = np.array([1.0, 0, 0, 0]) if votes_only else classifier.mix
    sharpness: float | Float64Matrix
    sharpness = classifier.votes_sharpness if votes_only else classifier.sharpness
    if coverage is not None:
        sharpness = sharpness * coverage.sharpness(classifier)
    by_label = capped(combine(kinds, mix, sharpness), classifier)
    least = np.full(len(by_label), float(classifier.min_probability))
    if coverage is not None:
        least = coverage.least(by_label, classifier)
    winners = by_label.argmax(axis=1).astype(np.int32)
    at = np.arange(len(winners)), winners
    probabilities = by_label[at].astype(np.float32)
    close = closeness(
        placed.z, similarities, voted >= 0, winners, classifier, leading=placed.leading
    )
    far = novelty(close, winners, classifier)
    reasons = np.full(len(winners), UnknownReason.KNOWN, np.uint8)
    reasons[probabilities < least_of_labels(winners, least, classifier)] = (
        UnknownReason.LOW_PROBABILITY
    )
    reasons[far > classifier.novelty_limit] = UnknownReason.TOO_FAR
    nobody = placed.empty if not votes_only else placed.empty | (voted[:, :k] < 0).all(axis=1)
    reasons[nobody] = UnknownReason.NO_GENE_MATCHED
    winners[nobody] = -1
    probabilities[nobody] = 0
    return Labels(
        winners, probabilities, shares[at].astype(np.float32), n_votes[at].astype(np.uint8),
        far, reasons, least, by_label, kinds,
    )  # fmt: skip


def few_cells(counts: Int64Vector) -> BoolVector:
    """Return (n_labels,) bool, the labels with too few cells to calibrate a probability.

    Fewer than 3 cells; fewer than 5 if only one label has 5 or more.

    Parameters
    ----------
    counts
        (n_labels,) int64 cells of each label.
    """
    alone = int((counts >= _ENOUGH_CELLS).sum()) == 1
    return np.asarray(counts < (_ENOUGH_CELLS if alone else _FEW_CELLS))


def capped(by_label: Float64Matrix, classifier: LabelClassifier) -> Float64Matrix:
    """Limit the probability of each predicted label to its ceiling by mixing in uniform ones.

    The predicted label stays the most probable one, also if its ceiling is that of a guess, as that
    of the only cell of one of two labels.

    Parameters
    ----------
    by_label
        (n_cells, n_labels) probabilities that sum to 1.
    classifier
        The fitted classifier.
    """
    if not len(classifier.ceilings):
        return by_label
    n = by_label.shape[1]
    winners = by_label.argmax(axis=1)
    sure = by_label[np.arange(len(winners)), winners]
    most = np.maximum(classifier.ceilings[winners], 1 / n + _LEAST_ABOVE_GUESS)
    over = np.flatnonzero(sure > most)
    if not len(over):
        return by_label
    # Mixing with uniform probabilities keeps the order of labels.
    kept = (most[over] - 1 / n) / (sure[over] - 1 / n)
    found = by_label.copy()
    found[over] = 1 / n + kept[:, None] * (by_label[over] - 1 / n)
    return found


def least_of_labels(
    winners: Int32Vector, least: npt.NDArray[np.float64], classifier: LabelClassifier
) -> npt.NDArray[np.float64]:
    """Return (n_cells,) float64 minimum probabilities of predicted labels.

    Parameters
    ----------
    winners
        (n_cells,) int32, the predicted labels.
    least
        (n_cells,) float64, the minimum without regard to ceilings.
    classifier
        The fitted classifier; labels with a ceiling below 1 have their own minimum.
    """
    if not len(classifier.ceilings):
        return least
    return np.where(classifier.ceilings[winners] < 1, classifier.least_of_capped, least)


def softmax(logits: npt.NDArray[Any]) -> Float64Matrix:
    """Return (n, n_labels) float64 rows that sum to 1."""
    logits = np.asarray(logits, np.float64)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))
