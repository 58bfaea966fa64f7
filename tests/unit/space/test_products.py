"""Finding the largest products: what plain numpy finds, whatever the sizes and the company."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellkin.space.products import all_products, found_products, largest_products


@given(
    n=st.integers(1, 700),
    dim=st.integers(1, 70),
    n_queries=st.integers(1, 70),
    k=st.integers(1, 20),
    seed=st.integers(0, 2**32 - 1),
)
def test_they_are_those_of_numpy(n: int, dim: int, n_queries: int, k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    # Whole numbers: sums are exact in any order, and many are equal.
    vectors = rng.integers(-3, 4, (n, dim)).astype(np.float32)
    queries = rng.integers(-3, 4, (n_queries, dim)).astype(np.float32)
    k = min(k, n)
    products, rows = largest_products(vectors, queries, k)
    exact = queries @ vectors.T
    order = np.argsort(-exact, axis=1, kind="stable")[:, :k]
    assert np.array_equal(rows, order)
    assert np.array_equal(products, np.take_along_axis(exact, order, axis=1))


@pytest.mark.parametrize("n_queries", [2, 15, 17, 33, 128])
def test_a_query_is_answered_the_same_whatever_the_others(n_queries: int) -> None:
    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((1000, 96)).astype(np.float32)
    queries = rng.standard_normal((n_queries, 96)).astype(np.float32)
    products, rows = largest_products(vectors, queries, 12)
    for i in (0, n_queries // 2, n_queries - 1):
        alone = largest_products(vectors, queries[i : i + 1], 12)
        assert np.array_equal(alone[1][0], rows[i])
        assert alone[0][0].tobytes() == products[i].tobytes()


def test_read_only_vectors_are_taken_as_they_are() -> None:
    vectors = np.eye(5, dtype=np.float32)
    vectors.flags.writeable = False
    products, rows = largest_products(vectors, np.eye(5, dtype=np.float32)[:3], 1)
    assert rows.ravel().tolist() == [0, 1, 2]
    assert products.ravel().tolist() == [1, 1, 1]


def test_all_products_are_those_of_numpy() -> None:
    rng = np.random.default_rng(2)
    for n_queries, n, dim in ((0, 3, 5), (3, 0, 5), (1, 1, 1), (17, 13, 7), (40, 250, 31)):
        # Whole numbers: sums are exact in any order.
        queries = rng.integers(-3, 4, (n_queries, dim)).astype(np.float32)
        vectors = rng.integers(-3, 4, (n, dim)).astype(np.float32)
        assert np.array_equal(all_products(queries, vectors), queries @ vectors.T)
        turned = np.asfortranarray(queries), np.repeat(vectors, 2, axis=1)[:, ::2]
        assert np.array_equal(all_products(*turned), queries @ vectors.T)


def test_a_product_is_the_same_at_every_place_and_in_every_block() -> None:
    rng = np.random.default_rng(3)
    query = rng.standard_normal(384).astype(np.float32)
    vectors = rng.standard_normal((19, 384)).astype(np.float32)
    alone = all_products(query[None], vectors)[0]
    for n in range(1, 201):
        # Every place of the largest block, the last of each of the others.
        block = rng.standard_normal((n, 384)).astype(np.float32)
        for place in range(n) if n == 200 else (n - 1,):
            kept = block[place].copy()
            block[place] = query
            assert all_products(block, vectors)[place].tobytes() == alone.tobytes()
            block[place] = kept


@pytest.mark.parametrize("n_found", [0, 1, 46, 300])
def test_products_of_found_vectors_are_those_of_all(n_found: int) -> None:
    rng = np.random.default_rng(n_found)
    vectors = rng.standard_normal((500, 37)).astype(np.float32)
    queries = rng.standard_normal((5, 37)).astype(np.float32)
    found = rng.integers(0, 500, (5, n_found))
    every = all_products(queries, vectors)
    assert np.array_equal(
        found_products(queries, vectors, found), np.take_along_axis(every, found, axis=1)
    )


def test_vectors_of_another_dimension_are_refused() -> None:
    queries, vectors = np.ones((2, 5), np.float32), np.ones((3, 4), np.float32)
    with pytest.raises(ValueError, match=r"5 .* 4"):
        all_products(queries, vectors)
    with pytest.raises(ValueError, match=r"5 .* 4"):
        largest_products(vectors, queries, 1)
