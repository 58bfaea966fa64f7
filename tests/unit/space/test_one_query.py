"""Products of one query: those of plain numpy, whatever the sizes, the same in any company."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cellkin.space.one_query import (
    _BRIEF,
    _nearest,
    _nearest_brief,
    in_order,
    nearest_to_one,
)

SIZES = st.integers(1, 70)
SEEDS = st.integers(0, 2**32 - 1)


@given(n=st.integers(1, 700), dim=SIZES, k=st.integers(1, 20), spare=st.integers(0, 9), seed=SEEDS)
def test_the_largest_are_those_of_numpy(n: int, dim: int, k: int, spare: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    # Whole numbers: sums are exact in any order, and many are equal.
    vectors = rng.integers(-3, 4, (n, dim)).astype(np.float32)
    query = rng.integers(-3, 4, (1, dim)).astype(np.float32)
    k = min(k, n)
    products, rows = nearest_to_one(vectors, query, min(k + spare, n), k)
    exact = vectors @ query[0]
    best = np.argsort(-exact, kind="stable")[:k]
    assert rows.tolist() == [best.tolist()]
    assert products.tolist() == [exact[best].tolist()]


def test_a_scan_that_lets_other_threads_in_finds_the_same() -> None:
    rng = np.random.default_rng(2)
    vectors = rng.standard_normal((20_000, 20)).astype(np.float32)
    assert vectors.size > _BRIEF
    part = vectors[: _BRIEF // 20]
    query = part[7:8].copy()
    for some in (vectors, part):
        exact = some.astype(np.float64) @ query[0]
        _, rows = nearest_to_one(some, query, 26, 10)
        assert rows[0].tolist() == np.argsort(-exact)[:10].tolist()


@given(n=st.integers(1, 40), dim=SIZES, n_queries=st.integers(1, 5), k=SIZES, seed=SEEDS)
def test_what_was_found_is_put_in_order(
    n: int, dim: int, n_queries: int, k: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.integers(-2, 3, (n, dim)).astype(np.float32)
    queries = rng.integers(-2, 3, (n_queries, dim)).astype(np.float32)
    found = np.array([rng.permutation(n) for _ in range(n_queries)])
    found[rng.random(found.shape) < 0.3] = -1
    products, rows = in_order(vectors, queries, found, k)
    for query in range(n_queries):
        there = np.sort(found[query][found[query] >= 0])
        exact = vectors[there] @ queries[query]
        best = np.argsort(-exact, kind="stable")[:k]
        missing = k - len(best)
        assert rows[query].tolist() == there[best].tolist() + [-1] * missing
        assert products[query].tolist() == exact[best].tolist() + [-np.inf] * missing


def test_a_product_is_the_same_to_the_bit_in_any_company() -> None:
    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((300, 97)).astype(np.float32)
    queries = rng.standard_normal((40, 97)).astype(np.float32)
    found = np.tile(np.arange(300), (40, 1))
    products, rows = in_order(vectors, queries, found, 7)
    for query in (0, 19, 39):
        few = rng.permutation(rows[query])[None]
        alone = in_order(vectors, queries[query : query + 1], few, 7)
        assert alone[1][0].tolist() == rows[query].tolist()
        assert alone[0][0].tobytes() == products[query].tobytes()


def test_read_only_arrays_are_taken_as_they_are() -> None:
    vectors = np.eye(5, dtype=np.float32)
    vectors.flags.writeable = False
    assert nearest_to_one(vectors, vectors[3:4], 1, 1)[1].tolist() == [[3]]
    assert in_order(vectors, vectors[1:3], np.array([[0, 1], [3, 2]]), 1)[1].tolist() == [[1], [2]]


def test_the_two_scans_are_kept_on_disk_apart() -> None:
    # Code on disk is found by the function's name: of one name, either would lock as the other.
    names = [scan.py_func.__qualname__ for scan in (_nearest, _nearest_brief)]
    assert len(set(names)) == 2
    assert [scan.targetoptions["nogil"] for scan in (_nearest, _nearest_brief)] == [True, False]
