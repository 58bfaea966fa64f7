"""What is fitted to: rare labels whole, parts that are donors."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.indexer.spaces.made import sample_of

from cellkin.indexer.spaces.sample import balanced, folds, log_expression


@given(
    st.lists(st.integers(0, 60), min_size=1, max_size=8).filter(any), st.integers(1, 200),
    st.integers(0, 3),
)  # fmt: skip
def test_rare_labels_are_kept_whole_and_common_ones_share_the_rest(
    sizes: list[int], n_cells: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(sizes)), sizes)).astype(np.int32)
    rows = balanced(labels, n_cells, seed)
    assert len(rows) <= n_cells
    assert (np.diff(rows) > 0).all()
    if sum(sizes) <= n_cells:
        assert len(rows) == sum(sizes)
        return
    kept = np.bincount(labels[rows], minlength=len(sizes))
    cut = kept < np.array(sizes)
    # Labels that are cut have one size, and nothing kept whole is larger.
    assert len(set(kept[cut])) == 1
    assert (kept[~cut] <= kept[cut].max()).all()
    # One more of each that is cut would be too many.
    assert len(rows) + cut.sum() > n_cells
    assert np.array_equal(rows, balanced(labels, n_cells, seed))


def test_another_seed_draws_other_cells() -> None:
    labels = np.zeros(100, np.int32)
    assert not np.array_equal(balanced(labels, 50, 0), balanced(labels, 50, 1))


@pytest.mark.parametrize(("n_batches", "n_parts"), [(1, 5), (2, 2), (4, 4), (9, 5)])
def test_parts_hold_every_cell_once_and_no_batch_twice(n_batches: int, n_parts: int) -> None:
    sample = sample_of([40, 30, 7], n_batches=n_batches)
    parts = folds(sample)
    assert len(parts) == n_parts
    assert sorted(np.concatenate(parts).tolist()) == list(range(77))
    assert all((np.diff(part) > 0).all() for part in parts)
    if n_batches > 1:
        batches = [set(sample.batches[part].tolist()) for part in parts]
        assert sum(map(len, batches)) == n_batches
        assert set.union(*batches) == set(range(n_batches))
        sizes = [len(part) for part in parts]
        assert max(sizes) <= 2 * min(sizes)
    else:
        of_labels = [np.bincount(sample.labels[part], minlength=3) for part in parts]
        assert np.ptp(of_labels, axis=0).max() <= 1


def test_a_part_of_a_sample_names_what_it_has() -> None:
    sample = sample_of([5, 6, 7], n_batches=3)
    rows = np.flatnonzero((sample.labels != 1) & (sample.batches > 0))
    part = sample.take(rows)
    assert part.label_names == ["a", "c"]
    assert [part.label_names[i] for i in part.labels] == ["abc"[i] for i in sample.labels[rows]]
    assert np.array_equal(part.batches, sample.batches[rows] - 1)
    assert (part.cells != sample.cells[rows]).nnz == 0
    assert part.counts().tolist() == [(part.labels == 0).sum(), (part.labels == 1).sum()]


def test_log_expression_is_of_shares_and_leaves_the_cells() -> None:
    counts = sp.csr_matrix(np.array([[1, 3, 0], [0, 0, 0], [2, 0, 2]], np.float32))
    logs = log_expression(counts)
    want = np.log1p(1e4 * np.array([[0.25, 0.75, 0], [0, 0, 0], [0.5, 0, 0.5]]))
    np.testing.assert_allclose(logs.toarray(), want, rtol=1e-12)
    assert counts.data.tolist() == [1, 3, 2, 2]
