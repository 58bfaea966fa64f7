"""Calibrate for few genes and few molecules, on held-out cells thinned or reduced to panels."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

from cellkin.indexer.spaces.classifier import Trained
from cellkin.indexer.spaces.expression import FittedExpression
from cellkin.indexer.spaces.sample import Sample
from cellkin.indexer.spaces.text import label_dispersion
from cellkin.indexer.spaces.thinning import molecules, thin
from cellkin.space.arrays import (
    BoolVector,
    CsrMatrix,
    Float32Matrix,
    Float32Vector,
    Int32Vector,
    Int64Vector,
)
from cellkin.space.classifier import DEPTHS, Float64Matrix, LabelClassifier
from cellkin.space.coverage import capture, detected, lack_of, shallowness
from cellkin.space.expression import ExpressionColumns, place_expression
from cellkin.space.labels import CellCoverage, combine
from cellkin.wire.errors import InvalidArgumentError

_CELLS = 600
_KEPT = (0.3, 0.1, 0.03)
_MARKERS = (20, 50, 200)
_DISPERSED = 100
_LEAST_GENES = 10
_USUAL = 0.05
_SOFTEST = 4.0
_WRONG = 0.05
# With few genes a label needs more than half of the probability, even if few are wrong.
_STEPS = np.linspace(0.6, 0.99, 40)
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_ENOUGH = 20
_ENOUGH_CLAIMED = 8
_OF_SHALLOW = np.linspace(0, 0.995, 200)


def detection_of(sample: Sample) -> tuple[Float32Vector, float]:
    """Return the detection rates of genes, and the depth that nearly all cells exceed.

    Parameters
    ----------
    sample
        The cells.

    Returns
    -------
    detection
        (n_genes,) float32, share of cells with a value above 0.
    usual
        5 % quantile of the number of detected genes, relative to the mean.
    """
    found = sample.moments.n_detected / sample.n_cells
    depths = sample.logs.n_detected / max(float(found.sum()), 1e-9)
    return found.astype(np.float32), float(np.quantile(depths, _USUAL))


@dataclass(frozen=True)
class _Draw:
    """Held-out cells of reduced depth or fewer genes.

    Parameters
    ----------
    truth
        (n_cells,) int32 label codes of the fold's fit.
    kinds
        For each of `cellkin.space.classifier.KINDS`, (n_cells, n_labels) float64.
    novelty
        (n_cells,) float64.
    coverage
        Depth and genes of the cells.
    """

    truth: Int32Vector
    kinds: list[Float64Matrix]
    novelty: npt.NDArray[np.float64]
    coverage: CellCoverage

    def by_label(self, classifier: LabelClassifier) -> Float64Matrix:
        """Return (n_cells, n_labels) probabilities, softened by coverage."""
        sharpness = classifier.sharpness * self.coverage.sharpness(classifier)
        return combine(self.kinds, classifier.mix, sharpness)


@dataclass
class CoverageProbe:
    """Collects predictions for held-out cells of reduced depth or fewer genes.

    Parameters
    ----------
    n_parts
        Number of folds.
    """

    n_parts: int
    _found: dict[int, tuple[list[_Draw], list[_Draw]]] = field(default_factory=dict)

    def predict(self, trained: Trained, sample: Sample, held: Int64Vector) -> None:
        """Predict reduced versions of some held-out cells; an `OnFold`."""
        fitted = trained.fitted
        assert isinstance(fitted, FittedExpression)
        rng = np.random.default_rng(0)
        rows = np.sort(rng.permutation(held)[: max(1, _CELLS // self.n_parts)])
        whole = sample.cells[rows]
        names = {name: code for code, name in enumerate(trained.sample.label_names)}
        truth = np.array([names[sample.label_names[i]] for i in sample.labels[rows]], np.int32)
        genes = np.arange(whole.shape[1])
        try:
            counts = molecules(whole)
        except InvalidArgumentError:  # values cannot be thinned: panels only
            counts = None
        thinned = [] if counts is None else [thin(counts, kept, rng) for kept in _KEPT]
        of_thinned = [_draw(trained, cells, truth, genes) for cells in thinned]
        panels = [_draw(trained, whole, truth, panel) for panel in _panels(trained.sample)]
        # By the first cell, because folds may be predicted in any order.
        self._found[int(held[0])] = of_thinned, panels

    @property
    def thinned(self) -> list[list[_Draw]]:
        """Predictions for thinned cells, by fold."""
        return [thinned for _, (thinned, _) in sorted(self._found.items()) if thinned]

    @property
    def panels(self) -> list[_Draw]:
        """Predictions from panels of genes."""
        return [draw for _, (_, panels) in sorted(self._found.items()) for draw in panels]

    def fit(self, classifier: LabelClassifier, sample: Sample) -> LabelClassifier:
        """Return the classifier with parameters for low coverage.

        Parameters
        ----------
        classifier
            The calibrated classifier.
        sample
            The cells of the reference.
        """
        detection, usual = detection_of(sample)
        classifier = replace(classifier, detection=detection, usual_depth=usual)
        thinned = list(chain.from_iterable(self.thinned))
        if thinned:
            classifier = replace(classifier, softening=_softening(thinned, classifier))
        classifier = replace(
            classifier, least_by_depth=_least_by_depth(thinned, classifier, _WRONG)
        )
        return replace(classifier, least_of_few=_least(self.panels, classifier, _WRONG))


def depth_report(
    probe: CoverageProbe, classifier: LabelClassifier, sample: Sample
) -> dict[str, Any]:
    """Return the depth of the reference's cells, and the cost of lower depth.

    Parameters
    ----------
    probe
        The probe with the predictions of all folds.
    classifier
        The calibrated classifier, from `CoverageProbe.fit`.
    sample
        The cells of the reference.

    Returns
    -------
    dict
        ``genes`` and ``counts``, quantiles of detected genes and of molecules per cell; ``counts``
        is None if values are not counts. ``costs``, for each range of depths between `DEPTHS`:
        ``at_least``, ``below``, ``n_cells``, the share ``wrong`` of the labels that are not
        unknown, and the share ``unknown``.
    """
    whole = np.array_equal(np.rint(sample.cells.data), sample.cells.data)
    totals = np.asarray(sample.cells.sum(axis=1, dtype=np.float64)).ravel()
    return {
        "genes": np.quantile(sample.logs.n_detected, _QUANTILES).tolist(),
        "counts": np.quantile(totals, _QUANTILES).tolist() if whole else None,
        "costs": _costs(probe.thinned, classifier),
    }


def _least_by_depth(draws: list[_Draw], classifier: LabelClassifier, most: float) -> Float32Matrix:
    """Return the least probability by range of depths and label from which few labels are wrong.

    Cells without molecules of the markers look like the label with the fewest markers, so this
    label is hardly ever correct at depths at which others still are.
    """
    n_labels = classifier.n_labels
    if not draws:
        return np.empty((0, n_labels), np.float32)
    asked = _Predictions.of(draws, classifier)
    leasts, own = np.zeros((len(DEPTHS) - 1, n_labels)), np.full(n_labels, -1.0)
    for row, (below, at_least) in enumerate(pairwise(DEPTHS)):
        some = (asked.depths >= at_least) & (asked.depths < below) & asked.claimed
        of_all = _least_of(asked, some, most)
        for label in range(n_labels):
            of_label = some & (asked.predicted == label)
            enough = of_label.sum() >= _ENOUGH_CLAIMED
            if enough:
                own[label] = max(_least_of(asked, of_label, most), own[label])
        # Labels with too few cells at all depths so far get the value of all labels.
        leasts[row] = np.where(own < 0, of_all, own)
    return leasts.astype(np.float32)


def _least_of(asked: "_Predictions", some: BoolVector, most: float) -> float:
    """Return the least probability from which at most a given share of labels is wrong."""
    for least in _OF_SHALLOW:
        claimed = some & (asked.sure >= least)
        if (claimed & asked.wrong).sum() <= most * claimed.sum():
            return float(least)
    return 1.0


@dataclass(frozen=True)
class _Predictions:
    """Concatenated predictions of several draws, each (n_cells,)."""

    depths: npt.NDArray[np.float64]
    predicted: Int64Vector
    sure: npt.NDArray[np.float64]
    wrong: BoolVector
    claimed: BoolVector

    @classmethod
    def of(cls, draws: Sequence[_Draw], classifier: LabelClassifier) -> "_Predictions":
        parts = []
        for draw in draws:
            table = draw.by_label(classifier)
            sure = table.max(axis=1)
            least = draw.coverage.least(table, classifier)
            claimed = (sure >= least) & (draw.novelty <= classifier.novelty_limit)
            predicted = table.argmax(axis=1)
            wrong = predicted != draw.truth
            parts.append((draw.coverage.depths(classifier), predicted, sure, wrong, claimed))
        return cls(*(np.concatenate(part) for part in zip(*parts, strict=True)))

    @classmethod
    def join(cls, parts: Sequence["_Predictions"]) -> "_Predictions":
        columns = zip(*(vars(part).values() for part in parts), strict=True)
        return cls(*map(np.concatenate, columns))


def _costs(parts: list[list[_Draw]], classifier: LabelClassifier) -> list[dict[str, float]]:
    """Return the cost of lower depth, each fold with thresholds fitted to the others.

    With thresholds fitted to all folds the share of wrong labels would equal the target.
    """
    if not parts:
        return []
    plain = replace(classifier, least_by_depth=np.empty((0, classifier.n_labels), np.float32))
    asked_parts = []
    for number, part in enumerate(parts):
        others = list(chain.from_iterable(parts[:number] + parts[number + 1 :]))
        least = _least_by_depth(others, plain, _WRONG)
        asked_parts.append(_Predictions.of(part, replace(plain, least_by_depth=least)))
    found = _Predictions.join(asked_parts)
    costs = []
    for below, at_least in pairwise(DEPTHS):
        asked = (found.depths >= at_least) & (found.depths < below)
        n, n_claimed = int(asked.sum()), int((asked & found.claimed).sum())
        if n >= _ENOUGH:
            costs.append(
                {
                    "at_least": at_least, "below": below, "n_cells": n,
                    "wrong": float((asked & found.claimed & found.wrong).sum() / max(n_claimed, 1)),
                    "unknown": 1 - n_claimed / n,
                }
            )  # fmt: skip
    return costs


def _draw(trained: Trained, cells: CsrMatrix, truth: Int32Vector, genes: Int64Vector) -> _Draw:
    """Predict cells from some of their genes."""
    fitted = trained.fitted
    assert isinstance(fitted, FittedExpression)
    space, classifier = fitted.space, trained.classifier
    every = len(genes) == cells.shape[1]
    cells = cells if every else cells[:, genes]
    detection, usual = detection_of(trained.sample)
    depths = detected(cells) / max(float(detection[genes].sum()), 1e-9)
    lack = None if every else lack_of(capture(genes, space, classifier))
    coverage = CellCoverage(shallowness(depths, usual), lack)
    labels = trained.read(place_expression(cells, ExpressionColumns.of(genes), space))
    some = labels.winners >= 0
    kinds = [kind[some] if len(kind) else kind for kind in labels.kinds]
    return _Draw(
        truth[some], kinds, labels.novelties[some].astype(np.float64),
        replace(coverage, shallowness=coverage.shallowness[some]),
    )  # fmt: skip


def _panels(sample: Sample) -> Iterator[Int64Vector]:
    """Yield gene panels as columns: markers of each label, or the genes of highest dispersion."""
    n_genes = len(sample.gene_ids)
    means = sample.moments.sums / sample.counts()[:, None]
    above = means - np.sort(means, axis=0)[-2]
    order = np.argsort(-above, axis=1, kind="stable")
    for n in _MARKERS:
        each = min(n, n_genes // 3) // sample.n_labels
        if each * sample.n_labels >= _LEAST_GENES:
            yield np.unique(order[:, :each])
    if min(_DISPERSED, n_genes // 3) >= _LEAST_GENES:
        best = np.argsort(-label_dispersion(sample), kind="stable")
        yield np.sort(best[: min(_DISPERSED, n_genes // 3)])


def _softening(draws: list[_Draw], classifier: LabelClassifier) -> float:
    """Return the maximum likelihood estimate of the softening."""

    def loss(softening: float) -> float:
        soft = replace(classifier, softening=float(softening))
        chances = [d.by_label(soft)[np.arange(len(d.truth)), d.truth] for d in draws]
        return float(-np.log(np.maximum(np.concatenate(chances), 1e-12)).mean())

    return float(minimize_scalar(loss, bounds=(0, _SOFTEST), method="bounded").x)


def _least(draws: list[_Draw], classifier: LabelClassifier, most: float) -> float:
    """Return the least probability from which at most a given share of panels' labels is wrong."""
    asked = [_Predictions.of([draw], classifier) for draw in draws]
    weights = [d.coverage.weights(d.by_label(classifier)) for d in draws]
    for least in _STEPS:
        claimed = wrong = 0
        for a, weight in zip(asked, weights, strict=True):
            some = a.claimed & (weight > 0)
            some &= (
                a.sure >= classifier.min_probability + (least - classifier.min_probability) * weight
            )
            claimed, wrong = claimed + int(some.sum()), wrong + int((some & a.wrong).sum())
        if wrong <= most * claimed:
            return float(least)
    return 1.0
