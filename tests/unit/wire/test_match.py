"""The match report: what is enough, and what it says."""

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
    with pytest.raises(GenesUnmatchedError, match=f"^{n_used} of {n_given} gene names") as caught:
        match(n_used, n_given).require_enough(["g"] * n_given)
    assert caught.value.metadata["genes_used"] == str(n_used)


def test_lines_give_names_and_mass() -> None:
    lines = match(3, 4).lines(np.array([1.0, 1, 2, 4]))
    assert lines == [
        ("given, read as human (inferred from the names)", 4, "100.0%"),
        ("unmatched", 1, "50.0%"),
        ("by symbol", 3, "50.0%"),
        ("text: own summary", 3, "50.0%"),
        ("used", 3, "50.0%"),
    ]
