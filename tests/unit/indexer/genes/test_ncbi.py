import gzip
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cellkin.indexer.genes import ncbi, tsv
from cellkin.wire.errors import InputFileError

Write = Callable[..., Path]
INS = {
    "tax_id": 9606,
    "GeneID": 3630,
    "Symbol": "INS",
    "Synonyms": "IDDM|IDDM1",
    "dbXrefs": "MIM:176730|HGNC:HGNC:6081|Ensembl:ENSG00000254647.7",
    "description": 'insulin "A" chain',
    "type_of_gene": "protein-coding",
    "Other_designations": "preproinsulin|proinsulin",
}
ACTB = {"tax_id": 10090, "GeneID": 11461, "Symbol": "Actb", "description": "actin, beta"}
SUMMARY = ("#tax_id", "GeneID", "Source", "Summary")
WANTED = "tax_id, GeneID, Symbol, Synonyms, dbXrefs, description, type_of_gene, Other_designations"


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("name", ["gene_info", "gene_info.gz"])
def test_gene_info_is_read_whatever_its_name_says(
    write_gene_info: Write, name: str, compress: bool
) -> None:
    path = write_gene_info(INS, ACTB, name=name, compress=compress)
    table = ncbi.read_gene_info(path)
    assert table.schema == ncbi.GENE_INFO
    assert table.to_pylist() == [
        {
            "taxon": 9606,
            "gene_id": 3630,
            "symbol": "INS",
            "name": 'insulin "A" chain',
            "synonyms": ["IDDM", "IDDM1"],
            "designations": ["preproinsulin", "proinsulin"],
            "ensembl_ids": ["ENSG00000254647"],
            "gene_type": "protein-coding",
            "other_symbols": [],
        },
        {
            "taxon": 10090,
            "gene_id": 11461,
            "symbol": "Actb",
            "name": "actin, beta",
            "synonyms": [],
            "designations": [],
            "ensembl_ids": [],
            "gene_type": "",
            "other_symbols": [],
        },
    ]


def named(table: Any, *columns: str) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in columns) for row in table.to_pylist()]


def test_the_symbol_is_the_authoritys_and_that_of_ncbi_the_other(write_gene_info: Write) -> None:
    authority, full = "Symbol_from_nomenclature_authority", "Full_name_from_nomenclature_authority"
    mito = {"tax_id": 9606, "Symbol": "COX1", "Synonyms": "COI|MTCO1", authority: "MT-CO1"}
    path = write_gene_info(
        mito | {"GeneID": 4512, full: "mitochondrially encoded", "description": "subunit I"},
        {"tax_id": 10090, "GeneID": 17708, "Symbol": "COX1", authority: "mt-Co1", full: "encoded"},
        INS | {authority: "INS"},
        ACTB,
    )
    assert named(ncbi.read_gene_info(path), "symbol", "other_symbols", "synonyms", "name") == [
        ("MT-CO1", ["COX1"], ["COI", "MTCO1"], "subunit I"),
        ("mt-Co1", ["COX1"], [], "encoded"),
        ("INS", [], ["IDDM", "IDDM1"], 'insulin "A" chain'),
        ("Actb", [], [], "actin, beta"),
    ]


def test_ids_and_locus_tags_of_other_databases_are_read(write_gene_info: Write) -> None:
    refs = {"fly": "FLYBASE:FBgn0040373|AllianceGenome:FB:FBgn0040373", "worm": "WormBase:WBGene01"}
    path = write_gene_info(
        {"tax_id": 7227, "GeneID": 1, "Symbol": "CG3038", "LocusTag": "Dmel_CG3038",
         "Synonyms": "CG3038|EG:1", "dbXrefs": refs["fly"]},
        {"tax_id": 6239, "GeneID": 2, "Symbol": "homt-1", "LocusTag": "CELE_Y74C9A.3",
         "dbXrefs": refs["worm"]},
        {"tax_id": 559292, "GeneID": 3, "Symbol": "TFC3", "LocusTag": "YAL001C",
         "dbXrefs": "SGD:S000000001"},
        {"tax_id": 9606, "GeneID": 4, "Symbol": "COX1", "LocusTag": "KEG9_p01"},
        INS,
    )  # fmt: skip
    assert named(ncbi.read_gene_info(path), "ensembl_ids", "synonyms") == [
        (["FBgn0040373"], ["CG3038", "EG:1", "Dmel_CG3038"]),
        (["WBGene01"], ["CELE_Y74C9A.3", "Y74C9A.3"]),
        (["YAL001C"], []),
        ([], ["KEG9_p01"]),
        (["ENSG00000254647"], ["IDDM", "IDDM1"]),
    ]


