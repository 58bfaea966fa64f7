"""Gene sets from a file to a client: imported, kept as versions, served, shown from both ends."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
import pyarrow as pa
import pytest
from click.testing import CliRunner
from tests.integration.live import Live, live_server

from cellkin.cli.genesets import genesets as from_server
from cellkin.client import Client
from cellkin.indexer.commands.genesets import genesets as from_store
from cellkin.store.backup import copy_store
from cellkin.store.catalog import Kind
from cellkin.store.gc import collect
from cellkin.store.maintenance import damage
from cellkin.store.store import Store
from cellkin.wire.errors import (
    GenesUnmatchedError,
    InvalidArgumentError,
    NotFoundError,
    RetractedError,
)
from cellkin.wire.terms import GeneSetKind

pytestmark = pytest.mark.integration
GMT = "APOPTOSIS\tcells die\tGENE1\tOLD2\tNOGENE\nSYNAPSE\t\tGENE2\tGENE3\nNEURON DEATH\t\tGENE9\n"
LOGGED = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ")
REGULONS = "source\ttarget\tweight\nTF1\tGENE4\t1\nTF1\tGENE5\t-0.5\n"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, make_corpus: Callable[[], pa.Table]) -> Path:
    """A folder with a store that has gene names and two collections, and the files of these."""
    folder = tmp_path_factory.mktemp("genesets")
    Store.create(str(folder / "store")).publish_corpus("genes", make_corpus(), {})
    (folder / "process.gmt").write_text(GMT)
    (folder / "regulons.tsv").write_text(REGULONS)
    assert "3 sets of 4 human genes" in said(folder, "process.gmt", "--name", "process")
    said(folder, "regulons.tsv", "--name", "regulons", "--kind", "regulons")
    return folder


@pytest.fixture(scope="module")
def served(place: Path) -> Iterator[Live]:
    with live_server(place / "store") as live:
        yield live


@pytest.fixture
def client(served: Live) -> Iterator[Client]:
    with Client(served.address) as client:
        yield client


def run(group: click.Group, *arguments: object) -> str:
    done = CliRunner().invoke(group, list(map(str, arguments)), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    # The server of this process logs to the same stream.
    return "".join(line for line in done.output.splitlines(True) if not LOGGED.match(line))


def said(place: Path, file: str, *options: object) -> str:
    return run(from_store, "import", place / file, "--store", place / "store", *options)


def both(place: Path, served: Live, *arguments: str) -> Any:
    """Return the JSON of a command, which is the same from the store and from a server."""
    told = run(from_store, *arguments, "--store", place / "store", "--json")
    assert run(from_server, *arguments, "--server", served.address, "--json") == told
    return json.loads(told)


def test_collections_are_listed(place: Path, served: Live, client: Client) -> None:
    process, regulons = client.list_gene_set_collections()
    entries = Store.open(str(place / "store")).catalog.entries(Kind.GENE_SETS)
    assert [process.version, regulons.version] == [entry.full_name for entry in entries]
    assert (process.kind, regulons.kind) == (GeneSetKind.PATHWAYS, GeneSetKind.REGULONS)
    assert (process.taxon, process.n_sets, process.n_genes) == (9606, 3, 4)
    assert not process.carried_by_orthologs
    assert process.corpus == entries[0].manifest["corpus"]
    shown = json.loads(run(from_server, "list", "--server", served.address, "--json"))
    assert [each["kind"] for each in shown] == ["pathways", "regulons"]
    listed = run(from_store, "list", "--store", place / "store")
    assert all(entry.full_name in listed for entry in entries)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ((), ["APOPTOSIS", "SYNAPSE", "NEURON DEATH"]),
        (("--query", "DIE cells"), ["APOPTOSIS"]),
        (("--query", "neuron"), ["NEURON DEATH"]),
        (("--gene", "OLD2"), ["APOPTOSIS", "SYNAPSE"]),
        (("--gene", "GENE3", "--query", "death"), []),
    ],
    ids=["all", "words", "one-word", "gene", "nothing"],
)
def test_sets_are_searched(
    place: Path, served: Live, options: tuple[str, ...], names: list[str]
) -> None:
    version = Store.open(str(place / "store")).catalog.entries(Kind.GENE_SETS)[0].full_name
    found = both(place, served, "list", version, *options)
    assert found["collection"] == version
    assert [each["set"] for each in found["sets"]] == names


def test_a_set_is_shown_with_its_genes(place: Path, served: Live, client: Client) -> None:
    found = both(place, served, "show", "process/APOPTOSIS")
    assert [gene["symbol"] for gene in found["genes"]] == ["GENE1", "GENE2"]
    assert (found["description"], found["unmatched"]) == ("cells die", ["NOGENE"])
    regulon = client.get_gene_set("regulons", "TF1")
    assert [(each.gene.gene_id, each.weight) for each in regulon] == [(4, 1), (5, -0.5)]
    assert regulon.columns()["symbol"] == ["GENE4", "GENE5"]
    assert "TF1: 2 genes" in regulon._repr_html_()
    assert "-0.5" in run(from_server, "show", "regulons/TF1", "--server", served.address)
    told = run(from_server, "show", "process/APOPTOSIS", "--server", served.address)
    assert "without a gene: NOGENE" in told


def test_pages(client: Client, served: Live) -> None:
    from cellkin.v1 import gene_set_service_pb2 as wire
    from cellkin.v1 import gene_set_service_pb2_grpc

    stub = gene_set_service_pb2_grpc.GeneSetServiceStub(served.channel)
    request = wire.ListGeneSetsRequest(collection="process", page_size=2)
    first = stub.ListGeneSets(request)
    assert (len(first.sets), first.total_size) == (2, 3)
    request.page_token = first.next_page_token
    rest = stub.ListGeneSets(request)
    assert [each.name for each in rest.sets] == ["NEURON DEATH"]
    assert not rest.next_page_token
    request.query = "death"
    with pytest.raises(Exception, match="page_token is of another request"):
        stub.ListGeneSets(request)


def test_what_is_not_there(client: Client) -> None:
    with pytest.raises(NotFoundError, match=r"no gene set collection 'go' .* there is: process"):
        client.get_gene_set("go", "X")
    with pytest.raises(NotFoundError, match="has no set 'DEATH'; similar: NEURON DEATH;"):
        client.get_gene_set("process", "DEATH")
    with pytest.raises(NotFoundError, match="no gene of human is called 'NOGENE'"):
        list(client.list_gene_sets("process", gene="NOGENE"))


@pytest.mark.parametrize(
    ("file", "options", "error", "message"),
    [
        ("mouse.gmt", ["--taxon", "human"], InvalidArgumentError, "are spelled as mouse genes"),
        ("none.gmt", [], GenesUnmatchedError, "none of the 2 gene names matches a gene"),
        ("process.gmt", ["--to-taxon", "mouse"], InvalidArgumentError, "--gene-orthologs"),
        ("process.gmt", ["--corpus", "other"], NotFoundError, "no corpus 'other'"),
    ],
    ids=["other-species", "no-match", "no-orthologs", "no-corpus"],
)
def test_imports_that_cannot_be(
    place: Path, file: str, options: list[str], error: type[Exception], message: str
) -> None:
    (place / "none.gmt").write_text("A\t\tXYZ1\tXYZ2\n")
    (place / "mouse.gmt").write_text(
        "\t".join(["A", "", *(f"ENSMUSG{i:011d}" for i in range(1, 40))])
    )
    with pytest.raises(error, match=message):
        said(place, file, "--name", "other", *options)


def test_sets_are_carried_to_another_species(own: Path) -> None:
    pairs = ["9606\t1\tOrtholog\t10090\t100001", "9606\t3\tOrtholog\t10090\t100003"]
    head = "#tax_id\tGeneID\trelationship\tOther_tax_id\tOther_GeneID"
    (own / "orthologs").write_text("\n".join([head, *pairs, ""]))
    options = ("--to-taxon", "mouse", "--gene-orthologs", own / "orthologs", "--json")
    made = json.loads(said(own, "process.gmt", "--name", "mouse-process", *options))
    assert (made["taxon"], made["carried_from_taxon"], made["n_genes"]) == (10090, 9606, 2)
    assert made["match"]["n_without_ortholog"] == 3
    with live_server(own / "store") as live, Client(live.address) as client:
        found = client.get_gene_set("mouse-process", "APOPTOSIS")
        assert found.collection.carried_by_orthologs
        assert [each.gene.gene_id for each in found] == [100_001]
        assert set(found.unmatched) == {"OLD2", "NOGENE"}


def test_versions_like_those_of_any_kind(own: Path) -> None:
    store = Store.open(str(own / "store"))
    with live_server(own / "store") as live, Client(live.address) as client:
        assert len(list(client.list_gene_sets("process"))) == 3
        first = next(client.list_gene_sets("process")).collection
        (own / "process.gmt").write_text("APOPTOSIS\t\tGENE1")
        second = json.loads(said(own, "process.gmt", "--name", "process", "--json"))["collection"]
        client.reload()
        assert len(list(client.list_gene_sets("process"))) == 1
        run(from_store, "alias", second, "stable", "--store", store.uri)
        run(from_store, "retract", second, "--reason", "cut", "--force", "--store", store.uri)
        client.reload()
        assert len(list(client.list_gene_sets("process"))) == 3
        assert next(client.list_gene_set_collections()).n_sets == 3
        with pytest.raises(RetractedError, match=f"collection {second} was retracted: cut"):
            list(client.list_gene_sets("process@stable"))
    changes = run(from_store, "diff", first, second, "--store", store.uri, "--json")
    assert json.loads(changes) == {
        "added": [], "removed": ["SYNAPSE", "NEURON DEATH"], "changed": ["APOPTOSIS"],
        "n_common": 1,
    }  # fmt: skip
    entries = store.catalog.entries(Kind.GENE_SETS)
    assert [damage(store, entry) for entry in entries] == [""] * 3
    assert not collect(store, timedelta(0), force=True)
    copy_store(store.uri, str(own / "copy"), lambda done, total: None)
    copy = Store.open(str(own / "copy"))
    assert [copy.gene_sets(entry).names for entry in copy.catalog.entries(Kind.GENE_SETS)] == [
        store.gene_sets(entry).names for entry in entries
    ]
    with pytest.raises(click.UsageError, match="name a set"):
        from_server.main(["show", "process"], standalone_mode=False)


@pytest.fixture
def own(tmp_path: Path, place: Path) -> Path:
    """A copy of the folder, to change."""
    return Path(shutil.copytree(place, tmp_path / "own"))
