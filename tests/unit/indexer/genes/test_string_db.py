from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from cellkin.indexer.genes.inputs import read_functions
from cellkin.indexer.genes.names import GeneNames
from cellkin.indexer.genes.string_db import (
    PROTEIN_INFO,
    read_protein_info,
    string_release,
    string_taxon,
)
from cellkin.wire.errors import InputFileError

Write = Callable[..., Path]
HEADER = ("#string_protein_id", "preferred_name", "protein_size", "annotation")


@pytest.mark.parametrize(
    ("name", "release"),
    [
        ("9606.protein.info.v12.0.txt.gz", "STRING v12.0"),
        ("protein.info.v11.5.txt", "STRING v11.5"),
        ("9606.protein.info.txt", "STRING"),
    ],
)
def test_the_release_is_read_from_the_file_name(name: str, release: str) -> None:
    assert string_release(Path("v9.folder") / name) == release


@pytest.mark.parametrize("compress", [False, True])
def test_taxon_name_and_function_are_read(write: Write, compress: bool) -> None:
    path = write(
        "f",
        HEADER,
        ("9606.ENSP01", "ARF5", 180, 'Factor 5; Binds "GTP"; and more.'),
        ("10090.ENSMUSP01", "Arf5", 180, "Factor 5; Binds GTP."),
        compress=compress,
    )
    table = read_protein_info(path)
    assert table.schema == PROTEIN_INFO
    assert [tuple(row.values()) for row in table.to_pylist()] == [
        (9606, "ENSP01", "ARF5", 'Binds "GTP"; and more.'),
        (10090, "ENSMUSP01", "Arf5", "Binds GTP."),
    ]
    assert read_protein_info(path, [10090])["preferred_name"].to_pylist() == ["Arf5"]


def test_the_mark_of_a_cut_text_is_taken_off(write: Write) -> None:
    path = write("f", HEADER, ("9606.E", "A", 1, "Name; Binds [...] in checkpoin [...] "))
    assert read_protein_info(path)["function"].to_pylist() == ["Binds [...] in checkpoin"]


@pytest.mark.parametrize(
    "annotation",
    [
        "annotation not available",
        "Annotation not available; see elsewhere",
        "Olfactory receptor.",
        "Name;",
        "Name; ",
        "Name;  [...] ",
        "Name;no blank",
        "",
        "-",
    ],
)
def test_a_protein_without_function_text_is_left_out(write: Write, annotation: str) -> None:
    assert read_protein_info(write("f", HEADER, ("9606.E", "A", 1, annotation))).num_rows == 0


def test_a_text_of_notes_alone_gives_no_function(write: Write) -> None:
    notes = "Name; [provided by RefSeq, Jul 2008]"
    path = write("f", HEADER, ("9606.E", "7", 1, notes), ("9606.F", "8", 1, "Name; Binds."))
    genes = pa.table(
        {"gene_id": [7, 8], "taxon": [9606, 9606], "symbol": ["", ""], "gene_type": ["", ""]}
        | {name: [[], []] for name in ("other_symbols", "synonyms", "ensembl_ids")}
    )
    functions, _ = read_functions([path], GeneNames(genes), [9606])
    assert {gene: summary.text for gene, summary in functions.items()} == {8: "Binds."}


def test_a_protein_without_a_taxon_is_refused(write: Write) -> None:
    path = write("f", HEADER, ("9606.E", "A", 1, "x"), ("ENSP01", "B", 1, "x"))
    with pytest.raises(InputFileError) as raised:
        read_protein_info(path)
    assert str(raised.value) == (
        f"STRING protein.info file {path}: protein id ENSP01 does not begin with a taxon; "
        "expected one such as 9606.ENSP00000000233"
    )


def test_another_format_is_refused(write: Write) -> None:
    path = write("f", ("protein", "name"))
    with pytest.raises(InputFileError) as raised:
        read_protein_info(path)
    assert str(raised.value) == (
        f"STRING protein.info file {path}: the header lacks string_protein_id, preferred_name, "
        "annotation; found: protein, name; expected: string_protein_id, preferred_name, annotation"
    )


def test_the_yeast_of_string_is_the_strain_of_ncbi(write: Write) -> None:
    path = write("f", HEADER, ("4932.YAL001C", "TFC3", 1, "Tau 138; Binds."))
    for taxa in (None, [559292]):
        assert read_protein_info(path, taxa)["taxon"].to_pylist() == [559292]
    assert string_taxon(559292) == 4932
    assert string_taxon(9606) == 9606
