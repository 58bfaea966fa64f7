"""Finding the largest products: what plain numpy finds, whatever the sizes and the company."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellkin.space.largest import LargestProducts, largest_products


def require_first(exact: Any, products: Any, ids: Any) -> None:
    """Require the k first of all products, equal ones by ascending id, then nothing."""
    k = products.shape[1]
    order = np.argsort(-exact, axis=1, kind="stable")[:, :k]
    n = order.shape[1]
    assert products.shape == ids.shape == (len(exact), k)
    assert np.array_equal(ids[:, :n], order)
    assert np.array_equal(products[:, :n], np.take_along_axis(exact, order, axis=1))
    assert (ids[:, n:] == -1).all()
    assert np.isneginf(products[:, n:]).all()


@given(
    n=st.integers(1, 700),
    dim=st.integers(1, 70),
    n_queries=st.integers(1, 70),
    k=st.integers(0, 40),
    seed=st.integers(0, 2**32 - 1),
)
def test_they_are_those_of_numpy(n: int, dim: int, n_queries: int, k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    # Whole numbers: sums are exact in any order, and many are equal.
    vectors = rng.integers(-3, 4, (n, dim)).astype(np.float32)
    queries = rng.integers(-3, 4, (n_queries, dim)).astype(np.float32)
    products, rows = largest_products(vectors, queries, k)
    exact = queries @ vectors.T
    require_first(exact, products, rows)


@pytest.mark.parametrize("dim", [1, 15, 16, 50, 96])
@pytest.mark.parametrize("n", [1, 17, 1000])
@pytest.mark.parametrize("n_queries", [2, 15, 17, 33, 128])
def test_a_query_is_answered_the_same_whatever_the_others(n_queries: int, n: int, dim: int) -> None:
    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((n, dim)).astype(np.float32)
    queries = rng.standard_normal((n_queries, dim)).astype(np.float32)
    some = np.flatnonzero(rng.random(n) < 0.7)
    for only in (None, some):
        together = LargestProducts(queries, 12)
        together.add(vectors, only)
        products, rows = together.result()
        for i in (0, n_queries // 2, n_queries - 1):
            alone = LargestProducts(queries[i : i + 1], 12)
            alone.add(vectors, only)
            alone_products, alone_rows = alone.result()
            assert np.array_equal(alone_rows[0], rows[i])
            assert alone_products[0].tobytes() == products[i].tobytes()


_NARROW = """
import sys
import numpy as np
from cellkin.space import vector_code
vector_code.HAS_AVX512 = False
from cellkin.space import products
from cellkin.space.largest import largest_products
assert products.LANES == 8
given = np.load(sys.argv[1])
for i, queries in enumerate((given["queries"], given["queries"][:1])):
    found = largest_products(given["vectors"], queries, 9)
    np.savez(f"{sys.argv[1]}.{i}.npz", products=found[0], rows=found[1])
"""


def test_registers_of_eight_floats_find_the_same(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    vectors = rng.standard_normal((300, 21)).astype(np.float32)
    queries = rng.standard_normal((20, 21)).astype(np.float32)
    saved = tmp_path / "saved.npz"
    np.savez(saved, vectors=vectors, queries=queries)
    subprocess.run(
        [sys.executable, "-c", _NARROW, saved], check=True, timeout=300,
        env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "compiled")},
    )  # fmt: skip
    for i, asked in enumerate((queries, queries[:1])):
        products, rows = largest_products(vectors, asked, 9)
        found = np.load(f"{saved}.{i}.npz")
        assert found["products"].tobytes() == products.tobytes()
        assert np.array_equal(found["rows"], rows)


def test_read_only_vectors_are_taken_as_they_are() -> None:
    vectors = np.eye(5, dtype=np.float32)
    vectors.flags.writeable = False
    products, rows = largest_products(vectors, np.eye(5, dtype=np.float32)[:3], 1)
    assert rows.ravel().tolist() == [0, 1, 2]
    assert products.ravel().tolist() == [1, 1, 1]


@given(
    sizes=st.lists(st.integers(0, 300), min_size=1, max_size=4),
    n_queries=st.integers(1, 40),
    k=st.integers(1, 30),
    share=st.sampled_from([0.0, 0.02, 0.5, 1.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_blocks_and_selected_rows_add_up(
    sizes: list[int], n_queries: int, k: int, share: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    queries = rng.integers(-2, 3, (n_queries, 6)).astype(np.float32)
    blocks = [rng.integers(-2, 3, (n, 6)).astype(np.float32) for n in sizes]
    passing = [rng.random(n) < share for n in sizes]
    every, some, start = LargestProducts(queries, k), LargestProducts(queries, k), 0
    for block, passes in zip(blocks, passing, strict=True):
        every.add(block, first_id=start)
        some.add(block, np.flatnonzero(passes), start)
        start += len(block)
    vectors, passes = np.concatenate(blocks), np.concatenate(passing)
    require_first(queries @ vectors.T, *every.result())
    products, ids = some.result()
    rows = np.flatnonzero(passes)
    at = np.where(ids < 0, -1, np.searchsorted(rows, ids))
    require_first(queries @ vectors[rows].T, products, at)


def test_many_neighbors_of_one_query_of_many_equal_vectors() -> None:
    vectors = np.repeat(np.eye(4, dtype=np.float32), 700, axis=0)[::-1]
    products, rows = largest_products(vectors, np.eye(4, dtype=np.float32)[1:2], 2000)
    assert rows[0, :700].tolist() == list(range(1400, 2100))
    assert products[0, :700].tolist() == [1.0] * 700
    assert rows[0, 700:].tolist() == list(range(1300))
    assert not products[0, 700:].any()


def test_what_is_no_number_is_not_found() -> None:
    vectors = np.array([[np.nan, 0], [1, 0], [0.5, 0]], np.float32)
    products, rows = largest_products(vectors, np.ones((1, 2), np.float32), 3)
    assert rows.tolist() == [[1, 2, -1]]
    assert products.tolist() == [[1, 0.5, -np.inf]]


def test_vectors_of_any_layout_are_taken() -> None:
    vectors: Any = np.asfortranarray(np.random.default_rng(1).standard_normal((90, 7)))
    queries = vectors[3:5].astype(np.float32)
    plain = np.ascontiguousarray(vectors, np.float32)
    for got, expected in zip(
        largest_products(vectors, queries, 2), largest_products(plain, queries, 2), strict=True
    ):
        np.testing.assert_array_equal(got, expected)


def test_vectors_of_another_dimension_are_refused() -> None:
    queries, vectors = np.ones((2, 5), np.float32), np.ones((3, 4), np.float32)
    with pytest.raises(ValueError, match=r"5 .* 4"):
        largest_products(vectors, queries, 1)


def test_ids_that_do_not_fit_are_refused() -> None:
    largest = LargestProducts(np.ones((1, 2), np.float32), 1)
    largest.add(np.ones((1, 2), np.float32), first_id=2**32 - 2)
    assert largest.result()[1].tolist() == [[2**32 - 2]]
    with pytest.raises(ValueError, match="they are below 4294967295"):
        largest.add(np.ones((1, 2), np.float32), first_id=2**32 - 1)
