"""Too much at once, deadlines, and stopping: nothing is lost, and nothing grows without bound."""

import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anndata
import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.integration.conftest import CELLKIN
from tests.integration.live import GENES, Live, block, connected, live_server

from cellkin.client import Client
from cellkin.client.transport.errors import error_from_rpc
from cellkin.v1 import cell_service_pb2 as wire
from cellkin.v1 import cell_service_pb2_grpc
from cellkin.wire.errors import (
    DeadlineExceededError,
    InvalidArgumentError,
    ResourceExhaustedError,
)

pytestmark = pytest.mark.integration
HEADER = wire.QueryHeader(index="trio", genes=GENES, units=wire.EXPRESSION_UNITS_LINEAR)


@pytest.fixture(scope="module")
def heavy(make_cells: Callable[..., anndata.AnnData]) -> wire.PredictSubtypesRequest:
    """A request that takes some milliseconds."""
    return wire.PredictSubtypesRequest(header=HEADER, cells=block(make_cells(2000, 40).X))


def test_what_finds_no_place_is_told_when_to_come_back_and_the_rest_is_answered(
    store_path: Path, heavy: wire.PredictSubtypesRequest
) -> None:
    refused: list[ResourceExhaustedError] = []
    answered = threading.Semaphore(0)
    until = time.monotonic() + 3

    def ask(live: Live) -> None:
        while time.monotonic() < until:
            try:
                live.cells.PredictSubtypes(heavy)
                answered.release()
            except grpc.RpcError as failed:
                error = error_from_rpc(failed, "here")
                assert isinstance(error, ResourceExhaustedError), error
                refused.append(error)
                time.sleep(0.005)

    with live_server(store_path, threads=1, queue=2) as live:
        with ThreadPoolExecutor(12) as pool:
            asking = [pool.submit(ask, live) for _ in range(12)]
            time.sleep(0.5)
            # Health is answered under any load.
            health = health_pb2_grpc.HealthStub(live.channel)
            assert health.Check(health_pb2.HealthCheckRequest(), timeout=5).status == 1
            for future in asking:
                future.result()
        assert answered._value > 10
        assert len(refused) > 10
        assert all(error.retry_after_s and error.retry_after_s >= 0.05 for error in refused)
        assert refused[0].metadata["limit"] == "requests"
        began = time.monotonic()
        live.cells.PredictSubtypes(heavy)
        assert time.monotonic() - began < 2, "it does not recover at once"


def test_a_client_has_its_share(store_path: Path, heavy: wire.PredictSubtypesRequest) -> None:
    with live_server(store_path, client_requests=1) as live:
        calls = [live.cells.PredictSubtypes.future(heavy) for _ in range(8)]
        errors = [error_from_rpc(c.exception(), "") for c in calls if c.exception() is not None]
        assert 0 < len(errors) < 8
        assert "has 1 requests at once, the most the server takes of one" in errors[0].message
        refused = next(call for call in calls if call.exception() is not None)
        assert int(dict(refused.trailing_metadata())["grpc-retry-pushback-ms"]) >= 50


def test_streams_are_bounded(store_path: Path, heavy: wire.PredictSubtypesRequest) -> None:
    closing = threading.Event()

    def requests() -> Iterator[wire.StreamPredictSubtypesRequest]:
        yield wire.StreamPredictSubtypesRequest(header=HEADER)
        closing.wait(20)

    # Channels to one address share a connection, which is one client, unless told otherwise.
    apart = [("grpc.use_local_subchannel_pool", 1)]
    with (
        live_server(store_path, streams=2, client_streams=1) as live,
        grpc.insecure_channel(live.address, apart) as second_channel,
        grpc.insecure_channel(live.address, apart) as third_channel,
    ):
        second = cell_service_pb2_grpc.CellServiceStub(second_channel)
        third = cell_service_pb2_grpc.CellServiceStub(third_channel)
        streams = [one.StreamPredictSubtypes(requests()) for one in (live.cells, second)]
        for stream in streams:
            next(stream)
        for one, limit in ((live.cells, "per-client-streams"), (third, "streams")):
            with pytest.raises(grpc.RpcError) as caught:
                next(one.StreamPredictSubtypes(requests()))
            error = error_from_rpc(caught.value, "")
            assert isinstance(error, ResourceExhaustedError)
            assert error.metadata["limit"] == limit
        # Others are answered all the same.
        live.cells.PredictSubtypes(heavy)
        closing.set()
        for stream in streams:
            assert list(stream) == []
        deadline = time.monotonic() + 10
        while True:
            try:
                next(live.cells.StreamPredictSubtypes(requests()))
            except grpc.RpcError:
                assert time.monotonic() < deadline, "the places are not given back"
                time.sleep(0.02)
            else:
                return


