"""Fit the classifier of a cell space: evidence, calibrated probabilities, limit of novelty.

All are calibrated on held-out cells: folds of the reference, by donor if it has donors, are held
out in turn, and space, head, regression and prototypes are fitted without them.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

from cellkin.indexer.measures import (
    confusion,
    expected_calibration_error,
    macro_f1,
    reliability,
)
from cellkin.indexer.spaces.novelty import discriminants, mean_directions, nearest, with_novelty
from cellkin.indexer.spaces.sample import Sample, folds
from cellkin.space.arrays import (
    BoolVector,
    CsrMatrix,
    Float32Matrix,
    Float32Vector,
    Int32Vector,
    Int64Vector,
)
from cellkin.space.classifier import (
    KINDS,
    RATES,
    Float64Matrix,
    LabelClassifier,
    Placed,
    neighbor_vectors,
)
from cellkin.space.labels import Labels, combine, few_cells, read_labels
from cellkin.space.vectors import unit_rows

MIXES = {
    "combined": (0.1, 0.1, 0.4, 0.4),
    "votes": (1.0, 0.0, 0.0, 0.0),
    "prototypes": (0.0, 1.0, 0.0, 0.0),
    "contrast": (0.0, 0.0, 1.0, 0.0),
    "logistic": (0.0, 0.0, 0.0, 1.0),
}
"""Weights of the kinds of evidence; the first is used unless another is clearly better."""
_CLEARLY = 0.03
# Standard errors of the number of additional correct cells.
_SURELY = 2.0
_SHARPNESS = (0.2, 8.0)
_ENOUGH_CELLS = 5
# Share of held-out cells beyond the limit, relative to the target rate of false alarms.
# Held-out donors are compared with fewer donors than a query is, parts of a donor with the same
# donor. With few cells of several donors the limit varies so much that half the share is used
# (ADR 20).
_SEVERAL_BATCHES = 1.2
_SEVERAL_BATCHES_OF_FEW = 0.5
_FEW_CELLS, _MANY_CELLS = 300, 1000
_ONE_BATCH = 0.25
# The same for the reference's own cells, which fit best: an upper bound.
_OWN_CELLS = 0.7
# If the median held-out cell is farther than the reference's own cells by this many deviations,
# these say nothing about other cells.
_MUCH_FARTHER = 1.0
# With fewer cells one or two of them determine the limit.
_ENOUGH_HELD_OUT = 150


class FittedSpace(Protocol):
    """A cell space fitted to labeled cells."""

    @property
    def n_components(self) -> int:
        """Number of leading dimensions in which neighbors are searched."""

    @property
    def coefficients(self) -> Float32Matrix:
        """(n_labels, dim) coefficients of a logistic regression, or 0 rows."""

    @property
    def intercepts(self) -> Float32Vector:
        """(n_labels,) intercepts of the regression."""

    @property
    def own(self) -> Placed:
        """The cells that it was fitted to, placed."""

    def place(self, cells: CsrMatrix) -> Placed:
        """Place cells; columns are the genes of the sample."""


FitSpace = Callable[[Sample], FittedSpace]


@dataclass(frozen=True)
class Votes:
    """Settings of votes and of unknown cells.

    Parameters
    ----------
    k, n_novelty
        Number of neighbors for votes and for novelty.
    epsilon, class_balance
        See `cellkin.space.classifier.LabelClassifier`.
    false_alarms
        Accepted share of known cells beyond the limit of novelty.
    min_probability
        Cells with a lower probability are unknown.
    """

    k: int = 10
    n_novelty: int = 10
    epsilon: float = 1e-4
    class_balance: float = 0.0
    false_alarms: float = 0.07
    min_probability: float = 0.5


@dataclass(frozen=True)
class HeldOut:
    """Predictions for held-out cells.

    Parameters
    ----------
    truth
        (n_cells,) int32 labels.
    kinds
        For each of `KINDS`, (n_cells, n_labels) float64 probabilities, or 0 rows.
    novelty
        (n_cells,) float64 novelty, from the statistics of the fold's fit.
    batches
        (n_cells,) int32.
    n_left
        (n_cells,) int64, number of cells of the same label in the fold's fit.
    """

    truth: Int32Vector
    kinds: list[Float64Matrix]
    novelty: npt.NDArray[np.float64]
    batches: Int32Vector
    n_left: Int64Vector


def ceilings(counts: Int64Vector) -> Float32Vector:
    """Return (n_labels,) float32 upper bounds of probabilities: n / (n + 1) for n < enough cells.

    If cells of such a label are held out, too few are left to calibrate its probabilities. Empty if
    all labels have enough cells.

    Parameters
    ----------
    counts
        (n_labels,) int64 cells of each label.
    """
    few = few_cells(counts)
    if not few.any():
        return np.empty(0, np.float32)
    return np.where(few, counts / (counts + 1), 1).astype(np.float32)


def draft(
    fitted: FittedSpace, sample: Sample, placed: Placed, how: Votes, refine: bool
) -> LabelClassifier:
    """Return a classifier before calibration.

    Parameters
    ----------
    fitted
        The space.
    sample
        The cells it was fitted to.
    placed
        The same cells, placed.
    how
        Settings.
    refine
        Whether the space's head, if any, is part of the evidence.
    """
    z, n = placed.z, sample.n_labels
    nothing = np.empty((n, 0), np.float32)
    head_prototypes = nothing
    if refine and placed.refined.shape[1]:
        head_prototypes = mean_directions(unit_rows(placed.refined), sample)
    judged, leading, n_ways = np.empty((0, z.shape[1]), np.float32), (nothing, nothing), 2
    if len(fitted.coefficients):
        judged, n_ways = discriminants(z, sample), 3
        if placed.leading.shape[1]:
            directions = unit_rows(placed.leading)
            leading = mean_directions(directions, sample), discriminants(directions, sample)
            n_ways = 5
    mix = np.array(MIXES["combined"])
    mix[2] *= head_prototypes.shape[1] > 0
    mix[3] *= len(fitted.coefficients) > 0
    return LabelClassifier(
        how.k, how.n_novelty, how.epsilon, how.class_balance, fitted.n_components,
        mean_directions(unit_rows(z), sample), head_prototypes, fitted.coefficients,
        fitted.intercepts, judged, *leading, mix / mix.sum(), 1.0, 1.0,
        np.zeros((n_ways, n), np.float32), np.ones((n_ways, n), np.float32), np.inf,
        np.full(len(RATES), np.inf, np.float32), how.min_probability, ceilings(sample.counts()),
    )  # fmt: skip


@dataclass(frozen=True)
class Trained:
    """A space and a classifier fitted to a part of a sample.

    Parameters
    ----------
    sample
        The part.
    fitted, classifier
        The space, and the uncalibrated classifier with statistics of novelty.
    vectors
        (n_cells, n_components) float32, its cells as neighbors.
    """

    sample: Sample
    fitted: FittedSpace
    classifier: LabelClassifier
    vectors: Float32Matrix

    @classmethod
    def of(cls, train: Sample, fit: FitSpace, how: Votes, refine: bool) -> "Trained":
        """Fit to a part of a sample."""
        fitted = fit(train)
        placed = fitted.own
        classifier, _ = with_novelty(draft(fitted, train, placed, how, refine), placed, train)
        return cls(train, fitted, classifier, neighbor_vectors(placed.z, classifier.n_components))

    def read(self, asked: Placed) -> Labels:
        """Predict the labels of placed cells."""
        compared = neighbor_vectors(asked.z, self.classifier.n_components)
        similarities, neighbors = nearest(compared, self.vectors, self.classifier.n_neighbors)
        voted, counts = self.sample.labels[neighbors], self.sample.counts()
        return read_labels(asked, similarities, voted, counts, self.classifier)


OnFold: TypeAlias = Callable[[Trained, Sample, Int64Vector], None]
"""Called for each fold, in any thread, with the fit, the whole sample, and the rows held out."""


Fold: TypeAlias = tuple[Int64Vector, Int64Vector, list[Any]]
"""Rows held out, the cells of their labels in the rest, and what was predicted for them."""


def fold_tasks(
    sample: Sample, fit: FitSpace, how: Votes, refine: bool, on_fold: OnFold | None
) -> list[Callable[[], Fold | None]]:
    """Return what predicts each fold from the rest, for `join_folds`, to be called in any thread.

    Held-out cells are ignored if the rest has too few of their label (less than 5, and less than
    half of all), as is common with donors: the result would not apply to the whole reference.
    """
    names = {name: code for code, name in enumerate(sample.label_names)}

    def predicted(held: Int64Vector) -> Fold | None:
        rest = np.setdiff1d(np.arange(sample.n_cells), held, assume_unique=True)
        train = sample.take(rest)
        left = np.bincount(sample.labels[rest], minlength=sample.n_labels)
        known = left >= np.minimum(_ENOUGH_CELLS, (sample.counts() + 1) // 2)
        held = held[known[sample.labels[held]]]
        if train.n_labels < 2 or not len(held):
            return None
        trained = Trained.of(train, fit, how, refine)
        found = trained.read(trained.fitted.place(sample.cells[held]))
        if on_fold is not None:
            on_fold(trained, sample, held)
        columns = np.array([names[name] for name in train.label_names])
        kinds = [_spread(kind, columns, sample.n_labels) for kind in found.kinds]
        n_left = left[sample.labels[held]]
        return held, n_left, [*kinds, found.novelties.astype(np.float64)]

    return [partial(predicted, held) for held in folds(sample)]


def join_folds(sample: Sample, predicted: Iterable[Fold | None]) -> HeldOut:
    """Join the predictions of all folds; None is a fold without any."""
    found = [fold for fold in predicted if fold is not None]
    no_rows = np.empty(0, np.int64)
    rows = np.concatenate([no_rows, *(fold[0] for fold in found)])
    n_left = np.concatenate([no_rows, *(fold[1] for fold in found)])
    tables = [fold[2] for fold in found]
    if not tables:
        none = np.empty((0, sample.n_labels))
        tables = [[none] * len(KINDS) + [np.empty(0)]]
    joined = [np.concatenate(parts) for parts in zip(*tables, strict=True)]
    return HeldOut(
        sample.labels[rows], joined[: len(KINDS)], joined[len(KINDS)], sample.batches[rows], n_left
    )


def calibrate(
    classifier: LabelClassifier, held: HeldOut, own: Float32Vector, counts: Int64Vector, how: Votes
) -> tuple[LabelClassifier, dict[str, float]]:
    """Choose weights of the evidence, sharpness, and the limit of novelty.

    Parameters
    ----------
    classifier
        From `draft`.
    held
        From `join_folds`, of the same sample.
    own
        (n_cells,) float32 novelty of the reference's own cells, from `with_novelty`.
    counts
        (n_labels,) int64 cells of each label in the sample.
    how
        Settings.

    Returns
    -------
    classifier
        The calibrated classifier.
    macro_f1
        Macro-F1 on the held-out cells, by name of the mix.
    """
    f1, right = {}, {}
    for name, weights in MIXES.items():
        mix = np.array(weights)
        mix *= [len(kind) > 0 for kind in held.kinds]
        if mix.sum() > 0:
            predicted = combine(held.kinds, mix / mix.sum(), 1.0).argmax(axis=1)
            f1[name] = float(macro_f1(confusion(held.truth, predicted, len(counts))))
            right[name] = predicted == held.truth
    # Labels of few cells change macro-F1 by hundredths, so that alone it would choose at random.
    clear = {
        name: value
        for name, value in f1.items()
        if value > f1["combined"] + _CLEARLY and _surely_better(right[name], right["combined"])
    }
    if clear:
        best = max(clear, key=lambda name: clear[name])
        classifier = replace(classifier, mix=np.array(MIXES[best]))
    only_votes = np.array(MIXES["votes"])
    classifier = replace(
        classifier,
        sharpness=_sharpness(held, classifier.mix),
        votes_sharpness=_sharpness(held, only_votes),
    )
    limit = _limit(held, own, how.false_alarms)
    limits = np.array([_limit(held, own, rate) for rate in RATES], np.float32)
    return replace(classifier, novelty_limit=limit, novelty_limits=limits), f1


def _surely_better(right: BoolVector, usual: BoolVector) -> bool:
    """Return whether significantly more cells are correct than with the default mix."""
    gained, lost = int((right & ~usual).sum()), int((usual & ~right).sum())
    return gained - lost > _SURELY * float(np.sqrt(gained + lost))


def _limit(held: HeldOut, own: Float32Vector, false_alarms: float) -> float:
    """Return the limit of novelty that a given share of known cells exceeds."""
    times = _ONE_BATCH
    if held.batches.any():
        sizes, ends = np.log([_FEW_CELLS, _MANY_CELLS]), (_SEVERAL_BATCHES_OF_FEW, _SEVERAL_BATCHES)
        times = float(np.interp(np.log(len(held.novelty)), sizes, ends))
    # Cells with only two or three cells of their label in the fit are far from these; in a small
    # sample they would raise the limit above all unknown cells.
    enough = held.n_left >= _ENOUGH_CELLS
    novelty = held.novelty[enough] if enough.any() else held.novelty
    beyond = false_alarms * times
    # Folds of a small reference span few dimensions, in which cells look less novel than in the
    # whole space: the limit is raised to that of the reference's own cells.
    own_limit = float(np.quantile(own, 1 - false_alarms * _OWN_CELLS))
    # With few cells the share cannot be met exactly; "higher" lets fewer exceed the limit.
    return max(float(np.quantile(novelty, 1 - beyond, method="higher")), own_limit)


def _sharpness(held: HeldOut, mix: npt.NDArray[np.float64]) -> float:
    """Return the maximum likelihood estimate of the sharpness; 1 if there is only one label."""
    if len(np.unique(held.truth)) < 2:
        return 1.0
    rows = np.arange(len(held.truth))

    def loss(logarithm: float) -> float:
        chances = combine(held.kinds, mix, float(np.exp(logarithm)))[rows, held.truth]
        return float(-np.log(np.maximum(chances, 1e-12)).mean())

    found = minimize_scalar(loss, bounds=tuple(np.log(_SHARPNESS)), method="bounded")
    return float(np.exp(found.x))


def probability_report(held: HeldOut, classifier: LabelClassifier) -> dict[str, Any]:
    """Return the reliability of calibrated probabilities on held-out cells.

    Returns
    -------
    dict
        ``ece``, the expected calibration error; ``accuracy``; ``reliability``, number of cells,
        mean probability and accuracy of each nonempty bin; ``novelty_note``, see `novelty_note`.
    """
    chances = combine(held.kinds, classifier.mix, classifier.sharpness)
    right = chances.argmax(axis=1) == held.truth
    bins = reliability(right, chances.max(axis=1))
    return {
        "ece": expected_calibration_error(bins),
        "accuracy": float(right.mean()),
        "reliability": [(b.n_cells, b.probability, b.accuracy) for b in bins if b.n_cells],
        "novelty_note": novelty_note(held),
    }


def novelty_note(held: HeldOut) -> str:
    """Return why the limit of novelty finds few unknown cells; empty if it can be trusted.

    Such a limit is too high, so known cells are not affected.
    """
    n, off = len(held.novelty), float(np.median(held.novelty))
    if off > _MUCH_FARTHER:
        return (
            f"held-out cells of known labels are {off:.1f} deviations farther than the "
            "reference's own, so few unknown cells are beyond the limit of novelty: it has too few "
            "cells for its labels"
        )
    if n < _ENOUGH_HELD_OUT:
        return (
            f"only {n} cells were held out, so few unknown cells are beyond the limit of novelty: "
            "it is about the novelty of the farthest of them"
        )
    return ""


def _spread(
    table: npt.NDArray[np.float64], columns: Int64Vector, n: int
) -> npt.NDArray[np.float64]:
    """Expand a table of some labels to all labels, with zeros for the others."""
    if not table.shape[1]:
        return table
    spread = np.zeros((len(table), n), table.dtype)
    spread[:, columns] = table
    return spread
