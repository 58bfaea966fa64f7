"""Genes over the wire: what they are called, what is written, their neighborhoods beside numpy."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from tests.integration.live import GENES, Live, live_server

from cellkin.client.transport.errors import error_from_rpc
from cellkin.indexer.embeddings.job import embed_genes
from cellkin.server import text_models
from cellkin.server.text_models import TextModels
from cellkin.store.catalog import Kind
from cellkin.store.store import Store
from cellkin.v1 import gene_service_pb2 as wire
from cellkin.wire import codec
from cellkin.wire.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    ModelNotLoadedError,
    NotFoundError,
)
from cellkin.wire.names import VersionName
from cellkin.wire.terms import GeneRoute, TextRung

pytestmark = pytest.mark.integration
HUMAN, MOUSE = 9606, 10090
EMBEDDING = "random-64-7"


def refused(call: Callable[[], Any]) -> Any:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return error_from_rpc(caught.value, "here")


def search(live: Live, **given: Any) -> wire.SearchGenesResponse:
    request = wire.SearchGenesRequest(**{"embedding": EMBEDDING, "k": 5} | given)
    answer: wire.SearchGenesResponse = live.genes.SearchGenes(request)
    return answer


@pytest.fixture(scope="module")
def vectors(store_path: Path) -> dict[int, Any]:
    """The centered unit vectors by GeneID, as the definition has them."""
    store = Store.open(str(store_path))
    raw = store.embedding(store.catalog.resolve(Kind.EMBEDDING, VersionName(EMBEDDING)))
    centered = raw.vectors - raw.vectors.mean(axis=0)
    unit = centered / np.linalg.norm(centered, axis=1, keepdims=True)
    return dict(zip(raw.gene_ids.tolist(), unit, strict=True))


def nearest(vectors: dict[int, Any], query: Any, without: set[int], offset: int = 0) -> list[int]:
    genes = [g for g in vectors if offset < g <= offset + 120 and g not in without]
    return sorted(genes, key=lambda g: (-float(vectors[g] @ query), g))[:5]


def ids(answer: wire.SearchGenesResponse) -> list[int]:
    return [hit.gene.gene_id for hit in answer.hits]


def test_a_gene_is_described_with_its_text(live: Live) -> None:
    gene = live.genes.GetGene(wire.GetGeneRequest(name="OLD5", taxon=HUMAN))
    assert (gene.record.symbol, gene.record.gene_id, gene.record.taxon) == ("GENE5", 5, HUMAN)
    assert gene.text == "protein number 5 of taxon 9606"
    assert (gene.text_source, gene.text_gene_id) == ("RefSeq", 5)
    assert list(gene.synonyms) == ["OLD5"]
    assert list(gene.ensembl_ids) == ["ENSG00000000005"]
    assert gene.versions.corpus.startswith("genes@")
    bare = live.genes.GetGene(wire.GetGeneRequest(name="GENE10", taxon=HUMAN))
    assert (bare.text, bare.record.rung) == ("", TextRung.NONE)


def test_genes_are_described_in_the_order_asked_for_or_not_at_all(live: Live) -> None:
    request = wire.BatchGetGenesRequest(names=["GENE7", "3", "GENE7"], taxon=HUMAN)
    found = live.genes.BatchGetGenes(request).genes
    assert [gene.record.gene_id for gene in found] == [7, 3, 7]
    request.names.append("nope")
    error = refused(lambda: live.genes.BatchGetGenes(request))
    assert isinstance(error, NotFoundError)
    assert error.metadata["gene"] == "nope"
    many = refused(lambda: live.genes.BatchGetGenes(wire.BatchGetGenesRequest(names=["1"] * 1001)))
    assert many.field == "names"


@pytest.mark.parametrize("place", [{"cell_index": "trio"}, {"corpus": "genes"}, {}])
def test_names_are_resolved(live: Live, place: dict[str, str]) -> None:
    names = ["GENE5", "OLD5", "gene6", "ENSG00000000007", "SHARED", "nope", "GENE10"]
    found = live.genes.ResolveGenes(wire.ResolveGenesRequest(genes=names, **place))
    match = found.genes
    assert codec.decode(match.gene_ids, np.int64, "").tolist() == [5, 5, 6, 7, 0, 0, 10]
    assert list(match.routes) == [
        GeneRoute.SYMBOL, GeneRoute.SYNONYM, GeneRoute.CASE_FOLDED, GeneRoute.ENSEMBL,
        GeneRoute.AMBIGUOUS, GeneRoute.UNMATCHED, GeneRoute.SYMBOL,
    ]  # fmt: skip
    assert list(match.in_space) == [1, 1, 1, 1, 0, 0, 0]
    assert [(a.name, list(a.gene_ids)) for a in found.ambiguous_genes] == [("SHARED", [1, 2])]
    assert [(r.gene_id, list(r.names)) for r in found.repeated_genes] == [(5, ["GENE5", "OLD5"])]
    assert found.versions.index.startswith("trio@") == ("cell_index" in place)


def test_the_neighborhood_of_a_gene(live: Live, vectors: dict[int, Any]) -> None:
    answer = search(live, gene="GENE5", taxon=HUMAN)
    assert ids(answer) == nearest(vectors, vectors[5], {5})
    for hit in answer.hits:
        assert hit.similarity == pytest.approx(vectors[5] @ vectors[hit.gene.gene_id], abs=1e-5)
    human = np.stack([vectors[g] for g in vectors if g <= 120])
    pairs = (human @ human.T)[np.triu_indices(len(human), 1)]
    for hit in answer.hits:
        share = (pairs < hit.similarity).mean()
        assert hit.background_percentile == pytest.approx(share, abs=0.01)
    other = search(live, gene="GENE5", taxon=HUMAN, target_taxon=MOUSE)
    assert ids(other) == nearest(vectors, vectors[5], set(), 100_000)


def test_the_neighborhood_of_a_set(live: Live, vectors: dict[int, Any]) -> None:
    members = wire.GeneSet(names=["GENE5", "GENE6", "OLD6", "8"])
    answer = search(live, gene_set=members, taxon=HUMAN)
    assert [g.gene_id for g in answer.gene_set] == [5, 6, 8]
    assert not answer.HasField("gene")
    mean = vectors[5] + vectors[6] + vectors[8]
    assert ids(answer) == nearest(vectors, mean / np.linalg.norm(mean), {5, 6, 8})


def test_the_neighborhood_of_a_vector(
    live: Live, store_path: Path, vectors: dict[int, Any]
) -> None:
    store = Store.open(str(store_path))
    raw = store.embedding(store.catalog.resolve(Kind.EMBEDDING, VersionName(EMBEDDING)))
    at = raw.gene_ids.tolist().index(5)
    answer = search(live, vector=codec.encode(3 * raw.vectors[at]), target_taxon=HUMAN)
    assert ids(answer)[0] == 5
    assert answer.hits[0].similarity == pytest.approx(1, abs=1e-5)
    assert ids(answer)[1:] == nearest(vectors, vectors[5], {5})[:4]


def test_hits_are_compared_across_embeddings(own_store: Path) -> None:
    embed_genes(Store.open(str(own_store)), "random:32:1", VersionName("genes"))
    with live_server(own_store) as live:
        answer = search(
            live, gene="GENE5", taxon=HUMAN, compare_embeddings=["random:32:1", EMBEDDING], k=108
        )
        alone = search(live, gene="GENE5", taxon=HUMAN, embedding="random-32-1", k=108)
    assert [name.partition("@")[0] for name in answer.compared_embeddings] == [
        "random-32-1", EMBEDDING,
    ]  # fmt: skip
    assert [hit.compared[1].rank for hit in answer.hits] == list(range(1, 108))
    order = {hit.gene.gene_id: rank for rank, hit in enumerate(alone.hits, 1)}
    assert [hit.compared[0].rank for hit in answer.hits] == [order[g] for g in ids(answer)]
    for hit in answer.hits:
        (there,) = [h for h in alone.hits if h.gene.gene_id == hit.gene.gene_id]
        assert hit.compared[0].similarity == pytest.approx(there.similarity, abs=1e-6)


class Echo:
    """Stands for a language model: gives a gene's own vector for its text."""

    def __init__(self, vector: Any, revision: str) -> None:
        self.vector = vector
        self.info = type("Info", (), {"revision": revision})()

    def embed(self, texts: list[str]) -> Any:
        return self.vector[None]


