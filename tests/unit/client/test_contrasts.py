"""Contrasts: what is sent, by a client that waits and one that is awaited, and what is read."""

import asyncio
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from tests.unit.client.fake import INDEX, client_of
from tests.unit.client.fake_contrasts import SETS, FakeContrasts, awaiting_client_of, result

from cellkin.cli.subtypes import split_labels
from cellkin.client import contrast as contrasting
from cellkin.client.calls.contrasts import GroupedCells, contrast_subtypes, enrich_genes
from cellkin.client.contrast import Comparison, contrast_cells, contrast_reference
from cellkin.client.queries import WholeQuery
from cellkin.client.results.contrasts import Contrast, read_contrast, read_contrast_report
from cellkin.client.results.enrichment import read_enrichment
from cellkin.matrices.held import held_cells
from cellkin.v1 import gene_set_service_pb2 as wire
from cellkin.wire.errors import InvalidArgumentError, VersionMismatchError
from cellkin.wire.terms import ExpressionUnits

GENES = ["RHO", "PDE6B", "ARR3"]
LABELS = ["rod"] * 6 + ["cone"] * 4 + ["glia"] * 2
A_CONTRAST = read_contrast(read_contrast_report(wire.ContrastReport(a=["rod"])), result())


def counts(n: int = len(LABELS)) -> sp.csr_matrix:
    return sp.csr_matrix(np.random.default_rng(3).poisson(3, (n, len(GENES))).astype(np.float32))


def query() -> WholeQuery:
    return WholeQuery(held_cells(anndata.AnnData(counts(), var=pd.DataFrame(index=GENES))))


def compared(server: FakeContrasts, *, labels: Any = LABELS, **given: Any) -> Contrast:
    batches = given.pop("batches", None)
    asked = Comparison("trio", **{"a": ("rod",)} | given)
    return contrast_cells(client_of(server), query(), labels, asked, batches=batches)


def sent_groups(server: FakeContrasts) -> list[int]:
    blocks = [message.cells for message in server.sent[0] if message.HasField("cells")]
    return [int(group) for block in blocks for group in block.groups]


def blocking(server: FakeContrasts, *given: Any, **named: Any) -> Contrast:
    return client_of(server).contrast_subtypes(*given, **named)


def awaited(server: FakeContrasts, *given: Any, **named: Any) -> Contrast:
    async def ask() -> Contrast:
        return await awaiting_client_of(server).contrast_subtypes(*given, **named)

    return asyncio.run(ask())


@pytest.mark.parametrize("ask", [blocking, awaited])
@pytest.mark.parametrize("n_blocks", [0, 1, 7])
def test_blocks_are_sent_without_an_answer_each(ask: Any, n_blocks: int) -> None:
    server = FakeContrasts()
    blocks = [GroupedCells(counts(2), np.array([0, 1], np.uint8)) for _ in range(n_blocks)]
    named = {"genes": GENES, "units": ExpressionUnits.LINEAR} if n_blocks else {}
    found = ask(server, "trio", blocks, a=["rod"], b=["cone"], **named)
    assert server.names() == ["header", *["cells"] * n_blocks, "finish"]
    assert server.closed == 1
    assert server.opened == 0
    assert (found.report.a, found.report.b) == (("rod",), ("cone",))
    assert found.versions.index == INDEX
    assert (found.n_a, found.n_b) == ((n_blocks, n_blocks) if n_blocks else (30, 20))


@pytest.mark.parametrize("ask", [blocking, awaited])
def test_a_refusal_of_the_cells_is_raised(ask: Any) -> None:
    server = FakeContrasts(refusal=InvalidArgumentError("group a has one cell; give two"))
    blocks = [GroupedCells(counts(1), np.zeros(1, np.uint8))]
    with pytest.raises(InvalidArgumentError, match="group a has one cell"):
        ask(server, "trio", blocks, genes=GENES, units=ExpressionUnits.LINEAR)
    assert server.opened == 0


def test_asynchronous_blocks_end_with_the_finish() -> None:
    async def blocks() -> Any:
        for _ in range(3):
            yield GroupedCells(counts(2), np.array([0, 1], np.uint8))

    server = FakeContrasts()
    awaited(server, "trio", blocks(), genes=GENES, units=ExpressionUnits.LINEAR)
    assert server.names() == ["header", *["cells"] * 3, "finish"]


def test_an_exact_index_pins_the_response() -> None:
    with pytest.raises(VersionMismatchError):
        client_of(FakeContrasts()).contrast_subtypes("trio@2025-01-01.1", a=["rod"])


def test_cells_of_the_groups_are_sent() -> None:
    server = FakeContrasts()
    found = compared(server, collections=("go-bp",), regulons=("regulons",), n_permutations=200)
    header = server.sent[0][0].header
    assert (list(header.a), list(header.b)) == (["rod"], ["cone", "glia"])
    assert (list(header.collections), list(header.regulons)) == (["go-bp"], ["regulons"])
    assert (header.n_permutations, list(header.genes)) == (200, GENES)
    assert sent_groups(server) == [0] * 6 + [1] * 6
    assert (found.n_a, found.n_b) == (6, 6)
    only = FakeContrasts()
    compared(only, b=("cone",))
    assert sent_groups(only) == [0] * 6 + [1] * 4


