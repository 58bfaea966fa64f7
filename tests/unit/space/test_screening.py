import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellkin.space.neighborhoods import largest
from cellkin.space.screening import Screen, candidates, products


def vectors(seed: int, n: int, dim: int, kind: str) -> np.ndarray:
    rng = np.random.default_rng(seed)
    found = rng.standard_normal((n, dim))
    if kind == "sparse":
        found *= rng.random((n, dim)) < 0.1
    elif kind == "uneven":
        found *= 10.0 ** rng.uniform(-6, 6, (n, 1))
    elif kind == "twins":
        found = found[rng.integers(0, min(n, 5), n)]
    return found.astype(np.float32)


KINDS = ["normal", "sparse", "uneven", "twins"]


@settings(deadline=None, max_examples=30)
@given(
    st.integers(0, 10_000), st.integers(1, 60), st.sampled_from([1, 7, 64, 500]),
    st.sampled_from(KINDS), st.integers(1, 70),
)  # fmt: skip
def test_the_largest_are_those_of_all_products(
    seed: int, n: int, dim: int, kind: str, k: int
) -> None:
    given_, rng = vectors(seed, n, dim, kind), np.random.default_rng(seed)
    query, passing = vectors(seed + 1, 1, dim, "normal")[0], rng.random(n) < 0.7
    screen, every = Screen.of(given_), products(given_, query)
    least, most = screen.bounds(query)
    exact = given_.astype(np.float64) @ query.astype(np.float64)
    for values in (every, exact):
        assert (least <= values).all()
        assert (values <= most).all()
    rows = candidates(least, most, passing, k)
    assert passing[rows].all()
    some = products(given_, query, rows)
    np.testing.assert_array_equal(some, every[rows])
    ids = np.arange(n)
    expected = largest(np.where(passing, every, np.float32(-np.inf)), k, ids)
    np.testing.assert_array_equal(rows[largest(some, k, rows)], expected)


@pytest.mark.parametrize("dim", [64, 384, 4096])
def test_sums_of_the_largest_codes_do_not_overflow(dim: int) -> None:
    ones = np.ones((2, dim), np.float32)
    least, most = Screen.of(ones * np.array([[1], [-1]], np.float32)).bounds(ones[0])
    np.testing.assert_allclose(least, [dim, -dim], rtol=0.01)
    np.testing.assert_allclose(most, [dim, -dim], rtol=0.01)


def test_few_are_left_of_many() -> None:
    many = vectors(0, 5000, 128, "normal")
    many /= np.linalg.norm(many, axis=1, keepdims=True)
    rows = candidates(*Screen.of(many).bounds(many[17]), np.ones(5000, bool), 10)
    assert 10 <= len(rows) < 100


def test_no_vectors_and_no_direction() -> None:
    none = Screen.of(np.empty((0, 4), np.float32)).bounds(np.ones(4, np.float32))
    assert len(candidates(*none, np.empty(0, bool), 3)) == 0
    least, most = Screen.of(np.zeros((2, 4), np.float32)).bounds(np.zeros(4, np.float32))
    assert (least <= 0).all()
    assert (most >= 0).all()
