"""Filters, scores and controls of a search for genes, beside numpy."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from cellkin.server.gene_search import GeneSearch
from cellkin.server.loaded_sets import LoadedGeneSets
from cellkin.server.loading import LoadedCorpus, LoadedEmbedding, SpeciesGenes
from cellkin.space.genes import GeneResolver
from cellkin.space.vectors import unit_rows
from cellkin.store.corpus import GeneNames
from cellkin.store.gene_sets import GeneSets
from cellkin.v1 import gene_service_pb2 as wire
from cellkin.wire.errors import FailedPreconditionError, InvalidArgumentError, NotFoundError

HUMAN, MOUSE, MODEL = 9606, 10090, "all-minilm-l6-v2"
N = 60
"""Genes of a species; those whose GeneID is divisible by 3 are not protein-coding."""
IDS = {HUMAN: np.arange(1, N + 1), MOUSE: np.arange(1001, 1001 + N)}
TYPES = ("ncRNA", "protein-coding", "protein-coding")


def gene_type(gene_id: int) -> str:
    return TYPES[gene_id % 3]


def names() -> GeneNames:
    rows = [
        {
            "gene_id": gene_id, "taxon": taxon, "symbol": f"G{gene_id}", "name": f"gene {gene_id}",
            "gene_type": gene_type(gene_id), "rung": 1,
        }
        for taxon, ids in IDS.items() for gene_id in ids.tolist()
    ]  # fmt: skip
    table = pa.Table.from_pylist(rows)
    gene_ids = table["gene_id"].to_numpy()
    nothing: list[list[Any]] = [[] for _ in rows]
    resolver = GeneResolver(
        gene_ids, table["taxon"].to_numpy().astype(np.int32), table["symbol"].to_pylist(),
        nothing, nothing, nothing, [],
    )  # fmt: skip
    return GeneNames(table, gene_ids, np.ones(len(rows), np.uint8), resolver)


def made(name: str, seed: int, n_without: int = 0) -> LoadedEmbedding:
    """Make an embedding of random vectors, without those of the last genes of each species."""
    rng = np.random.default_rng(seed)
    entry: Any = SimpleNamespace(
        name=name, full_name=f"{name}@1", manifest={"corpus": "genes@1", "settings": {}}
    )
    by_taxon = {}
    for taxon, ids in IDS.items():
        kept = ids[: N - n_without]
        vectors = unit_rows(rng.standard_normal((len(kept), 8)).astype(np.float32))
        types = np.array([gene_type(gene_id) for gene_id in kept.tolist()], object)
        by_taxon[taxon] = SpeciesGenes(kept, vectors, types)
    mean = np.zeros(8, np.float32)
    return LoadedEmbedding(entry, mean, LoadedCorpus(entry, names()), by_taxon)


class Versions:
    """Stands for the version cache."""

    def __init__(self) -> None:
        self.embeddings = {
            MODEL: made(MODEL, 1), "other": made("other", 2, n_without=20),
            f"symbol-only-{MODEL}": made(f"symbol-only-{MODEL}", 3),
        }  # fmt: skip

    def embedding(self, wanted: Any) -> LoadedEmbedding:
        if wanted.name not in self.embeddings:
            raise NotFoundError(f"no embedding {wanted.name}")
        return self.embeddings[wanted.name]

    def index(self, wanted: Any) -> Any:
        space = SimpleNamespace(
            gene_ids=np.array([2, 4, 5, 7]), shares=np.array([0.5, 0, 0.25, 0.25])
        )
        expression = None if wanted.name == "texts" else SimpleNamespace(space=space)
        entry = SimpleNamespace(full_name=f"{wanted.name}@1")
        return SimpleNamespace(entry=entry, index=SimpleNamespace(expression=expression))

    def gene_sets(self, wanted: Any) -> LoadedGeneSets:
        members = np.array([2, 3, 4, 8])
        sets = GeneSets(["a/b"], [""], np.array([0, 4]), members, np.ones(4, np.float32), [[]])
        entry: Any = SimpleNamespace(full_name=f"{wanted.name}@1")
        return LoadedGeneSets(entry, sets, LoadedCorpus(entry, names()))


VERSIONS = Versions()


def search(versions: Any = VERSIONS, **given: Any) -> wire.SearchGenesResponse:
    models: Any = None
    asked: dict[str, Any] = {"gene": "G1", "taxon": HUMAN}
    request = wire.SearchGenesRequest(**asked | given)
    return GeneSearch(versions, models, 1000, request).answer()


def test_what_a_partial_embedding_lacks_is_said_with_the_hits() -> None:
    versions = Versions()
    assert not search(versions, compare_embeddings=["other"]).warnings
    for name, n in ((MODEL, 5), ("other", 7)):
        entry: Any = versions.embeddings[name].entry
        entry.manifest["only"] = {"files": ["a"], "n_left_out": n}
    (found,) = search(versions).warnings
    assert (found.reason, f"{MODEL}@1 has vectors" in found.message) == ("PARTIAL_EMBEDDING", True)
    both = search(versions, compare_embeddings=["other"]).warnings
    assert [": 5 others" in both[0].message, ": 7 others" in both[1].message] == [True, True]


def ids(answer: wire.SearchGenesResponse) -> list[int]:
    return [hit.gene.gene_id for hit in answer.hits]


def cosines(name: str = MODEL, query: int = 1, taxon: int = HUMAN) -> dict[int, float]:
    genes = VERSIONS.embeddings[name]
    (row,) = np.flatnonzero(genes.by_taxon[HUMAN].gene_ids == query)
    values = genes.by_taxon[taxon].vectors @ genes.by_taxon[HUMAN].vectors[row]
    found = dict(zip(genes.by_taxon[taxon].gene_ids.tolist(), values.tolist(), strict=True))
    found.pop(query, None)
    return found


def best(values: dict[int, float], k: int = 10) -> list[int]:
    return sorted(values, key=lambda gene_id: (-values[gene_id], gene_id))[:k]


def test_protein_coding_genes_are_searched_unless_others_are_asked_for() -> None:
    answer = search()
    coding = {g: c for g, c in cosines().items() if g % 3}
    assert ids(answer) == best(coding)
    assert list(answer.filter.gene_types) == ["protein-coding"]
    assert (answer.n_searched, answer.score) == (len(coding), wire.GENE_SCORE_COSINE)
    assert {hit.gene_type for hit in answer.hits} == {"protein-coding"}
    every = search(filter=wire.GeneFilter(gene_types=["*"]))
    assert ids(every) == best(cosines())
    assert list(every.filter.gene_types) == ["*"]
    others = search(filter=wire.GeneFilter(gene_types=["ncRNA"]))
    assert ids(others) == best({g: c for g, c in cosines().items() if g % 3 == 0})


def test_what_a_hit_is_does_not_depend_on_its_company() -> None:
    answers = [
        search(k=39), search(k=5), search(k=39, score=wire.GENE_SCORE_CSLS),
        search(k=50, filter=wire.GeneFilter(taxa=[MOUSE, HUMAN], gene_types=["*"])),
        search(k=39, compare_embeddings=["other"], controls=["permuted"]),
    ]  # fmt: skip
    found: dict[int, set[float]] = {}
    for answer in answers:
        for hit in answer.hits:
            found.setdefault(hit.gene.gene_id, set()).add(hit.similarity)
    assert len(found) > 39
    assert {len(similarities) for similarities in found.values()} == {1}


def test_genes_of_any_type_are_searched_where_no_types_are_known() -> None:
    genes = VERSIONS.embeddings[MODEL]
    untyped = {
        taxon: replace(part, types=np.full(N, "", object)) for taxon, part in genes.by_taxon.items()
    }
    versions = SimpleNamespace(embedding=lambda _: replace(genes, by_taxon=untyped))
    answer = search(versions)
    assert ids(answer) == best(cosines())
    assert list(answer.filter.gene_types) == ["*"]


def test_species_are_ranked_together() -> None:
    answer = search(filter=wire.GeneFilter(taxa=[HUMAN, MOUSE], gene_types=["*"]), k=20)
    both = cosines() | cosines(taxon=MOUSE)
    assert ids(answer) == best(both, 20)
    assert {hit.gene.taxon for hit in answer.hits} == {HUMAN, MOUSE}
    assert list(answer.filter.taxa) == [HUMAN, MOUSE]


def test_genes_expressed_in_a_reference_and_genes_of_a_set() -> None:
    answer = search(filter=wire.GeneFilter(expressed_in="retina"))
    assert sorted(ids(answer)) == [2, 5, 7]
    assert answer.filter.expressed_in == "retina@1"
    answer = search(filter=wire.GeneFilter(gene_set="go/a/b"))
    assert sorted(ids(answer)) == [2, 4, 8]
    assert answer.filter.gene_set == "go@1/a/b"
    answer = search(filter=wire.GeneFilter(gene_set="go/a/b", expressed_in="retina"))
    assert ids(answer) == [2]


def test_hits_are_ordered_by_the_score_and_keep_their_cosine_rank() -> None:
    answer = search(score=wire.GENE_SCORE_CSLS)
    coding = np.array([g for g in IDS[HUMAN].tolist() if g % 3])
    vectors = VERSIONS.embeddings[MODEL].by_taxon[HUMAN].vectors[coding - 1]
    pairs = vectors @ vectors.T
    np.fill_diagonal(pairs, -np.inf)
    means = np.sort(pairs, axis=1)[:, -10:].mean(axis=1)
    near = cosines()
    scores = {g: 2 * near[g] - means[at] for at, g in enumerate(coding.tolist()) if g in near}
    assert ids(answer) == best(scores)
    order = best({g: c for g, c in near.items() if g % 3}, N)
    for hit in answer.hits:
        assert hit.score == pytest.approx(scores[hit.gene.gene_id], abs=1e-5)
        assert hit.cosine_rank == order.index(hit.gene.gene_id) + 1


def test_ranks_are_fused_over_embeddings() -> None:
    answer = search(score=wire.GENE_SCORE_FUSED, compare_embeddings=["other"])
    orders = [best({g: c for g, c in cosines(n).items() if g % 3}, N) for n in (MODEL, "other")]
    scores = {
        g: sum(1 / (61 + order.index(g)) for order in orders if g in order) for g in orders[0]
    }
    assert ids(answer) == best(scores)
    for hit in answer.hits:
        gene_id = hit.gene.gene_id
        there = orders[1].index(gene_id) + 1 if gene_id in orders[1] else 0
        assert hit.compared[0].rank == there
    with pytest.raises(InvalidArgumentError, match="name others in compare_embeddings"):
        search(score=wire.GENE_SCORE_FUSED)


def test_controls_are_ranked_beside() -> None:
    answer = search(controls=["permuted", "symbol-only"], k=39)
    coding = [g for g in IDS[HUMAN].tolist() if g % 3 and g != 1]
    assert sorted(ids(answer)) == coding
    permuted, symbols = ([hit.controls[at] for hit in answer.hits] for at in (0, 1))
    # Every rank is given once, and what is near is near in neither.
    assert sorted(there.rank for there in permuted) == list(range(1, 40))
    near = cosines(f"symbol-only-{MODEL}")
    order = best({g: near[g] for g in coding}, N)
    assert [there.rank for there in symbols] == [order.index(g) + 1 for g in ids(answer)]
    assert [there.rank for there in permuted] != list(range(1, 40))
    again = search(controls=["permuted"], k=39)
    assert [hit.controls[0].rank for hit in again.hits] == [there.rank for there in permuted]
    values = sorted(there.similarity for there in permuted)
    vectors = VERSIONS.embeddings[MODEL].by_taxon[HUMAN].coding.vectors
    (row,) = {
        at for at, line in enumerate(vectors @ vectors.T)
        if np.allclose(np.sort(np.delete(line, at)), values, atol=1e-5)
    }  # fmt: skip
    assert row > 0  # the query has the vector of another gene
    versions = SimpleNamespace(embedding=Versions().embedding)
    versions.embedding.__self__.embeddings.pop(f"symbol-only-{MODEL}")
    with pytest.raises(FailedPreconditionError, match="genes embed --model symbol-only:all-mini"):
        search(versions, controls=["symbol-only"])


def test_unknown_genes_of_a_set_are_told_and_not_used() -> None:
    members = wire.GeneSet(names=["G1", "nope", "G2", "", "1"])
    answer = search(gene=None, gene_set=members)
    assert [gene.gene_id for gene in answer.gene_set] == [1, 2]
    assert list(answer.unmatched) == ["nope", ""]
    vectors = VERSIONS.embeddings[MODEL].by_taxon[HUMAN].vectors
    near = dict(zip(IDS[HUMAN].tolist(), vectors @ (vectors[0] + vectors[1]), strict=True))
    assert ids(answer) == best({g: float(c) for g, c in near.items() if g % 3 and g > 2})
    with pytest.raises(NotFoundError, match=r"none of the set's 2 names .* 'nope', 'no'"):
        search(gene=None, gene_set=wire.GeneSet(names=["nope", "no"]))
    with pytest.raises(NotFoundError, match="is called 'nope'"):
        search(gene="nope")


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"gene_types": ["pseudo"]}, InvalidArgumentError, "there are: ncRNA, protein-coding"),
        ({"gene_set": "go"}, InvalidArgumentError, "write COLLECTION/SET"),
        ({"gene_set": "go/c"}, NotFoundError, "has no set 'c'"),
        ({"expressed_in": "texts"}, FailedPreconditionError, "no expression space"),
        ({"taxa": [7955]}, NotFoundError, "no other gene of zebrafish"),
        ({"taxa": [-1]}, InvalidArgumentError, "a taxon is negative"),
        (
            {"taxa": [MOUSE], "expressed_in": "retina"}, NotFoundError,
            "no other gene of mouse, protein-coding, expressed in retina@1",
        ),
    ],
    ids=lambda value: None if not isinstance(value, dict) else "-".join(value),
)  # fmt: skip
def test_filters_that_are_refused(
    given: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        search(filter=wire.GeneFilter(**given))


@pytest.mark.parametrize("given", [{"score": 99}, {"controls": ["random"]}], ids=str)
def test_unknown_scores_and_controls_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgumentError):
        search(**given)
