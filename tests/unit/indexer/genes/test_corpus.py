import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cellkin.indexer.genes.corpus import (
    Corpus,
    CorpusOptions,
    CorpusSources,
    ExtraTexts,
    build_corpus,
)
from cellkin.indexer.genes.download import DownloadRecord
from cellkin.indexer.genes.report import JoinCounts, SharedText
from cellkin.store.schema import CORPUS, OTHER_SYMBOLS
from cellkin.wire.errors import InputFileError, InvalidArgumentError
from cellkin.wire.terms import TextRung

Write = Callable[..., Path]
ALLIANCE = "Alliance of Genome Resources"


@pytest.fixture
def sources(write: Write, write_gene_info: Write) -> CorpusSources:
    """Six human and two mouse genes, and two that only summaries name."""
    human = {"tax_id": 9606, "type_of_gene": "protein-coding"}
    mouse = {"tax_id": 10090}
    gene_info = write_gene_info(
        human | {"GeneID": 9, "Symbol": "OWN", "description": "nine", "dbXrefs": "Ensembl:ENSG9.1"},
        human | {"GeneID": 2, "Symbol": "FUN", "description": "two", "Synonyms": "FUNNY"},
        human | {"GeneID": 3, "Symbol": "ORT", "description": "three."},
        human
        | {"GeneID": 4, "Symbol": "NAM", "description": "four", "Other_designations": "a|four"},
        human | {"GeneID": 5, "Symbol": "NON"},
        human | {"GeneID": 6, "Symbol": "TWO", "description": "six"},
        mouse | {"GeneID": 103, "Symbol": "Ort", "description": "mouse three"},
        mouse | {"GeneID": 106, "Symbol": "Two", "description": "mouse six"},
    )
    return CorpusSources(
        gene_info=gene_info,
        gene_summary=write(
            "gene_summary",
            ("#tax_id", "GeneID", "Source", "Summary"),
            (9606, 9, ALLIANCE, "Alliance on nine."),
            (9606, 9, "RefSeq", "Nine. [provided by RefSeq, Jul 2008]"),
            (10090, 103, ALLIANCE, "Mouse three."),
            (9606, 77, "RefSeq", "Seventy-seven."),
            (10090, 78, "RefSeq", "Seventy-eight."),
            (10116, 79, "RefSeq", "Of a rat."),
        ),
        gene_orthologs=write(
            "gene_orthologs",
            ("#tax_id", "GeneID", "relationship", "Other_tax_id", "Other_GeneID"),
            (9606, 3, "Ortholog", 10090, 103),
            (9606, 6, "Ortholog", 10116, 79),
        ),
        strings=(
            write(
                "9606.protein.info.v12.0.txt",
                ("#string_protein_id", "preferred_name", "protein_size", "annotation"),
                ("9606.E3", "FUN", 1, "Two; Acts. [...] "),
                ("9606.E2", "FUNNY", 1, "Two; Acts otherwise."),
                ("9606.E1", "LOST", 1, "Lost; Acts."),
            ),
        ),
        gene2ensembl=write(
            "gene2ensembl",
            ("#tax_id", "GeneID", "Ensembl_gene_identifier"),
            (9606, 9, "ENSG10"),
            (9606, 9, "ENSG9"),
            (10090, 103, "ENSMUSG3"),
        ),
        gene_history=write(
            "gene_history",
            ("#tax_id", "GeneID", "Discontinued_GeneID"),
            (9606, 9, 1002),
            (9606, 9, 1001),
        ),
    )


def by_id(corpus: Corpus, *columns: str) -> dict[int, Any]:
    rows = corpus.table.to_pylist()
    return {row["gene_id"]: tuple(row[name] for name in columns) for row in rows}


def changed(sources: CorpusSources, **values: Any) -> CorpusSources:
    return CorpusSources(**{**vars(sources), **values})


