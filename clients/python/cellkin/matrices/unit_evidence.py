"""Evidence for the scale (counts, log1p, ...) of expression values.

Two properties do not depend on how large the values are. Counts are whole numbers, so on the right
scale the values of a cell are multiples of its smallest: ``expm1(v) / expm1(v_min)`` is near 1, 2,
3, ... for logarithms, ``v / v_min`` for scaled counts. And if cells were scaled to one total, their
sums are equal on the right scale only.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from cellkin.matrices.scales import LINEAR, LOG1P, LOG2, SCALES, SQUARE_ROOT, Scale

_LEVELS = 9
_JUDGED_CELLS = 200
# Error of values computed in single precision, relative to 1 + value, with a margin.
_SINGLE = 2.5e-7
_MAX_DECIMALS = 4
_LOOKED_AT = 20_000
_EXACTLY = 0.5
# Values that differ by no more are treated as the same value, computed twice.
_SAME = 4e-6
_NEAR, _TOO_VAGUE = 0.04, 0.3
_AGREEMENT, _CLEARER, _ERRORS = 0.08, 0.05, 5.0
_EQUAL_SPREAD, _MUCH_LESS = 0.02, 0.25
_QUARTILES = 1.349
ROUND_TOTALS = (1e4, 1e6, 1e5, 1e3)
"""Totals that cells are commonly scaled to."""
_ROUND, _ROUND_SHARE = 0.002, 0.9
_FEWEST = 12


@dataclass(frozen=True)
class Evidence:
    """Evidence for each scale, from a sample of cells.

    Parameters
    ----------
    cells
        (n_cells, n_genes) CSR without empty rows: finite, not negative, no stored zeros.
    """

    cells: sp.csr_matrix

    @cached_property
    def largest(self) -> float:
        """The largest value."""
        return float(self.cells.data.max())

    @cached_property
    def possible(self) -> list[Scale]:
        """The scales on which the largest value is possible."""
        return [scale for scale in SCALES if self.largest <= scale.largest]

    @cached_property
    def _levels(self) -> npt.NDArray[np.float64]:
        """(n_judged, `_LEVELS`) float64, each cell's smallest distinct values, padded with NaN."""
        step = -(-self.cells.shape[0] // _JUDGED_CELLS)
        cells = self.cells[::step]
        rows = np.repeat(np.arange(cells.shape[0]), np.diff(cells.indptr))
        values = cells.data.astype(np.float64)
        values = values[np.lexsort((values, rows))]
        new = np.ones(len(values), bool)
        new[1:] = (rows[1:] != rows[:-1]) | (np.diff(values) > _SAME * values[1:])
        rank = np.cumsum(new) - 1
        rank -= rank[cells.indptr[:-1]][rows]
        taken = new & (rank < _LEVELS)
        levels = np.full((cells.shape[0], _LEVELS), np.nan)
        levels[rows[taken], rank[taken]] = values[taken]
        return levels

    @cached_property
    def _errors(self) -> npt.NDArray[np.float64]:
        """The largest error of each level: from float32, or from rounding to decimals."""
        single = _SINGLE * (1 + self._levels)
        values = self.cells.data[:_LOOKED_AT].astype(np.float64)
        for decimals in range(_MAX_DECIMALS + 1):
            unit = 10.0**-decimals
            if np.any(np.abs(values / unit - np.rint(values / unit)) > 4e-7 * (1 + values / unit)):
                continue
            # All values are multiples of this unit. Counts times 0.3 also have one decimal, but
            # are not rounded to it: adjacent levels differ by three units.
            gaps = np.diff(self._levels, prepend=0.0, axis=1)
            least = np.where(np.isfinite(gaps), gaps, np.inf).min(axis=1)
            exact = np.median(least) > 1.5 * unit and any(
                self._agreement(scale, single) > _EXACTLY for scale in self.possible
            )
            return single if exact else np.full(self._levels.shape, unit / 2)
        return single

    def _multiples(
        self, scale: Scale, errors: npt.NDArray[np.float64] | None = None
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return per cell the levels that are multiples of the smallest, and the maximum.

        Both are reduced by the number expected by chance.
        """
        errors = self._errors if errors is None else errors
        linear = scale.linear(self._levels)
        with np.errstate(divide="ignore", over="ignore"):
            relative = errors * scale.slope(self._levels) / linear
            ratios = linear[:, 1:] / linear[:, :1]
            tolerance = _NEAR + ratios * (relative[:, 1:] + relative[:, :1])
        nearest = np.rint(ratios)
        # NaN (no level) compares as False.
        telling = tolerance < _TOO_VAGUE
        met = telling & (np.abs(ratios - nearest) < tolerance) & (nearest >= 2)
        chance = np.where(telling, 2 * tolerance, 0)
        return (met - chance).sum(axis=1), (telling - chance).sum(axis=1)

    def _agreement(self, scale: Scale, errors: npt.NDArray[np.float64] | None = None) -> float:
        met, most = self._multiples(scale, errors)
        return float(met.sum() / most.sum()) if most.sum() > _FEWEST / 2 else 0.0

    @cached_property
    def agreement(self) -> dict[Scale, float]:
        """By scale, the share of levels that are multiples of the smallest: 0 is chance, 1 all."""
        found = {scale: self._agreement(scale) for scale in self.possible}
        if found[LINEAR] > found[SQUARE_ROOT] / 2:
            del found[SQUARE_ROOT]  # squares of multiples are also multiples
        return found

    def agreeing(self, scale: Scale) -> tuple[int, int]:
        """Return the number of cells whose levels are mostly multiples, and of cells judged."""
        met, most = self._multiples(scale)
        return int((met[most > 0] > 0.5 * most[most > 0]).sum()), int((most > 0).sum())

    @cached_property
    def rivals(self) -> tuple[Scale | None, Scale | None, tuple[float, float]]:
        """The two scales that most cells support, and the shares of cells that do.

        The second share counts only cells that do not support the first scale.
        """
        votes = {}
        for scale in self.agreement:
            met, most = self._multiples(scale)
            votes[scale] = met[self._telling] > 0.5 * np.maximum(most[self._telling], 1)
        if not self._telling.any():
            return None, None, (0.0, 0.0)
        first = max(votes, key=lambda scale: votes[scale].sum())
        rest = {scale: votes[scale] & ~votes[first] for scale in votes if scale is not first}
        second = max(rest, key=lambda scale: rest[scale].sum()) if rest else None
        n = int(self._telling.sum())
        others = rest[second].sum() / n if second is not None else 0.0
        return first, second, (float(votes[first].sum() / n), float(others))

    @cached_property
    def _telling(self) -> npt.NDArray[np.bool_]:
        """(n_judged,) bool, the cells with enough levels to support a scale on their own."""
        return np.asarray(np.isfinite(self._levels).sum(axis=1) > _LEVELS // 2)

    @cached_property
    def logarithms(self) -> bool:
        """Whether the values are clearly logarithms."""
        return (self.by_multiples or self.by_totals or LINEAR) is not LINEAR

    def unit(self, scale: Scale) -> float:
        """Return the smallest value on a scale if nearly all cells share it, else 0."""
        smallest = scale.linear(self._levels[:, 0])
        middle = float(np.median(smallest))
        near = (np.abs(smallest / middle - 1) < _NEAR / 4).mean()
        return float(f"{middle:.4g}") if near >= _ROUND_SHARE else 0.0

    def totals(self, scale: Scale) -> npt.NDArray[np.float64]:
        """Return (n_cells,) float64, the row sums on a scale."""
        linear = scale.linear(self.cells.data.astype(np.float64))
        return np.asarray(np.add.reduceat(linear, self.cells.indptr[:-1]))

    @cached_property
    def spread(self) -> dict[Scale, float]:
        """By scale, the standard deviation of the logarithms of the row sums (from quartiles)."""
        found = {}
        for scale in self.possible:
            low, high = np.quantile(np.log(self.totals(scale)), [0.25, 0.75])
            found[scale] = float((high - low) / _QUARTILES)
        return found

    @cached_property
    def by_multiples(self) -> Scale | None:
        """The scale on which values are multiples of each cell's smallest; None if unclear."""
        ranked = sorted(self.agreement, key=lambda scale: -self.agreement[scale])
        best = self.agreement[ranked[0]]
        second = max(0.0, self.agreement[ranked[1]]) if len(ranked) > 1 else 0.0
        most = self._multiples(ranked[0])[1].sum()
        error = 0.5 / np.sqrt(max(most, 1.0))
        clear = best >= _AGREEMENT and best - second > max(_CLEARER, _ERRORS * error)
        return ranked[0] if clear else None

    @cached_property
    def by_totals(self) -> Scale | None:
        """The scale on which all cells have the same total; None if there is not exactly one."""
        if self.cells.shape[0] > 2:
            ranked = sorted(self.spread, key=lambda scale: self.spread[scale])
            least = self.spread[ranked[0]]
            second = self.spread[ranked[1]] if len(ranked) > 1 else np.inf
            if least < _EQUAL_SPREAD and least < _MUCH_LESS * second:
                return ranked[0]
        return self.by_round_total

    @cached_property
    def by_round_total(self) -> Scale | None:
        """The scale on which totals are one of `ROUND_TOTALS`; None if there is not exactly one."""
        exact = [scale for scale in self.possible if self.round_total(scale)]
        return exact[0] if len(exact) == 1 else None

    def round_total(self, scale: Scale) -> float:
        """Return the one of `ROUND_TOTALS` that nearly all cells have, or 0."""
        totals = self.totals(scale)
        for total in ROUND_TOTALS:
            if (np.abs(totals / total - 1) < _ROUND).mean() >= _ROUND_SHARE:
                return total
        return 0.0

    @cached_property
    def by_size(self) -> Scale:
        """A guess from the size of the values, for use when there is no other evidence.

        In normalized cells the smallest values decrease with the number of detected genes; in
        counts they do not.
        """
        if self.largest > LOG2.largest:
            return LINEAR
        n_genes = np.diff(self.cells.indptr)
        small = np.array(
            [np.quantile(part, 0.1) for part in np.split(self.cells.data, self.cells.indptr[1:-1])]
        )
        falling = _rank_correlation(n_genes, small)
        middle, high = np.quantile(self.cells.data, [0.5, 0.99])
        # If every cell has all genes, as in a small panel, logarithms lie close together.
        narrow = abs(falling) < 0.5 and middle > 1.5 and high < 4 * middle
        if not (falling < -0.5 or narrow):
            return LINEAR
        return LOG1P if self.largest <= LOG1P.largest else LOG2


def _rank_correlation(a: npt.NDArray[np.generic], b: npt.NDArray[np.generic]) -> float:
    """Return Spearman's correlation; 0 if either is constant or has fewer than 3 values."""
    first, second = _ranks(a), _ranks(b)
    if len(a) < 3 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


def _ranks(x: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
    """Return ranks; ties have their mean rank. scipy.stats takes a third of a second to import."""
    _, at, n = np.unique(x, return_inverse=True, return_counts=True)
    means: npt.NDArray[np.float64] = (np.cumsum(n) - (n - 1) / 2)[at]
    return means
