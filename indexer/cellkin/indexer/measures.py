"""Metrics of labels, probabilities and novelty scores; each a pure function of arrays.

Tests compare them with scikit-learn, which takes longer to import than a small reference to fit.
Accuracy and F1 are computed from counts, because a bootstrap needs them for a thousand confusion
matrices at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from cellkin.space.arrays import BoolVector, Int32Vector, Int64Vector

FloatVector: TypeAlias = npt.NDArray[np.floating[Any]]
Counts: TypeAlias = npt.NDArray[np.int64]
Figures: TypeAlias = npt.NDArray[np.float64]


def confusion(truth: Int32Vector, predicted: Int32Vector, n_types: int) -> Counts:
    """Count the cells of each true type by predicted label.

    Parameters
    ----------
    truth
        (n_cells,) int32 true type of each cell; cells with -1 are left out.
    predicted
        (n_cells,) int32 label of each cell, -1 for no label.
    n_types
        Number of types.

    Returns
    -------
    ndarray
        (n_types, n_types + 1) int64; rows are true types, columns labels, the last one no label.
    """
    known = truth >= 0
    labels = np.where(predicted < 0, n_types, predicted).astype(np.int64)
    cells = truth[known].astype(np.int64) * (n_types + 1) + labels[known]
    return np.bincount(cells, minlength=n_types * (n_types + 1)).reshape(n_types, n_types + 1)


def accuracy(counts: Counts) -> Figures:
    """Return the fraction of cells labeled correctly.

    Parameters
    ----------
    counts
        (..., n_types, n_types + 1) int64, see `confusion`; leading dimensions are bootstrap draws.

    Returns
    -------
    ndarray
        (...) float64.
    """
    right = np.trace(counts[..., :-1], axis1=-2, axis2=-1)
    return np.asarray(right / counts.sum(axis=(-2, -1)), np.float64)


def f1_by_type(counts: Counts) -> Figures:
    """Return F1 by type: ``2 tp / (cells of the type + cells with its label)``.

    Parameters
    ----------
    counts
        See `accuracy`.

    Returns
    -------
    ndarray
        (..., n_types) float64, NaN for types without cells.
    """
    there = counts.sum(axis=-1)
    labeled = counts[..., :-1].sum(axis=-2)
    right = 2.0 * np.diagonal(counts[..., :-1], axis1=-2, axis2=-1)
    nothing = np.full(there.shape, np.nan)
    return np.asarray(np.divide(right, there + labeled, out=nothing, where=there > 0))


def macro_f1(counts: Counts, types: BoolVector | None = None) -> Figures:
    """Return the mean F1 over the types that have cells.

    Parameters
    ----------
    counts
        See `accuracy`.
    types
        (n_types,) bool, the types to average over; all by default.

    Returns
    -------
    ndarray
        (...) float64, NaN if there is no type to average over.
    """
    f1 = f1_by_type(counts)
    counted = ~np.isnan(f1) & (True if types is None else types)
    n = counted.sum(axis=-1)
    total = np.where(counted, f1, 0.0).sum(axis=-1)
    return np.asarray(np.divide(total, n, out=np.full(n.shape, np.nan), where=n > 0))


def rarest_third(reference_counts: Int64Vector) -> BoolVector:
    """Return a mask of the rarest third of the reference's types.

    A third of the types, rounded up; ties are resolved in favor of the last types.

    Parameters
    ----------
    reference_counts
        (n_types,) int64 reference cells of each type; types without cells are ignored.

    Returns
    -------
    BoolVector
        (n_types,) bool.
    """
    there = np.flatnonzero(reference_counts > 0)
    order = there[np.argsort(-reference_counts[there], kind="stable")]
    rare = np.zeros(len(reference_counts), bool)
    rare[order[len(order) - -(-len(order) // 3) :]] = True
    return rare


@dataclass(frozen=True)
class Hierarchy:
    """Number of ancestors that types share; each type is its own ancestor.

    Parameters
    ----------
    depth
        (n_types,) int64, the length of each path.
    shared
        (n_types, n_types) int64, the length of the common prefix of two paths.
    """

    depth: Counts
    shared: Counts

    @classmethod
    def of(cls, paths: Sequence[str]) -> "Hierarchy":
        """Parse paths such as ``neuron/RGC/alpha``, one per type; inner types may be among them."""
        steps = [path.split("/") for path in paths]
        names = {step for path in steps for step in _prefixes(path)}
        column = {name: at for at, name in enumerate(sorted(names))}
        member = np.zeros((len(paths), len(names)), np.int64)
        for row, path in enumerate(steps):
            member[row, [column[prefix] for prefix in _prefixes(path)]] = 1
        return cls(member.sum(axis=1), member @ member.T)

    def f1(self, counts: Counts) -> Figures:
        """Return the F1 of sets of ancestors, pooled over all cells (Kiritchenko et al. 2006).

        A label whose coarse levels are correct counts in part; no label is the empty set. The
        argument and result are as in `accuracy`.
        """
        labeled = counts[..., :-1]
        right = 2.0 * (labeled * self.shared).sum(axis=(-2, -1))
        given = labeled.sum(axis=-2) @ self.depth
        there = counts.sum(axis=-1) @ self.depth
        return np.asarray(right / (given + there))


def _prefixes(path: Sequence[str]) -> list[tuple[str, ...]]:
    return [tuple(path[: at + 1]) for at in range(len(path))]


@dataclass(frozen=True)
class ReliabilityBin:
    """The cells of one bin of a reliability diagram.

    Parameters
    ----------
    low, high
        The bin is ``(low, high]``; the first includes 0.
    n_cells
        Number of cells.
    probability
        Their mean probability, None for an empty bin.
    accuracy
        Fraction of them labeled correctly, None for an empty bin.
    """

    low: float
    high: float
    n_cells: int
    probability: float | None
    accuracy: float | None


def reliability(
    right: BoolVector, probability: FloatVector, n_bins: int = 15
) -> tuple[ReliabilityBin, ...]:
    """Return the reliability diagram: mean probability and accuracy per probability bin.

    The bins are those of `sklearn.calibration.calibration_curve`, which returns neither empty bins
    nor the number of cells.

    Parameters
    ----------
    right
        (n_cells,) bool, whether the label is correct.
    probability
        (n_cells,) float in [0, 1], probability of the label.
    n_bins
        Number of bins, of equal width.
    """
    at = np.clip(np.ceil(probability * n_bins).astype(np.int64) - 1, 0, n_bins - 1)
    n_cells = np.bincount(at, minlength=n_bins)
    sums = np.bincount(at, weights=probability, minlength=n_bins)
    hits = np.bincount(at, weights=right, minlength=n_bins)
    return tuple(
        ReliabilityBin(
            low=b / n_bins,
            high=(b + 1) / n_bins,
            n_cells=int(n_cells[b]),
            probability=float(sums[b] / n_cells[b]) if n_cells[b] else None,
            accuracy=float(hits[b] / n_cells[b]) if n_cells[b] else None,
        )
        for b in range(n_bins)
    )


def expected_calibration_error(bins: Sequence[ReliabilityBin]) -> float:
    """Return the ECE of Guo et al. (2017).

    The mean of ``|probability - accuracy|`` over the bins, weighted by their numbers of cells.
    """
    n_cells = sum(b.n_cells for b in bins)
    return sum(
        b.n_cells / n_cells * abs(b.probability - b.accuracy)
        for b in bins
        if b.probability is not None and b.accuracy is not None
    )


def auroc(positive: BoolVector, score: FloatVector) -> float | None:
    """Return the area under the ROC curve; None unless there are both positives and negatives.

    Parameters
    ----------
    positive
        (n_cells,) bool.
    score
        (n_cells,) float, finite; higher for positives.
    """
    if positive.all() or not positive.any():
        return None
    _, level, sizes = np.unique(score, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(sizes) - (sizes - 1) / 2)[level]
    n = int(positive.sum())
    above = float(ranks[positive].sum()) - n * (n + 1) / 2
    return above / (n * (len(score) - n))


@dataclass(frozen=True)
class RiskCoverage:
    """The risk-coverage curve: the error among the most probable labels.

    Parameters
    ----------
    coverage
        (n_cells,) float64, fraction of cells kept: 1/n to 1.
    risk
        (n_cells,) float64, fraction of wrong labels among the kept cells.
    area
        Mean risk over all coverages: 0 is perfect.
    """

    coverage: npt.NDArray[np.float64]
    risk: npt.NDArray[np.float64]
    area: float


def risk_coverage(right: BoolVector, probability: FloatVector) -> RiskCoverage:
    """Compute the risk at each coverage (Geifman and El-Yaniv 2017).

    Errors of cells with equal probability are averaged, so that the result does not depend on the
    order of the cells.

    Parameters
    ----------
    right
        (n_cells,) bool, whether the label is correct.
    probability
        (n_cells,) float, probability of the label; any score that ranks labels will do.
    """
    levels, level = np.unique(-probability, return_inverse=True)
    n_cells = np.bincount(level, minlength=len(levels))
    wrong = np.bincount(level, weights=~right, minlength=len(levels))
    errors = np.cumsum(np.repeat(wrong / n_cells, n_cells))
    kept = np.arange(1, len(right) + 1)
    risk = errors / kept
    return RiskCoverage(kept / len(right), risk, float(risk.mean()))
