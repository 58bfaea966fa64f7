"""Products of vectors: those of plain numpy, each the same in any company."""

import numpy as np
import pytest

from cellkin.space.products import all_products, found_products


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