def test_cells_without_a_label_are_in_no_group() -> None:
    server = FakeContrasts()
    labels = pd.Categorical([None, *LABELS[1:-1], float("nan")])
    compared(server, labels=labels, batches=[f"d{i % 3}" for i in range(12)])
    assert sent_groups(server) == [0] * 5 + [1] * 5
    (block,) = [message.cells for message in server.sent[0] if message.HasField("cells")]
    assert list(block.batches) == [f"d{i % 3}" for i in range(1, 11)]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"a": ()}, "group a has no label; give at least one"),
        ({"a": ("rod",), "b": ("cone", "rod")}, "'rod' is in both groups"),
        ({"a": ("rods",)}, "group a: no cell has the label 'rods'; did you mean rod"),
        ({"b": ("xyz",)}, "group b: no cell has the label 'xyz'; there is: cone, glia, rod"),
        ({"a": ("rod", "cone", "glia")}, "group b has no cell"),
        ({"batches": ["d1"] * 11 + [None]}, "1 of the compared cells have no batch"),
    ],
    ids=["none", "overlap", "misspelled", "absent", "empty", "batch"],
)
def test_groups_that_cannot_be_compared(given: dict[str, Any], said: str) -> None:
    server = FakeContrasts()
    with pytest.raises(InvalidArgumentError, match=said):
        compared(server, **given)
    assert not server.sent


def test_of_many_cells_as_many_as_are_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contrasting, "_MOST_CELLS", 6)
    monkeypatch.setattr(contrasting, "_LEAST", 1)
    server = FakeContrasts()
    found = compared(server, b=("cone", "glia"))
    assert sent_groups(server) == [0] * 3 + [1] * 3
    assert found.warnings[0].reason == "DRAWN_CELLS"
    assert "6 evenly spaced cells of the groups' 12" in str(found.warnings[0])


def test_labels_of_the_reference() -> None:
    server = FakeContrasts()
    found = contrast_reference(client_of(server), Comparison("trio", ("rod",), ("cone",)))
    assert server.names() == ["header", "finish"]
    assert found.report.match is None
    assert "30 cells" in found.title


def test_labels_with_commas_are_kept() -> None:
    known = ["CD4, alpha-beta T cell", "B", "NK"]
    assert split_labels(["CD4, alpha-beta T cell", "B,NK"], known) == (*known,)
    assert split_labels(["B, X"], known) == ("B", "X")


def test_what_is_read() -> None:
    found = A_CONTRAST
    table = found.to_pandas().set_index("gene")
    assert list(table.index) == ["RHO", "PDE6B", "TEXT1", "GAPDH", "ARR3"]
    assert table.loc["RHO", "pseudobulk_p_value"] == 0.01
    assert np.isnan(table.loc["PDE6B", "pseudobulk_p_value"])
    # A gene that was not measured has a statistic and nothing else.
    text = table.loc["TEXT1"]
    assert (text["statistic"], text["predicted_from_text"]) == (1.5, True)
    assert text[["p_value", "fdr", "mean_a", "detected_b", "log2_fold_change"]].isna().all()
    assert [found.genes[at].symbol for at in found.strongest(1)] == ["RHO", "ARR3"]
    assert [each.name for each in found.sets.called] == ["phototransduction", "cone <development>"]
    assert found.regulators.to_pandas()["regulator"].tolist() == ["NRL"]
    assert found.chance.startswith("2 sets are called; with permuted group labels 0.25 are")
    page = found._repr_html_()
    assert "few cells are compared" in page
    assert page.count("<tr>") == 6


def test_sets_are_escaped_in_notebooks() -> None:
    message = wire.EnrichGenesResponse(
        sets=result().sets, collections=[wire.GeneSetCollection(version=SETS)], n_tested=[3],
        n_genes=12, n_universe=900, unmatched=["XYZ"],
    )  # fmt: skip
    found = read_enrichment(message)
    assert found.title == (
        f"12 genes of a universe of 900 tested in 3 sets of {SETS}; 2 sets are called"
    )
    assert "cone &lt;development&gt;" in found._repr_html_()
    assert np.isnan(found.sets[0].masked_p_value)
    assert found.unmatched == ("XYZ",)


def test_what_is_tested() -> None:
    asked = enrich_genes(["go-bp"], genes=["RHO"], universe=["RHO", "ARR3"], taxon="human").request
    assert (list(asked.genes.names), list(asked.universe.names)) == (["RHO"], ["RHO", "ARR3"])
    assert (asked.taxon, asked.min_size, asked.max_size, asked.n_sets) == (9606, 5, 500, 100_000)
    asked = enrich_genes(["go-bp"], ranking={"RHO": 2.0, "ARR3": -1.0}).request
    assert list(asked.ranking.values) == [2.0, -1.0]
    assert not asked.HasField("universe")
    asked = enrich_genes(["go-bp"], neighborhood={"name": "OPTN", "k": 50}).request
    assert (asked.neighborhood.gene, asked.neighborhood.k) == ("OPTN", 50)
    wrong: list[dict[str, Any]] = [{}, {"genes": ["RHO"], "ranking": {"RHO": 1.0}}]
    for given in wrong:
        with pytest.raises(InvalidArgumentError, match="give genes, a ranking, or a neighborhood"):
            enrich_genes(["go-bp"], **given)
    with pytest.raises(InvalidArgumentError, match="n_permutations is 0"):
        contrast_subtypes("trio", a=["rod"], n_permutations=0)
