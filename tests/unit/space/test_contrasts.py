import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from cellkin.space.contrasts import (
    GeneRanks,
    GroupMeans,
    log2_fold_changes,
    normal_p_values,
    per_ten_thousand,
    pseudobulk_p_values,
    welch,
)
from cellkin.space.text_prior import predict_from_text


def counts(seed: int, n_cells: int = 30, n_genes: int = 12) -> sp.csr_matrix:
    return sp.csr_matrix(
        np.random.default_rng(seed).poisson(0.8, (n_cells, n_genes)).astype(np.float32)
    )


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10_000), st.integers(1, 29))
def test_statistics_are_those_of_the_rank_sum_test_with_ties(seed: int, n_a: int) -> None:
    cells = counts(seed)
    group = np.zeros(30, bool)
    group[np.random.default_rng(seed).permutation(30)[:n_a]] = True
    z = GeneRanks.of(cells).statistics(group[:, None])[:, 0]
    dense = cells.toarray()
    for gene in range(12):
        if (dense[:, gene] == dense[0, gene]).all():
            assert z[gene] == 0
            continue
        expected = stats.mannwhitneyu(
            dense[group, gene], dense[~group, gene], method="asymptotic", use_continuity=False
        )
        assert normal_p_values(z)[gene] == pytest.approx(expected.pvalue, rel=1e-3, abs=1e-6)
        assert np.sign(round(z[gene], 4)) == np.sign(expected.statistic - n_a * (30 - n_a) / 2)


def test_statistics_do_not_depend_on_the_order_of_cells_or_genes() -> None:
    cells, rng = counts(0), np.random.default_rng(1)
    group = np.arange(30) < 11
    rows, columns = rng.permutation(30), rng.permutation(12)
    z = GeneRanks.of(cells).statistics(group[:, None])[:, 0]
    moved = GeneRanks.of(cells[rows][:, columns]).statistics(group[rows][:, None])[:, 0]
    np.testing.assert_allclose(moved, z[columns], atol=1e-5)
    # Nor on the other genes of the call.
    alone = GeneRanks.of(cells[:, [3]]).statistics(group[:, None])[:, 0]
    np.testing.assert_allclose(alone, z[[3]], atol=1e-6)


def test_a_cells_total_is_ten_thousand_and_empty_cells_stay_empty() -> None:
    scaled = per_ten_thousand(sp.csr_matrix([[1, 3], [0, 0]]))
    np.testing.assert_allclose(scaled.toarray(), [[2500, 7500], [0, 0]])


def test_means_and_fold_changes() -> None:
    scaled = sp.csr_matrix(np.array([[0, 7], [2, 7], [3, 0]], np.float32))
    a, b = (GroupMeans.of(scaled, np.array(group, bool)) for group in ([1, 1, 0], [0, 0, 1]))
    np.testing.assert_allclose(a.linear, [1, 7])
    np.testing.assert_allclose(a.log, [np.log(3) / 2, np.log(8)], rtol=1e-6)
    np.testing.assert_allclose(a.detected, [0.5, 1])
    np.testing.assert_allclose(log2_fold_changes(a, b), [-1, 3], rtol=1e-6)


def test_welch_is_scipys() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 1, (5, 4)), rng.normal(0.5, 2, (7, 4))
    t, p = welch((a.mean(0), a.var(0, ddof=1), 5), (b.mean(0), b.var(0, ddof=1), 7))
    expected = stats.ttest_ind(a, b, equal_var=False)
    np.testing.assert_allclose(t, expected.statistic)
    np.testing.assert_allclose(p, expected.pvalue)


def test_pseudobulk_needs_three_batches_a_side() -> None:
    cells, group = counts(0), np.arange(30) % 2 == 0
    assert pseudobulk_p_values(cells, np.arange(30) % 2, group) is None
    assert pseudobulk_p_values(cells, np.full(30, -1), group) is None
    batches = np.arange(30) // 5
    p_values = pseudobulk_p_values(cells, batches, group)
    assert p_values is not None
    sums = np.array(
        [
            [cells.toarray().astype(float)[(batches == batch) & side].sum(0) for batch in range(6)]
            for side in (group, ~group)
        ]
    ).reshape(2, 6, 12)
    logs = np.log1p(sums / sums.sum(-1, keepdims=True) * 1e4)
    np.testing.assert_allclose(p_values, stats.ttest_ind(*logs, equal_var=False).pvalue)


def test_text_predicts_what_is_linear_in_the_vectors_and_nothing_else() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(300, 8)).astype(np.float32)
    others, slopes = rng.normal(size=(50, 8)).astype(np.float32), rng.normal(size=8)
    found = predict_from_text(vectors, vectors @ slopes + 2 + rng.normal(0, 0.1, 300), others)
    np.testing.assert_allclose(found.values, others @ slopes + 2, atol=0.2)
    assert found.explained > 0.99
    assert 0 <= predict_from_text(vectors, rng.normal(size=300), others).explained < 0.05