def test_gene_info_keeps_the_taxa_wanted(write_gene_info: Write) -> None:
    path = write_gene_info(INS, ACTB)
    assert ncbi.read_gene_info(path, [10090])["symbol"].to_pylist() == ["Actb"]
    assert ncbi.read_gene_info(path, [10116]).num_rows == 0


def test_gene_info_is_filtered_block_by_block(
    write_gene_info: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tsv, "_BLOCK_BYTES", 1000)
    genes = [INS | {"GeneID": i, "tax_id": 9606 if i % 100 else 10090} for i in range(1, 501)]
    table = ncbi.read_gene_info(write_gene_info(*genes, compress=True), [10090])
    assert table["gene_id"].to_pylist() == [100, 200, 300, 400, 500]


def test_the_record_for_genes_not_in_gene_has_no_name(write_gene_info: Write) -> None:
    record = ACTB | {"Symbol": "NEWENTRY", "description": "Record to support submission"}
    assert ncbi.read_gene_info(write_gene_info(record))["name"].to_pylist() == [""]


def test_columns_are_found_by_name(write: Write) -> None:
    path = write(
        "f", ("Summary", "new", "GeneID", "tax_id", "Source"), ("x", "-", 1, 9606, "RefSeq")
    )
    rows = ncbi.read_gene_summary(path).to_pylist()
    assert rows == [{"taxon": 9606, "gene_id": 1, "source": "RefSeq", "summary": "x"}]


def test_summaries_of_all_sources_are_kept_apart(write: Write) -> None:
    alliance = "Alliance of Genome Resources"
    path = write(
        "f", SUMMARY, (9606, 1, "RefSeq", "x"), (9606, 1, alliance, "y"), (9606, 2, "RefSeq", "-")
    )
    table = ncbi.read_gene_summary(path, [9606])
    assert table.schema == ncbi.GENE_SUMMARY
    assert table["source"].to_pylist() == ["RefSeq", alliance]


def test_windows_line_ends_a_byte_order_mark_and_blank_lines_are_no_matter(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"\xef\xbb\xbf#tax_id\tGeneID\tSource\tSummary\r\n9606\t1\tRefSeq\tx\r\n\r\n")
    assert ncbi.read_gene_summary(path)["summary"].to_pylist() == ["x"]


def test_orthologs_are_kept_where_either_side_is_wanted(write: Write) -> None:
    path = write(
        "f",
        ("#tax_id", "GeneID", "relationship", "Other_tax_id", "Other_GeneID"),
        (9606, 1, "Ortholog", 10090, 2),
        (9606, 3, "Ortholog", 10116, 4),
        (9606, 5, "Related pseudogene", 10090, 6),
    )
    assert ncbi.read_gene_orthologs(path, [10090]).to_pylist() == [
        {"taxon": 9606, "gene_id": 1, "other_taxon": 10090, "other_gene_id": 2}
    ]
    assert ncbi.read_gene_orthologs(path).num_rows == 2


def test_ensembl_ids_come_once_and_without_version(write: Write) -> None:
    path = write(
        "f",
        ("#tax_id", "GeneID", "Ensembl_gene_identifier", "RNA_nucleotide_accession.version"),
        (9606, 1, "ENSG00000121410.5", "NM_1"),
        (9606, 1, "ENSG00000121410", "NM_2"),
        (6239, 2, "F23F1.10", "NM_3"),
        (9606, 3, "-", "NM_4"),
    )
    rows = {tuple(row.values()) for row in ncbi.read_gene2ensembl(path).to_pylist()}
    assert rows == {(1, "ENSG00000121410"), (2, "F23F1.10")}


def test_history_keeps_replaced_ids_only(write: Write) -> None:
    path = write(
        "f",
        ("#tax_id", "GeneID", "Discontinued_GeneID", "Discontinued_Symbol", "Discontinue_Date"),
        (9606, 1, 100, "OLD", 20200101),
        (9606, "-", 101, "GONE", 20200101),
    )
    assert ncbi.read_gene_history(path).to_pylist() == [{"gene_id": 1, "former_id": 100}]


def _error(path: Path) -> str:
    with pytest.raises(InputFileError) as raised:
        ncbi.read_gene_info(path)
    return str(raised.value).replace(str(path), "PATH")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert _error(tmp_path / "f") == (
        "NCBI gene_info file PATH: there is no such file; "
        "check the path, or download the file first"
    )


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    assert _error(tmp_path) == "NCBI gene_info file PATH: this is a folder; name a file in it"


