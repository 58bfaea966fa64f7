"""The server process: readiness, ports, stopping, stores that are not there."""

import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import anndata
import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from cellkin.client import Client
from cellkin.indexer.cells.job import index_cells
from cellkin.indexer.cells.sources import Reference
from cellkin.space.recipe import TEXT_V1
from cellkin.store.store import Store
from cellkin.v1 import catalog_service_pb2 as wire
from cellkin.v1 import catalog_service_pb2_grpc, cell_service_pb2, cell_service_pb2_grpc
from cellkin.wire.errors import IntegrityError
from cellkin.wire.names import VersionName
from cellkin.wire.terms import ExpressionUnits

pytestmark = pytest.mark.integration
Run = Callable[..., subprocess.CompletedProcess[str]]
Serve = Callable[..., AbstractContextManager[tuple[str, subprocess.Popen[str]]]]


def test_health_and_reflection(server: str) -> None:
    with grpc.insecure_channel(server) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for service in ("", "cellkin.v1.CellService", "cellkin.v1.GeneService"):
            answer = health.Check(health_pb2.HealthCheckRequest(service=service))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
        ask = reflection_pb2.ServerReflectionRequest(list_services="")
        answers = list(reflection.ServerReflectionInfo(iter([ask])))
        names = {s.name for a in answers for s in a.list_services_response.service}
    assert {"cellkin.v1.CellService", "cellkin.v1.GeneService"} <= names


def test_indexes_are_listed_and_described(server: str) -> None:
    with grpc.insecure_channel(server) as channel:
        stub = catalog_service_pb2_grpc.CatalogServiceStub(channel)
        listed = stub.ListCellIndexes(wire.ListCellIndexesRequest())
        assert [i.name.partition("@")[0] for i in listed.cell_indexes] == ["trio"]
        found = stub.GetCellIndex(wire.GetCellIndexRequest(name="trio@latest"))
        assert (found.n_cells, found.dim, found.recipe) == (150, 64, "text-v1")
        assert dict(zip(found.labels, found.label_counts, strict=True)) == {
            "alpha": 50,
            "beta": 50,
            "delta": 50,
        }
        with pytest.raises(grpc.RpcError) as caught:
            stub.ListCellIndexes(wire.ListCellIndexesRequest(page_size=-1))
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        cells = cell_service_pb2_grpc.CellServiceStub(channel)
        headless = iter([cell_service_pb2.StreamPredictSubtypesRequest()])
        with pytest.raises(grpc.RpcError) as caught:
            list(cells.StreamPredictSubtypes(headless))
        assert caught.value.details() == "the first message of a query is its header"


def test_a_port_in_use_is_said_to_be(server: str, store_path: Path, run_cellkin: Run) -> None:
    done = run_cellkin("serve", "--store", store_path, "--listen", server)
    assert done.returncode == 2
    assert f"error: cannot listen on {server}: another process does" in done.stderr


@pytest.mark.parametrize("listen", ["nonsense", ":1", "127.0.0.1:http", "127.0.0.1:99999"])
def test_an_address_that_is_none(store_path: Path, run_cellkin: Run, listen: str) -> None:
    done = run_cellkin("serve", "--store", store_path, "--listen", listen)
    assert done.returncode == 2
    assert f"error: listen address '{listen}'; give HOST:PORT" in done.stderr


def test_a_store_that_is_not_there(tmp_path: Path, run_cellkin: Run) -> None:
    done = run_cellkin("serve", "--store", tmp_path / "nothing", "--listen", "127.0.0.1:0")
    assert done.returncode == 2
    assert "error: no cellkin store at " in done.stderr


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_the_server_stops_when_told(serve: Serve, store_path: Path, how: signal.Signals) -> None:
    with serve(store_path) as (_, process):
        process.send_signal(how)
        assert process.wait(timeout=20) == 0


def test_a_new_version_is_seen_without_a_restart_and_the_old_one_stays(
    serve: Serve, tmp_path: Path, store_path: Path, make_cells: Callable[..., anndata.AnnData]
) -> None:
    import shutil

    copy = tmp_path / "store"
    shutil.copytree(store_path, copy)
    make_cells(90, 8).write_h5ad(tmp_path / "next.h5ad")
    with serve(copy) as (address, _), grpc.insecure_channel(address) as channel:
        stub = catalog_service_pb2_grpc.CatalogServiceStub(channel)
        first = stub.GetCellIndex(wire.GetCellIndexRequest(name="trio")).name
        reference = Reference([tmp_path / "next.h5ad"], "cell_type")
        store = Store.open(str(copy))
        index_cells(store, "trio", reference, VersionName("random-64-7"), TEXT_V1)
        deadline = time.monotonic() + 20
        while stub.GetCellIndex(wire.GetCellIndexRequest(name="trio")).n_cells == 150:
            assert time.monotonic() < deadline, "the new version was never seen"
            time.sleep(0.2)
        old = stub.GetCellIndex(wire.GetCellIndexRequest(name=first))
        assert (old.name, old.n_cells) == (first, 150)


def test_damage_is_refused_and_not_served(serve: Serve, tmp_path: Path, store_path: Path) -> None:
    import shutil

    copy = tmp_path / "store"
    shutil.copytree(store_path, copy)
    (damaged,) = copy.glob("indexes/trio/*/cells.arrow")
    damaged.write_bytes(damaged.read_bytes()[:-1])
    genes = [f"GENE{i}" for i in range(1, 121)]
    with (
        serve(copy) as (address, _),
        Client(address) as client,
        pytest.raises(IntegrityError, match=r"file cells\.arrow does not have the digest"),
    ):
        client.stream_predict_subtypes("trio", genes, [], units=ExpressionUnits.LINEAR)