def test_clients_wait_as_long_as_they_are_told(
    store_path: Path, heavy: wire.PredictSubtypesRequest
) -> None:
    with live_server(store_path, threads=1, queue=0) as live, Client(live.address) as client:
        busy = [live.cells.PredictSubtypes.future(heavy) for _ in range(3)]
        found = client.search_genes("GENE5", taxon=9606, embedding="random:64:7", k=1)
        assert len(found.neighbors) == 1
        for call in busy:
            call.exception()


def test_deadlines_are_honored(store_path: Path, heavy: wire.PredictSubtypesRequest) -> None:
    with live_server(store_path, threads=1) as live:
        busy = [live.cells.PredictSubtypes.future(heavy) for _ in range(4)]
        with pytest.raises(grpc.RpcError) as caught:
            live.cells.PredictSubtypes(heavy, timeout=0.001)
        # If the server has the request before the deadline, it says that it would not meet it.
        late = DeadlineExceededError, ResourceExhaustedError
        assert isinstance(error_from_rpc(caught.value, ""), late)
        for call in busy:
            call.result()


def test_a_message_over_the_limit(store_path: Path) -> None:
    with live_server(store_path, max_message_bytes=1 << 20) as live:
        large = wire.SearchCellsRequest(
            header=wire.SearchHeader(index="trio"),
            queries=wire.SearchQueries(vectors=b"\1" * (2 << 20)),
        )
        with pytest.raises(grpc.RpcError) as caught:
            live.cells.SearchCells(large)
        error = error_from_rpc(caught.value, "")
        assert isinstance(error, ResourceExhaustedError)
        assert error.retry_after_s is None
        many = wire.PredictSubtypesRequest(
            header=wire.QueryHeader(index="trio", genes=["g"] * 200_001, units=1)
        )
        with pytest.raises(grpc.RpcError) as caught:
            live.cells.PredictSubtypes(many)
        assert isinstance(error_from_rpc(caught.value, ""), InvalidArgumentError)


def test_nothing_that_was_taken_is_lost_at_a_stop(
    store_path: Path, heavy: wire.PredictSubtypesRequest, make_cells: Callable[..., anndata.AnnData]
) -> None:
    small = wire.PredictSubtypesRequest(header=HEADER, cells=block(make_cells(3, 41).X))
    process = subprocess.Popen(
        [CELLKIN, "serve", "--store", str(store_path), "--listen", "127.0.0.1:0"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    address = process.stdout.readline().removeprefix("serving on ").strip()
    n_answered, n_refused, lock, unforeseen = 0, 0, threading.Lock(), []
    stopping = threading.Event()

    def ask(request: Any) -> None:
        nonlocal n_answered, n_refused
        with connected(address) as live:
            while True:
                try:
                    live.cells.PredictSubtypes(request)
                except grpc.RpcError as error:
                    with lock:  # the server counts its refusals too
                        n_refused += "the server drains" in (error.details() or "")
                    if not (stopping.is_set() and error.code() is grpc.StatusCode.UNAVAILABLE):
                        unforeseen.append(error)
                    return
                with lock:
                    n_answered += 1

    with connected(address) as live:
        # A check that waits for changes does not hold the stop up.
        watch = health_pb2_grpc.HealthStub(live.channel).Watch(health_pb2.HealthCheckRequest())
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        asking = [
            threading.Thread(target=ask, args=(request,)) for request in [small] * 6 + [heavy] * 2
        ]
        for thread in asking:
            thread.start()
        time.sleep(1.5)
        stopping.set()
        process.send_signal(signal.SIGTERM)
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        began = time.monotonic()
        _, log = process.communicate(timeout=30)
        assert time.monotonic() - began < 15, "the stop waited for the watcher"
        for thread in asking:
            thread.join(20)
    assert process.returncode == 0
    assert unforeseen == []
    stopped = re.search(r"n_answered=\D*(\d+)", re.sub(r"\x1b\[[0-9;]*m", "", log))
    assert stopped is not None, log
    assert n_answered > 20
    assert int(stopped[1]) == n_answered + n_refused, "some answers did not arrive"