@pytest.mark.parametrize("data", [b"", gzip.compress(b"", mtime=0)])
def test_an_empty_file_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "f"
    path.write_bytes(data)
    assert _error(path) == "NCBI gene_info file PATH: the file is empty; download it again"


def test_a_header_cut_short_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"#tax_id\tGene")
    assert _error(path) == (
        "NCBI gene_info file PATH: there is no line after the header; download the file again"
    )


@pytest.mark.parametrize("compress", [False, True])
def test_a_header_that_is_too_long_is_refused(write: Write, compress: bool) -> None:
    path = write("f", "x" * 70_000, "y", compress=compress)
    assert _error(path).startswith(
        "NCBI gene_info file PATH: the first line has 65536 bytes or more; expected a header with "
    )


def test_missing_columns_are_named_with_those_found(write: Write) -> None:
    assert _error(write("f", ("#tax_id", "GeneID", "Symbol"))) == (
        "NCBI gene_info file PATH: the header lacks Synonyms, dbXrefs, description, type_of_gene, "
        f"Other_designations; found: tax_id, GeneID, Symbol; expected: {WANTED}"
    )


def test_a_page_of_another_kind_shows_how_it_begins(write: Write) -> None:
    message = _error(write("f", "<html>" + "x" * 1000, "<body>"))
    assert f"found: <html>{'x' * 294}...; expected: {WANTED}" in message


@pytest.mark.parametrize("size", [2, 12, 40, -5])
def test_gzip_cut_short_is_refused(write_gene_info: Write, size: int) -> None:
    path = write_gene_info(INS, ACTB, compress=True)
    path.write_bytes(path.read_bytes()[:size])
    assert _error(path) == (
        "NCBI gene_info file PATH: the gzip data is damaged (it ends too early); "
        "download the file again"
    )


def test_damaged_gzip_is_refused(write_gene_info: Write) -> None:
    path = write_gene_info(INS, ACTB, compress=True)
    data = bytearray(path.read_bytes())
    data[-8] ^= 255  # the checksum
    path.write_bytes(data)
    assert re.fullmatch(
        r"NCBI gene_info file PATH: the gzip data is damaged \(.*\); download the file again",
        _error(path),
    )


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"GeneID": "3630x"}, "GeneID is '3630x', expected a 64-bit integer"),
        ({"GeneID": 10**19}, "GeneID is '10000000000000000000', expected a 64-bit integer"),
        ({"tax_id": "human"}, "tax_id is 'human', expected a 32-bit integer"),
    ],
)
def test_what_is_no_integer_is_named_with_its_line(
    write_gene_info: Write, changed: dict[str, object], said: str
) -> None:
    path = write_gene_info(ACTB, INS | changed)
    assert _error(path) == f"NCBI gene_info file PATH: line 3: {said}; correct the line"


def test_text_that_is_no_utf8_is_named_with_its_line(write_gene_info: Write) -> None:
    path = write_gene_info(INS, ACTB | {"description": "Sjögren"})
    path.write_bytes(path.read_bytes().replace("ö".encode(), "ö".encode("latin-1")))
    assert _error(path) == (
        "NCBI gene_info file PATH: line 3: description is no UTF-8 text; correct the line"
    )


def test_a_line_with_other_fields_is_named(write_gene_info: Write) -> None:
    path = write_gene_info(INS, ACTB)
    with path.open("a") as file:
        file.write("9606\t7\n")
    assert _error(path) == (
        "NCBI gene_info file PATH: line 4 has 2 tab-separated fields, the header 16; "
        "correct the line or download the file again"
    )


def test_a_line_longer_than_can_be_read_is_an_error(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tsv, "_BLOCK_BYTES", 1000)
    path = write("f", SUMMARY, (9606, 1, "RefSeq", "x" * 3000))
    with pytest.raises(InputFileError) as raised:
        ncbi.read_gene_summary(path)
    assert str(raised.value) == (
        f"NCBI gene_summary file {path}: a line has over 1000 bytes; "
        "expected tab-separated UTF-8 text with a header line"
    )


def test_a_gene_without_id_is_refused(write_gene_info: Write) -> None:
    assert _error(write_gene_info(INS, ACTB | {"GeneID": "-"})) == (
        "NCBI gene_info file PATH: a line has no gene_id; expected an integer"
    )


def test_a_gene_listed_twice_is_refused(write_gene_info: Write) -> None:
    assert _error(write_gene_info(INS, ACTB, INS)) == (
        "NCBI gene_info file PATH: GeneID 3630 is there more than once; "
        "expected one line a gene; was the file joined from several?"
    )
