"""Figures of a method, computed from its predictions."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from cellkin.indexer.evaluation.intervals import Interval, bootstrap
from cellkin.indexer.measures import (
    Counts,
    Figures,
    FloatVector,
    Hierarchy,
    ReliabilityBin,
    RiskCoverage,
    accuracy,
    auroc,
    confusion,
    expected_calibration_error,
    macro_f1,
    rarest_third,
    reliability,
    risk_coverage,
)
from cellkin.space.arrays import BoolVector, Int32Vector, Int64Vector
from cellkin.wire.errors import DimensionMismatchError, InvalidArgumentError

N_BINS = 15
"""Bins of the reliability diagram."""

_N_CURVE = 100


@dataclass(frozen=True)
class Predictions:
    """Predictions of a method for cells of known types.

    Parameters
    ----------
    truth
        (n_cells,) int32 true type of each cell, -1 for a type that the reference lacks.
    predicted
        (n_cells,) int32 most probable label, whether or not the cell is labeled unknown; -1 if the
        method has none, which counts as wrong.
    probability
        (n_cells,) float in [0, 1], probability of the label; None if the method has none.
    novelty
        (n_cells,) float, higher for cells unlike the reference; None if the method has none.
    unknown
        (n_cells,) bool, cells labeled unknown; None if the method never does so.
    batches
        (n_cells,) int32 batch of each cell; None for a single batch.
    too_far
        (n_cells,) bool, cells labeled unknown because of their novelty; None if never.
    """

    truth: Int32Vector
    predicted: Int32Vector
    probability: FloatVector | None = None
    novelty: FloatVector | None = None
    unknown: BoolVector | None = None
    batches: Int32Vector | None = None
    too_far: BoolVector | None = None

    def __post_init__(self) -> None:
        n_cells = len(self.truth)
        for name, values in vars(self).items():
            if values is not None and values.shape != (n_cells,):
                raise DimensionMismatchError(
                    f"{name} has shape {values.shape} and there are {n_cells} true types; give one "
                    "value a cell"
                )
        for name in ("probability", "novelty"):
            values = getattr(self, name)
            if values is not None and not np.isfinite(values).all():
                n_bad = int((~np.isfinite(values)).sum())
                raise InvalidArgumentError(
                    f"{name}: {n_bad} of {n_cells} values are not finite; give a number for each "
                    "cell, or None if the method has none"
                )
        p = self.probability
        if p is not None and n_cells and not (p.min() >= 0 and p.max() <= 1):
            raise InvalidArgumentError(
                f"probability reaches from {p.min():.3g} to {p.max():.3g}; give values in [0, 1]"
            )

    @classmethod
    def pooled(cls, parts: Sequence["Predictions"]) -> "Predictions":
        """Concatenate the predictions of several splits; a field that one lacks is None."""
        if not parts:
            raise InvalidArgumentError("no predictions; give those of at least one split")
        joined: dict[str, Any] = {}
        for name in vars(parts[0]):
            values = [getattr(part, name) for part in parts]
            joined[name] = None if any(v is None for v in values) else np.concatenate(values)
        return cls(**joined)


@dataclass(frozen=True)
class RiskPoint:
    """The share of cells kept, most probable first, and the error among them."""

    coverage: float
    risk: float


@dataclass(frozen=True)
class Scores:
    """Figures of a method; None if undefined for the method or its cells.

    Parameters
    ----------
    n_cells, n_absent
        Number of cells, and of those of types that the reference lacks (absent types).
    n_types
        Number of the reference's types that occur among the cells.
    accuracy
        Share labeled correctly, of the cells of the reference's types (as are the next four).
    macro_f1
        Mean F1 over these types.
    rare_f1
        Mean F1 over those that are among the rarest third of the reference's types.
    hierarchical_f1
        F1 of sets of ancestors, if labels are paths.
    ece
        Expected calibration error of the probability.
    reliability
        The reliability diagram.
    unknown_auroc
        AUROC of novelty between cells of absent types and of the reference's types.
    false_alarms, unknown_found
        Share labeled unknown, of the cells of the reference's types and of absent ones.
    too_far_alarms
        Share labeled unknown because of novelty, of the cells of the reference's types.
    risk_area
        Area under the risk-coverage curve of all cells; cells of absent types are always wrong.
    risk_coverage
        The curve, at 100 coverages.
    intervals
        Bootstrap intervals by figure.
    """

    n_cells: int
    n_absent: int
    n_types: int
    accuracy: float
    macro_f1: float
    rare_f1: float | None
    hierarchical_f1: float | None
    ece: float | None
    reliability: tuple[ReliabilityBin, ...]
    unknown_auroc: float | None
    false_alarms: float | None
    unknown_found: float | None
    too_far_alarms: float | None
    risk_area: float | None
    risk_coverage: tuple[RiskPoint, ...]
    intervals: dict[str, Interval]

    def to_json(self) -> dict[str, Any]:
        """Return the figures in types that `json` writes."""
        return asdict(self)


def score(
    predictions: Predictions,
    reference_counts: Int64Vector,
    paths: Sequence[str] | None = None,
    *,
    n_bins: int = N_BINS,
    seed: int = 0,
) -> Scores:
    """Compute all figures of a method.

    Parameters
    ----------
    predictions
        Predictions for at least one cell of the reference's types.
    reference_counts
        (n_types,) int64 number of reference cells of each type.
    paths
        The types as paths, such as ``neuron/RGC/alpha``, by code; None without a hierarchy.
    n_bins
        Bins of the reliability diagram.
    seed
        Seed of the bootstrap.

    Raises
    ------
    InvalidArgumentError
        If no cell is of a type of the reference, or a code is out of range.
    """
    n_types = len(reference_counts)
    _check(predictions, n_types, paths)
    truth, predicted = predictions.truth, predictions.predicted
    counts = confusion(truth, predicted, n_types)
    rare = rarest_third(reference_counts)
    statistics: dict[str, Callable[[Counts], Figures]] = {
        "accuracy": accuracy,
        "macro_f1": macro_f1,
        "rare_f1": lambda drawn: macro_f1(drawn, rare),
    }
    if paths is not None:
        statistics["hierarchical_f1"] = Hierarchy.of(paths).f1
    figures = {name: float(statistic(counts)) for name, statistic in statistics.items()}
    known = truth >= 0
    right = known & (truth == predicted)
    bins, curve = _calibration(predictions, right, n_bins)
    novelty, unknown, too_far = predictions.novelty, predictions.unknown, predictions.too_far
    return Scores(
        n_cells=len(truth),
        n_absent=int((~known).sum()),
        n_types=len(np.unique(truth[known])),
        accuracy=figures["accuracy"],
        macro_f1=figures["macro_f1"],
        rare_f1=None if np.isnan(figures["rare_f1"]) else figures["rare_f1"],
        hierarchical_f1=figures.get("hierarchical_f1"),
        ece=expected_calibration_error(bins) if bins else None,
        reliability=bins,
        unknown_auroc=None if novelty is None else auroc(~known, novelty),
        false_alarms=None if unknown is None else float(unknown[known].mean()),
        unknown_found=None if unknown is None or known.all() else float(unknown[~known].mean()),
        too_far_alarms=None if too_far is None else float(too_far[known].mean()),
        risk_area=None if curve is None else curve.area,
        risk_coverage=() if curve is None else _thinned(curve),
        intervals=bootstrap(truth, predicted, predictions.batches, n_types, statistics, seed),
    )


def _check(predictions: Predictions, n_types: int, paths: Sequence[str] | None) -> None:
    for name in ("truth", "predicted"):
        codes = getattr(predictions, name)
        if len(codes) and not (codes.min() >= -1 and codes.max() < n_types):
            raise InvalidArgumentError(
                f"{name} has codes from {codes.min()} to {codes.max()} and the reference has "
                f"{n_types} types; give 0 to {n_types - 1}, or -1"
            )
    if not (predictions.truth >= 0).any():
        raise InvalidArgumentError(
            f"none of the {len(predictions.truth)} cells is of a type the reference has; give "
            "cells of at least one of its types"
        )
    if paths is not None and len(paths) != n_types:
        raise DimensionMismatchError(
            f"{len(paths)} paths and {n_types} types; give the path of each type"
        )


def _calibration(
    predictions: Predictions, right: BoolVector, n_bins: int
) -> tuple[tuple[ReliabilityBin, ...], RiskCoverage | None]:
    probability = predictions.probability
    if probability is None:
        return (), None
    known = predictions.truth >= 0
    bins = reliability(right[known], probability[known], n_bins)
    return bins, risk_coverage(right, probability)


def _thinned(curve: RiskCoverage) -> tuple[RiskPoint, ...]:
    n_cells = len(curve.risk)
    at = np.unique(np.ceil(np.linspace(0, n_cells, _N_CURVE + 1)[1:]).astype(np.int64)) - 1
    return tuple(RiskPoint(float(curve.coverage[i]), float(curve.risk[i])) for i in at)
