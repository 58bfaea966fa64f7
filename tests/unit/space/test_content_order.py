import numpy as np
import scipy.sparse as sp

from cellkin.space.content_order import content_order


def test_order_is_by_content() -> None:
    rng = np.random.default_rng(0)
    cells = sp.csr_matrix(rng.poisson(0.4, (300, 8)).astype(np.float32))
    ids, in_a, batches = np.arange(1, 9), rng.random(300) < 0.5, rng.integers(-1, 3, 300)
    order = content_order(cells, ids, in_a, batches)
    assert sorted(order.tolist()) == list(range(300))
    assert (np.diff(batches[order]) >= 0).all()
    rows, columns = rng.permutation(300), rng.permutation(8)
    moved = sp.csr_matrix(cells[rows][:, columns])
    again = rows[content_order(moved, ids[columns], in_a[rows], batches[rows])]
    np.testing.assert_array_equal(cells[again].toarray(), cells[order].toarray())
    np.testing.assert_array_equal(in_a[again], in_a[order])
    np.testing.assert_array_equal(batches[again], batches[order])


def test_values_decide_and_stored_zeros_do_not() -> None:
    cells = sp.csr_matrix(np.array([[1, 0], [0, 1], [2, 0], [1, 1]], np.float32))
    zeros = cells.copy()
    zeros.data[0] = 0
    none = np.zeros(4, bool), np.zeros(4, np.int64)
    plain = content_order(cells, np.array([5, 7]), *none)
    assert plain.tolist() != content_order(cells, np.array([7, 5]), *none).tolist()
    stored = content_order(zeros, np.array([5, 7]), *none)
    zeros.eliminate_zeros()
    np.testing.assert_array_equal(stored, content_order(zeros, np.array([5, 7]), *none))
