"""Scores of gene neighborhoods against their definitions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata

from cellkin.space.neighborhoods import (
    csls,
    fused,
    largest,
    members,
    nearest_means,
    permutation,
    ranks,
)
from cellkin.space.vectors import unit_rows


def vectors(n: int, seed: int = 0) -> np.ndarray:
    return unit_rows(np.random.default_rng(seed).standard_normal((n, 16)).astype(np.float32))


def means_of(n: int, m: int) -> np.ndarray:
    """The definition: genes 0 to m - 1 are those among which the nearest are sought."""
    cosines = vectors(n) @ vectors(n)[:m].T
    cosines[np.arange(m), np.arange(m)] = -np.inf
    nearest = [np.sort(row[np.isfinite(row)])[::-1][:10] for row in cosines]
    return np.array([row.mean() if len(row) else 0 for row in nearest])


@pytest.mark.parametrize(("n", "m"), [(600, 600), (600, 300), (12, 3), (1, 1), (2, 1)])
def test_the_mean_cosine_to_the_nearest_genes(n: int, m: int) -> None:
    own = np.where(np.arange(n) < m, np.arange(n), -1)
    means = np.full(n, np.nan, np.float32)
    found = nearest_means(vectors(n), vectors(n)[:m], own, means)
    assert found is means
    np.testing.assert_allclose(found, means_of(n, m), atol=1e-6)


def test_a_computation_that_was_stopped_goes_on_where_it_was() -> None:
    n = 600
    means = np.full(n, np.nan, np.float32)
    n_blocks = 0

    def stop_at_the_second() -> None:
        nonlocal n_blocks
        n_blocks += 1
        if n_blocks == 2:
            raise TimeoutError

    whole = (vectors(n), vectors(n), np.arange(n))
    with pytest.raises(TimeoutError):
        nearest_means(*whole, means, stop_at_the_second)
    assert 0 < np.isnan(means).sum() < n
    nearest_means(*whole, means, stop_at_the_second)
    np.testing.assert_allclose(means, means_of(n, n), atol=1e-6)
    assert n_blocks == 4  # of three blocks the first was computed once


def test_a_hub_is_ranked_lower_by_csls() -> None:
    cosines = np.array([0.5, 0.45], np.float32)
    assert csls(cosines, np.array([0.4, 0.1], np.float32)).argmax() == 1
    assert csls(cosines, np.array([0.2, 0.2], np.float32)).argmax() == 0


scores = st.lists(
    st.integers(-4, 4).map(lambda n: np.float32(-np.inf) if n == -4 else np.float32(n)), min_size=1
)


@given(scores)
def test_ranks_are_those_of_scipy(values: list[np.float32]) -> None:
    given_scores = np.array(values, np.float32)
    expected = rankdata(-given_scores, "min")
    np.testing.assert_array_equal(
        ranks(given_scores), np.where(np.isneginf(given_scores), 0, expected)
    )


@given(scores, st.integers(1, 12))
def test_the_largest_are_those_of_a_sort(values: list[np.float32], k: int) -> None:
    tie = np.arange(len(values), 0, -1)
    order = sorted(range(len(values)), key=lambda at: (-values[at], tie[at]))
    expected = [at for at in order if np.isfinite(values[at])][:k]
    assert largest(np.array(values, np.float32), k, tie).tolist() == expected


def test_fusion_prefers_what_is_near_in_both_and_bears_missing_vectors() -> None:
    found = fused([np.array([1, 2, 3], np.int32), np.array([3, 2, 0], np.int32)])
    np.testing.assert_allclose(found, [1 / 61 + 1 / 63, 2 / 62, 1 / 63], rtol=1e-6)


def test_the_permutation_is_the_same_each_time_and_other_for_another_seed() -> None:
    assert sorted(permutation(50, 0)) == list(range(50))
    assert permutation(50, 0).tolist() == permutation(50, 0).tolist()
    assert permutation(50, 0).tolist() != permutation(50, 1).tolist()


@given(st.lists(st.integers(0, 9)), st.sets(st.integers(0, 9)))
def test_members(gene_ids: list[int], chosen: set[int]) -> None:
    found = members(np.array(gene_ids, np.int64), np.array(sorted(chosen), np.int64))
    assert found.tolist() == [gene_id in chosen for gene_id in gene_ids]
