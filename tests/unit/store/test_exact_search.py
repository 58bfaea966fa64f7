"""Exact search by the cells' table: as numpy has it, whatever passes."""

from collections.abc import Iterator
from typing import cast

import numpy as np
import pytest

from cellkin.space.arrays import Float32Matrix, Int64Vector
from cellkin.space.vectors import unit_rows
from cellkin.store.cell_vectors import CellVectors
from cellkin.store.exact_search import search_exactly

RNG = np.random.default_rng(8)
VECTORS = unit_rows(RNG.standard_normal((1000, 16)).astype(np.float32))
VECTORS[500:520] = VECTORS[:20]
QUERIES = unit_rows(RNG.standard_normal((9, 16)).astype(np.float32))


class InBatches:
    """Vectors of an array, in batches of any size."""

    dim, n = 16, 1000

    def batches(self) -> Iterator[Float32Matrix]:
        for start in range(0, 1000, 77):
            yield VECTORS[start : start + 77]

    def take(self, rows: Int64Vector) -> Float32Matrix:
        assert (np.diff(rows) > 0).all()
        return VECTORS[rows]


STORED = cast("CellVectors", InBatches())


@pytest.mark.parametrize("share", [None, 0.5, 0.05, 0.003, 0.0])
@pytest.mark.parametrize("k", [1, 10, 200])
def test_it_finds_what_numpy_finds(share: float | None, k: int) -> None:
    passing = None if share is None else np.random.default_rng(1).random(1000) < share
    similarities, ids = search_exactly(STORED, QUERIES, k, passing)
    expected = QUERIES @ VECTORS.T
    if passing is not None:
        expected[:, ~passing] = -np.inf
    best = np.argsort(-expected, axis=1, kind="stable")[:, :k]
    scores = np.take_along_axis(expected, best, axis=1)
    there = ~np.isneginf(scores)
    np.testing.assert_allclose(similarities[there], scores[there], atol=1e-6)
    assert (ids[~there] == -1).all()
    assert np.isneginf(similarities[~there]).all()
    if passing is not None:
        assert passing[ids[there]].all()


def test_ties_fall_to_the_lowest_row() -> None:
    ids = search_exactly(STORED, VECTORS[3:4], 2)[1]
    assert ids.tolist() == [[3, 503]]


def test_it_stops_when_told() -> None:
    def stop() -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        search_exactly(STORED, QUERIES, 3, None, stop)


def test_a_query_is_answered_the_same_whatever_the_others() -> None:
    whole = search_exactly(STORED, QUERIES, 10)
    for i in range(len(QUERIES)):
        alone = search_exactly(STORED, QUERIES[i : i + 1], 10)
        for found, of_all in zip(alone, whole, strict=True):
            assert np.asarray(found).tobytes() == np.asarray(of_all)[i : i + 1].tobytes()
