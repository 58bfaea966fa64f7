"""The match report: what is enough, and what it says."""

from collections.abc import Sequence
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


def names(n: int, first: Sequence[str] = (), others: Sequence[str] = ()) -> list[str]:
    """``n`` names, those of the genes that are met before those of others."""
    return [*first, *(f"g{i}" for i in range(n - len(first) - len(others))), *others]


@pytest.mark.parametrize(("n_used", "n_given"), [(20, 20), (20, 400), (1000, 20_000)])
def test_enough(n_used: int, n_given: int) -> None:
    match(n_used, n_given).require_enough(names(n_given))


@pytest.mark.parametrize(("n_used", "n_given"), [(0, 0), (19, 19), (20, 401), (999, 20_000)])
def test_too_few(n_used: int, n_given: int) -> None:
    said = f"^{n_given} gene names mean {n_used} genes"
    with pytest.raises(GenesUnmatchedError, match=said) as caught:
        match(n_used, n_given).require_enough(names(n_given))
    assert caught.value.metadata["genes_used"] == str(n_used)


def test_a_gene_that_is_named_many_times_is_one_gene() -> None:
    repeated = replace(match(50, 50), gene_ids=np.full(50, 7))
    with pytest.raises(GenesUnmatchedError, match=r"^50 gene names mean 1 gene that") as caught:
        repeated.require_enough(["INS"] * 50)
    assert caught.value.metadata["genes_used"] == "50"
    assert caught.value.metadata["genes_distinct"] == "1"
    assert ("used, 1 distinct genes", 50, "") in repeated.lines()
    with pytest.raises(GenesUnmatchedError, match="mean 1 gene that"):
        repeated.require_enough([f"INS-{i}" for i in range(50)])


def test_a_name_that_is_there_many_times_is_one_of_the_share() -> None:
    repeated = replace(match(500, 1000), gene_ids=np.where(np.arange(1000) < 500, 1, 0))
    repeated.gene_ids[:20] = np.arange(20) + 1
    given = [*names(20), *["g0"] * 480, *(f"x{i}" for i in range(500))]
    with pytest.raises(GenesUnmatchedError, match="mean 20 genes"):  # 20 of 520 names
        repeated.require_enough(given)
    match(20, 1000).require_enough([*names(20), *["Spacer"] * 980])


@pytest.mark.parametrize(
    "others",
    [
        [f"chr1:{i}00-{i}99" for i in range(1, 2000)],
        [f"BLANK_{i:04d}" for i in range(2000)],
        [f"NegControlProbe_{i:05d}" for i in range(2000)],
        ["nan", *(f"nan-{i}" for i in range(1, 2000))],
        [f"AB{i}_TotalSeqB" for i in range(2000)],
    ],
    ids=lambda others: others[0],
)
def test_what_is_plainly_no_gene_does_not_count_against_the_share(others: list[str]) -> None:
    n = 50 + len(others)
    match(50, n).require_enough(names(n, others=others))
    with pytest.raises(GenesUnmatchedError, match=f"{len(others)} are plainly no genes"):
        match(19, n).require_enough(names(n, others=others))
    more = [f"x{i}" for i in range(2000)]
    with pytest.raises(GenesUnmatchedError, match="mean 50 genes"):
        match(50, n + 2000).require_enough(names(n + 2000, others=[*others, *more]))


def test_ids_of_another_species_are_named() -> None:
    ids = [f"ENSDARG{i:011d}" for i in range(100)]
    with pytest.raises(GenesUnmatchedError, match="Ensembl ids of zebrafish"):
        match(0, 100).require_enough(ids)
    with pytest.raises(GenesUnmatchedError) as caught:
        match(0, 100).require_enough([*ids[:40], *names(60)])
    assert "Ensembl ids of" not in caught.value.message


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
