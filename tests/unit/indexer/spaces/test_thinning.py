"""Thinned cells are what fewer molecules would have been; what is no count is refused."""

import numpy as np
import pytest
import scipy.sparse as sp

from cellkin.indexer.spaces.thinning import molecules, thin
from cellkin.wire.errors import InvalidArgumentError

RATES = np.random.default_rng(0).gamma(0.5, 4.0, 300)
COUNTS = sp.csr_matrix(np.random.default_rng(1).poisson(RATES, (40, 300)))


def test_thinning_keeps_the_expectation_and_is_binomial() -> None:
    counts = sp.csr_matrix(np.full((1, 20_000), 8))
    kept = thin(counts, 0.3, np.random.default_rng(0)).toarray().ravel()
    assert kept.mean() == pytest.approx(8 * 0.3, rel=0.02)
    assert kept.var() == pytest.approx(8 * 0.3 * 0.7, rel=0.03)


def test_no_molecule_is_made_and_what_is_left_stays_in_its_gene() -> None:
    view = thin(COUNTS, 0.5, np.random.default_rng(0))
    assert view.dtype == np.float32
    assert (view.data > 0).all()
    assert (view.toarray() <= COUNTS.toarray()).all()
    whole = thin(COUNTS, 1.0, np.random.default_rng(0))
    np.testing.assert_array_equal(whole.toarray(), COUNTS.toarray())


def test_views_differ_and_the_same_seed_is_the_same_view() -> None:
    rng = np.random.default_rng(3)
    one, other = thin(COUNTS, 0.5, rng), thin(COUNTS, 0.5, rng)
    assert (one != other).nnz
    assert not (thin(COUNTS, 0.5, np.random.default_rng(3)) != one).nnz


def test_thinning_leaves_the_counts_as_they_were() -> None:
    before = COUNTS.copy()
    thin(COUNTS, 0.2, np.random.default_rng(0))
    assert not (before != COUNTS).nnz


@pytest.mark.parametrize("keep", [0, -0.1, 1.1, float("nan")])
def test_a_share_out_of_its_range_is_refused(keep: float) -> None:
    with pytest.raises(InvalidArgumentError, match="give above 0 to 1"):
        thin(COUNTS, keep, np.random.default_rng(0))


def test_counts_are_found_behind_counts_per_ten_thousand() -> None:
    scaled = sp.csr_matrix(COUNTS.multiply(10_000 / COUNTS.sum(axis=1)))
    logs = scaled.astype(np.float32).log1p()
    for cells in (COUNTS.astype(np.float32), scaled, logs.expm1()):
        found = molecules(sp.csr_matrix(cells))
        assert found.dtype == np.int64
        np.testing.assert_array_equal(found.toarray(), COUNTS.toarray())


def test_empty_cells_and_stored_zeros_are_no_error() -> None:
    cells = sp.csr_matrix(np.array([[0, 0, 0], [0.5, 1.5, 0], [0, 0, 0]]))
    cells.data[1] = 0
    found = molecules(cells)
    assert found.toarray().tolist() == [[0, 0, 0], [1, 0, 0], [0, 0, 0]]
    assert molecules(sp.csr_matrix((2, 3))).nnz == 0


def test_what_is_no_count_is_refused() -> None:
    smooth = sp.csr_matrix(np.random.default_rng(0).gamma(1.0, 2.0, (20, 50)))
    with pytest.raises(InvalidArgumentError, match=r"are not multiples .* raw counts"):
        molecules(smooth)
