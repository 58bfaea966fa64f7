"""Bootstrap intervals over batches, or over the cells of a single batch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cellkin.indexer.measures import Counts, Figures, confusion
from cellkin.space.arrays import Int32Vector

N_REPLICATES = 1000
_LEVEL = 0.95
# A hundred draws of a hundred types take 8 MB.
_AT_ONCE = 100


@dataclass(frozen=True)
class Interval:
    """A 95 % percentile interval (Efron 1979).

    Parameters
    ----------
    low, high
        Its ends.
    over
        Resampled units: ``batches`` or ``cells``.
    n
        Number of units. An interval over a few batches is rough.
    """

    low: float
    high: float
    over: str
    n: int


def bootstrap(
    truth: Int32Vector,
    predicted: Int32Vector,
    batches: Int32Vector | None,
    n_types: int,
    statistics: Mapping[str, Callable[[Counts], Figures]],
    seed: int = 0,
) -> dict[str, Interval]:
    """Compute bootstrap intervals by resampling batches, or cells if there is one batch.

    Cells of a donor are similar, so resampling cells would make intervals too narrow. All figures
    here are functions of the confusion matrix: a draw of batches is a sum of their matrices, a draw
    of cells a multinomial one.

    Parameters
    ----------
    truth, predicted, n_types
        As in `confusion`; at least one cell is of a known type.
    batches
        (n_cells,) int32 batch of each cell, or None.
    statistics
        By name, functions of the confusion matrices of many draws, such as `accuracy`; NaN if
        undefined for a draw.
    seed
        Seed of the draws.

    Returns
    -------
    dict
        One interval per statistic that is defined for at least one draw.
    """
    known = truth >= 0
    truth, predicted = truth[known], predicted[known]
    units = np.zeros(len(truth), np.int32) if batches is None else batches[known]
    rng = np.random.default_rng(seed)
    if len(np.unique(units)) > 1:
        draws = _of_batches(truth, predicted, units, n_types, rng)
        over, n = "batches", len(np.unique(units))
    else:
        draws = _of_cells(confusion(truth, predicted, n_types), rng)
        over, n = "cells", len(truth)
    chunks: dict[str, list[Figures]] = {name: [] for name in statistics}
    for _ in range(N_REPLICATES // _AT_ONCE):
        counts = draws(_AT_ONCE)
        for name, statistic in statistics.items():
            chunks[name].append(statistic(counts))
    values = {name: np.concatenate(drawn) for name, drawn in chunks.items()}
    return {
        name: Interval(*_ends(drawn), over, n)
        for name, drawn in values.items()
        if not np.isnan(drawn).all()
    }


def _of_batches(
    truth: Int32Vector,
    predicted: Int32Vector,
    units: Int32Vector,
    n_types: int,
    rng: np.random.Generator,
) -> Callable[[int], Counts]:
    each = np.stack(
        [confusion(truth[units == u], predicted[units == u], n_types) for u in np.unique(units)]
    )

    def draw(n_draws: int) -> Counts:
        times = rng.multinomial(len(each), np.full(len(each), 1 / len(each)), n_draws)
        counts: Counts = np.tensordot(times, each, axes=1)
        return counts

    return draw


def _of_cells(counts: Counts, rng: np.random.Generator) -> Callable[[int], Counts]:
    n_cells = counts.sum()
    # Draw only nonzero entries, as most are zero.
    nonzero = np.flatnonzero(counts)
    share = counts.ravel()[nonzero] / n_cells

    def draw(n_draws: int) -> Counts:
        drawn = np.zeros((n_draws, counts.size), np.int64)
        drawn[:, nonzero] = rng.multinomial(n_cells, share, n_draws)
        return drawn.reshape(n_draws, *counts.shape)

    return draw


def _ends(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.nanquantile(values, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return float(low), float(high)
