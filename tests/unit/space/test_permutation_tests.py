from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from cellkin.space.permutation_tests import (
    MOST_CELLS,
    against_cells,
    chosen_cells,
    normal_scores,
    type_three_p_values,
)


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 10_000), st.booleans())
def test_moments_are_those_of_all_permutations(seed: int, in_batches: bool) -> None:
    rng = np.random.default_rng(seed)
    parts = rng.integers(0, 6, (5, 8)).astype(float)
    batches = np.array([0, 0, 0, 1, 1, 1, 1, 1]) if in_batches else np.zeros(8, np.int64)
    every = [np.isin(np.arange(8), chosen) for chosen in combinations(range(8), 3)]
    if in_batches:
        every = [group for group in every if group[batches == 0].sum() == 1]
    groups = np.stack(every, axis=1)
    sums = normal_scores(parts.T).T @ groups
    found = against_cells([parts[:2], parts[2:]], groups, batches)
    expected = (sums - sums.mean(axis=1, keepdims=True)) / sums.std(axis=1, keepdims=True)
    np.testing.assert_allclose(found.scores, expected, atol=1e-9)


@pytest.mark.parametrize("n_a", [3, 10, 200])
def test_p_values_of_small_groups_are_no_smaller_than_chance_makes_them(n_a: int) -> None:
    rng = np.random.default_rng(n_a)
    # A few cells have very large values: by sums of the values themselves they would decide.
    parts = rng.standard_t(1, (20, 400))
    groups = np.stack([rng.permutation(400) < n_a for _ in range(2000)], axis=1)
    p_values = against_cells([parts], groups).p_values
    for level in (0.3, 0.05, 0.001):
        assert (p_values <= level).mean() <= level * 1.2 + 1e-4
    assert (p_values <= 0.3).mean() == pytest.approx(0.3, rel=0.1)


def test_a_set_that_is_alike_in_all_cells_has_no_p_value() -> None:
    found = against_cells([np.zeros((1, 9))], (np.arange(9) < 4)[:, None])
    assert (found.scores.item(), found.p_values.item()) == (0, 1)


def test_of_many_cells_a_small_group_is_kept_whole() -> None:
    in_a = np.zeros(3 * MOST_CELLS, bool)
    in_a[::1000] = True
    chosen = chosen_cells(in_a)
    assert len(chosen) == MOST_CELLS
    assert in_a[chosen].sum() == in_a.sum()
    assert (np.diff(chosen) > 0).all()
    assert len(chosen_cells(np.arange(2 * MOST_CELLS) % 2 == 0)) == MOST_CELLS
    np.testing.assert_array_equal(chosen_cells(in_a[:2000]), np.arange(2000))


def test_normal_scores_ignore_the_scale_and_share_ties() -> None:
    values = np.array([5.0, -1.0, 5.0, 100.0])
    scores = normal_scores(values)
    np.testing.assert_allclose(scores, normal_scores(np.exp(values / 10)))
    assert scores[0] == scores[2]
    assert scores.argmax() == 3
    np.testing.assert_allclose(normal_scores(np.stack([values, -values], 1))[:, 0], scores)


@pytest.mark.parametrize("skewness", [-1.5, -0.2, 0.0, 1e-4, 0.02, 1.0])
def test_tails_are_those_of_pearsons_type_three(skewness: float) -> None:
    scores = np.array([-3.0, -1.0, 0.2, 2.0, 5.0])
    lower = stats.pearson3(skewness).cdf(scores)
    expected = np.minimum(1, 2 * np.minimum(lower, stats.pearson3(skewness).sf(scores)))
    found = type_three_p_values(scores, np.full(5, skewness))
    np.testing.assert_allclose(found, expected, rtol=0.01, atol=1e-12)
