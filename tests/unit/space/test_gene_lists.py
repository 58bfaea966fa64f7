"""Lists of names that are no gene names, or plainly those of another species."""

import gzip
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from cellkin.space.gene_lists import LIST_NAMES, require_names
from cellkin.space.genes import GeneResolver
from cellkin.wire.errors import InvalidArgumentError
from cellkin.wire.terms import GeneRoute

HUMAN, MOUSE, ZEBRAFISH = 9606, 10090, 7955
GENE_INFO = Path(__file__).parents[4] / "shared" / "data" / "ncbi" / "gene_info.gz"
RNG = np.random.default_rng(0)
N = 40


def resolver(shared: int = 30) -> GeneResolver:
    """40 human and mouse genes; ``shared`` of them differ in no more than letter case."""
    human = [f"GENE{i}" if i < shared else f"HUMAN{i}" for i in range(N)]
    mouse = [f"Gene{i}" if i < shared else f"Mouse{i}" for i in range(N)]
    ids = [*range(3000, 3000 + 7 * N, 7), *range(11_287, 11_287 + 7 * N, 7)]
    ensembl = [[f"ENSG{i:011d}"] for i in range(N)] + [[f"ENSMUSG{i:011d}"] for i in range(N)]
    nothing: list[list[str]] = [[]] * (2 * N)
    taxa = np.repeat([HUMAN, MOUSE], N).astype(np.int32)
    none: list[list[int]] = [[]] * (2 * N)
    return GeneResolver(np.array(ids), taxa, human + mouse, nothing, ensembl, none)


HUMAN_NAMES = [f"GENE{i}" for i in range(30)] + [f"HUMAN{i}" for i in range(30, N)]
MOUSE_NAMES = [f"Gene{i}" for i in range(30)] + [f"Mouse{i}" for i in range(30, N)]


def texts(numbers: Sequence[int]) -> list[str]:
    return list(map(str, numbers))


@pytest.mark.parametrize(
    "names",
    [
        texts(range(1267)),
        texts(range(1, 1268)),
        texts(range(LIST_NAMES)),
        [f" {i}" for i in range(30)],
        texts(range(100, -1, -1)),  # in any order
        [*texts(range(300)), *["MALAT1"] * 10],  # nearly all
        texts([i for i in range(300) if i % 20]),  # some were left out
        texts(sorted(RNG.choice(20_000, 2000, replace=False).tolist())),  # variable genes were kept
    ],
)
def test_row_numbers_are_refused(names: list[str]) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        resolver().resolve(names)
    assert caught.value.message.startswith(
        f"the {len(names)} gene names are row numbers ({names[0]}, {names[1]}, {names[2]}, ..., "
    )
    assert "write them as GeneID:3630" in caught.value.message
    with pytest.raises(InvalidArgumentError, match="row numbers"):
        resolver().resolve(names, HUMAN)


@pytest.mark.parametrize(
    "names",
    [
        [],
        ["1", "2", "3"],  # a choice of genes
        texts(range(1, LIST_NAMES)),
        texts(range(3105, 3135)),  # HLA genes
        texts([1, 2, 9, *range(3000, 3200, 3), 100_287_102]),
        [f"GeneID:{i}" for i in range(100)],
        [f"GENE{i}" for i in range(100)],
        [*texts(range(100)), *(f"GENE{i}" for i in range(100))],
        ["1"] * 50,
        [f"{i}.5" for i in range(100)],
        ["99999999999999999999"] * 50,
    ],
)
def test_gene_ids_and_other_names_are_not(names: list[str]) -> None:
    require_names(names)


@pytest.mark.skipif(not GENE_INFO.exists(), reason=f"real gene table absent: {GENE_INFO}")
@pytest.mark.parametrize("taxon", [HUMAN, MOUSE])
def test_the_gene_ids_of_ncbi_are_no_row_numbers(taxon: int) -> None:
    with gzip.open(GENE_INFO, "rt") as lines:
        ids = sorted(int(line.split("\t", 2)[1]) for line in lines if line.startswith(f"{taxon}\t"))
    require_names(texts(ids))
    rng = np.random.default_rng(1)
    for n in (20, 50, 200, 500, 2000):
        require_names(texts(ids[:n]))
        require_names(texts(ids[5000 : 5000 + n]))
        for _ in range(20):
            require_names(texts(rng.choice(ids, n, replace=False).tolist()))


class TestSpecies:
    def test_that_the_names_contradict_is_refused(self) -> None:
        with pytest.raises(InvalidArgumentError) as caught:
            resolver().resolve([*HUMAN_NAMES, "foo"], MOUSE)
        assert caught.value.message == (
            "98% of the 41 gene names are spelled as human genes, 0.0% as mouse, which is the "
            "species given (10090): give 9606, or none to infer the species from the names"
        )
        assert caught.value.metadata == {"taxon": "10090", "likely_taxon": "9606"}
        with pytest.raises(
            InvalidArgumentError, match=r"98% .* spelled as mouse genes, 0.0% as hu"
        ):
            resolver().resolve([*MOUSE_NAMES, "foo"], HUMAN)

    @pytest.mark.parametrize(
        "names",
        [
            [f"ENSG{i:011d}" for i in range(N)],
            [f"ENSG{i:011d}.3" for i in range(500, 500 + N)],  # which the corpus does not have
            [f"GRCh38_{name}" for name in HUMAN_NAMES],
            texts(range(3000, 3000 + 7 * N, 7)),
        ],
    )
    def test_ids_and_marks_say_it_as_well(self, names: list[str]) -> None:
        with pytest.raises(
            InvalidArgumentError, match=r"100% .* spelled as human genes, 0.0% as m"
        ):
            resolver().resolve(names, MOUSE)

    def test_may_be_one_that_the_corpus_lacks(self) -> None:
        names = [f"ENSDARG{i:011d}" for i in range(N)]
        with pytest.raises(InvalidArgumentError, match=r"100% .* spelled as zebrafish genes"):
            resolver().resolve(names, HUMAN)

    def test_in_capitals_is_believed(self) -> None:
        found = resolver().resolve([name.upper() for name in MOUSE_NAMES], MOUSE)
        assert found.taxon == MOUSE
        assert (found.routes == GeneRoute.CASE_FOLDED).all()

    @pytest.mark.parametrize(
        "names",
        [
            HUMAN_NAMES[:LIST_NAMES],  # no name tells
            HUMAN_NAMES[-8:],  # too few
            HUMAN_NAMES[:15] + [f"foo{i}" for i in range(30)],  # mostly of neither
            HUMAN_NAMES + MOUSE_NAMES[:10],  # of both
            [f"foo{i}" for i in range(N)],
        ],
    )
    def test_is_believed_where_the_names_do_not_tell(self, names: list[str]) -> None:
        assert resolver().resolve(names, MOUSE).taxon == MOUSE

    def test_of_the_names_is_not_asked_where_it_is_inferred(self) -> None:
        assert resolver().resolve(HUMAN_NAMES).taxon == HUMAN
