"""The match report: shares of expression by route, and its lines."""

import numpy as np
from tests.unit.space.test_matching import match

from cellkin.wire.match import GeneMatch
from cellkin.wire.terms import GeneRoute, TextRung

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