def test_every_gene_has_the_text_of_its_best_rung(sources: CorpusSources) -> None:
    corpus = build_corpus(sources)
    assert by_id(corpus, "rung", "text", "text_source", "text_gene_id") == {
        2: (2, "two. Acts.", "STRING v12.0", 2),
        3: (3, "three. Mouse three.", f"{ALLIANCE} of 10090:103 by orthology", 103),
        4: (4, "four. a", "NCBI Gene name", 4),
        5: (5, "", "", 0),
        6: (3, "six. Of a rat.", "RefSeq of 10116:79 by orthology", 79),
        9: (1, "nine. Nine.", "RefSeq", 9),
        77: (1, "Seventy-seven.", "RefSeq", 77),
        78: (1, "Seventy-eight.", "RefSeq", 78),
        103: (1, "mouse three. Mouse three.", ALLIANCE, 103),
        106: (4, "mouse six", "NCBI Gene name", 106),
    }


def test_the_table_is_of_the_schema_and_ascends(sources: CorpusSources) -> None:
    table = build_corpus(sources).table
    assert table.schema == CORPUS
    ids = table["gene_id"].to_pylist()
    assert ids == sorted(ids)
    for text, digest in zip(*(table[c].to_pylist() for c in ("text", "text_sha256")), strict=True):
        assert digest == (hashlib.sha256(text.encode()).hexdigest() if text else "")


def test_ids_of_all_files_come_together(sources: CorpusSources) -> None:
    corpus = build_corpus(sources)
    found = by_id(corpus, "symbol", "synonyms", "ensembl_ids", "former_ids", "gene_type")
    assert found[9] == ("OWN", [], ["ENSG9", "ENSG10"], [1001, 1002], "protein-coding")
    assert found[2] == ("FUN", ["FUNNY"], [], [], "protein-coding")
    assert found[103] == ("Ort", [], ["ENSMUSG3"], [], "")
    assert found[77] == ("", [], [], [], "")


def test_symbols_of_two_authorities_are_kept(write_gene_info: Write) -> None:
    authority = "Symbol_from_nomenclature_authority"
    cox1 = {"tax_id": 9606, "GeneID": 4512, "Symbol": "COX1", "description": "subunit I"}
    ins = {"tax_id": 9606, "GeneID": 3630, "Symbol": "INS", "description": "insulin"}
    path = write_gene_info(cox1 | {authority: "MT-CO1"}, ins | {authority: "INS"})
    corpus = build_corpus(CorpusSources(path), CorpusOptions(template="{symbol}: {name}"))
    assert corpus.table.schema == CORPUS.append(OTHER_SYMBOLS)
    assert by_id(corpus, "symbol", "other_symbols", "text") == {
        3630: ("INS", [], "INS: insulin"),
        4512: ("MT-CO1", ["COX1"], "MT-CO1: subunit I"),
    }
    agreeing = write_gene_info(cox1 | {authority: "COX1"}, ins, name="agreeing")
    assert build_corpus(CorpusSources(agreeing)).table.schema == CORPUS


def test_the_report_counts_rungs_joins_and_genes_of_summaries_alone(sources: CorpusSources) -> None:
    report = build_corpus(sources).report
    assert {taxon: list(counts.values()) for taxon, counts in report.rungs.items()} == {
        9606: [2, 1, 2, 1, 1],
        10090: [2, 0, 0, 1, 0],
    }
    assert report.n_genes == 10
    assert report.summary_only == {9606: 1, 10090: 1}
    assert report.joins == (JoinCounts("9606.protein.info.v12.0.txt", 3, 1, 0, 1),)
    assert report.notes() == [
        "genes that only a summary names, so without symbol: 1 human, 1 mouse",
        "9606.protein.info.v12.0.txt: genes with a text 1 of 3 texts; "
        "left out for an ambiguous name 0, an unknown one 1",
    ]


def test_the_report_names_every_file_and_setting(sources: CorpusSources, tmp_path: Path) -> None:
    data = (tmp_path / "gene_history").read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    record = DownloadRecord("u", "", "Sun, 22 Nov 2026 08:00:00 GMT", "", len(data), digest)
    (tmp_path / "gene_history.json").write_text(json.dumps(vars(record)))
    manifest = build_corpus(sources).report.to_manifest()
    assert json.loads(json.dumps(manifest)) == manifest
    assert [source["role"] for source in manifest["sources"]] == [
        "gene_info",
        "gene_summary",
        "gene_orthologs",
        "gene2ensembl",
        "gene_history",
        "string",
    ]
    assert manifest["sources"][4] == {
        "role": "gene_history",
        "location": str(tmp_path / "gene_history"),
        "n_bytes": len(data),
        "sha256": digest,
        "last_modified": "Sun, 22 Nov 2026 08:00:00 GMT",
    }
    assert manifest["sources"][0]["last_modified"] == ""
    assert manifest["rungs"]["10090"]["own summary"] == 2
    assert manifest["settings"] == {
        "template": "name+summary",
        "chain": [rung.label for rung in TextRung if rung is not TextRung.NONE],
        "summary_order": ["RefSeq", ALLIANCE],
        "strip_provenance": True,
        "boilerplate_threshold": 10,
    }


