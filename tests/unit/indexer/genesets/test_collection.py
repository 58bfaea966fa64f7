"""Matching the gene names of sets, and carrying sets to another species."""

from collections.abc import Callable

import pyarrow as pa
import pytest

from cellkin.indexer.genesets.collection import match_sets, orthologs_in
from cellkin.indexer.genesets.named_sets import NamedSet
from cellkin.store.corpus import GeneNames, read_gene_names
from cellkin.store.store import Store
from cellkin.wire.errors import GenesUnmatchedError, InvalidArgumentError, NotFoundError


@pytest.fixture(scope="module")
def genes(
    tmp_path_factory: pytest.TempPathFactory, make_corpus: Callable[[], pa.Table]
) -> GeneNames:
    store = Store.create(str(tmp_path_factory.mktemp("sets") / "s"))
    return read_gene_names(store, store.publish_corpus("genes", make_corpus(), {}))


def of(*names: str) -> NamedSet:
    return NamedSet("S", "d", dict.fromkeys(names, 1.0))


def test_names_are_matched_and_counted(genes: GeneNames) -> None:
    sets, report = match_sets(
        [
            of("GENE7", "ENSG00000000004", "OLD7", "NOGENE", "SHARED"),
            NamedSet("E", "", {"NO": 1.0}),
        ],
        genes,
        9606,
    )
    assert sets.gene_ids.tolist() == [4, 7]
    assert sets.sizes.tolist() == [2, 0]
    assert sets.unmatched == [["NOGENE", "SHARED"], ["NO"]]
    assert (report.n_names, report.n_matched) == (6, 3)
    assert (report.n_unmatched, report.n_ambiguous, report.n_without_ortholog) == (2, 1, 0)
    assert report.examples == ("NOGENE", "SHARED", "NO")
    assert report.notes() == [
        "3 of 6 gene names match one gene of human",
        "2 match no gene, 1 match several genes, and are left out, such as NOGENE, SHARED, NO; "
        "`cellkin genes resolve NAME` shows what a name matches",
        "WARNING: 1 sets have no matched gene and are never tested",
    ]
    sets.check()


@pytest.mark.parametrize("turned", [False, True])
def test_of_two_weights_of_a_gene_the_larger_counts(genes: GeneNames, turned: bool) -> None:
    weights = [("GENE7", 0.5), ("OLD7", -2.0), ("GENE1", -1.0), ("OLD1", 1.0)]
    named = NamedSet("S", "", dict(weights[::-1] if turned else weights))
    sets, _ = match_sets([named], genes, 9606)
    assert sets.gene_ids.tolist() == [1, 7]
    assert sets.weights.tolist() == [1, -2]


def test_sets_are_carried_by_orthologs(genes: GeneNames) -> None:
    partners = {1: [(10090, 100_001)], 2: [(10090, 999)], 3: [(10116, 7)], 100_005: [(9606, 5)]}
    orthologs = orthologs_in(partners, genes, 10090)
    assert orthologs == {1: 100_001}
    sets, report = match_sets([of("GENE1", "GENE2", "GENE3")], genes, 9606, orthologs)
    assert sets.gene_ids.tolist() == [100_001]
    assert sets.unmatched == [["GENE2", "GENE3"]]
    assert (report.n_matched, report.n_without_ortholog, report.taxon) == (1, 2, 9606)
    assert "WARNING: fewer than half of the names match" in report.notes()[2]
    with pytest.raises(GenesUnmatchedError, match="none of the 1 genes of mouse has a one-to-one"):
        match_sets([of("Gene1")], genes, 10090, orthologs)
    with pytest.raises(InvalidArgumentError, match="no one-to-one ortholog in human"):
        orthologs_in({1: [(10090, 100_001)]}, genes, 9606)
    with pytest.raises(NotFoundError, match="the corpus has no gene of rat"):
        orthologs_in(partners, genes, 10116)


def test_no_name_that_matches(genes: GeneNames) -> None:
    with pytest.raises(GenesUnmatchedError, match=r"none of the 2 gene names .* such as A1, A2;"):
        match_sets([of("A1", "A2")], genes)
