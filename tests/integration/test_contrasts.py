"""Contrasts and enrichment through a real server: planted genes are found, mistakes are named."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anndata
import grpc
import numpy as np
import pytest
from scipy import stats
from tests.integration.live import GENES, Live, block, live_server

from cellkin.store.catalog import Kind
from cellkin.store.gene_sets import GeneSets
from cellkin.store.store import Store
from cellkin.v1 import gene_service_pb2, gene_set_service_pb2_grpc
from cellkin.v1 import gene_set_service_pb2 as wire
from cellkin.wire.names import VersionName

pytestmark = pytest.mark.integration
SETS = {"GENE FAMILY": range(11, 21), "SYNAPSE": range(61, 75), "NUMBER": range(90, 100)}


def publish(store: Store, name: str, sets: dict[str, Any], kind: str, taxon: int) -> None:
    ids = [sorted(members) for members in sets.values()]
    indptr = np.cumsum([0, *map(len, ids)])
    gene_ids = np.concatenate(ids).astype(np.int64)
    weights = np.where(gene_ids % 100 == 11, -1, 1).astype(np.float32)
    unmatched: list[list[str]] = [[] for _ in sets]
    corpus = store.catalog.resolve(Kind.CORPUS, VersionName("genes")).full_name
    store.publish_gene_sets(
        name,
        GeneSets(list(sets), [""] * len(sets), indptr, gene_ids, weights, unmatched),
        {
            "set_kind": kind, "taxon": taxon, "n_sets": len(sets), "n_genes": 9,
            "corpus": corpus, "carried_from_taxon": 0,
        },
    )  # fmt: skip


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, store_path: Path) -> Iterator[Live]:
    path = Path(shutil.copytree(store_path, tmp_path_factory.mktemp("contrasts") / "store"))
    store = Store.open(str(path))
    publish(store, "made", SETS, "pathways", 9606)
    publish(store, "regulons", {"TF": SETS["GENE FAMILY"]}, "regulons", 9606)
    mouse = {"MOUSE": range(100_011, 100_021)}
    publish(store, "mouse", mouse, "pathways", 10090)
    with live_server(path) as live:
        yield live


@pytest.fixture(scope="module")
def stub(served: Live) -> gene_set_service_pb2_grpc.GeneSetServiceStub:
    return gene_set_service_pb2_grpc.GeneSetServiceStub(served.channel)


def planted(n: int = 60, n_a: int = 30) -> tuple[np.ndarray, np.ndarray]:
    """Return counts in which group a has more of GENE11 to GENE20, and the groups."""
    counts = np.random.default_rng(0).poisson(1.0, (n, 120)).astype(np.float32)
    counts[:n_a, 10:20] += np.random.default_rng(1).poisson(3.0, (n_a, 10))
    return counts, (np.arange(n) >= n_a).astype(np.uint8)


def contrast(
    stub: Any, counts: Any, groups: Any, batches: tuple[str, ...] = (), **header: Any
) -> wire.ContrastResult:
    """Send cells in two blocks and return the result."""
    request = wire.ContrastSubtypesRequest
    given: dict[str, Any] = {
        "index": "trio", "genes": GENES, "units": 1, "a": ["sick"], "b": ["well"],
        "collections": ["made"],
    } | header  # fmt: skip
    half = len(groups) // 2
    blocks = [
        request(
            cells=wire.ContrastCells(
                cells=block(counts[part]), groups=groups[part].tobytes(), batches=batches[part]
            )
        )
        for part in (slice(0, half), slice(half, None))
    ]
    messages = [request(header=wire.ContrastHeader(**given)), *blocks]
    messages.append(request(finish=wire.ContrastFinish()))
    report, result = stub.ContrastSubtypes(iter(messages))
    assert report.WhichOneof("payload") == "report"
    return result.result  # type: ignore[no-any-return]


def refused(call: Callable[[], object]) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    error: Any = caught.value
    return error.code().name, error.details()


def test_planted_genes_sets_and_regulators_are_found(stub: Any) -> None:
    counts, groups = planted()
    batches = tuple(f"d{at % 6}" for at in range(60))
    result = contrast(stub, counts, groups, batches, regulons=["regulons"])
    assert (result.n_a, result.n_b, result.gene_test) == (30, 30, "wilcoxon")
    measured = [gene for gene in result.genes if not gene.predicted_from_text]
    assert result.n_genes == len(measured) == 120
    statistics = [gene.statistic for gene in measured]
    assert statistics == sorted(statistics, reverse=True)
    top = measured[:10]
    assert {gene.gene.gene_id for gene in top} == set(range(11, 21))
    assert all(gene.fdr < 0.05 and gene.log2_fold_change > 0.5 for gene in top)
    assert all(gene.mean_a > gene.mean_b for gene in top)
    assert np.median([gene.pseudobulk_p_value for gene in top]) < 0.01
    by_name = {found.set: found for found in result.sets}
    assert result.sets[0].set == "GENE FAMILY"
    assert [name for name, found in by_name.items() if found.called] == ["GENE FAMILY"]
    assert by_name["GENE FAMILY"].effect > 3
    assert set(by_name["GENE FAMILY"].leading_genes) == {f"GENE{i}" for i in range(11, 21)}
    assert result.n_permutations == 100
    assert result.called_by_chance < 0.2
    (regulator,) = result.regulators
    assert (regulator.regulator, regulator.n_targets) == ("TF", 10)
    assert regulator.fdr < 0.05
    assert sum(gene.contribution for gene in measured) > 0


def test_blocks_and_the_order_of_cells_and_genes_change_no_bit(stub: Any) -> None:
    counts, groups = planted()
    rng = np.random.default_rng(5)
    rows, columns = rng.permutation(60), rng.permutation(120)
    batches = tuple(f"d{at % 6}" for at in range(60))
    one = contrast(stub, counts, groups, batches, regulons=["regulons"])
    two = contrast(
        stub, counts[rows][:, columns], groups[rows], tuple(batches[row] for row in rows),
        genes=[GENES[at] for at in columns], regulons=["regulons"],
    )  # fmt: skip
    assert one == two
    # Nor do other collections of the call.
    alone = contrast(stub, counts, groups, batches)
    assert list(alone.sets) == list(one.sets)
    assert list(alone.genes) == list(one.genes)


def test_small_groups_and_missing_batches_are_said(stub: Any) -> None:
    counts, groups = planted(12, 6)
    reasons = {warning.reason for warning in contrast(stub, counts, groups).warnings}
    assert {"SMALL_GROUPS", "CELLS_AS_REPLICATES"} <= reasons
    # Nothing is called of cells without any difference.
    rng = np.random.default_rng(3)
    none = contrast(stub, rng.poisson(1, (40, 120)), (np.arange(40) < 20).astype(np.uint8))
    assert not any(found.called for found in none.sets)


def test_the_strongest_genes_of_each_direction_can_be_asked_for(stub: Any) -> None:
    counts, groups = planted()
    found = [
        g for g in contrast(stub, counts, groups, n_genes=5).genes if not g.predicted_from_text
    ]
    assert [gene.statistic > 0 for gene in found] == [True] * 5 + [False] * 5


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        ({"n_permutations": 7}, "INVALID_ARGUMENT", "100 to 10000"),
        ({"collections": ["mouse"]}, "INVALID_ARGUMENT", "--to-taxon 9606"),
        ({"regulons": ["mouse"]}, "INVALID_ARGUMENT", "house mouse|mouse genes"),
        ({"collections": ["nothing"]}, "NOT_FOUND", "nothing"),
        ({"units": 0}, "INVALID_ARGUMENT", "units"),
        ({"genes": [f"X{i}" for i in range(120)]}, "FAILED_PRECONDITION", "gene"),
    ],
    ids=["permutations", "sets-of-mouse", "regulons-of-mouse", "no-sets", "units", "genes"],
)
def test_wrong_headers_are_refused(stub: Any, change: dict[str, Any], code: str, said: str) -> None:
    counts, groups = planted()
    found = refused(lambda: contrast(stub, counts, groups, **change))
    assert found[0] == code
    assert any(part in found[1] for part in said.split("|"))


@pytest.mark.parametrize("n_b", [0, 1, 2])
def test_groups_that_are_too_small_are_refused(stub: Any, n_b: int) -> None:
    counts, _ = planted()
    groups = (np.arange(60) >= 60 - n_b).astype(np.uint8)
    code, said = refused(lambda: contrast(stub, counts, groups))
    assert code == "INVALID_ARGUMENT"
    assert f"group b has {n_b} cell" in said


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ({"a": ["alpha"], "b": ["alpha", "beta"]}, "'alpha' is in both groups"),
        ({"a": ["alpha"], "b": ["gamma"]}, "no label 'gamma'; it has alpha, beta, delta"),
        ({"a": []}, "group a has no label"),
        ({"a": ["alpha", "beta", "delta"]}, "none is left for b"),
    ],
    ids=["overlap", "unknown", "none", "all"],
)
def test_wrong_labels_of_the_reference_are_refused(
    stub: Any, header: dict[str, Any], said: str
) -> None:
    request = wire.ContrastSubtypesRequest
    first = request(header=wire.ContrastHeader(index="trio", **header))
    code, details = refused(
        lambda: list(stub.ContrastSubtypes(iter([first, request(finish=wire.ContrastFinish())])))
    )
    assert code == "INVALID_ARGUMENT"
    assert said in details


def contrast_labels(stub: Any, **header: Any) -> wire.ContrastResult:
    request = wire.ContrastSubtypesRequest
    first = request(header=wire.ContrastHeader(**({"index": "trio", "a": ["alpha"]} | header)))
    report, result = stub.ContrastSubtypes(iter([first, request(finish=wire.ContrastFinish())]))
    assert list(report.report.a) == ["alpha"]
    return result.result  # type: ignore[no-any-return]


def test_labels_of_the_reference_are_compared_by_their_profiles(
    stub: Any, make_cells: Callable[..., anndata.AnnData]
) -> None:
    found = contrast_labels(stub, collections=["made"], regulons=["regulons"])
    cells = make_cells(150, 1)  # those of the reference
    in_a = (cells.obs["cell_type"] == "alpha").to_numpy()
    assert (found.n_a, found.n_b, found.gene_test) == (50, 100, "welch")
    measured = {gene.gene.gene_id: gene for gene in found.genes if not gene.predicted_from_text}
    assert {gene_id for gene_id, gene in measured.items() if gene.statistic > 5} == set(
        range(1, 41)
    )
    counts = cells.X.toarray()
    logs = np.log1p(counts / counts.sum(axis=1, keepdims=True) * 1e4)
    for gene_id in (1, 50, 100):
        values = logs[:, gene_id - 1]
        expected = stats.ttest_ind(values[in_a], values[~in_a], equal_var=False)
        assert measured[gene_id].statistic == pytest.approx(expected.statistic, rel=1e-3)
        assert measured[gene_id].detected_a == pytest.approx((values[in_a] > 0).mean())
    by_name = {one.set: one for one in found.sets}
    assert found.sets[0].set == "GENE FAMILY"
    assert by_name["GENE FAMILY"].called
    assert by_name["SYNAPSE"].effect < 0
    assert found.called_by_chance < 0.2
    assert sum(gene.contribution for gene in measured.values()) > 0
    # Two labels alone.
    two = contrast_labels(stub, b=["beta"], collections=["made"])
    assert (two.n_a, two.n_b) == (50, 50)


def test_cells_are_not_sent_where_labels_are_compared(stub: Any) -> None:
    counts, groups = planted()
    code, said = refused(lambda: contrast(stub, counts, groups, genes=[], a=["alpha"], b=[]))
    assert code == "INVALID_ARGUMENT"
    assert "names no genes" in said


def enrich(stub: Any, **request: Any) -> wire.EnrichGenesResponse:
    given = {"collections": ["made"]} | request
    return stub.EnrichGenes(wire.EnrichGenesRequest(**given))  # type: ignore[no-any-return]


def named(numbers: Any) -> wire.NamedGenes:
    return wire.NamedGenes(names=[f"GENE{i}" for i in numbers])


def test_a_list_is_tested_in_its_universe(stub: Any) -> None:
    listed = wire.NamedGenes(names=[f"GENE{i}" for i in range(11, 19)] + ["NOGENE", "GENE61"])
    found = enrich(stub, genes=listed, universe=named(range(1, 121)))
    assert (found.n_genes, found.n_universe, list(found.n_tested)) == (9, 120, [3])
    assert list(found.unmatched) == ["NOGENE"]
    first = found.sets[0]
    assert (first.set, first.n_genes, first.n_overlap, first.called) == ("GENE FAMILY", 10, 8, True)
    assert not first.HasField("permuted_p_value")
    # "gene number 11" shares a word with NUMBER alone, as "gene" and "family" name nothing.
    by_name = {one.set: one for one in found.sets}
    assert by_name["GENE FAMILY"].masked_p_value == first.p_value
    assert by_name["NUMBER"].masked_p_value == 1
    # Without a universe it is the genes of any set of the collection.
    assert enrich(stub, genes=listed).n_universe == sum(len(s) for s in SETS.values())


def test_a_ranking_does_not_depend_on_the_order_of_its_genes(stub: Any) -> None:
    rng = np.random.default_rng(0)
    names = [f"GENE{i}" for i in range(1, 121)]
    values = np.round(
        rng.normal(size=120) + np.array([2.0 * (11 <= i <= 20) for i in range(1, 121)]), 1
    )
    order = rng.permutation(120)
    one = enrich(stub, ranking=wire.RankedGenes(names=names, values=values))
    two = enrich(
        stub, ranking=wire.RankedGenes(names=[names[i] for i in order], values=values[order])
    )
    assert one == two
    assert one.sets[0].set == "GENE FAMILY"
    assert one.sets[0].called
    assert one.sets[0].effect > 0
    down = enrich(stub, ranking=wire.RankedGenes(names=names, values=-values))
    assert down.sets[0].effect == pytest.approx(-one.sets[0].effect)
    assert down.sets[0].p_value == pytest.approx(one.sets[0].p_value)


def test_a_neighborhood_is_tested_against_permuted_vectors_too(stub: Any) -> None:
    search = gene_service_pb2.SearchGenesRequest(
        gene="GENE1", taxon=9606, k=20, embedding="random-64-7"
    )
    found = enrich(stub, neighborhood=search)
    assert found.versions.embedding.startswith("random-64-7@")
    assert all(one.HasField("permuted_p_value") for one in found.sets)
    assert not any(one.called for one in found.sets)


@pytest.mark.parametrize(
    ("request_", "code", "said"),
    [
        ({}, "INVALID_ARGUMENT", "give genes, a ranking or a neighborhood"),
        ({"genes": wire.NamedGenes(names=["NOGENE"])}, "NOT_FOUND", "NOGENE"),
        (
            {"genes": named([11]), "collections": ["mouse"], "taxon": 9606},
            "INVALID_ARGUMENT",
            "mouse",
        ),
        ({"genes": named([11]), "collections": []}, "INVALID_ARGUMENT", "collection"),
        ({"genes": named([11]), "min_size": 9, "max_size": 3}, "INVALID_ARGUMENT", "min_size"),
        ({"genes": named([1]), "universe": named([2, 3])}, "INVALID_ARGUMENT", "universe"),
        (
            {"ranking": wire.RankedGenes(names=["GENE1"], values=[float("nan")])},
            "INVALID_ARGUMENT",
            "'GENE1' is nan",
        ),
        ({"ranking": wire.RankedGenes(names=["GENE1"])}, "INVALID_ARGUMENT", "give each name"),
    ],
    ids=["nothing", "unknown", "species", "collections", "sizes", "universe", "nan", "lengths"],
)
def test_wrong_requests_are_refused(
    stub: Any, request_: dict[str, Any], code: str, said: str
) -> None:
    found = refused(lambda: enrich(stub, **request_))
    assert found[0] == code
    assert said in found[1]


def test_cells_of_the_fixture_are_told_apart_by_their_genes(
    stub: Any, make_cells: Callable[..., anndata.AnnData]
) -> None:
    cells = make_cells(60, 9)
    groups = (cells.obs["cell_type"] != "alpha").to_numpy().astype(np.uint8)
    found = contrast(stub, cells.X, groups)
    measured = [gene for gene in found.genes if not gene.predicted_from_text]
    assert {gene.gene.gene_id for gene in measured[:40]} == set(range(1, 41))
