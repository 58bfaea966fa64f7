"""Check and refine the labels of foreign samples by the expression of paired genes.

A sample of another species shares no genes with a reference, so its cells are placed in the text
space. There cells of any tissue get some label, often a probable one; expression separates right
labels from wrong ones. Every gene that the reference did not measure has a partner, the measured
gene with the nearest text, and within a tissue partners are high in the same cell types. This is
too rough for single cells. But averaged over the cells of a label, some hundred pairs of genes show
whether they match the reference's cells of that label:

* a label is confirmed if the mean of its cells, minus that of the sample, is similar to the
  reference's mean of that label, minus that of the reference;
* a sample belongs to the reference if most of its cells have confirmed labels;
* each confirmed label has its own novelty limit, set by the novelty of those of its cells that are
  most similar to it in expression;
* the similarity of a cell to each label in expression is combined with the prediction from text.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from cellkin.space.arrays import (
    BoolVector,
    CsrMatrix,
    Float32Matrix,
    Float32Vector,
    Int32Vector,
    Int64Vector,
)
from cellkin.space.classifier import FLOOR, LabelClassifier, Placed
from cellkin.space.gene_pairs import ForeignReference, Pairs
from cellkin.space.labels import Labels, capped, least_of_labels, softmax
from cellkin.space.novelty import closeness, novelty
from cellkin.space.products import all_products
from cellkin.space.projection import GeneColumns
from cellkin.space.sample_check import LabelCheck, SampleCheck
from cellkin.space.votes import vote_shares
from cellkin.wire.terms import UnknownReason

LEAST_SIMILARITY = 0.45
"""Minimum similarity of a confirmed label."""
LEAST_OF_SAMPLE = 0.35
"""The same once the sample belongs by the labels that reach `LEAST_SIMILARITY`."""
LEAST_CELLS = 10
"""Minimum cells of a label in the background to check it, and of its core to confirm it."""
LEAST_SHARE = 0.5
"""A sample belongs if at least this share of its checked cells has confirmed labels."""
FOREIGN_SHARE = 0.35
"""A sample does not belong below this share; up to `LEAST_SHARE` it is undecided."""

# Means of few cells are noisy, which lowers similarities; lower bound of the correction.
_LEAST_RELIABILITY = 0.5
# The core of a label: cells that reach _CORE times the _BEST quantile of its cells' scores.
_CORE, _BEST = 0.5, 0.8
# Minimum score of a cell, relative to the median of the core of its label.
_LEAST_SCORE = 0.4
# Foreign cells of one label differ in novelty more than cells of the reference do.
_WIDER = 1.5
_SHARPNESS = np.geomspace(2.0, 200.0, 24)
_TINY = 1e-9

Float64Matrix: TypeAlias = npt.NDArray[np.float64]
Float64Vector: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Reading:
    """Placed cells with their neighbors and labels in a space.

    Parameters
    ----------
    placed
        The cells.
    similarities, voted
        (n_cells, n_neighbors) float32 cosines, best first, and int32 labels of the neighbors, -1
        if missing.
    labels
        Their labels, without a novelty limit.
    """

    placed: Placed
    similarities: Float32Matrix
    voted: Int32Vector
    labels: Labels


@dataclass(frozen=True)
class PairedSample:
    """A checked foreign sample; made by `check_sample`.

    Parameters
    ----------
    check
        The result of the check.
    pairs
        The paired genes.
    center
        (n_pairs,) float32, the sample's mean log expression, with equal weight for each label.
    contrasts
        (n_labels, n_pairs) float32, the reference's profiles minus their mean over the checked
        labels, in deviations.
    sharpness
        Factor that turns scores into log probabilities.
    least_scores
        (n_labels,) float32; a cell with a lower score loses the label.
    """

    check: SampleCheck
    pairs: Pairs
    center: Float32Vector
    contrasts: Float32Matrix
    sharpness: float
    least_scores: Float32Vector

    def limited_to(self, limit: float) -> "PairedSample":
        """Return the sample with one novelty limit for all labels that are not refuted.

        In an undecided sample no label is refuted: a given limit implies that the sample belongs.
        """
        refuted = (self.check.limits == -np.inf) & (self.check.belongs is not None)
        limits = np.where(refuted, -np.inf, limit).astype(np.float32)
        return replace(self, check=replace(self.check, limits=limits))

    def scores(self, cells: CsrMatrix) -> Float64Matrix:
        """Return (n_cells, n_labels) float64 in [-1, 1], similarities of cells to labels.

        Parameters
        ----------
        cells
            (n_cells, n_columns) CSR, linear expression.
        """
        standard = (self.pairs.log_expression(cells) - self.center) / self.pairs.deviations
        everything = slice(0, self.pairs.n)
        return _correlations(standard, self.contrasts, self.pairs.weights, everything)

    def read(
        self, cells: CsrMatrix, text: Reading, counts: Int64Vector, classifier: LabelClassifier
    ) -> Labels:
        """Predict labels from text and expression together.

        A cell is unknown as `UnknownReason.NOT_CONFIRMED` if its label is not confirmed or its
        expression is not similar to that label, and as ``TOO_FAR`` beyond the novelty limit of its
        label. Unless the sample is known to belong, labels are those from text.

        Parameters
        ----------
        cells
            (n_cells, n_columns) CSR, linear expression.
        text
            The same cells in the text space.
        counts
            (n_labels,) int64 reference cells of each label.
        classifier
            The classifier of the text space.
        """
        labels, limits = text.labels, self.check.limits
        nobody = labels.winners < 0
        if not self.check.belongs:
            return limited(labels, limits)
        scores = self.scores(cells)
        by_label = capped(_together(labels.by_label, scores, self.sharpness), classifier)
        winners, far = _novelty(text, by_label, classifier)
        at = np.arange(len(winners)), winners
        probabilities = by_label[at].astype(np.float32)
        shares, votes = vote_shares(
            text.similarities[:, : classifier.k], text.voted[:, : classifier.k], counts,
            classifier.vote_epsilon, classifier.class_balance,
        )  # fmt: skip
        unsure = probabilities < least_of_labels(winners, labels.least, classifier)
        unlike = scores[at] < self.least_scores[winners]
        again = replace(
            labels,
            winners=np.where(nobody, -1, winners).astype(np.int32),
            probabilities=np.where(nobody, 0, probabilities).astype(np.float32),
            supports=shares[at].astype(np.float32),
            n_votes=votes[at].astype(np.uint8),
            novelties=far,
            reasons=np.where(unsure, UnknownReason.LOW_PROBABILITY, UnknownReason.KNOWN).astype(
                np.uint8
            ),
            by_label=by_label,
        )
        reasons = limited(again, limits).reasons
        reasons[unlike] = UnknownReason.NOT_CONFIRMED
        reasons[nobody] = UnknownReason.NO_GENE_MATCHED
        return replace(again, reasons=reasons)


def check_sample(
    cells: CsrMatrix,
    columns: GeneColumns,
    text: Reading,
    reference: ForeignReference,
    classifier: LabelClassifier,
) -> PairedSample:
    """Check the labels of a foreign sample, as described in the module docstring.

    Parameters
    ----------
    cells
        (n_cells, n_columns) CSR, linear expression: cells drawn evenly from the sample.
    columns
        Mapping from their columns to the genes of the text space.
    text
        The same cells in the text space, with the sample's own mean subtracted.
    reference
        Profiles and partners of genes stored in the index.
    classifier
        The classifier of the text space.
    """
    pairs = Pairs.of(columns, reference)
    winners = text.labels.winners
    n_of = np.bincount(winners[winners >= 0], minlength=reference.n_labels)
    checked = np.flatnonzero(n_of >= LEAST_CELLS)
    if len(checked) < 2 or not pairs.are_enough:
        return _undecided(pairs, n_of)
    logs = pairs.log_expression(cells)
    one_hot = _members([np.flatnonzero(winners == label) for label in checked], len(winners))
    means = (one_hot @ logs) / n_of[checked, None]
    center = means.mean(axis=0).astype(np.float32)
    logs -= center
    logs /= pairs.deviations
    contrasts = (pairs.profiles - pairs.profiles[checked].mean(axis=0)) / pairs.deviations
    similarities, possible, n_core = _similarities(logs, contrasts, pairs, winners, checked)
    # A similarity from a core of few cells may be chance: it neither confirms nor refutes a label.
    told = ~(possible & (similarities >= LEAST_OF_SAMPLE)) | (n_core >= LEAST_CELLS)
    checked, similarities, possible = checked[told], similarities[told], possible[told]
    n_checked = int(n_of[checked].sum())
    if not n_checked:
        return _undecided(pairs, n_of)
    confirms = possible & (similarities >= LEAST_SIMILARITY)
    n_confirmed = int(n_of[checked[confirms]].sum())
    belongs = n_confirmed >= LEAST_SHARE * n_checked
    if belongs:
        confirms = possible & (similarities >= LEAST_OF_SAMPLE)
    share = float(n_of[checked[confirms]].sum() / n_checked)
    confirmed, few = np.zeros(reference.n_labels, bool), np.ones(reference.n_labels, bool)
    confirmed[checked], few[checked] = confirms, False
    limits = np.full(reference.n_labels, -np.inf, np.float32)
    least = np.full(reference.n_labels, np.inf, np.float32)
    sharpness = 1.0
    if belongs:
        scores = _correlations(logs, contrasts, pairs.weights, slice(0, pairs.n))
        sharpness = _fit_sharpness(scores, winners, confirmed)
        limits, least = _limits(scores, text, sharpness, confirmed, few, classifier)
    order = np.argsort(-n_of[checked], kind="stable")
    found = [
        LabelCheck(int(checked[i]), int(n_of[checked[i]]), float(similarities[i]),
                   bool(confirms[i]))
        for i in order
    ]  # fmt: skip
    undecided = not belongs and n_confirmed >= FOREIGN_SHARE * n_checked
    verdict = None if undecided else bool(belongs)
    check = SampleCheck(verdict, n_checked, pairs.n, share, tuple(found), limits)
    return PairedSample(check, pairs, center, contrasts, sharpness, least)


def _undecided(pairs: Pairs, n_of: Int64Vector) -> PairedSample:
    """Return an undecided sample, in which no label is claimed."""
    limits = np.full(len(n_of), -np.inf, np.float32)
    check = SampleCheck(None, int(n_of.sum()), pairs.n, 0.0, (), limits)
    center, least = np.zeros(pairs.n, np.float32), np.full(len(n_of), -np.inf, np.float32)
    return PairedSample(check, pairs, center, pairs.profiles, 1.0, least)


def _similarities(
    standard: Float32Matrix,
    contrasts: Float32Matrix,
    pairs: Pairs,
    winners: Int32Vector,
    checked: Int64Vector,
) -> tuple[Float64Vector, BoolVector, Float64Vector]:
    """Compare the sample's mean of each checked label with the reference's.

    A label may be predicted for cells that resemble it and for cells that do not. So the mean is
    taken over its core, the cells most similar to the label. Cells are selected with one half of
    the pairs and compared with the other, and vice versa: with the same pairs for both, chance
    similarity would be mistaken for real.

    Returns
    -------
    similarities
        (n_checked,) float64 in [-1, 1], the mean correlation over both halves, corrected for the
        noise of few cells.
    possible
        (n_checked,) bool, whether no other label is more similar.
    n_core
        (n_checked,) float64, cells of the core, averaged over both halves.
    """
    halves = pairs.halves
    scores = [_correlations(standard, contrasts, pairs.weights, half) for half in halves]
    similarities, rivals, n_core = np.zeros((3, len(checked)))
    at = np.arange(len(checked))
    for chooses, judges in ((0, 1), (1, 0)):
        cores = []
        for label in checked:
            rows = np.flatnonzero(winners == label)
            own = scores[chooses][rows, label]
            cores.append(rows[own >= _CORE * np.quantile(own, _BEST)])
        sizes = np.array([max(len(core), 1) for core in cores])[:, None]
        half = standard[:, halves[judges]]
        members = _members(cores, len(standard))
        means = (members @ half) / sizes
        noise = ((members @ (half * half)) / sizes - means**2) / np.maximum(sizes - 1, 1)
        weights = pairs.weights[halves[judges]]
        weights = weights / weights.sum()
        spread = (means**2) @ weights - (means @ weights) ** 2
        reliable = 1 - (noise @ weights) / np.maximum(spread, _TINY)
        reliable = np.clip(reliable, _LEAST_RELIABILITY, 1)
        everything = slice(0, len(weights))
        found = _correlations(means, contrasts[:, halves[judges]], weights, everything)
        found /= np.sqrt(reliable)[:, None]
        similarities += found[at, checked] / 2
        found[at, checked] = -np.inf
        rivals += found.max(axis=1) / 2
        n_core += sizes[:, 0] / 2
    # The correction may be too large, and is the same for all labels of one core.
    return np.clip(similarities, -1, 1), similarities > rivals, n_core


def _limits(
    scores: Float64Matrix,
    text: Reading,
    sharpness: float,
    confirmed: BoolVector,
    few: BoolVector,
    classifier: LabelClassifier,
) -> tuple[Float32Vector, Float32Vector]:
    """Return (n_labels,) float32 novelty limits and minimum scores.

    The limit is shifted by the median novelty of the cells most similar to the label, because
    others may be of a type missing from the reference. Labels with too few cells to be checked get
    the medians over confirmed labels.
    """
    by_label = _together(text.labels.by_label, scores, sharpness)
    winners, far = _novelty(text, by_label, classifier)
    winners = np.where(text.labels.winners < 0, -1, winners)
    limits = np.full(len(confirmed), -np.inf, np.float32)
    least = np.full(len(confirmed), np.inf, np.float32)
    for label in np.flatnonzero(confirmed):
        rows = np.flatnonzero(winners == label)
        if not len(rows):
            continue
        own = scores[rows, label]
        core = own[own >= _CORE * np.quantile(own, _BEST)]
        least[label] = _LEAST_SCORE * np.median(core) if len(core) else np.inf
        shift = max(0.0, float(np.median(far[rows[own >= np.median(own)]])))
        limits[label] = shift + _WIDER * classifier.novelty_limit
    known = np.isfinite(least)
    if known.any():
        few = few | (confirmed & ~known)
        limits[few], least[few] = np.median(limits[known]), np.median(least[known])
    return limits, least


def _fit_sharpness(scores: Float64Matrix, winners: Int32Vector, confirmed: BoolVector) -> float:
    """Return the sharpness that maximizes the likelihood of the confirmed labels from text."""
    names = np.flatnonzero(confirmed)
    rows = np.flatnonzero((winners >= 0) & confirmed[winners])
    among, own = scores[np.ix_(rows, names)], scores[rows, winners[rows]]
    losses = []
    for sharpness in _SHARPNESS:
        # Scores are in [-1, 1], so the exponentials do not overflow.
        powers = np.exp(sharpness * (among - own[:, None]))
        losses.append(np.log(powers.sum(axis=1)).mean())
    return float(_SHARPNESS[int(np.argmin(losses))])


def _together(by_text: Float64Matrix, scores: Float64Matrix, sharpness: float) -> Float64Matrix:
    """Return (n_cells, n_labels) probabilities: the geometric mean of text and expression."""
    return softmax((np.log(np.maximum(by_text, FLOOR)) + sharpness * scores) / 2)


def _novelty(
    text: Reading, by_label: Float64Matrix, classifier: LabelClassifier
) -> tuple[Int32Vector, Float32Vector]:
    """Return the most probable label and the novelty of each cell."""
    winners = by_label.argmax(axis=1).astype(np.int32)
    found = text.voted >= 0
    close = closeness(text.placed.z, text.similarities, found, winners, classifier)
    return winners, novelty(close, winners, classifier)


def limited(labels: Labels, limits: Float32Vector) -> Labels:
    """Mark cells as unknown by the novelty limits of their labels.

    Parameters
    ----------
    labels
        Labels of cells, without a novelty limit.
    limits
        (n_labels,) float32; minus infinity for a label that is not confirmed.
    """
    reasons = labels.reasons.copy()
    asked = np.flatnonzero(labels.winners >= 0)
    own = limits[labels.winners[asked]]
    reasons[asked[labels.novelties[asked] > own]] = UnknownReason.TOO_FAR
    reasons[asked[own == -np.inf]] = UnknownReason.NOT_CONFIRMED
    return replace(labels, reasons=reasons)


def _members(groups: Sequence[Int64Vector], n_cells: int) -> CsrMatrix:
    """Return (n_groups, n_cells) CSR float32 indicators of membership."""
    indptr = np.cumsum([0, *(len(rows) for rows in groups)])
    indices = np.concatenate(groups)
    ones: Float32Vector = np.ones(len(indices), np.float32)
    return sp.csr_matrix((ones, indices, indptr), shape=(len(groups), n_cells))


def _correlations(
    rows: npt.NDArray[np.floating], contrasts: Float32Matrix, weights: Float32Vector, part: slice
) -> Float64Matrix:
    """Return (n, n_labels) weighted correlations of rows with contrasts over some of the pairs.

    Parameters
    ----------
    rows
        (n, n_pairs) float.
    contrasts, weights
        (n_labels, n_pairs) and (n_pairs,) float32.
    part
        The pairs to use.
    """
    rows, contrasts, weights = rows[:, part], contrasts[:, part], weights[part]
    weights = weights / weights.sum()
    unit = contrasts - (contrasts @ weights)[:, None]
    unit /= np.sqrt(np.maximum((unit * unit) @ weights, _TINY))[:, None]
    # The contrasts have zero mean, so the mean of the rows cancels.
    products = all_products(rows, unit * weights).astype(np.float64)
    means = all_products(rows, weights[None])[:, 0].astype(np.float64)
    squares = np.einsum("cp,cp,p->c", rows, rows, weights, dtype=np.float64)
    spreads = np.sqrt(np.maximum(squares - means**2, _TINY))
    return np.asarray(products / spreads[:, None])
