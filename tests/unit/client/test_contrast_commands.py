"""The commands that compare subtypes and test genes, against a server in the process."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from tests.unit.client.fake import client_of
from tests.unit.client.fake_contrasts import SETS, FakeContrasts, result

from cellkin.cli.main import main
from cellkin.client.calls.contrasts import enrich_genes
from cellkin.client.results.enrichment import read_enrichment
from cellkin.v1 import gene_set_service_pb2 as wire

GENES = ["RHO", "PDE6B", "ARR3"]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def server() -> FakeContrasts:
    return FakeContrasts()


@pytest.fixture
def asked() -> list[wire.EnrichGenesRequest]:
    return []


@pytest.fixture
def run(
    server: FakeContrasts,
    asked: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    """Runs the command; returns its exit code, what it prints, and its errors."""

    def enrich(*given: Any, **named: Any) -> Any:
        asked.append(enrich_genes(*given, **named).request)
        message = wire.EnrichGenesResponse(
            sets=result().sets, collections=[wire.GeneSetCollection(version=SETS)], n_tested=[3],
            n_genes=3, n_universe=900, unmatched=["XYZ"],
        )  # fmt: skip
        return read_enrichment(message)

    def connect(address: str | None) -> Any:
        client: Any = client_of(server)
        client.get_cell_index = lambda name: SimpleNamespace(labels=("rod", "cone", "T, CD4"))
        client.enrich_genes = enrich
        return client

    monkeypatch.setattr("cellkin.cli.connection.connect", connect)

    def run(*words: Any) -> tuple[int, str, str]:
        code = main([*map(str, words)])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def query(tmp_path: Path) -> Path:
    counts = sp.csr_matrix(np.random.default_rng(3).poisson(3, (12, 3)).astype(np.float32))
    obs = pd.DataFrame(
        {
            "cell_type": ["rod"] * 6 + ["cone"] * 6,
            "state": ["control", "injured", "injured"] * 4,
            "donor": [f"d{i % 4}" for i in range(12)],
        },
        index=[f"c{i}" for i in range(12)],
    )
    path = tmp_path / "query.h5ad"
    anndata.AnnData(counts, obs=obs, var=pd.DataFrame(index=GENES)).write_h5ad(path)
    return path


def test_labels_of_a_reference(run: Run, server: FakeContrasts) -> None:
    code, said, _ = run(
        "subtypes", "contrast", "trio", "--a", "rod", "--b", "T, CD4", "--b", "cone", "--sets",
        "go-bp", "--regulons", "regulons", "--permutations", "200",
    )  # fmt: skip
    assert code == 0
    header = server.sent[0][0].header
    assert (list(header.a), list(header.b)) == (["rod"], ["T, CD4", "cone"])
    assert (list(header.collections), list(header.regulons)) == (["go-bp"], ["regulons"])
    for line in ("rod (30 cells) against T, CD4, cone (20 cells)", "phototransduction", "NRL",
                 "WARNING: few cells are compared", "with permuted group labels 0.25"):  # fmt: skip
        assert line in said
    assert said.index("Genes of rod") < said.index("RHO") < said.index("ARR3")
    assert "TEXT1" not in said


def test_conditions_of_one_label(run: Run, server: FakeContrasts, query: Path) -> None:
    code, _, _ = run(
        "subtypes", "contrast", "trio", "--a", "injured", "--query", query, "--groups", "cell_type",
        "--condition", "state", "--label", "rod", "--batch", "donor",
    )  # fmt: skip
    assert code == 0
    header, cells, _ = server.sent[0]
    assert list(header.header.a) == ["rod: injured"]
    assert list(header.header.b) == ["rod: control"]
    assert list(cells.cells.groups) == [1, 0, 0, 1, 0, 0]
    assert list(cells.cells.batches) == ["d0", "d1", "d2", "d3", "d0", "d1"]


def test_tables_and_a_page(run: Run, query: Path, tmp_path: Path) -> None:
    folder, page = tmp_path / "out", tmp_path / "page.html"
    words: tuple[object, ...] = (
        *("subtypes", "contrast", "trio", "--a", "rod,cone", "--b", "cone"),
        *("--query", query, "--groups", "cell_type", "-o", folder, "--page", page),
    )
    code, _, refused = run(*words)
    assert code == 2
    assert "'cone' is in both groups" in refused
    words = tuple("rod" if word == "rod,cone" else word for word in words)
    assert run(*words)[0] == 0
    genes = pd.read_csv(folder / "genes.csv").set_index("gene")
    assert genes.loc["RHO", "detected_a"] == 0.9
    assert pd.isna(genes.loc["TEXT1", "p_value"])
    told = json.loads((folder / "contrast.json").read_text())
    assert [row["set"] for row in told["sets"]] == [
        "phototransduction", "cone <development>", "glycolysis",
    ]  # fmt: skip
    assert told["versions"]["index"] == "trio@2026-01-01.1"
    assert (told["n_a"], told["n_b"]) == (6, 6)
    text = page.read_text()
    assert text.count("<svg") == 4
    assert "cone &lt;development&gt;" in text
    assert "cone <development>" not in text.split("<script")[0]
    assert "Predicted from text" in text
    code, _, refused = run(*words)
    assert code == 2
    assert "is there already" in refused
    assert run(*words, "--force")[0] == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--a", "rod", "--groups", "cell_type"), "--groups is of cells; add --query FILE"),
        (("--a", "rod", "--query", "QUERY", "--label", "rod"), "add --condition COLUMN"),
        (("--a", "rods", "--query", "QUERY", "--groups", "cell_type"), "did you mean rod"),
        (("--a", "rod", "--query", "QUERY"), "no obs column 'cellkin_label'"),
        (
            ("--a", "injured", "--query", "QUERY", "--groups", "cell_type", "--condition", "state",
             "--label", "glia"),
            "--label: no cell has the label 'glia'",
        ),
    ],
    ids=["no-query", "no-condition", "misspelled", "no-column", "absent"],
)  # fmt: skip
def test_what_cannot_be_compared(run: Run, query: Path, words: Any, said: str) -> None:
    given = [query if word == "QUERY" else word for word in words]
    code, _, refused = run("subtypes", "contrast", "trio", *given)
    assert code == 2
    assert said in refused


def test_genes_are_tested(run: Run, asked: list[Any], tmp_path: Path) -> None:
    code, said, _ = run("enrich", "RHO", "ARR3", "--sets", "go-bp", "-o", tmp_path / "sets.csv")
    assert code == 0
    assert list(asked[-1].genes.names) == ["RHO", "ARR3"]
    assert "phototransduction" in said
    assert "names without a gene: XYZ" in said
    assert len(pd.read_csv(tmp_path / "sets.csv")) == 3
    _, said, _ = run("enrich", "OPTN", "--near", "50", "--sets", "go-bp", "--json")
    assert (asked[-1].neighborhood.gene, asked[-1].neighborhood.k) == ("OPTN", 50)
    told = json.loads(said)
    assert told["n_universe"] == 900
    assert told["sets"][0]["masked_p_value"] is None


def test_a_file_of_genes_or_of_a_ranking(run: Run, asked: list[Any], tmp_path: Path) -> None:
    path = tmp_path / "genes.txt"
    path.write_text("gene\tstatistic\nRHO\t2.5\n\nARR3,-1\n")
    assert run("enrich", "--file", path, "--sets", "go-bp")[0] == 0
    assert list(asked[-1].ranking.names) == ["RHO", "ARR3"]
    assert list(asked[-1].ranking.values) == [2.5, -1.0]
    path.write_text("# rods\nRHO\nPDE6B\n")
    universe = tmp_path / "universe.txt"
    universe.write_text("RHO\nPDE6B\nARR3\n")
    assert run("enrich", "--file", path, "--sets", "go-bp", "--universe", universe)[0] == 0
    assert list(asked[-1].genes.names) == ["RHO", "PDE6B"]
    assert list(asked[-1].universe.names) == ["RHO", "PDE6B", "ARR3"]
    for text, said in (
        ("RHO\t1\nARR3\n", "'ARR3' has no value though other genes have one"),
        ("RHO\t1\nARR3\tx\n", "line 2: 'x' is no number"),
        ("", "has no gene"),
    ):
        path.write_text(text)
        code, _, refused = run("enrich", "--file", path, "--sets", "go-bp")
        assert code == 2
        assert said in refused
    assert "one of them" in run("enrich", "--sets", "go-bp")[2]
