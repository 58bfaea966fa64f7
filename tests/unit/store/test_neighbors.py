"""FAISS against exact numpy; answers that do not depend on the batch."""

from pathlib import Path

import faiss
import numpy as np
import pytest

from cellkin.space.vectors import unit_rows
from cellkin.store.neighbors import NeighborIndex
from cellkin.wire.errors import DimensionMismatchError

RNG = np.random.default_rng(5)
VECTORS = unit_rows(RNG.standard_normal((500, 32)).astype(np.float32))
QUERIES = unit_rows(RNG.standard_normal((400, 32)).astype(np.float32))


def test_search_is_exact() -> None:
    similarities, ids = NeighborIndex.build(VECTORS).search(QUERIES, 10)
    exact = QUERIES.astype(np.float64) @ VECTORS.T.astype(np.float64)
    np.testing.assert_array_equal(ids, np.argsort(-exact, axis=1, kind="stable")[:, :10])
    np.testing.assert_allclose(similarities, -np.sort(-exact, axis=1)[:, :10], atol=1e-6)


def test_one_query_or_many_answer_bit_for_bit_alike() -> None:
    index = NeighborIndex.build(VECTORS)
    together = index.search(QUERIES, 10)
    for row in range(0, 400, 57):
        alone = index.search(QUERIES[row : row + 1], 10)
        assert alone[0].tobytes() == together[0][row].tobytes()
        assert alone[1].tobytes() == together[1][row].tobytes()


def test_ties_fall_to_the_lowest_id() -> None:
    same = np.tile(VECTORS[:1], (40, 1))
    _, ids = NeighborIndex.build(same).search(VECTORS[:1], 10)
    assert ids.tolist() == [list(range(10))]


def test_fewer_vectors_than_neighbors() -> None:
    similarities, ids = NeighborIndex.build(VECTORS[:3]).search(QUERIES[:1], 5)
    assert (ids[0, 3:] == -1).all()
    assert np.isneginf(similarities[0, 3:]).all()
    assert sorted(ids[0, :3]) == [0, 1, 2]


def test_a_saved_index_answers_alike(tmp_path: Path) -> None:
    index = NeighborIndex.build(VECTORS)
    index.save(tmp_path / "i.faiss")
    loaded = NeighborIndex.load(tmp_path / "i.faiss")
    assert len(loaded) == 500
    got, want = loaded.search(QUERIES, 7), index.search(QUERIES, 7)
    assert got[0].tobytes() == want[0].tobytes()
    assert got[1].tobytes() == want[1].tobytes()


def test_the_blas_threshold_is_set() -> None:
    NeighborIndex.build(VECTORS)
    assert faiss.cvar.distance_compute_blas_threshold == 3 * 32


def test_queries_of_another_width_are_refused() -> None:
    with pytest.raises(DimensionMismatchError, match="queries of 16 dimensions, index of 32"):
        NeighborIndex.build(VECTORS).search(QUERIES[:, :16], 1)
