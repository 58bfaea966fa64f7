"""The compiled loops against what numpy says, and that one compilation serves all."""

import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.space.awkward import EXPRESSIONS, N_GENES, VECTORS, space_of

from cellkin.space import gather, kernels
from cellkin.space.arrays import frozen
from cellkin.space.projection import gene_columns, weighted_means
from cellkin.space.recipe import TEXT_V1

RNG = np.random.default_rng(5)


@settings(deadline=None, max_examples=100)
@given(
    st.integers(1, 700),
    st.integers(1, 7),
    st.sampled_from([1, 3, 100_000]),
    st.integers(0, 2**32 - 1),
)
def test_the_best_of_each_row(width: int, k: int, n_values: int, seed: int) -> None:
    scores = np.random.default_rng(seed).integers(-n_values, n_values, (3, width))
    scores = scores.astype(np.float32)
    k = min(k, width)
    best, places = np.empty((3, k), np.float32), np.empty((3, k), np.int64)
    kernels.keep_best(scores, best, places)
    want = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(places, want)
    np.testing.assert_array_equal(best, np.take_along_axis(scores, want, axis=1))


@pytest.mark.parametrize(
    ("indptr", "indices", "answer"),
    [
        ([0], [], True),
        ([0, 0, 2, 3], [0, 4, 1], True),
        ([0, 2], [0, 5], False),
        ([0, 2], [-1, 4], False),
        ([0, 2], [3, 3], False),
        ([0, 3], [1, 3, 2], False),
        ([0, 2, 1], [0, 1], False),
        ([1, 2], [0, 1], False),
        ([0, 4], [0, 1], False),
    ],
)
def test_what_is_in_order(indptr: list[int], indices: list[int], answer: bool) -> None:
    ends, columns = np.array(indptr, np.int64), np.array(indices, np.int32)
    found = kernels.is_ascending(ends, columns, 5, 0, len(ends) - 1)
    assert found is answer


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.sampled_from([0.5, 1.0, 1.0000001, 2.0, 3e-39, 7e37]), min_size=2, max_size=400),
    st.integers(1, 399),
)
def test_the_limit_of_any_number(values: list[float], top_n: int) -> None:
    """Values that differ in their first bits, in their last, or not at all."""
    n = len(values)
    vectors = np.eye(n, dtype=np.float32)
    weights = np.array(values, np.float32)
    order = np.lexsort((np.arange(n), -weights))[:top_n]
    bounds, genes = np.empty(2, np.int64), np.empty(n, np.int32)
    shares = np.empty(n, np.float32)
    columns = gene_columns(np.arange(n), n)
    kernels.choose_genes(
        np.array([0, n]), np.arange(n, dtype=np.int32), np.ones(n, np.float32), np.array([0]),
        columns.rows, columns.shared, False, True, weights, n, kernels.LINEAR, top_n,
        bounds, genes, shares,
    )  # fmt: skip
    assert genes[: bounds[1]].tolist() == sorted(order.tolist())
    sums = np.empty(n, np.float32)
    gather.add_vectors(bounds[:1], bounds[1:], genes, shares, vectors.reshape(-1), n, n, sums)
    np.testing.assert_array_equal(np.flatnonzero(sums), np.flatnonzero(sums > 0))


def test_one_compilation_serves_every_kind_of_matrix() -> None:
    columns = gene_columns(np.arange(N_GENES), N_GENES)
    counts = RNG.integers(0, 3, (4, N_GENES))
    weighted_means(sp.csr_matrix(counts), columns, space_of(TEXT_V1))
    before = [len(f.signatures) for f in (kernels.choose_genes, gather.add_vectors)]
    vectors = VECTORS.copy()
    vectors.flags.writeable = False
    for kind in (np.int16, np.uint8, np.float32, np.float64):
        for expression in EXPRESSIONS:
            for form in (sp.csr_matrix, sp.csr_array):
                recipe = TEXT_V1.__class__(**{**TEXT_V1.to_json(), "expression": expression})
                weighted_means(form(counts.astype(kind)), columns, space_of(recipe))
                weighted_means(
                    form(counts.astype(kind)), columns, space_of(recipe, vectors=vectors)
                )
    assert [len(f.signatures) for f in (kernels.choose_genes, gather.add_vectors)] == before


def test_importing_compiles_nothing() -> None:
    script = (
        "from cellkin.space import gather, kernels, projection\n"
        "assert not kernels.choose_genes.signatures and not gather.add_vectors.signatures"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


CHECKED = sp.csr_matrix(np.array([[1, 0, 2, 7], [0, 0, 0, 0], [0, 3, 0, 1]], np.float32))


def checked(cells: sp.csr_matrix, n_columns: int = 4) -> tuple[bool, bool]:
    indptr = cells.indptr.astype(np.int64)
    tidy, whole = kernels.check_cells(*map(frozen, (indptr, cells.indices, cells.data)), n_columns)
    return bool(tidy), bool(whole)


def test_cells_are_checked_in_one_pass() -> None:
    assert checked(CHECKED) == (True, True)
    assert checked(CHECKED * np.float32(0.5)) == (True, False)
    assert checked(CHECKED, 3) == (False, False)


@pytest.mark.parametrize("value", [0, -0.0, -1, np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 2, 4])
def test_values_that_are_not_positive_and_finite_are_not_tidy(value: float, place: int) -> None:
    cells = CHECKED.copy()
    cells.data[place] = value
    assert checked(cells) == (False, False)


@pytest.mark.parametrize(("place", "column"), [(0, -1), (1, 0), (2, 2), (3, 3), (4, 4)])
def test_columns_out_of_order_or_range_are_not_tidy(place: int, column: int) -> None:
    cells = CHECKED.copy()
    cells.indices[place] = column
    assert checked(cells) == (False, False)
