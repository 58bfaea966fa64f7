from typing import Any

import pyarrow as pa

from cellkin.indexer.genes.names import GeneNames, NamedTexts


def names(*genes: dict[str, Any]) -> GeneNames:
    absent: dict[str, Any] = {
        "taxon": 9606,
        "symbol": "",
        "synonyms": [],
        "ensembl_ids": [],
        "gene_type": "unknown",
        "other_symbols": [],
    }
    return GeneNames(pa.Table.from_pylist([absent | gene for gene in genes]))


INS = {"gene_id": 3630, "symbol": "INS", "synonyms": ["IDDM", "OLD"], "ensembl_ids": ["ENSG07"]}
GCG = {"gene_id": 2641, "symbol": "GCG", "synonyms": ["GLP1", "OLD", "INS"]}
MOUSE = {"gene_id": 16334, "taxon": 10090, "symbol": "Ins2", "synonyms": ["GCG"]}


def test_a_gene_is_met_by_each_of_its_names() -> None:
    for name in ("INS", "IDDM", "ENSG07", "ENSG07.12", "3630"):
        assert names(INS, GCG).join([(9606, name, "x")]) == NamedTexts({3630: "x"}, 0, 0)


def test_a_gene_is_met_by_the_symbol_of_another_authority() -> None:
    cox1 = {"gene_id": 4512, "symbol": "MT-CO1", "other_symbols": ["COX1"]}
    ptgs1 = {"gene_id": 5742, "symbol": "PTGS1", "synonyms": ["COX1"]}
    for name in ("MT-CO1", "COX1"):
        assert names(cox1, ptgs1).join([(9606, name, "x")]) == NamedTexts({4512: "x"}, 0, 0)


def test_a_missing_name_means_no_gene() -> None:
    scn11a = {"gene_id": 11280, "symbol": "SCN11A", "synonyms": ["NaN", "NA"]}
    given = [(9606, name, "x") for name in ("NaN", "NA")]
    assert names(scn11a).join(given) == NamedTexts({}, 0, 2)


def test_a_symbol_beats_a_synonym_in_whatever_order_they_come() -> None:
    given = [(9606, "INS", "of the symbol"), (9606, "IDDM", "of the synonym")]
    for order in (given, given[::-1]):
        assert names(INS, GCG).join(order).texts == {3630: "of the symbol"}


def test_the_first_of_two_synonyms_stays() -> None:
    named = names(GCG).join([(9606, "GLP1", "first"), (9606, "OLD", "second")])
    assert named.texts == {2641: "first"}


def test_an_ambiguous_synonym_is_never_guessed() -> None:
    assert names(INS, GCG).join([(9606, "OLD", "x")]) == NamedTexts({}, 1, 0)


def test_a_name_counts_in_its_species_and_case_only() -> None:
    given = [(10090, "INS", "x"), (9606, "ins", "x"), (9606, "Ins2", "x"), (9606, "", "x")]
    nameless = {"gene_id": 7}
    assert names(INS, GCG, MOUSE, nameless).join(given) == NamedTexts({}, 0, 4)
    assert names(nameless | {"gene_type": "protein-coding"}).join(given).n_unmatched == 4
    assert names(INS, MOUSE).join([(10090, "GCG", "x")]).texts == {16334: "x"}


def test_of_genes_with_one_symbol_the_one_protein_coding_gene_is_meant() -> None:
    coding, locus = (
        {"gene_id": 7006, "symbol": "TEC", "gene_type": "protein-coding"},
        {"gene_id": 100124696, "symbol": "TEC"},
    )
    text = [(9606, "TEC", "x")]
    assert names(locus, coding).join(text).texts == {7006: "x"}
    assert names(locus, coding | {"gene_type": "unknown"}).join(text).n_ambiguous == 1
    assert names(locus | {"gene_type": "protein-coding"}, coding).join(text).n_ambiguous == 1
