"""The exact answer, and shares of it, against plain numpy."""

import numpy as np
import pytest

from cellkin.indexer.neighbors.exact import choose_queries, recalls, shares
from cellkin.indexer.neighbors.vectors import ArrayVectors, spread_rows
from cellkin.space.vectors import unit_rows
from cellkin.store.neighbors import NeighborIndex

RNG = np.random.default_rng(3)
MATRIX = unit_rows(RNG.standard_normal((9000, 16)).astype(np.float32))
NOISE = np.asarray(0.1 * RNG.standard_normal((9000, 16)), np.float32)


@pytest.mark.parametrize(("n", "wanted"), [(10, 10), (10, 99), (1000, 7), (9001, 1000)])
def test_rows_are_spread(n: int, wanted: int) -> None:
    rows = spread_rows(n, wanted, seed=4)
    assert len(rows) == min(n, wanted)
    assert (np.diff(rows) > 0).all()
    assert rows[0] >= 0
    assert rows[-1] < n
    assert np.diff(rows).max(initial=0) <= 2 * -(-n // min(n, wanted))
    np.testing.assert_array_equal(rows, spread_rows(n, wanted, seed=4))


def test_the_exact_answer_leaves_the_query_out() -> None:
    # More than a batch of rows.
    queries = choose_queries(ArrayVectors(MATRIX), 50, seed=1)
    exact = queries.vectors @ MATRIX.T
    exact[np.arange(50), queries.rows] = -np.inf
    order = np.argsort(-exact, axis=1, kind="stable")
    np.testing.assert_array_equal(queries.ids[:, :100], order[:, :100])
    np.testing.assert_allclose(
        queries.similarities[:, :100], np.take_along_axis(exact, order[:, :100], 1), atol=1e-6
    )


def test_recall_is_the_naive_one() -> None:
    vectors = ArrayVectors(MATRIX)
    queries = choose_queries(vectors, 40, seed=1)
    # An index of other vectors, so that much is missed.
    index = NeighborIndex.build(unit_rows(MATRIX + NOISE))
    for k in (1, 10, 100):
        naive = []
        for row, query in zip(queries.rows, queries.vectors, strict=True):
            exact = MATRIX @ query
            exact[row] = -np.inf
            found = [i for i in index.search(query[None], k + 1)[1][0] if i != row][:k]
            naive.append(len(set(found) & set(np.argsort(-exact)[:k])) / k)
        np.testing.assert_allclose(recalls(index, vectors, queries, k), naive)
        assert 0.1 < np.mean(naive) < 0.9


def test_an_equal_neighbor_counts_whatever_its_id() -> None:
    # More equal ones than the exact answer lists; none of those found is among them.
    matrix = np.vstack([np.repeat(MATRIX[:1], 400, axis=0), MATRIX[1:50]])
    vectors = ArrayVectors(matrix)
    queries = choose_queries(vectors, 400, seed=0)
    copies = np.flatnonzero(queries.rows < 400)
    some = type(queries)(
        queries.rows[copies], queries.vectors[copies],
        queries.similarities[copies], queries.ids[copies],
    )  # fmt: skip
    far = np.tile(np.arange(399, 388, -1), (len(copies), 1))
    assert (shares(far, vectors, some) == 1).all()
    far[:, :5] = -1
    assert (shares(far, vectors, some) <= 0.6).all()


@pytest.mark.parametrize("n", [1, 2, 5])
def test_fewer_cells_than_neighbors(n: int) -> None:
    vectors = ArrayVectors(MATRIX[:n])
    queries = choose_queries(vectors, 10, seed=0)
    assert (recalls(NeighborIndex.build(MATRIX[:n]), vectors, queries, 10) == 1).all()
