"""Readers of gene sets: what each format means, and what is refused."""

import gzip
from pathlib import Path

import pytest

from cellkin.indexer.genesets.go import read_go
from cellkin.indexer.genesets.job import SetSource, read_sets
from cellkin.indexer.genesets.named_sets import NamedSet, read_gmt
from cellkin.indexer.genesets.tables import Columns, read_table
from cellkin.wire.errors import InputFileError, InvalidArgumentError

OBO = """format-version: 1.2

[Term]
id: GO:1
name: process
namespace: biological_process

[Term]
id: GO:2
name: death
namespace: biological_process
alt_id: GO:20
is_a: GO:1 ! process

[Term]
id: GO:3
name: part of death
namespace: biological_process
relationship: part_of GO:2 ! death
relationship: regulates GO:5 ! other

[Term]
id: GO:4
name: binding
namespace: molecular_function
relationship: part_of GO:3 ! part of death

[Term]
id: GO:5
name: other
namespace: biological_process

[Term]
id: GO:6
name: obsolete death
namespace: biological_process
is_obsolete: true
replaced_by: GO:2

[Term]
id: GO:7
name: obsolete
namespace: biological_process
is_obsolete: true
"""


def gaf_line(
    symbol: str, term: str, qualifier: str = "", code: str = "IDA", tax: int = 9606
) -> str:
    fields = [
        "UniProtKB",
        "P1",
        symbol,
        qualifier,
        term,
        "PMID:1",
        code,
        "",
        "P",
        "",
        "",
        "protein",
    ]
    return "\t".join([*fields, f"taxon:{tax}", "20260101", "UniProt", "", ""])


def written(path: Path, text: str) -> Path:
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


@pytest.mark.parametrize("name", ["a.gmt", "a.gmt.gz"])
def test_gmt(tmp_path: Path, name: str) -> None:
    text = "A\thttp://a\tG1\tG2\tG1\t\r\n\nB\t\tG3\n"
    assert read_gmt(written(tmp_path / name, text)) == [
        NamedSet("A", "http://a", {"G1": 1, "G2": 1}),
        NamedSet("B", "", {"G3": 1}),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("A\td\tG1\nA\td\tG2\n", "line 2: set 'A' is there already", id="name-twice"),
        pytest.param("A\td\n", "line 1 has 2 tab-separated fields", id="no-genes"),
        pytest.param("\td\tG1\n", "line 1 has 3 tab-separated fields; expected", id="no-name"),
        pytest.param("", "the first line is empty", id="empty"),
    ],
)
def test_what_is_no_gmt(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputFileError, match=message):
        read_gmt(written(tmp_path / "a.gmt", text))


@pytest.mark.parametrize(
    ("text", "columns", "sets"),
    [
        pytest.param(
            "A\tG1\nB\tG2\nA\tG3\n",
            Columns(),
            {"A": {"G1": 1, "G3": 1}, "B": {"G2": 1}},
            id="two-columns",
        ),
        pytest.param(
            "A\tG1\t-1.5\nA\tG2\t+\nA\tG3\t-\n",
            Columns(),
            {"A": {"G1": -1.5, "G2": 1, "G3": -1}},
            id="weights-without-header",
        ),
        pytest.param(
            "weight\tsource\ttarget\tPMID\n-1\tT\tG1\t7\n0.5\tT\tG2\t8\n",
            Columns(),
            {"T": {"G1": -1, "G2": 0.5}},
            id="regulons",
        ),
        pytest.param(
            'cell,marker gene,sp\n"rod, old",G1,Human\nrod,g1,Mouse\n',
            Columns("cell", "marker gene", where={"sp": "Human"}),
            {"rod, old": {"G1": 1}},
            id="markers-with-commas",
        ),
    ],
)
def test_tables(
    tmp_path: Path, text: str, columns: Columns, sets: dict[str, dict[str, float]]
) -> None:
    found = read_table(written(tmp_path / "a.tsv", text), columns)
    assert {each.name: each.weights for each in found} == sets
    assert [each.name for each in found] == list(sets)


