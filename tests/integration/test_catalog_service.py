"""The catalog over the wire: lists in pages, certificates, what is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.integration.live import Live, live_server

from cellkin.client import Client
from cellkin.client.transport.errors import error_from_rpc
from cellkin.store.catalog import Kind
from cellkin.store.quality import read_qualities
from cellkin.store.store import Store
from cellkin.v1 import catalog_service_pb2 as wire
from cellkin.wire.errors import InvalidArgumentError, NotFoundError
from cellkin.wire.names import VersionName

pytestmark = pytest.mark.integration
INDEX = wire.VERSION_KIND_INDEX


def refused(call: Callable[[], Any]) -> Any:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return error_from_rpc(caught.value, "here")


def test_an_index_is_described_with_its_certificate(live: Live, store_path: Path) -> None:
    found = live.catalog.GetCellIndex(wire.GetCellIndexRequest(name="trio"))
    entry = Store.open(str(store_path)).catalog.resolve(Kind.INDEX, VersionName("trio"))
    assert found.name == entry.full_name
    assert found.create_time.ToDatetime().isoformat() == entry.created_at.removesuffix("+00:00")
    assert found.loaded
    stored = entry.manifest["certificate"]
    assert {str(r.k): r.recall for r in found.certificate.recalls} == stored["recall"]
    assert [r.k for r in found.certificate.recalls] == [1, 10, 30, 100]
    assert found.certificate.factory == "Flat"
    assert not found.HasField("retraction")


def test_an_index_is_described_with_the_quality_of_its_labels(live: Live, store_path: Path) -> None:
    entry = Store.open(str(store_path)).catalog.resolve(Kind.INDEX, VersionName("trio"))
    stored = read_qualities(entry.manifest)
    assert set(stored) == {"text", "expression"}
    with Client(live.address) as client:
        found = client.get_cell_index("trio")
        (listed,) = client.list_cell_indexes()
    assert listed.qualities == found.qualities
    assert set(found.qualities) == set(stored)
    for space, quality in found.qualities.items():
        told = stored[space]
        assert quality.space == space
        assert quality.held_out == told.held_out == "2 batches in turn"
        assert (quality.n_cells, quality.accuracy) == (told.n_cells, told.accuracy)
        assert (quality.macro_f1, quality.calibration_error) == (
            told.macro_f1,
            told.calibration_error,
        )
        assert quality.novelty_limit == told.novelty_limit
        assert [vars(label) for label in quality.labels] == [
            vars(label) | {"weak": label.weak} for label in told.labels
        ]
        assert quality.weak_labels == told.weak_labels
        assert quality.to_pandas().columns.tolist() == [
            "label",
            "n_cells",
            "auroc",
            "found",
            "weak",
        ]
    assert found.batches == ("d0", "d1")
    # The vectors of the tests are random.
    assert found.control_embedding


def test_an_index_from_before_quality_was_kept_has_none(own_store: Path) -> None:
    store = Store.open(str(own_store))
    entry = store.catalog.resolve(Kind.INDEX, VersionName("trio"))
    later = "quality", "batches", "control_embedding", "likely_batch"
    old = {key: value for key, value in entry.manifest.items() if key not in later}
    store.catalog.commit(Kind.INDEX, "old", entry.digest, old)
    many = {**old, "batches": [f"d{i:04}" for i in range(2000)], "control_embedding": False}
    store.catalog.commit(Kind.INDEX, "many", entry.digest, many)
    with live_server(own_store, indexes=("trio",)) as live, Client(live.address) as client:
        found = client.get_cell_index("old")
        assert (found.qualities, found.batches) == ({}, ())
        assert found.control_embedding  # for its embedding is known
        found = client.get_cell_index("many")
        assert len(found.batches) == 1000
        assert not found.control_embedding


def test_models_and_their_versions(live: Live) -> None:
    (model,) = live.catalog.ListEmbeddingModels(wire.ListEmbeddingModelsRequest()).embedding_models
    assert (model.name, model.n_versions, model.dim) == ("random-64-7", 1, 64)
    assert live.catalog.GetEmbeddingModel(wire.GetEmbeddingModelRequest(name=model.name)) == model
    listed = live.catalog.ListEmbeddingVersions(
        wire.ListEmbeddingVersionsRequest(parent=model.name)
    )
    (version,) = listed.embedding_versions
    assert version.name == model.latest_version
    assert version.n_genes == 216
    assert len(version.digest) == 64
    assert '"corpus": "genes@' in version.manifest_json
    assert version.control
    with Client(live.address) as client:
        assert client.get_embedding_version(model.name).control
    got = live.catalog.GetEmbeddingVersion(wire.GetEmbeddingVersionRequest(name=model.name))
    assert got == version


def test_lists_come_in_pages(own_store: Path) -> None:
    store = Store.open(str(own_store))
    entry = store.catalog.resolve(Kind.INDEX, VersionName("trio"))
    for name in ("a", "b", "c"):
        for _ in range(2):
            store.catalog.commit(Kind.INDEX, name, entry.digest, entry.manifest)
    for alias in ("x", "y"):
        store.catalog.set_alias(entry, alias)
    with live_server(own_store, indexes=("trio",)) as live:
        for every, expected in ((False, 4), (True, 7)):
            names, token = [], ""
            while True:
                page = live.catalog.ListCellIndexes(
                    wire.ListCellIndexesRequest(page_size=2, page_token=token, all_versions=every)
                )
                assert 0 < len(page.cell_indexes) <= 2
                names += [index.name for index in page.cell_indexes]
                token = page.next_page_token
                if not token:
                    break
            assert len(names) == len(set(names)) == expected
            assert names == sorted(names)
        # A version published between two pages does not repeat its index.
        first_page = live.catalog.ListCellIndexes(wire.ListCellIndexesRequest(page_size=1))
        store.catalog.commit(Kind.INDEX, "a", entry.digest, entry.manifest)
        live.catalog.Reload(wire.ReloadRequest())
        later = wire.ListCellIndexesRequest(page_token=first_page.next_page_token)
        rest = live.catalog.ListCellIndexes(later)
        indexes = [*first_page.cell_indexes, *rest.cell_indexes]
        assert [index.name.partition("@")[0] for index in indexes] == ["a", "b", "c", "trio"]
        first = live.catalog.ListAliases(wire.ListAliasesRequest(page_size=1))
        second = live.catalog.ListAliases(
            wire.ListAliasesRequest(page_size=1, page_token=first.next_page_token)
        )
        assert [a.name for a in [*first.aliases, *second.aliases]] == ["trio@x", "trio@y"]
        assert second.aliases[0].version == entry.full_name
        assert second.next_page_token == ""
        listed = live.catalog.ListCellIndexes(wire.ListCellIndexesRequest())
        assert [i.name.partition("@")[0] for i in listed.cell_indexes if i.loaded] == ["trio"]


@pytest.mark.parametrize(
    ("method", "request_", "error", "message"),
    [
        ("GetCellIndex", wire.GetCellIndexRequest(name="x"), NotFoundError, "there is: trio"),
        ("GetCellIndex", wire.GetCellIndexRequest(), InvalidArgumentError, "a name has up to"),
        (
            "GetEmbeddingModel", wire.GetEmbeddingModelRequest(name="a@b"), InvalidArgumentError,
            "a name has up to",
        ),
        (
            "ListEmbeddingVersions", wire.ListEmbeddingVersionsRequest(parent="x"), NotFoundError,
            "no gene embedding 'x'",
        ),
        (
            "ListAliases", wire.ListAliasesRequest(page_token="?"), InvalidArgumentError,
            "was given out by no answer",
        ),
        (
            "SetAlias", wire.SetAliasRequest(version="trio", alias="stable"),
            InvalidArgumentError, "kind 0 is none",
        ),
        (
            "SetAlias", wire.SetAliasRequest(kind=INDEX, version="trio", alias="latest"),
            InvalidArgumentError, "'latest' is always the newest version",
        ),
        (
            "RetractVersion", wire.RetractVersionRequest(kind=INDEX, version="trio", reason="x"),
            InvalidArgumentError, "may come to mean another version",
        ),
    ],
)  # fmt: skip
def test_requests_that_are_refused(
    live: Live, method: str, request_: Any, error: type[Exception], message: str
) -> None:
    found = refused(lambda: getattr(live.catalog, method)(request_))
    assert isinstance(found, error)
    assert message in found.message


def test_who_may_change_the_catalog_must_say_why(own_store: Path) -> None:
    with live_server(own_store) as live:
        name = live.catalog.GetCellIndex(wire.GetCellIndexRequest(name="trio")).name
        request = wire.RetractVersionRequest(kind=INDEX, version=name, reason=" ")
        assert (
            "a retraction needs a reason"
            in refused(lambda: live.catalog.RetractVersion(request)).message
        )
        request.reason, request.replacement = "wrong", name
        assert (
            "cannot replace itself" in refused(lambda: live.catalog.RetractVersion(request)).message
        )
