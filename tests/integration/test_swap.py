"""Versions are swapped under load: no error, no answer of two versions, no bad version served."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import anndata
import grpc
import numpy as np
import pytest
from tests.integration.live import GENES, Live, block, connected, live_server

from cellkin.indexer.cells.job import index_cells
from cellkin.indexer.cells.sources import Reference
from cellkin.space.recipe import TEXT_V1
from cellkin.store.catalog import Entry, Kind
from cellkin.store.store import Store
from cellkin.v1 import catalog_service_pb2 as catalog
from cellkin.v1 import cell_service_pb2 as wire
from cellkin.v1 import gene_service_pb2 as genes
from cellkin.wire import codec
from cellkin.wire.names import VersionName

pytestmark = pytest.mark.integration
Serve = Callable[..., AbstractContextManager[tuple[str, object]]]


def another(store: Store, entry: Entry, **manifest: object) -> Entry:
    """Publish the content of a version once more, as the newest."""
    return store.catalog.commit(
        Kind.INDEX, entry.name, entry.digest, {**entry.manifest, **manifest}
    )


@pytest.fixture
def two(
    own_store: Path, tmp_path: Path, make_cells: Callable[..., anndata.AnnData]
) -> tuple[Store, list[Entry]]:
    """A store with two versions of `trio` that answer differently."""
    store = Store.open(str(own_store))
    first = store.catalog.resolve(Kind.INDEX, VersionName("trio"))
    make_cells(90, 8).write_h5ad(tmp_path / "next.h5ad")
    reference = Reference([tmp_path / "next.h5ad"], "cell_type")
    index_cells(store, "trio", reference, VersionName("random-64-7"), TEXT_V1)
    return store, [first, store.catalog.resolve(Kind.INDEX, VersionName("trio"))]


def one_search(live: Live, queries: bytes, index: str = "trio") -> wire.SearchCellsResponse:
    header = wire.SearchHeader(index=index, k=3)
    request = wire.SearchCellsRequest(header=header, queries=wire.SearchQueries(vectors=queries))
    answer: wire.SearchCellsResponse = live.cells.SearchCells(request)
    return answer


@pytest.mark.parametrize(
    ("n_requests", "n_clients", "n_swaps"),
    [(1_000, 8, 6), pytest.param(10_000, 32, 20, marks=pytest.mark.slow)],
)
def test_swaps_under_load(
    serve: Serve,
    two: tuple[Store, list[Entry]],
    n_requests: int,
    n_clients: int,
    n_swaps: int,
) -> None:
    store, contents = two
    queries = codec.encode(np.random.default_rng(0).standard_normal((2, 64)).astype(np.float32))
    with serve(Path(store.uri)) as (address, _), connected(address) as live:
        expected = {e.full_name: one_search(live, queries, e.full_name).hits for e in contents}
        assert len({h.SerializeToString() for h in expected.values()}) == 2
        left = threading.Semaphore(n_requests)
        seen: set[str] = set()

        def ask() -> int:
            n = 0
            with connected(address) as mine:
                while left.acquire(blocking=False):
                    answer = one_search(mine, queries)
                    assert answer.hits == expected[answer.versions.index], "of two versions"
                    seen.add(answer.versions.index)
                    n += 1
            return n

        with ThreadPoolExecutor(n_clients) as pool:
            asking = [pool.submit(ask) for _ in range(n_clients)]
            for swap in range(n_swaps):
                entry = another(store, contents[swap % 2])
                expected[entry.full_name] = expected[contents[swap % 2].full_name]
                done = live.catalog.Reload(catalog.ReloadRequest())
                assert one_search(live, queries).versions.index == entry.full_name
                assert not done.refused_versions
                # Until some were answered by it.
                deadline = time.monotonic() + 30
                while (
                    entry.full_name not in seen
                    and any(not f.done() for f in asking)
                    and time.monotonic() < deadline
                ):
                    time.sleep(0.01)
            assert sum(future.result() for future in asking) == n_requests
        assert len(seen) > n_swaps // 2
        time.sleep(0.5)
        live.catalog.Reload(catalog.ReloadRequest())
        listed = live.catalog.ListCellIndexes(catalog.ListCellIndexesRequest(all_versions=True))
        loaded = {index.name for index in listed.cell_indexes if index.loaded}
        # The newest, and the two that are asked for by their own names.
        assert loaded == {entry.full_name, *(e.full_name for e in contents)}


def test_a_stream_stays_on_its_version_and_it_is_unloaded_after_it(
    two: tuple[Store, list[Entry]], make_cells: Callable[..., anndata.AnnData]
) -> None:
    store, contents = two
    counts = block(make_cells(4, 30).X)
    header = wire.SearchHeader(index="trio", k=3, genes=GENES, units=wire.EXPRESSION_UNITS_LINEAR)
    go = threading.Semaphore(2)

    def requests() -> object:
        yield wire.StreamSearchCellsRequest(header=header)
        for _ in range(6):
            assert go.acquire(timeout=20)
            yield wire.StreamSearchCellsRequest(queries=wire.SearchQueries(cells=counts))

    with live_server(Path(store.uri)) as live:

        def is_loaded(name: str) -> bool:
            found = live.catalog.GetCellIndex(catalog.GetCellIndexRequest(name=name))
            return bool(found.loaded)

        stream = live.cells.StreamSearchCells(requests())
        old = next(stream).report.versions.index
        assert old == contents[1].full_name
        first = next(stream).hits
        next(stream)
        newer = another(store, contents[0])
        switched = live.catalog.Reload(catalog.ReloadRequest()).switched_versions
        assert list(switched) == [newer.full_name]
        assert is_loaded(old)
        go.release(4)
        rest = [answer.hits for answer in stream]
        assert len(rest) == 4
        assert all(hits == first for hits in rest)
        deadline = time.monotonic() + 10
        while is_loaded(old):
            assert time.monotonic() < deadline, "the old version is still in memory"
            time.sleep(0.05)


@pytest.mark.parametrize("harm", ["other labels", "fewer cells", "mixed vectors", "file cut short"])
def test_a_bad_version_never_replaces_a_good_one(two: tuple[Store, list[Entry]], harm: str) -> None:
    store, contents = two
    good, other = contents[1], contents[0]
    # Only Reload reads the catalog, so that it is what reports the switch.
    with live_server(Path(store.uri), refresh_s=600) as live:
        if harm == "other labels":
            another(store, good, label_counts={"alpha": 90})
        elif harm == "fewer cells":
            another(store, good, n_cells=89)
        elif harm == "mixed vectors":
            # The cells of one version with the table of another.
            table = {key: other.manifest[key] for key in ("table", "table_version")}
            another(store, good, **table)
        else:
            folder = Path(store.uri) / other.manifest["path"]
            (folder / "neighbors.faiss").write_bytes(b"short")
            another(store, other)
        done = live.catalog.Reload(catalog.ReloadRequest())
        assert not done.switched_versions
        (refused,) = done.refused_versions
        assert refused.message.startswith("cell index trio@")
        queries = codec.encode(np.ones(64, np.float32))
        assert one_search(live, queries).versions.index == good.full_name
        # And a good one that comes after it is taken.
        newer = another(store, good)
        assert list(live.catalog.Reload(catalog.ReloadRequest()).switched_versions) == [
            newer.full_name
        ]


def test_a_store_that_is_away_for_a_moment_changes_nothing(
    two: tuple[Store, list[Entry]], tmp_path: Path
) -> None:
    store, (first, second) = two
    store.catalog.set_alias(first, "stable")
    store.catalog.retract(second, "swapped samples")
    root, queries = Path(store.uri), codec.encode(np.ones(64, np.float32))
    names = "trio", "trio@stable"
    asked = catalog.ListCellIndexesRequest(all_versions=True)
    gene = genes.GetGeneRequest(name="GENE3", taxon=9606)
    with live_server(root) as live:
        before = [one_search(live, queries, name).hits for name in names]
        listed, described = live.catalog.ListCellIndexes(asked), live.genes.GetGene(gene)
        root.rename(tmp_path / "away")
        time.sleep(0.5)
        with pytest.raises(grpc.RpcError, match="UNAVAILABLE") as caught:
            live.catalog.Reload(catalog.ReloadRequest())
        assert "what is loaded stays in use" in str(caught.value)
        with pytest.raises(grpc.RpcError, match="UNAVAILABLE"):
            one_search(live, queries, "other")
        assert [one_search(live, queries, name).hits for name in names] == before
        assert live.catalog.ListCellIndexes(asked) == listed
        (tmp_path / "away").rename(root)
        assert not live.catalog.Reload(catalog.ReloadRequest()).switched_versions
        assert [one_search(live, queries, name).hits for name in names] == before
        assert live.genes.GetGene(gene) == described


def test_an_alias_that_moves_and_a_version_that_is_withdrawn_are_followed(
    two: tuple[Store, list[Entry]],
) -> None:
    store, (first, second) = two
    queries = codec.encode(np.ones(64, np.float32))
    kind = catalog.VERSION_KIND_INDEX
    with live_server(Path(store.uri)) as live:

        def moved(version: str) -> str:
            request = catalog.SetAliasRequest(kind=kind, version=version, alias="stable")
            live.catalog.SetAlias(request)
            return one_search(live, queries, "trio@stable").versions.index

        assert moved(first.full_name) == first.full_name
        assert moved("trio@latest") == second.full_name
        withdrawal = catalog.RetractVersionRequest(
            kind=kind, version=second.full_name, reason="swapped samples",
            replacement=first.full_name,
        )  # fmt: skip
        with pytest.raises(grpc.RpcError, match="is what stable means"):
            live.catalog.RetractVersion(withdrawal)
        assert moved(first.full_name) == first.full_name
        live.catalog.RetractVersion(withdrawal)
        assert one_search(live, queries).versions.index == first.full_name
        with pytest.raises(Exception, match="was retracted: swapped samples; use trio@"):
            one_search(live, queries, second.full_name)
        # A name alone is the version that is served.
        described = live.catalog.GetCellIndex(catalog.GetCellIndexRequest(name="trio"))
        assert described.name == first.full_name
        assert described.aliases == ["stable"]
        described = live.catalog.GetCellIndex(catalog.GetCellIndexRequest(name=second.full_name))
        assert described.retraction.replacement == first.full_name