@pytest.mark.parametrize(
    ("text", "columns", "message"),
    [
        pytest.param(
            "a\tb\tc\td\n", Columns(), "Name them with --set-column", id="unnamed-columns"
        ),
        pytest.param("A\tG1\n", Columns("set"), "has no column 'set'; it has A, G1", id="absent"),
        pytest.param("A\tG1\nA\tG2\t1\n", Columns(), "line 2 has 3 fields, the first", id="ragged"),
        pytest.param("A\tG1\t0\n", Columns(), "line 1: weight '0'; expected a number", id="zero"),
        pytest.param("A\tG1\tnan\n", Columns(), "weight 'nan'", id="nan"),
        pytest.param("A\tG1\t1\nA\tG1\t-1\n", Columns(), "has another weight before", id="two"),
        pytest.param("A\t\nB\tG\n", Columns(), "line 1 has no set or no gene", id="no-gene"),
        pytest.param(
            "set\tgene\tk\nA\tG1\tx\n",
            Columns(where={"k": "y"}),
            "no row has k = y",
            id="no-row",
        ),
    ],
)
def test_what_is_no_table(tmp_path: Path, text: str, columns: Columns, message: str) -> None:
    with pytest.raises(InputFileError, match=message):
        read_table(written(tmp_path / "a.tsv", text), columns)


def test_annotations_reach_the_terms_above(tmp_path: Path) -> None:
    lines = [
        "!gaf-version: 2.2",
        gaf_line("ONE", "GO:3", "involved_in"),
        gaf_line("TWO", "GO:4"),
        gaf_line("THREE", "GO:20"),
        gaf_line("FOUR", "GO:6"),
        gaf_line("FIVE", "GO:3", "NOT|involved_in"),
        gaf_line("SIX", "GO:1", code="ND"),
        gaf_line("SEVEN", "GO:7"),
        gaf_line("EIGHT", "GO:99"),
    ]
    obo = written(tmp_path / "go.obo", OBO)
    gaf = written(tmp_path / "a.gaf.gz", "\n".join(lines))
    found = read_go(obo, gaf)
    assert {each.name: set(each.weights) for each in found.sets} == {
        "process (GO:1)": {"ONE", "TWO", "THREE", "FOUR"},
        "death (GO:2)": {"ONE", "TWO", "THREE", "FOUR"},
        "part of death (GO:3)": {"ONE", "TWO"},
        "binding (GO:4)": {"TWO"},
    }
    counts = found.n_annotations, found.n_negated, found.n_without_data, found.n_unknown_terms
    assert counts == (4, 1, 1, 2)
    of_function = read_go(obo, gaf, "molecular_function")
    assert [each.name for each in of_function.sets] == ["binding (GO:4)"]
    assert of_function.sets[0].description == "molecular_function"


def test_annotations_of_several_species(tmp_path: Path) -> None:
    obo = written(tmp_path / "go.obo", OBO)
    lines = [gaf_line("ONE", "GO:3"), gaf_line("two", "GO:3", tax=10090)]
    gaf = written(tmp_path / "a.gaf", "\n".join(lines))
    with pytest.raises(InvalidArgumentError, match="2 species, such as 9606, 10090; give one"):
        read_go(obo, gaf)
    assert set(read_go(obo, gaf, taxon=10090).sets[0].weights) == {"two"}
    with pytest.raises(InputFileError, match=r"no annotation of the terms of .* in species 7227"):
        read_go(obo, gaf, taxon=7227)
    with pytest.raises(InputFileError, match="line 1 has 3 fields; expected the 17"):
        read_go(obo, written(tmp_path / "b.gaf", "a\tb\tc\n"))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        pytest.param(SetSource("a.json"), "expected a name that ends in .gmt, .obo", id="ending"),
        pytest.param(SetSource("a.gmt", "b.gaf"), "are of ontologies", id="gmt-and-annotations"),
        pytest.param(
            SetSource("a.tsv", namespace="x"), "are of ontologies", id="tsv-and-namespace"
        ),
        pytest.param(
            SetSource("a.gmt", columns=Columns("a")), "are of tables", id="gmt-and-columns"
        ),
        pytest.param(SetSource("a.obo"), "with --annotations", id="obo-without-annotations"),
    ],
)
def test_options_of_another_format(source: SetSource, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        read_sets(source, Path(source.location), None, 0)
