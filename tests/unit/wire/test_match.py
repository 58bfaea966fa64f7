"""The match report: what is enough, and what it says."""

from dataclasses import replace

import numpy as np
import pytest

from cellkin.wire.errors import GenesUnmatchedError
from cellkin.wire.match import GeneMatch
from cellkin.wire.terms import GeneRoute, TextRung


def match(n_used: int, n_given: int) -> GeneMatch:
    used = np.arange(n_given) < n_used
    return GeneMatch(
        9606,
        True,
        np.where(used, np.arange(n_given) + 1, 0),
        np.where(used, GeneRoute.SYMBOL, GeneRoute.UNMATCHED).astype(np.uint8),
        np.where(used, TextRung.OWN_SUMMARY, 0).astype(np.uint8),
        used.astype(np.uint8),
    )


@pytest.mark.parametrize(("n_used", "n_given"), [(20, 20), (20, 400), (1000, 20_000)])
def test_enough(n_used: int, n_given: int) -> None:
    match(n_used, n_given).require_enough(["g"] * n_given)


@pytest.mark.parametrize(("n_used", "n_given"), [(0, 0), (19, 19), (20, 401), (999, 20_000)])
def test_too_few(n_used: int, n_given: int) -> None:
    said = f"^{n_given} gene names mean {n_used} genes"
    with pytest.raises(GenesUnmatchedError, match=said) as caught:
        match(n_used, n_given).require_enough(["g"] * n_given)
    assert caught.value.metadata["genes_used"] == str(n_used)


def test_a_gene_that_is_named_many_times_is_one_gene() -> None:
    repeated = replace(match(50, 50), gene_ids=np.full(50, 7))
    with pytest.raises(GenesUnmatchedError, match=r"^50 gene names mean 1 genes"):
        repeated.require_enough(["INS"] * 50)


NAMES_MASS = [2, 1, 3, 4, 5, 6, 7, 12]
EVERY_ROUTE = GeneMatch(
    9606,
    False,
    np.array([0, 1, 2, 3, 4, 5, 0, 6]),
    np.array([*range(7), GeneRoute.SYMBOL], np.uint8),
    np.array([0, 1, 1, 1, 1, 1, 0, TextRung.NONE], np.uint8),
    np.array([0, 1, 1, 1, 1, 1, 0, 0], np.uint8),
)
"""A name of each route, and one whose gene has no vector."""


def test_expression_by_route() -> None:
    cells = np.array([NAMES_MASS, [0] * 8, [0, 0, 0, 1, 1, 0, 2, 0]], np.float32)
    shares = EVERY_ROUTE.route_shares(cells)
    assert shares.dtype == np.float32
    expected = np.array([[14, 1, 3, 4, 5, 6, 7], [0] * 7, [0, 0, 0, 10, 10, 0, 20]]) / 40
    np.testing.assert_array_equal(shares, expected.astype(np.float32))
    assert EVERY_ROUTE.route_shares(cells[:0]).shape == (0, 7)


def test_a_gene_without_a_vector_counts_for_no_route() -> None:
    assert EVERY_ROUTE.counted_routes.tolist() == [0, 1, 2, 3, 4, 5, 6, 0]
    assert EVERY_ROUTE.counted_routes.dtype == np.uint8
    assert EVERY_ROUTE.routes[-1] == GeneRoute.SYMBOL


def test_lines_give_names_and_mass() -> None:
    lines = match(3, 4).lines(np.array([1.0, 1, 2, 4]))
    assert lines == [
        ("given, read as human (inferred from the names)", 4, "100.0%"),
        ("unmatched", 1, "50.0%"),
        ("by symbol", 3, "50.0%"),
        ("text: own summary", 3, "50.0%"),
        ("used", 3, "50.0%"),
    ]