def test_a_record_of_another_file_is_not_believed(sources: CorpusSources, tmp_path: Path) -> None:
    record = DownloadRecord("u", "", "Sun, 22 Nov 2026 08:00:00 GMT", "", 3, "0" * 64)
    (tmp_path / "gene_info.json").write_text(json.dumps(vars(record)))
    assert build_corpus(sources).report.sources[0].last_modified == ""


def test_names_alone_make_a_corpus(sources: CorpusSources) -> None:
    corpus = build_corpus(CorpusSources(sources.gene_info), CorpusOptions(template="name"))
    assert by_id(corpus, "rung", "text")[9] == (4, "nine")
    assert corpus.report.n_genes == 8


def test_a_species_can_stand_on_summaries_of_one_left_out(sources: CorpusSources) -> None:
    corpus = build_corpus(changed(sources, taxa=[9606]))
    found = by_id(corpus, "rung", "text_gene_id")
    assert found[3] == (3, 103)
    assert not {78, 103, 106} & found.keys()
    assert corpus.report.summary_only == {9606: 1}


def test_the_chain_and_the_order_of_sources_can_be_chosen(sources: CorpusSources) -> None:
    options = CorpusOptions(
        template="{symbol}: {summary}",
        chain=(TextRung.OWN_SUMMARY, TextRung.STRING_FUNCTION),
        summary_order=(ALLIANCE,),
    )
    found = by_id(build_corpus(sources, options), "rung", "text", "text_source")
    assert found[9] == (1, "OWN: Alliance on nine.", ALLIANCE)
    assert found[2] == (2, "FUN: Acts.", "STRING v12.0")
    assert found[3] == found[4] == (5, "", "")


def test_marks_of_provenance_can_stay(sources: CorpusSources) -> None:
    found = by_id(build_corpus(sources, CorpusOptions(strip_provenance=False)), "text")
    assert found[9] == ("nine. Nine. [provided by RefSeq, Jul 2008]",)


def test_a_summary_of_nothing_but_provenance_is_none(sources: CorpusSources, write: Write) -> None:
    header, empty = ("#tax_id", "GeneID", "Source", "Summary"), "[provided by RefSeq, Jul 2008]"
    summary = write("empty", header, (9606, 9, "RefSeq", empty), (9606, 9, ALLIANCE, "Nine."))
    found = by_id(build_corpus(changed(sources, gene_summary=summary)), "text", "text_source")
    assert found[9] == ("nine. Nine.", ALLIANCE)


def test_texts_of_users_come_first_and_in_their_species(
    sources: CorpusSources, write: Write
) -> None:
    texts = {"OWN": "Given.", "FUNNY": "Given too.", "Ort": "Not of a human.", "9606": "Nobody's."}
    path = write("given.json", json.dumps(texts))
    corpus = build_corpus(changed(sources, extras=(ExtraTexts(str(path), 9606),)))
    found = by_id(corpus, "rung", "text", "text_source")
    assert found[9] == (1, "nine. Given.", "given.json")
    assert found[2] == (1, "two. Given too.", "given.json")
    assert found[103] == (1, "mouse three. Mouse three.", ALLIANCE)
    assert corpus.report.joins[0] == JoinCounts("given.json", 4, 2, 0, 2)
    assert corpus.report.sources[-1].role == "extra"


def test_texts_of_users_can_stand_behind_others(sources: CorpusSources, write: Write) -> None:
    extras = (ExtraTexts(write("given.tsv", ("OWN", "Given."), ("2", "Given too.")), 9606),)
    options = CorpusOptions(summary_order=("RefSeq", "given.tsv"))
    found = by_id(build_corpus(changed(sources, extras=extras), options), "text")
    assert found[9] == ("nine. Nine.",)
    assert found[2] == ("two. Given too.",)


