"""The layout of an index, from the command that makes it to positions of a query's cells."""

import asyncio
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pytest
from tests.integration.live import GENES, Live, live_server

import cellkin.client as ck
from cellkin.client.results.layouts import Layout
from cellkin.indexer.cells.job import append_cells, merge_indexes, place_like
from cellkin.indexer.cells.sources import Reference
from cellkin.store.catalog import Kind
from cellkin.store.store import Store
from cellkin.v1 import cell_service_pb2 as wire
from cellkin.wire.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
)
from cellkin.wire.names import VersionName
from cellkin.wire.terms import ExpressionUnits

pytestmark = [
    pytest.mark.integration,
    # The store's vectors are random, which is said of every label by text.
    pytest.mark.filterwarnings("ignore:the gene vectors of random-64-7:UserWarning"),
    pytest.mark.filterwarnings("ignore:cells are compared by text though:UserWarning"),
]
LINEAR = ExpressionUnits.LINEAR
MakeCells = Callable[..., anndata.AnnData]


@pytest.fixture(scope="module")
def client(laid_out: Path) -> Iterator[ck.Client]:
    with live_server(laid_out) as live, ck.Client(live.address) as client:
        yield client


@pytest.fixture(scope="module")
def layout(client: ck.Client) -> Layout:
    return client.get_layout("trio")


def test_a_layout_has_every_cell_of_the_reference(client: ck.Client, layout: Layout) -> None:
    assert layout.versions.index == client.get_cell_index("trio").name
    assert layout.positions.shape == (150, 2)
    assert (layout.certificate.n_cells, layout.certificate.n_fitted) == (150, 99)
    assert layout.certificate.trustworthiness > layout.certificate.permuted_trustworthiness
    rows = [149, 0, 7]
    cells = client.get_cells("trio", rows=rows)
    table = layout.to_pandas().iloc[rows]
    assert list(cells.rows) == list(table["row"])
    assert list(cells.labels) == list(table["label"])
    assert list(cells.batches) == list(table["batch"])
    by_name = client.get_cells("trio", cells.cell_ids, return_vectors=True)
    np.testing.assert_array_equal(by_name.rows, cells.rows)


def test_pages_are_of_one_version(
    client: ck.Client, layout: Layout, laid_out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cellkin.server.layouts.MOST_POINTS", 40)
    paged = client.get_layout("trio")
    np.testing.assert_array_equal(paged.positions, layout.positions)
    np.testing.assert_array_equal(paged.labels, layout.labels)
    np.testing.assert_array_equal(paged.n_same, layout.n_same)
    np.testing.assert_array_equal(paged.batches, layout.batches)

    async def awaited() -> Layout:
        async with ck.AsyncClient(client._rules.endpoint.address) as ours:
            return await ours.get_layout("trio")

    np.testing.assert_array_equal(asyncio.run(awaited()).positions, layout.positions)
    ask = client._channel.method("CellService/GetLayout")
    first = ask(wire.GetLayoutRequest(index="trio", page_size=60))
    assert len(first.n_same) == 40
    catalog = Store.open(str(laid_out)).catalog
    older = catalog.view().entries(Kind.INDEX, "trio")[0]
    token = first.next_page_token
    assert ask(wire.GetLayoutRequest(index=older.full_name, page_token=token)).first_row == 40


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"index": "trio", "page_size": -1}, "page_size is -1"),
        ({"index": "trio", "page_token": "?"}, "given out by no answer"),
        ({"index": "trio", "page_token": "b3RoZXJAMQAzMA=="}, "of another request"),
        ({"index": "trio", "page_token": "dHJpbw=="}, "of another request"),
    ],
    ids=["size", "no-token", "other-index", "no-row"],
)
def test_wrong_pages_are_refused(client: ck.Client, request_: Any, said: str) -> None:
    ask = client._channel.method("CellService/GetLayout")
    with pytest.raises(InvalidArgumentError, match=said), client._rules.told():
        ask(wire.GetLayoutRequest(**request_))


def test_cells_by_row_and_name_exclude_each_other(client: ck.Client) -> None:
    with pytest.raises(InvalidArgumentError, match="give one of them"):
        client.get_cells("trio", ["cell1-0"], rows=[0])
    with pytest.raises(NotFoundError, match="no row 150; it has 150"):
        client.get_cells("trio", rows=[0, 150])
    with pytest.raises(InvalidArgumentError, match="ask for 1 to 1000"):
        client.get_cells("trio", rows=range(1001))


@pytest.mark.parametrize("space", ["text", "expression"])
def test_a_cell_is_placed_alike_in_any_company_and_order(
    client: ck.Client, make_cells: MakeCells, space: str
) -> None:
    adata = make_cells(60, 8)
    ck.tl.place(adata, "trio", client=client, space=space)
    together = adata.obsm["X_cellkin_layout"]
    assert together.dtype == np.float32
    assert np.isfinite(together).all()
    order = np.random.default_rng(0).permutation(60)
    for rows in ([17], order[:9], order):
        part = adata[rows].copy()
        ck.tl.place(part, "trio", client=client, space=space)
        np.testing.assert_array_equal(part.obsm["X_cellkin_layout"], together[rows])

    async def awaited() -> Any:
        async with ck.AsyncClient(client._rules.endpoint.address) as ours:
            return await ours.predict_subtypes(
                "trio", GENES, adata.X, units=LINEAR, space=space, return_positions=True
            )

    found = asyncio.run(awaited()).predictions
    np.testing.assert_array_equal(found.positions, together)


