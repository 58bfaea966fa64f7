"""Tables of text: which side has the genes, how they are written, what is refused."""

import csv
import gzip
import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from cellkin.matrices import delimited
from cellkin.matrices.cells import open_cells, open_matrix
from cellkin.matrices.options import ReadOptions
from cellkin.wire.errors import InputFileError, NotFoundError

X = np.array([[0, 3, 1, 0, 7], [2, 0, 0, 5, 1], [0, 0, 4, 1, 0]], np.float32)
"""Three cells by five genes."""
CELLS = ["AAACCTGAGAAACCAT-1", "AAACCTGAGAAACCGC-1", "AAACCTGAGAAACCTA-1"]
SYMBOLS = ["INS", "GCG", "PRSS1", "PECAM1", "CD3E"]
COMMON = ["ACTB", "MT-CO1", "RPL13", "GAPDH", "X5"]
MOUSE = ["Actb", "mt-Co1", "Rpl13a", "Gapdh", "x"]
ENSEMBL = [f"ENSG0000000000{at}" for at in range(5)]


def table(
    cells: Sequence[str],
    genes: Sequence[str],
    *,
    genes_first: bool,
    corner: str = "",
    separator: str = ",",
    quoted: bool = False,
) -> str:
    values, rows, columns = (X.T, genes, cells) if genes_first else (X, cells, genes)
    text = io.StringIO()
    writer = csv.writer(
        text,
        delimiter=separator,
        lineterminator="\n",
        quoting=csv.QUOTE_NONNUMERIC if quoted else csv.QUOTE_MINIMAL,
    )
    writer.writerow([corner, *columns])
    for name, row in zip(rows, values, strict=True):
        writer.writerow([name, *(int(value) for value in row)])
    return text.getvalue()


def check(path: Path, cells: Sequence[str], genes: Sequence[str]) -> list[str]:
    with open_cells(path) as found:
        assert found.cell_ids == list(cells)
        assert found.gene_names == list(genes)
        assert found.matrix.storage.in_memory
        np.testing.assert_array_equal(found.matrix.rows(0, 3).toarray(), X)
    with open_matrix(path) as matrix:
        np.testing.assert_array_equal(matrix.rows(1, 3).toarray(), X[1:])
    return found.notes


@pytest.mark.parametrize("genes_first", [True, False])
@pytest.mark.parametrize(
    ("cells", "genes", "corner"),
    [
        (CELLS, SYMBOLS, ""),
        (CELLS, ENSEMBL, ""),
        # Names of cells that are like one another, or of no form at all.
        (["cell1", "cell2", "cell3"], SYMBOLS, ""),
        (["NKX1", "T4B", "DCP"], COMMON, ""),
        (["NKX1", "T4B", "DCP"], MOUSE, ""),
        (["s1.A01", "s1.A02", "s2.B01"], ENSEMBL, ""),
    ],
)
def test_the_side_of_the_genes_is_told_by_names(
    cells: list[str], genes: list[str], corner: str, genes_first: bool, tmp_path: Path
) -> None:
    path = tmp_path / "a.csv"
    path.write_text(table(cells, genes, genes_first=genes_first, corner=corner))
    notes = check(path, cells, genes)
    assert [note for note in notes if "loaded whole" in note]


@pytest.mark.parametrize("genes_first", [True, False])
def test_where_names_do_not_tell_the_corner_does(genes_first: bool, tmp_path: Path) -> None:
    cells, genes = ["c1", "c2", "c3"], ["g1", "g2", "g3", "g4", "g5"]
    path = tmp_path / "a.csv"
    path.write_text(table(cells, genes, genes_first=genes_first))
    with pytest.raises(InputFileError, match=r"are plainly genes; write 'gene' or 'cell'") as error:
        open_cells(path).__enter__()
    assert "g1, g2, g3" in str(error.value)
    corner = "gene_id" if genes_first else "Cell"
    path.write_text(table(cells, genes, genes_first=genes_first, corner=corner))
    check(path, cells, genes)


@pytest.mark.parametrize("separator", [",", "\t", ";", " "])
@pytest.mark.parametrize("quoted", [True, False])
@pytest.mark.parametrize("name", ["a.csv", "a.tsv.gz", "A.CSV.GZ", "a.txt"])
def test_forms_of_text(separator: str, quoted: bool, name: str, tmp_path: Path) -> None:
    text = table(CELLS, SYMBOLS, genes_first=True, separator=separator, quoted=quoted)
    content = text.replace("\n", "\r\n").encode("utf-8-sig")
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if name.lower().endswith(".gz") else content)
    check(path, CELLS, SYMBOLS)


def test_a_table_of_r_has_no_corner(tmp_path: Path) -> None:
    text = table(CELLS, SYMBOLS, genes_first=True, separator="\t", quoted=True)
    path = tmp_path / "a.txt"
    path.write_text(text.removeprefix('""\t'))
    check(path, CELLS, SYMBOLS)


