"""How many genes have to match: what is enough, and what the refusal says."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from cellkin.space.matching import require_enough
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
    require_enough(match(n_used, n_given), names(n_given))


@pytest.mark.parametrize(("n_used", "n_given"), [(0, 0), (19, 19), (20, 401), (999, 20_000)])
def test_too_few(n_used: int, n_given: int) -> None:
    said = f"^{n_given} gene names mean {n_used} genes"
    with pytest.raises(GenesUnmatchedError, match=said) as caught:
        require_enough(match(n_used, n_given), names(n_given))
    assert caught.value.metadata["genes_used"] == str(n_used)


def test_a_gene_that_is_named_many_times_is_one_gene() -> None:
    repeated = replace(match(50, 50), gene_ids=np.full(50, 7))
    with pytest.raises(GenesUnmatchedError, match=r"^50 gene names mean 1 gene that") as caught:
        require_enough(repeated, ["INS"] * 50)
    assert caught.value.metadata["genes_used"] == "50"
    assert caught.value.metadata["genes_distinct"] == "1"
    assert ("used, 1 distinct genes", 50, "") in repeated.lines()
    with pytest.raises(GenesUnmatchedError, match="mean 1 gene that"):
        require_enough(repeated, [f"INS-{i}" for i in range(50)])


def test_a_name_that_is_there_many_times_is_one_of_the_share() -> None:
    repeated = replace(match(500, 1000), gene_ids=np.where(np.arange(1000) < 500, 1, 0))
    repeated.gene_ids[:20] = np.arange(20) + 1
    given = [*names(20), *["g0"] * 480, *(f"x{i}" for i in range(500))]
    with pytest.raises(GenesUnmatchedError, match="mean 20 genes"):  # 20 of 520 names
        require_enough(repeated, given)
    require_enough(match(20, 1000), [*names(20), *["Spacer"] * 980])


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
    require_enough(match(50, n), names(n, others=others))
    with pytest.raises(GenesUnmatchedError, match=f"{len(others)} are plainly no genes"):
        require_enough(match(19, n), names(n, others=others))
    more = [f"x{i}" for i in range(2000)]
    with pytest.raises(GenesUnmatchedError, match="mean 50 genes"):
        require_enough(match(50, n + 2000), names(n + 2000, others=[*others, *more]))


def test_ids_of_another_species_are_named() -> None:
    ids = [f"ENSDARG{i:011d}" for i in range(100)]
    with pytest.raises(GenesUnmatchedError, match="Ensembl ids of zebrafish"):
        require_enough(match(0, 100), ids)
    with pytest.raises(GenesUnmatchedError) as caught:
        require_enough(match(0, 100), [*ids[:40], *names(60)])
    assert "Ensembl ids of" not in caught.value.message
