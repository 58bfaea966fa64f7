"""The exact answer, and shares of it, against plain numpy."""

from collections.abc import Iterator

import numpy as np
import pytest
from tests.unit.indexer.neighbors.array_vectors import ArrayVectors

from cellkin.indexer.neighbors import gpu
from cellkin.indexer.neighbors.exact import Queries, choose_queries, recalls, shares
from cellkin.indexer.neighbors.vectors import spread_rows
from cellkin.space.arrays import Float32Matrix
from cellkin.space.vectors import unit_rows
from cellkin.store.neighbors import NeighborIndex
from cellkin.store.neighbors_faiss import faiss

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


@pytest.fixture(scope="module", autouse=True)
def _few() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cellkin.indexer.neighbors.exact.N_QUERIES", 50)
        yield


def test_the_exact_answer_leaves_the_cell_out() -> None:
    # More than a batch of rows.
    tuning, queries = choose_queries(ArrayVectors(MATRIX))
    assert len(tuning.rows) == len(queries.rows) == 50
    assert not np.intersect1d(tuning.rows, queries.rows).size
    exact = queries.vectors @ MATRIX.T
    exact[np.arange(50), queries.rows] = -np.inf
    order = np.argsort(-exact, axis=1, kind="stable")
    np.testing.assert_array_equal(queries.ids[:, :100], order[:, :100])
    np.testing.assert_allclose(
        queries.similarities[:, :100], np.take_along_axis(exact, order[:, :100], 1), atol=1e-6
    )


def test_queries_are_no_cells_but_near_some() -> None:
    _, queries = choose_queries(ArrayVectors(MATRIX))
    np.testing.assert_allclose(np.linalg.norm(queries.vectors, axis=1), 1, atol=1e-6)
    moved = np.einsum("ij,ij->i", queries.vectors, MATRIX[queries.rows])
    nearest = np.sort(MATRIX[queries.rows] @ MATRIX.T, axis=1)[:, -31]
    assert (moved < 0.9999).all()
    assert np.median(moved - nearest) > 0
    again = choose_queries(ArrayVectors(MATRIX))[1]
    assert again.vectors.tobytes() == queries.vectors.tobytes()


def test_new_cells_are_found_less_of_than_cells_of_a_graph() -> None:
    """So the recall that is stated must not be that of cells of the index as they are."""
    graph = faiss.index_factory(16, "HNSW8", faiss.METRIC_INNER_PRODUCT)
    graph.add(MATRIX)
    vectors, index = ArrayVectors(MATRIX), NeighborIndex(graph)
    stated = np.mean([recalls(index, vectors, q, 10).mean() for q in choose_queries(vectors)])
    new = unit_rows(np.random.default_rng(9).standard_normal((400, 16)).astype(np.float32))

    def overlap(queries: Float32Matrix, first: int) -> float:
        exact = np.argsort(-(queries @ MATRIX.T), axis=1)[:, first : 10 + first]
        found = index.search(queries, 10 + first)[1][:, first:]
        pairs = zip(found, exact, strict=True)
        return float(np.mean([len(np.intersect1d(a, b)) / 10 for a, b in pairs]))

    truly, as_they_are = overlap(new, 0), overlap(MATRIX[::20], 1)
    assert as_they_are - truly > 0.1
    assert abs(stated - truly) < 0.7 * (as_they_are - truly)


def test_recall_is_the_naive_one() -> None:
    vectors = ArrayVectors(MATRIX)
    _, queries = choose_queries(vectors)
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
    _, queries = choose_queries(vectors)
    copies = np.flatnonzero(queries.rows < 400)
    some = Queries(
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
    for queries in choose_queries(vectors):
        assert (recalls(NeighborIndex.build(MATRIX[:n]), vectors, queries, 10) == 1).all()


def test_the_nearest_of_blocks_are_those_of_all() -> None:
    queries = MATRIX[:3]
    blocks = [MATRIX[:5], MATRIX[5:5], MATRIX[5:]]
    similarities, ids = gpu.nearest(queries, blocks, len(MATRIX) + 2)
    exact = queries @ MATRIX.T
    assert (ids[:, -2:] == -1).all()
    assert np.isneginf(similarities[:, -2:]).all()
    np.testing.assert_allclose(similarities[:, :-2], -np.sort(-exact, axis=1), atol=1e-6)
    assert gpu.nearest(queries[:0], blocks, 4)[1].shape == (0, 4)