def test_boilerplate_is_counted_without_the_names(write: Write, write_gene_info: Write) -> None:
    genes = [
        {"tax_id": 9606 if i < 3 else 10090, "GeneID": i, "Symbol": f"G{i}", "description": f"n{i}"}
        for i in range(1, 6)
    ]
    shared = "microRNAs are short. " + "x" * 100
    summaries = [(9606 if i < 3 else 10090, i, "RefSeq", shared) for i in range(1, 5)]
    header = ("#tax_id", "GeneID", "Source", "Summary")
    sources = CorpusSources(write_gene_info(*genes), write("s", header, *summaries))
    corpus = build_corpus(sources, CorpusOptions(boilerplate_threshold=3))
    assert corpus.table["n_sharing"].to_pylist() == [4, 4, 4, 4, 1]
    assert corpus.report.shared_texts == (SharedText(shared[:80], 4, {9606: 2, 10090: 2}),)
    assert corpus.report.notes() == [
        f"boilerplate: 1 texts on 4 genes; the most shared, on 4: {shared[:80]}..."
    ]
    assert not build_corpus(sources, CorpusOptions(boilerplate_threshold=4)).report.shared_texts


def test_the_same_files_give_the_same_table(sources: CorpusSources) -> None:
    assert build_corpus(sources).table.equals(build_corpus(sources).table)


def test_the_order_of_lines_does_not_matter(sources: CorpusSources, write: Write) -> None:
    for role in ("gene_info", "gene_orthologs", "gene2ensembl", "gene_history"):
        header, *lines = Path(getattr(sources, role)).read_text().splitlines()
        turned = changed(sources, **{role: write("turned", header, *lines[::-1])})
        table = build_corpus(turned).table
        if role == "gene2ensembl":  # a gene's ids keep to the order they are sorted in
            assert table["ensembl_ids"].to_pylist()[5] == ["ENSG9", "ENSG10"]
        assert table.equals(build_corpus(sources).table)


def test_of_two_proteins_of_a_gene_the_first_by_id_is_taken(
    write: Write, write_gene_info: Write
) -> None:
    gene = {"tax_id": 9606, "GeneID": 2, "Symbol": "FUN", "Synonyms": "FUNNY|FUNNIER"}
    lines = ("9606.E2", "FUNNY", 1, "Two; Acts."), ("9606.E1", "FUNNIER", 1, "Two; Acts first.")
    header = ("#string_protein_id", "preferred_name", "protein_size", "annotation")
    for order in (lines, lines[::-1]):
        string = write("string", header, *order)
        corpus = build_corpus(CorpusSources(write_gene_info(gene), strings=(string,)))
        assert by_id(corpus, "text", "text_source") == {2: ("Acts first.", "STRING")}


def test_a_species_that_is_not_there_is_refused(sources: CorpusSources) -> None:
    with pytest.raises(InvalidArgumentError) as raised:
        build_corpus(changed(sources, taxa=(9606, 10116)))
    assert str(raised.value) == (
        f"NCBI gene_info file {sources.gene_info}: no gene of taxon 10116; "
        "expected NCBI taxonomy ids of species in the file, such as 9606 for human"
    )


def test_a_file_without_genes_is_refused(sources: CorpusSources, write_gene_info: Write) -> None:
    with pytest.raises(InvalidArgumentError, match="no gene of any species; expected NCBI"):
        build_corpus(CorpusSources(write_gene_info()))


def test_a_missing_file_is_named(sources: CorpusSources) -> None:
    with pytest.raises(InputFileError) as raised:
        build_corpus(changed(sources, gene_history="nowhere/gene_history.gz"))
    assert str(raised.value) == (
        "NCBI gene_history file nowhere/gene_history.gz: there is no such file; "
        "check the path, or download the file first"
    )


def test_options_are_checked_before_anything_is_read() -> None:
    with pytest.raises(InvalidArgumentError, match="has no field"):
        build_corpus(CorpusSources("nowhere"), CorpusOptions(template="x"))
