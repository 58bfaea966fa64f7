import numpy as np
import pytest
import scipy.sparse as sp
from scipy import stats

from cellkin.space.contrasts import GeneRanks
from cellkin.space.enrichment import (
    SetTester,
    activities,
    called,
    false_discovery_rates,
    members_of,
    over_representation,
)
from cellkin.space.permutation_tests import against_cells


def sets(rng: np.random.Generator, n_sets: int, n_genes: int) -> sp.csr_matrix:
    rows = [rng.permutation(n_genes)[: rng.integers(5, 30)] for _ in range(n_sets)]
    indptr = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    return sp.csr_matrix((np.ones(indptr[-1]), np.concatenate(rows), indptr), (n_sets, n_genes))


def correlated_cells(rng: np.random.Generator, n_cells: int, n_genes: int) -> sp.csr_matrix:
    """Return counts with a program that moves half of the genes together."""
    program = rng.gamma(2, 1, (n_cells, 1)) ** np.where(np.arange(n_genes) % 2, 1, 0)
    return sp.csr_matrix(rng.poisson(0.5 * program).astype(np.float32))


def test_members_keep_weights_of_tested_genes_alone() -> None:
    found = members_of(
        np.array([0, 3, 3, 5]),
        np.array([2, 5, 9, 1, 9]),
        np.array([1, -1, 0.5, 1, 2], np.float32),
        np.array([2, 3, 9]),
    )
    np.testing.assert_allclose(found.toarray(), np.array([[1, 0, 0.5], [0, 0, 0], [0, 0, 2]]))


def test_over_representation_is_fishers_exact_test() -> None:
    sizes, listed = np.array([10, 20, 5]), np.array([6, 0, 5])
    found = over_representation(sizes, listed, 12, 100)
    for at in range(3):
        k, m = listed[at], sizes[at]
        table = [[k, m - k], [12 - k, 88 - m + k]]
        expected = stats.fisher_exact(table, "greater").pvalue
        assert found.p_values[at] == pytest.approx(expected)
    assert (found.odds_ratios > 1).tolist() == [True, False, True]


def test_p_values_are_uniform_if_genes_are_exchangeable() -> None:
    rng = np.random.default_rng(0)
    tester = SetTester(sets(rng, 60, 400))
    # Values with heavy tails, on which a mean of the values themselves would call many sets.
    values = rng.standard_t(2, (400, 300))
    p_values = tester.against_genes(values).p_values
    for level in (0.5, 0.1, 0.01):
        assert (p_values <= level).mean() == pytest.approx(level, rel=0.15)
    assert (false_discovery_rates(p_values) <= 0.05).any(axis=0).mean() < 0.1


def test_statistics_of_cells_are_those_of_sets_in_the_group() -> None:
    rng = np.random.default_rng(1)
    tester, ranks = SetTester(sets(rng, 12, 40)), GeneRanks.of(correlated_cells(rng, 30, 40))
    group = rng.permutation(30) < 8
    (parts,) = tester.of_cells(ranks, np.arange(30))
    scale = np.sqrt(8 * 22 / 29)
    expected = tester.differences(ranks.statistics(group[:, None]))[:, 0]
    np.testing.assert_allclose(parts[:, group].sum(axis=1) / scale, expected, atol=1e-5)
    (some,) = tester.of_cells(ranks, np.array([7, 3]))
    np.testing.assert_array_equal(some, parts[:, [7, 3]])


def test_genes_of_a_program_are_called_by_exchangeable_genes_alone() -> None:
    rng = np.random.default_rng(1)
    cells = correlated_cells(rng, 60, 200)
    members = sets(rng, 40, 200).tolil()
    members[0] = (np.arange(200) % 2 == 0).astype(float)  # all genes of the program
    tester, ranks = SetTester(sp.csr_matrix(members)), GeneRanks.of(cells)
    groups = np.stack([rng.permutation(60) < 12 for _ in range(800)], axis=1)
    p_values = against_cells(tester.of_cells(ranks, np.arange(60)), groups).p_values
    for level in (0.5, 0.1, 0.02):
        assert (p_values <= level).mean() == pytest.approx(level, rel=0.15)
        assert (p_values[0] <= level).mean() == pytest.approx(level, rel=0.4)
    assert (tester.against_genes(ranks.statistics(groups)).p_values[0] <= 0.01).mean() > 0.1


def test_planted_genes_are_found_and_others_not() -> None:
    rng = np.random.default_rng(2)
    cells = rng.poisson(0.5, (80, 300))
    cells[:20, :15] += rng.poisson(1, (20, 15))
    members = sp.csr_matrix([np.arange(300) < 15, np.arange(300) >= 285]).astype(float)
    tester, ranks = SetTester(members), GeneRanks.of(sp.csr_matrix(cells.astype(np.float32)))
    group = (np.arange(80) < 20)[:, None]
    parts = tester.of_cells(ranks, np.arange(80))
    tests = tester.against_genes(ranks.statistics(group)), against_cells(parts, group)
    rates = [false_discovery_rates(test.p_values) for test in tests]
    assert called(*rates)[:, 0].tolist() == [True, False]


def test_activities_are_the_slopes_of_univariate_models() -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(size=200)
    weights = np.zeros((2, 200))
    weights[0, :20], weights[1, 50:90] = rng.normal(size=20), 1
    t, p = activities(sp.csr_matrix(weights), values)
    for row in range(2):
        expected = stats.linregress(weights[row], values)
        assert t[row] == pytest.approx(expected.slope / expected.stderr)
        assert p[row] == pytest.approx(expected.pvalue)