def test_placed_cells_lie_among_those_of_their_label(
    client: ck.Client, layout: Layout, make_cells: MakeCells
) -> None:
    adata = ck.tl.place(make_cells(60, 8), "trio", client=client, copy=True)
    assert adata is not None
    distances = np.linalg.norm(adata.obsm["X_cellkin_layout"][:, None] - layout.positions, axis=2)
    nearest = np.array(layout.label_names)[layout.labels[distances.argmin(axis=1)]]
    assert (nearest == adata.obs["cell_type"]).mean() > 0.9
    assert adata.uns["X_cellkin_layout"]["versions"]["index"] == layout.versions.index


def test_labels_are_those_of_the_version_without_a_layout(
    client: ck.Client, live: Live, make_cells: MakeCells
) -> None:
    cells = make_cells(20, 9).X
    with ck.Client(live.address) as without:
        found = [
            each.predict_subtypes("trio", GENES, cells, units=LINEAR).predictions
            for each in (client, without)
        ]
    np.testing.assert_array_equal(*(each.probabilities for each in found))
    assert found[0].positions.shape == (20, 0)


def test_a_cell_without_genes_has_no_position(client: ck.Client, make_cells: MakeCells) -> None:
    cells = make_cells(3, 9).X.copy()
    cells.data[cells.indptr[1] : cells.indptr[2]] = 0
    found = client.predict_subtypes("trio", GENES, cells, units=LINEAR, return_positions=True)
    np.testing.assert_array_equal(np.isnan(found.predictions.positions[:, 0]), [0, 1, 0])


def test_an_index_without_a_layout_says_how_to_make_one(live: Live, make_cells: MakeCells) -> None:
    with ck.Client(live.address) as client:
        with pytest.raises(FailedPreconditionError, match="`cellkin cells layout trio@"):
            client.get_layout("trio")
        with pytest.raises(FailedPreconditionError, match="`cellkin cells layout trio@"):
            ck.tl.place(make_cells(5, 1), "trio", client=client)


def test_appended_cells_are_placed_where_they_would_be_as_a_query(
    laid_out: Path, query_path: Path, tmp_path: Path
) -> None:
    path = Path(shutil.copytree(laid_out, tmp_path / "store"))
    added = Reference([query_path], "cell_type", "donor")
    store = Store.open(str(path))
    older = store.catalog.resolve(Kind.INDEX, VersionName("trio")).full_name
    grown = append_cells(store, VersionName("trio"), added).entry
    with live_server(path) as live, ck.Client(live.address) as client:
        before, after = client.get_layout(older), client.get_layout("trio")
        query = anndata.read_h5ad(query_path)
        ck.tl.place(query, older, client=client)
    assert after.versions.index == grown.full_name
    assert after.certificate.n_cells == 210
    assert after.certificate.n_fitted == before.certificate.n_fitted
    np.testing.assert_array_equal(after.positions[:150], before.positions)
    np.testing.assert_array_equal(after.n_same[:150], before.n_same)
    np.testing.assert_array_equal(after.positions[150:], query.obsm["X_cellkin_layout"])


def test_cells_in_the_spaces_of_another_index_have_no_layout(
    laid_out: Path, query_path: Path, tmp_path: Path
) -> None:
    store = Store.open(str(shutil.copytree(laid_out, tmp_path / "store")))
    reference = Reference([query_path], "cell_type", "donor")
    placed = place_like(store, "other", reference, VersionName("trio")).entry
    merged = merge_indexes(store, "both", [VersionName("trio"), VersionName("other")])
    for entry in (placed, merged):
        assert "layout" not in entry.manifest
        assert not (store.index_folder(entry) / "layout.safetensors").exists()


@pytest.mark.slow
def test_the_command(own_store: Path, run_cellkin: Any) -> None:
    store = Store.open(str(own_store))
    base = store.catalog.resolve(Kind.INDEX, VersionName("trio"))
    store.catalog.set_alias(base, "stable")
    done = run_cellkin("cells", "layout", "trio", "--store", own_store)
    assert done.returncode == 0, done.stderr
    assert "150 cells laid out by umap-learn" in done.stdout
    assert "by chance" in done.stdout
    assert f"alias stable still means {base.full_name}" in done.stdout
    done = run_cellkin("cells", "layout", "trio@stable", "--store", own_store, "--json")
    found = json.loads(done.stdout)
    assert found["n_fitted"] == found["n_cells"] == 150
    assert found["permuted_trustworthiness"] < found["trustworthiness"] <= 1