def test_comments_and_empty_lines_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"# made by hand\n\n{table(CELLS, SYMBOLS, genes_first=False)}\n")
    check(path, CELLS, SYMBOLS)


def test_what_is_no_expression_is_left_out_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    lines = table(CELLS, SYMBOLS, genes_first=False).splitlines()
    more = ["nCount_RNA", *"123"], ["percent.mt", "0.5", "1.5", "2.5"]
    path.write_text("\n".join(",".join(row) for row in zip(lines, *more, strict=True)))
    notes = check(path, CELLS, SYMBOLS)
    assert "left out 2 columns that are no genes: nCount_RNA, percent.mt" in notes
    words = ["cell_type", "alpha", "beta", "alpha"], ["donor", "d1", "d2", "d1"]
    path.write_text("\n".join(",".join(row) for row in zip(lines, *words, strict=True)))
    with pytest.raises(InputFileError, match=r"'cell_type' \('alpha'\), 'donor' \('d1'\)"):
        open_cells(path).__enter__()


@pytest.mark.parametrize("measure", ["Length", "gene_length", "GC"])
def test_measures_of_genes_are_no_cells(measure: str, tmp_path: Path) -> None:
    lines = table(CELLS, SYMBOLS, genes_first=True).splitlines()
    path = tmp_path / "a.csv"
    path.write_text("\n".join(f"{a},{b}" for a, b in zip(lines, [measure, *"12345"], strict=True)))
    assert f"left out 1 columns that are no cells: {measure}" in check(path, CELLS, SYMBOLS)


def test_featurecounts_tables(tmp_path: Path) -> None:
    described = [
        ("Chr", "chr1;chr1"), ("Start", "11;31"), ("End", "20;40"), ("Strand", "+;+"),
        ("Length", "20"), ("gene_name", "text"),
    ]  # fmt: skip
    lines = table(CELLS, ENSEMBL, genes_first=True, corner="Geneid", separator="\t").splitlines()
    header, *rows = (line.split("\t") for line in lines)
    names, values = (list(part) for part in zip(*described, strict=True))
    made = [[header[0], *names, *header[1:]], *([row[0], *values, *row[1:]] for row in rows)]
    path = tmp_path / "counts.txt"
    command = '# Program:featureCounts v2.0.6; Command:"featureCounts" "-a" "genes.gtf"'
    path.write_text("\n".join([command, *map("\t".join, made)]) + "\n")
    notes = check(path, CELLS, ENSEMBL)
    assert f"left out 6 columns that are no cells: {', '.join(names)}" in notes
    path.write_text(path.read_text().replace("\t3\t", "\t3x\t"))
    with pytest.raises(InputFileError, match=r"columns '[^']+' \('3x'\) of the row"):
        open_cells(path).__enter__()


def test_cells_may_be_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(table(["1", "2", "3"], SYMBOLS, genes_first=True))
    check(path, ["1", "2", "3"], SYMBOLS)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda text: text.split("\n", 1)[1].replace("INS,0,", "INS,2,"), "no line that names"),
        (lambda text: text.replace("INS,0,", 'INS,"0,25",'), r"with commas \(0,25\)"),
        (lambda text: "", "is no table"),
        (lambda text: text.splitlines()[0], "is no table"),
        (lambda text: text.replace(",", ""), "is no table"),
        (lambda text: text.replace("INS,0", "INS,NA"), r"'AAACC.+' \('NA'\) of the row 'INS'"),
        (lambda text: text.replace("INS,0", "INS,"), r"\(''\) of the row 'INS'"),
        (lambda text: text.replace("GCG,3,", "GCG,"), "row 2, 'GCG', has 2 values, but 3 columns"),
    ],
)
def test_tables_that_are_damaged(damage: Callable[[str], str], said: str, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(damage(table(CELLS, SYMBOLS, genes_first=True)))
    with pytest.raises(InputFileError, match=said):
        open_cells(path).__enter__()


def test_packed_text_that_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    content = gzip.compress(table(CELLS, SYMBOLS, genes_first=True).encode())
    for damaged in (content[:40], content[:20] + b"\xff" * 20 + content[40:]):
        path.write_bytes(damaged)
        with pytest.raises(InputFileError, match=r"a\.csv\.gz cannot be read"):
            open_cells(path).__enter__()


def test_a_table_has_neither_labels_nor_layers(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(table(CELLS, SYMBOLS, genes_first=True))
    with (
        open_cells(path) as cells,
        pytest.raises(NotFoundError, match=r"'cell_type' for the labels; .* only names; give an"),
    ):
        cells.labels("cell_type")
    with pytest.raises(InputFileError, match="has no layer 'x'"):
        open_cells(path, ReadOptions(layer="x")).__enter__()


def test_a_table_too_large_for_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.csv"
    path.write_text(table(CELLS, SYMBOLS, genes_first=True))
    monkeypatch.setattr(delimited, "_MAX_VALUES", 5)
    with pytest.raises(InputFileError, match=r"more than 5 values .* as \.h5ad or zarr"):
        open_cells(path).__enter__()
