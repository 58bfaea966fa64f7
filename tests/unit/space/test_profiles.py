import numpy as np
import pytest
import scipy.sparse as sp
from scipy import stats

from cellkin.space.profiles import Profiles


def test_means_and_variances_are_those_of_the_cells() -> None:
    rng = np.random.default_rng(0)
    counts = rng.poisson(1.0, (60, 9)) + np.eye(60, 9, dtype=int)
    labels, batches = (np.arange(60) % 3).astype(np.int32), (np.arange(60) % 4).astype(np.int32)
    profiles = Profiles.of(
        sp.csr_matrix(counts.astype(np.float32)), np.arange(1, 10), ["x", "y", "z"], labels, batches
    )
    assert len(profiles.labels) == 12
    linear = counts / counts.sum(axis=1, keepdims=True) * 1e4
    in_a = labels != 1
    rows = profiles.rows_of(["x", "z"])
    means, variance = profiles.means(rows)
    assert means.n_cells == 40
    np.testing.assert_allclose(means.linear, linear[in_a].mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(means.log, np.log1p(linear)[in_a].mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(variance, np.log1p(linear)[in_a].var(axis=0, ddof=1), rtol=1e-3)
    np.testing.assert_allclose(means.detected, (counts[in_a] > 0).mean(axis=0), rtol=1e-6)
    found = profiles.pseudobulk_p_values(rows, profiles.rows_of(["y"]))
    sides = [
        np.log1p([linear[side & (batches == batch)].mean(axis=0) for batch in range(4)])
        for side in (in_a, ~in_a)
    ]
    assert found == pytest.approx(stats.ttest_ind(*sides, equal_var=False).pvalue, rel=1e-3)


def test_without_batches_there_is_no_pseudobulk() -> None:
    cells = sp.csr_matrix(np.ones((4, 2), np.float32))
    one = np.zeros(4, np.int32)
    profiles = Profiles.of(cells, np.arange(2), ["x", "y"], np.array([0, 0, 1, 1], np.int32), one)
    assert profiles.labels == ["x", "y"]
    assert profiles.pseudobulk_p_values(np.array([0]), np.array([1])) is None
