"""Measures of labels, probabilities and novelty scores; each a pure function of arrays."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from cellkin.space.arrays import BoolVector, Int32Vector, Int64Vector

FloatVector: TypeAlias = npt.NDArray[np.floating[Any]]
Counts: TypeAlias = npt.NDArray[np.int64]
Figures: TypeAlias = npt.NDArray[np.float64]


def confusion(truth: Int32Vector, predicted: Int32Vector, n_types: int) -> Counts:
    """Count what the cells of each type were taken for.

    Parameters
    ----------
    truth
        (n_cells,) int32 type of each cell; cells of -1 are left out.
    predicted
        (n_cells,) int32 label of each cell, -1 where none was given.
    n_types
        Types there are.

    Returns
    -------
    ndarray
        (n_types, n_types + 1) int64; rows are true types, columns labels, the last one no label.
    """
    known = truth >= 0
    column = np.where(predicted < 0, n_types, predicted)[known]
    cell = truth[known].astype(np.int64) * (n_types + 1) + column
    counts: Counts = np.bincount(cell, minlength=n_types * (n_types + 1))
    return counts.reshape(n_types, n_types + 1)


def accuracy(counts: Counts) -> Figures:
    """Return the share of cells labeled right.

    Parameters
    ----------
    counts
        (..., n_types, n_types + 1) int64, see `confusion`; of each draw where there are several.

    Returns
    -------
    ndarray
        (...) float64.
    """
    right = np.trace(counts[..., :-1], axis1=-2, axis2=-1)
    return np.asarray(right / counts.sum(axis=(-2, -1)), np.float64)


def f1_by_type(counts: Counts) -> Figures:
    """Return ``2 tp / (cells of the type + cells labeled so)``; counts as in `accuracy`.

    Returns
    -------
    ndarray
        (..., n_types) float64, NaN for types of no cell.
    """
    there = counts.sum(axis=-1)
    labeled = counts[..., :-1].sum(axis=-2)
    right = 2.0 * np.diagonal(counts[..., :-1], axis1=-2, axis2=-1)
    nothing = np.full(there.shape, np.nan)
    return np.asarray(np.divide(right, there + labeled, out=nothing, where=there > 0))


def macro_f1(counts: Counts, types: BoolVector | None = None) -> Figures:
    """Return the mean F1 over the types that have a cell; counts as in `accuracy`.

    Parameters
    ----------
    counts
        See `accuracy`.
    types
        (n_types,) bool, those to count; all by default.

    Returns
    -------
    ndarray
        (...) float64, NaN where no type counts.
    """
    f1 = f1_by_type(counts)
    counted = ~np.isnan(f1) & (True if types is None else types)
    n = counted.sum(axis=-1)
    total = np.where(counted, f1, 0.0).sum(axis=-1)
    return np.asarray(np.divide(total, n, out=np.full(n.shape, np.nan), where=n > 0))


def rarest_third(reference_counts: Int64Vector) -> BoolVector:
    """Say which types are the rarest third of those the reference has.

    A third of the types, rounded up; of types of equal counts the last ones.

    Parameters
    ----------
    reference_counts
        (n_types,) int64 reference cells of each type; types of none are not counted.

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
    """How many ancestors types share, counting each type as one of its own.

    Parameters
    ----------
    depth
        (n_types,) int64, the steps of each path.
    shared
        (n_types, n_types) int64, the steps two paths begin with in common.
    """

    depth: Counts
    shared: Counts

    @classmethod
    def of(cls, paths: Sequence[str]) -> "Hierarchy":
        """Read paths such as ``neuron/RGC/alpha``, one a type, inner types included."""
        steps = [path.split("/") for path in paths]
        names = {step for path in steps for step in _prefixes(path)}
        column = {name: at for at, name in enumerate(sorted(names))}
        member = np.zeros((len(paths), len(names)), np.int64)
        for row, path in enumerate(steps):
            member[row, [column[prefix] for prefix in _prefixes(path)]] = 1
        return cls(member.sum(axis=1), member @ member.T)

    def f1(self, counts: Counts) -> Figures:
        """Return the F1 of sets of ancestors, over all cells at once (Kiritchenko et al. 2006).

        A label that is right at the coarse steps only is partly right; no label is no step. Counts
        and what is returned are as in `accuracy`.
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
    """The cells whose probability falls between two bounds.

    Parameters
    ----------
    low, high
        The bounds: above ``low`` (0 included in the first), up to ``high``.
    n_cells
        Cells in it.
    probability
        Their mean probability, None where there is none.
    accuracy
        The share of them labeled right, None where there is none.
    """

    low: float
    high: float
    n_cells: int
    probability: float | None
    accuracy: float | None


def reliability(
    right: BoolVector, probability: FloatVector, n_bins: int = 15
) -> tuple[ReliabilityBin, ...]:
    """Set how often labels are right beside how probable they were said to be.

    Parameters
    ----------
    right
        (n_cells,) bool, whether the label is the type.
    probability
        (n_cells,) float in [0, 1], of the label.
    n_bins
        Bins of equal width.
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
    """Return the mean distance of probability and accuracy over the bins, weighted by their cells.

    The ECE of Guo et al. (2017).
    """
    n_cells = sum(b.n_cells for b in bins)
    return sum(
        b.n_cells / n_cells * abs(b.probability - b.accuracy)
        for b in bins
        if b.probability is not None and b.accuracy is not None
    )


def auroc(positive: BoolVector, score: FloatVector) -> float | None:
    """Return how often a positive scores above a negative, ties counted half.

    Parameters
    ----------
    positive
        (n_cells,) bool.
    score
        (n_cells,) float, finite; higher for positives.

    Returns
    -------
    float or None
        The area under the ROC curve, from the ranks (Mann-Whitney); None without cells of both
        kinds.
    """
    n_positive = int(positive.sum())
    n_negative = len(positive) - n_positive
    if not n_positive or not n_negative:
        return None
    above = rankdata(score)[positive].sum() - n_positive * (n_positive + 1) / 2
    return float(above / (n_positive * n_negative))


@dataclass(frozen=True)
class RiskCoverage:
    """How often labels are wrong if only the most probable ones are kept.

    Parameters
    ----------
    coverage
        (n_cells,) float64, the share of cells kept: 1/n to 1.
    risk
        (n_cells,) float64, the share of the kept ones that is wrong.
    area
        The mean risk over all coverages: 0 is perfect.
    """

    coverage: npt.NDArray[np.float64]
    risk: npt.NDArray[np.float64]
    area: float


def risk_coverage(right: BoolVector, probability: FloatVector) -> RiskCoverage:
    """Compute the risk at each coverage (Geifman and El-Yaniv 2017).

    Cells of equal probability are kept in no order: their errors are spread evenly over them, so
    that the order of the cells changes nothing.

    Parameters
    ----------
    right
        (n_cells,) bool, whether the label is the type.
    probability
        (n_cells,) float, of the label; any score of confidence would do.
    """
    levels, level = np.unique(-probability, return_inverse=True)
    n_cells = np.bincount(level, minlength=len(levels))
    wrong = np.bincount(level, weights=~right, minlength=len(levels))
    errors = np.cumsum(np.repeat(wrong / n_cells, n_cells))
    kept = np.arange(1, len(right) + 1)
    risk = errors / kept
    return RiskCoverage(kept / len(right), risk, float(risk.mean()))