def test_a_free_text_needs_the_model_it_is_embedded_by(
    store_path: Path, live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = refused(lambda: search(live, text="secreted hormone", target_taxon=HUMAN))
    assert isinstance(error, ModelNotLoadedError)
    assert "start it with --text-model random-64-7" in error.message
    store = Store.open(str(store_path))
    entry = store.catalog.resolve(Kind.EMBEDDING, VersionName(EMBEDDING))
    vector = store.embedding(entry).vectors[4]
    for revision, works in ((entry.manifest["settings"].get("revision"), True), ("other", False)):
        monkeypatch.setattr(text_models, "_load", lambda spec, r=revision: Echo(vector, r))
        models = TextModels(["random:64:7"])
        if works:
            np.testing.assert_array_equal(models.embed("a text", entry), vector)
            with pytest.raises(InvalidArgumentError, match="a text of 1 signs"):
                models.embed(" ", entry)
        else:
            with pytest.raises(ModelNotLoadedError, match="cannot be compared"):
                models.embed("a text", entry)
    monkeypatch.undo()
    with pytest.raises(NotFoundError, match="no embedding model named 'none'"):
        TextModels(["none"])


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({}, InvalidArgumentError, "nothing is asked for"),
        ({"gene": "SHARED", "taxon": HUMAN}, InvalidArgumentError, "may mean any of 2"),
        ({"gene": "nope"}, NotFoundError, "is called 'nope'"),
        ({"gene": "GENE10", "taxon": HUMAN}, FailedPreconditionError, "has no text"),
        ({"gene": "GENE5", "taxon": HUMAN, "k": -1}, InvalidArgumentError, "k is -1"),
        ({"gene": "GENE5", "taxon": HUMAN, "target_taxon": 7955}, NotFoundError, "no other gene"),
        ({"gene_set": wire.GeneSet()}, InvalidArgumentError, "the set has no gene"),
        (
            {"gene_set": wire.GeneSet(names=["5", "100005"])}, InvalidArgumentError,
            "give target_taxon",
        ),
        ({"vector": b"\0" * 256, "target_taxon": HUMAN}, InvalidArgumentError, "all zero"),
        ({"vector": b"\1" * 512, "target_taxon": HUMAN}, InvalidArgumentError, "2 vectors"),
        ({"vector": b"\1" * 256}, InvalidArgumentError, "give target_taxon"),
        (
            {"vector": b"\1" * 256, "compare_embeddings": [EMBEDDING]}, InvalidArgumentError,
            "a vector belongs to one embedding",
        ),
        (
            {"gene": "GENE5", "taxon": HUMAN, "compare_embeddings": [EMBEDDING] * 9},
            InvalidArgumentError, "name at most 8",
        ),
    ],
)  # fmt: skip
def test_searches_that_are_refused(
    live: Live, given: dict[str, Any], error: type[Exception], message: str
) -> None:
    found = refused(lambda: search(live, **given))
    assert isinstance(found, error)
    assert message in found.message


def test_every_gene_of_a_matrix_is_reported(live: Live) -> None:
    found = live.genes.ResolveGenes(wire.ResolveGenesRequest(genes=GENES, cell_index="trio"))
    assert sum(found.genes.in_space) == 108
