"""Test sums of normal scores against all permutations, in closed form.

Values count by their normal scores (van der Waerden's), the normal quantiles of their ranks. No
value decides alone, and the sum of few of them is close to normal too. Its mean, variance and third
moment under all permutations are exact sums, so no permutation is drawn; the tail is Pearson's type
III.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import gammainc, gammaincc, ndtr, ndtri

from cellkin.space.arrays import BoolVector, Int64Vector
from cellkin.space.compiled import compiled
from cellkin.space.contrasts import Float64Matrix

MOST_CELLS = 5000
"""Cells whose labels are permuted, at most."""
SETS_AT_ONCE = 512
"""Sets whose statistics in all cells are in memory at once."""
_SYMMETRIC = 1e-3


@dataclass(frozen=True)
class SetTests:
    """Test statistics of sets, each (n_sets,) or (n_sets, n_groups).

    Parameters
    ----------
    scores
        The sum of normal scores, in standard deviations of its null distribution.
    p_values
        Two-sided.
    """

    scores: Float64Matrix
    p_values: Float64Matrix


def against_cells(
    parts: Iterable[Float64Matrix],
    groups: BoolVector,
    batches: Int64Vector | None = None,
    check: Callable[[], None] = lambda: None,
) -> SetTests:
    """Test sets against permuted group labels of cells, which keep the genes' correlation.

    Parameters
    ----------
    parts
        Blocks of sets, at least one: (n_sets, n_cells) float64 statistics of each set in each cell.
    groups
        (n_cells, n_groups) bool: memberships, of as many cells of each batch in all groups.
    batches
        (n_cells,) int64; labels are permuted within each batch. None for a single one.
    check
        Called between blocks; an exception from it stops the test.
    """
    members = groups.astype(np.float64)
    batches = np.zeros(len(groups), np.int64) if batches is None else batches
    cells_of = [np.flatnonzero(batches == batch) for batch in np.unique(batches)]
    found = []
    for block in parts:
        check()
        found.append(_tested(normal_scores(block.T).T, members, cells_of))
    return SetTests(*(np.concatenate(each) for each in zip(*found, strict=True)))


def _tested(
    scores: Float64Matrix, members: Float64Matrix, cells_of: Sequence[Int64Vector]
) -> tuple[Float64Matrix, Float64Matrix]:
    """Return standardized sums and p-values of sets; ``cells_of`` are the cells of each batch."""
    sums = np.zeros((len(scores), members.shape[1]))
    variance, third = np.zeros((2, len(scores), 1))
    for own in cells_of:
        some = scores[:, own]
        some -= some.mean(axis=1, keepdims=True)
        sums += some @ members[own]
        squared = some * some
        moments = squared.sum(axis=1), np.einsum("sc,sc->s", squared, some)
        more = drawn_moments(members[own, 0].sum(), len(own), *(m[:, None] for m in moments))
        variance, third = variance + more[0], third + more[1]
    tests = set_tests(sums, variance, third)
    return tests.scores, tests.p_values


def chosen_cells(in_a: BoolVector) -> Int64Vector:
    """Return at most `MOST_CELLS` cells, evenly spaced within each group; of a small group all.

    Parameters
    ----------
    in_a
        (n_cells,) bool, the group of each cell.
    """
    sides = [np.flatnonzero(side) for side in (in_a, ~in_a)]
    chosen = []
    for own, other in (sides, sides[::-1]):
        n = min(len(own), max(MOST_CELLS // 2, MOST_CELLS - len(other)))
        chosen.append(own[np.arange(n) * len(own) // max(n, 1)])
    return np.sort(np.concatenate(chosen))


def drawn_moments(
    n: Any, n_all: int, squares: Any, cubes: Any
) -> tuple[Float64Matrix, Float64Matrix]:
    """Return the variance and third moment of the sum of values drawn without replacement.

    Parameters
    ----------
    n, n_all
        Number of values drawn, and of all.
    squares, cubes
        Sums of all values' squares and cubes; their mean is 0.

    Returns
    -------
    tuple
        Of the shape of all parameters together, float64.
    """
    one = n / n_all
    two = one * (n - 1) / max(n_all - 1, 1)
    three = two * (n - 2) / max(n_all - 2, 1)
    return np.asarray(squares * (one - two)), np.asarray(cubes * (one - 3 * two + 2 * three))


def set_tests(sums: Float64Matrix, variance: Float64Matrix, third: Any) -> SetTests:
    """Test sums against a type III distribution of mean 0.

    Parameters
    ----------
    sums, variance, third
        The sums, and their variance and third moment under the null; without variance p is 1.
    """
    some = variance > 1e-12
    deviation = np.sqrt(np.where(some, variance, 1.0))
    scores = np.where(some, sums / deviation, 0.0)
    p_values = type_three_p_values(scores, third / deviation**3)
    return SetTests(scores, np.where(some, p_values, 1.0))


def type_three_p_values(scores: Float64Matrix, skewness: Float64Matrix) -> Float64Matrix:
    """Return two-sided p-values of standardized scores of a skewed distribution.

    Parameters
    ----------
    scores, skewness
        Arrays of one shape.

    Returns
    -------
    Float64Matrix
        Twice the smaller tail of Pearson's type III distribution, at most 1.
    """
    scores, skewness = np.broadcast_arrays(scores, skewness)
    size = np.abs(skewness)
    shape = 4 / np.maximum(size, _SYMMETRIC) ** 2
    at = np.maximum(shape + np.sign(skewness) * scores * np.sqrt(shape), 0.0)
    tail = np.minimum(gammaincc(shape, at), gammainc(shape, at))
    normal = ndtr(-np.abs(scores))
    return np.asarray(np.minimum(1.0, 2 * np.where(size > _SYMMETRIC, tail, normal)))


def normal_scores(values: Float64Matrix) -> Float64Matrix:
    """Return the normal quantiles of the ranks of values along the first axis.

    Ties have the quantile of their mean rank; the result has mean 0.
    """
    n = len(values)
    lines = np.ascontiguousarray(values.T, np.float64).reshape(-1, n)
    order, scores = np.argsort(lines, axis=-1), np.empty_like(lines)
    _replace(lines, order, ndtri((np.arange(2 * n - 1) + 1) / (2 * n)), scores)
    scores -= scores.mean(axis=1, keepdims=True)
    return np.asarray(scores.reshape(values.T.shape).T)


@compiled
def _replace(lines, order, quantiles, scores):
    """Write the quantile of each value's mean rank; ``quantiles`` are by twice the rank."""
    n = lines.shape[1]
    for line in range(len(lines)):
        begin = 0
        while begin < n:
            end = begin + 1
            while end < n and lines[line, order[line, end]] == lines[line, order[line, begin]]:
                end += 1
            for at in range(begin, end):
                scores[line, order[line, at]] = quantiles[begin + end - 1]
            begin = end
