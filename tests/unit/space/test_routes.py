"""Expression by route: the compiled loop against the plain product, in awkward matrices."""

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from cellkin.space.projection import linear_expression
from cellkin.space.routes import route_shares
from cellkin.wire.errors import InvalidArgumentError
from cellkin.wire.match import GeneMatch
from cellkin.wire.terms import GeneRoute


def match(routes: Any, in_space: Any) -> GeneMatch:
    used, of = np.asarray(in_space, np.uint8), np.asarray(routes, np.uint8)
    return GeneMatch(9606, False, used.astype(np.int64), of, used, used)


@settings(deadline=None, max_examples=200)
@given(
    n_cells=st.integers(0, 6),
    n_names=st.integers(1, 40),
    log=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_as_the_plain_product_has_it(n_cells: int, n_names: int, log: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    routes = rng.integers(0, len(GeneRoute), n_names)
    met = (routes != GeneRoute.UNMATCHED) & (routes != GeneRoute.AMBIGUOUS)
    genes = match(routes, met & (rng.random(n_names) < 0.8))
    counts = rng.poisson(0.7, (n_cells, n_names)).astype(np.float32)
    cells = sp.csr_matrix(np.log1p(counts) if log else counts)
    cells = linear_expression(cells) if log else cells
    found = route_shares(cells, genes)
    # Sums of counts are exact in any order.
    exact = {"rtol": 1e-6, "atol": 1e-7} if log else {"rtol": 0, "atol": 0}
    np.testing.assert_allclose(found, genes.route_shares(cells), **exact)
    np.testing.assert_allclose(found.sum(axis=1), counts.any(axis=1), atol=1e-6)
    assert found.dtype == np.float32
    assert ((found >= 0) & (found <= 1)).all()


def test_by_hand() -> None:
    genes = match([3, 3, 4, 6, 0, 2], [1, 0, 1, 0, 0, 1])
    counts = np.array([[1, 2, 3, 4, 5, 1], [0, 0, 0, 0, 0, 0], [0, 0, 7, 0, 0, 0]])
    found = route_shares(sp.csr_matrix(counts), genes)
    of_first = np.array([2 + 5, 0, 1, 1, 3, 0, 4], np.float32) / np.float32(16)
    assert found.tolist() == [of_first.tolist(), [0] * 7, [0, 0, 0, 0, 1, 0, 0]]


def test_what_is_stored_out_of_order_or_twice_adds_up() -> None:
    genes = match([3, 4, 0], [1, 1, 0])
    tangled = sp.csr_matrix(
        (np.array([1, 2, 3, 2], np.float32), np.array([2, 0, 1, 0]), np.array([0, 4])), (1, 3)
    )
    assert route_shares(tangled, genes).tolist() == [[0.125, 0, 0, 0.5, 0.375, 0, 0]]


def test_large_values_do_not_overflow() -> None:
    found = route_shares(
        sp.csr_matrix(np.full((1, 1000), 1e30, np.float32)), match([3] * 1000, [1] * 1000)
    )
    assert found[0].tolist() == [0, 0, 0, 1, 0, 0, 0]


def test_cells_of_other_columns_are_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="cells of 3 columns; 2 names were matched"):
        route_shares(sp.csr_matrix((1, 3)), match([3, 3], [1, 1]))
