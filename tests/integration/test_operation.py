"""What an operator sees: settings, metrics, traces, logs, several processes, readiness."""

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import anndata
import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client.parser import text_string_to_metric_families
from tests.integration.conftest import CELLKIN
from tests.integration.live import GENES, block, connected, live_server

from cellkin.server import process as server_process
from cellkin.server.traces import SpanTracer
from cellkin.store.catalog import Kind
from cellkin.store.store import Store
from cellkin.v1 import catalog_service_pb2 as catalog
from cellkin.v1 import cell_service_pb2 as wire
from cellkin.wire import codec
from cellkin.wire.names import VersionName

pytestmark = pytest.mark.integration
Run = Callable[..., subprocess.CompletedProcess[str]]
SERVING = health_pb2.HealthCheckResponse.SERVING
VECTOR = wire.SearchQueries(vectors=codec.encode(np.ones(64, np.float32)))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def command(store: Path, *options: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    process = subprocess.Popen(
        [CELLKIN, "serve", "--store", str(store), "--listen", "127.0.0.1:0", *options],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "CELLKIN_SERVER__GRACE_S": "2"},
    )  # fmt: skip
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line.startswith("serving on "), process.communicate(timeout=20)
        yield line.removeprefix("serving on ").strip(), process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=30)


def metrics_of(port: int) -> dict[tuple[str, str], float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as page:
        text = page.read().decode()
    return {
        (
            sample.name,
            ",".join(v for k, v in sorted(sample.labels.items()) if k != "le"),
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_metrics_tell_waiting_from_working(
    store_path: Path, make_cells: Callable[..., anndata.AnnData]
) -> None:
    port = free_port()
    method = "/cellkin.v1.CellService/PredictSubtypes"
    with live_server(store_path, metrics=f"127.0.0.1:{port}") as live:
        request = wire.PredictSubtypesRequest(
            header=wire.QueryHeader(index="trio", genes=GENES, units=1),
            cells=block(make_cells(7, 3).X),
        )
        for _ in range(3):
            version = live.cells.PredictSubtypes(request).report.versions.index
        with pytest.raises(grpc.RpcError):
            live.cells.GetCells(wire.GetCellsRequest(index="none"))
        found = metrics_of(port)
        assert found["cellkin_requests_total", f"OK,{method}"] == 3
        assert found["cellkin_requests_total", "NOT_FOUND,/cellkin.v1.CellService/GetCells"] == 1
        whole, queue, compute = (
            found[f"cellkin_{what}_seconds_sum", method] for what in ("request", "queue", "compute")
        )
        assert 0 < compute < whole
        assert 0 < queue < whole
        assert found["cellkin_index_queries_total", version] == 21
        assert found["cellkin_index_batch_queries_count", version] == 3
        assert found["cellkin_index_cells", version] == 150
        entry = Store.open(str(store_path)).catalog.resolve(Kind.INDEX, VersionName("trio"))
        size = sum((store_path / entry.manifest["path"] / f).stat().st_size
                   for f in entry.manifest["files"])  # fmt: skip
        assert found["cellkin_index_bytes", version] == size
        assert ("process_resident_memory_bytes", "") in found
        assert not any("GENE" in label for _, label in found), "metrics hold no data of users"


def test_a_request_is_traced_under_its_callers_trace(
    store_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(
        server_process, "tracer_to", lambda url: (SpanTracer(provider), provider.shutdown)
    )
    trace = "0af7651916cd43dd8448eb211c80319c"
    parent = [("traceparent", f"00-{trace}-b7ad6b7169203331-01")]
    with live_server(store_path) as live:
        request = wire.SearchCellsRequest(header=wire.SearchHeader(index="trio"), queries=VECTOR)
        live.cells.SearchCells(request, metadata=parent)
        request.header.index = "none"
        with pytest.raises(grpc.RpcError):
            live.cells.SearchCells(request, metadata=parent)
        good, bad = exporter.get_finished_spans()
    for span in (good, bad):
        assert span.name == "cellkin.v1.CellService/SearchCells"
        assert f"{span.context.trace_id:032x}" == trace
    assert good.attributes is not None
    assert good.attributes["cellkin.versions"][0].startswith("trio@")  # type: ignore[index, union-attr]
    assert good.attributes["cellkin.compute_s"] > 0  # type: ignore[operator]
    assert (good.status.is_ok, bad.status.is_ok) == (True, False)
    assert bad.status.description == "NOT_FOUND"


def test_settings_are_shown_and_can_be_given_by_the_environment(
    tmp_path: Path, run_cellkin: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CELLKIN_SERVER__QUEUE", "7")
    monkeypatch.setenv("CELLKIN_SERVER__STORE", str(tmp_path))
    done = run_cellkin("serve", "--processes", "3", "--index", "a", "--print-config")
    shown = json.loads(done.stdout)
    assert (shown["queue"], shown["processes"], shown["indexes"]) == (7, 3, ["a"])
    assert shown["store"] == str(tmp_path)
    monkeypatch.setenv("CELLKIN_SERVER__QUEUE", "-1")
    refused = run_cellkin("serve", "--print-config")
    assert refused.returncode == 2
    assert "error: setting queue is '-1'" in refused.stderr
    assert "CELLKIN_SERVER__QUEUE" in refused.stderr


def test_several_processes_share_a_port_and_one_that_dies_is_started_again(
    store_path: Path,
) -> None:
    with command(store_path, "--processes", "2", "--json-logs") as (address, process):
        second = subprocess.run(
            [CELLKIN, "serve", "--store", str(store_path), "--listen", address],
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert second.returncode == 2
        assert "another process does" in second.stderr
        children = _children(process.pid)
        assert len(children) == 2
        for _ in range(6):
            with connected(address) as live:
                request = wire.SearchCellsRequest(
                    header=wire.SearchHeader(index="trio"), queries=VECTOR
                )
                assert len(live.cells.SearchCells(request).hits.rows) == 10
        os.kill(children[0], signal.SIGKILL)
        deadline = time.monotonic() + 60
        while len(set(_children(process.pid)) - set(children)) != 1:
            assert time.monotonic() < deadline, "it was not started again"
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=60)
        assert process.returncode == 0
        assert not _children(process.pid)
    events = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    assert {"version loaded", "process died"} <= {event["event"] for event in events}


def _children(pid: int) -> list[int]:
    """Return the server processes that a process started; not the tracker of its resources."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
            line = (path.parent / "cmdline").read_bytes()
        except OSError:
            continue
        if parent == pid and b"spawn_main" in line:
            found.append(int(path.parent.name))
    return found


def test_a_server_serves_when_its_index_is_loaded_and_not_before(own_store: Path) -> None:
    store = Store.open(str(own_store))
    entry = store.catalog.resolve(Kind.INDEX, VersionName("trio"))
    store.catalog.retract(entry, "not yet", force=True)
    with live_server(own_store) as live:
        health = health_pb2_grpc.HealthStub(live.channel)

        def status(service: str) -> int:
            request = health_pb2.HealthCheckRequest(service=service)
            return int(health.Check(request).status)

        assert status("cellkin.v1.CellService") != SERVING
        assert status("") != SERVING
        assert status("cellkin.v1.CatalogService") == SERVING
        assert status("cellkin.v1.GeneService") == SERVING
        watch = health.Watch(health_pb2.HealthCheckRequest(service="cellkin.v1.CellService"))
        assert next(watch).status != SERVING
        store.catalog.commit(Kind.INDEX, "trio", entry.digest, entry.manifest)
        assert next(watch).status == SERVING
        assert status("") == SERVING
        watch.cancel()


def test_an_index_that_is_named_must_be_there(store_path: Path, run_cellkin: Run) -> None:
    done = run_cellkin("serve", "--store", store_path, "--listen", "127.0.0.1:0", "--index", "none")
    assert done.returncode == 2
    assert "error: no cell index 'none' in this store; there is: trio" in done.stderr


def test_names_beyond_the_limit_are_let_go(own_store: Path) -> None:
    store = Store.open(str(own_store))
    entry = store.catalog.resolve(Kind.INDEX, VersionName("trio"))
    names = [
        store.catalog.commit(Kind.INDEX, "trio", entry.digest, entry.manifest).full_name
        for _ in range(6)
    ]
    with live_server(own_store, max_loaded=2) as live:
        for name in names:
            request = wire.SearchCellsRequest(header=wire.SearchHeader(index=name), queries=VECTOR)
            assert live.cells.SearchCells(request).versions.index == name
        time.sleep(0.5)
        listed = live.catalog.ListCellIndexes(catalog.ListCellIndexesRequest(all_versions=True))
        assert sum(index.loaded for index in listed.cell_indexes) <= 2


def test_admin_requests_are_taken_from_this_machine_where_no_proxy_can_be_meant(
    own_store: Path,
) -> None:
    request = catalog.ReloadRequest()
    with live_server(own_store) as live:
        assert live.catalog.Reload(request) == catalog.ReloadResponse()
        with pytest.raises(grpc.RpcError) as refused:
            live.catalog.Reload(request, metadata=[("x-forwarded-for", "10.0.0.1")])
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
    # Who encrypts for the server may be on its machine, and every caller seems to be.
    with live_server(own_store, plaintext=True) as live:
        live.catalog.ListCellIndexes(catalog.ListCellIndexesRequest())
        with pytest.raises(grpc.RpcError) as refused:
            live.catalog.Reload(request)
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


def test_pages_and_lines_of_the_log(store_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setenv("CELLKIN_SERVER__REQUEST_LOG", "true")

    def page(path: str) -> int:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            error.close()
            return error.code

    with command(store_path, "--json-logs", "--metrics", f"127.0.0.1:{port}") as (address, process):
        assert [page(path) for path in ("/readyz", "/healthz", "/", "/metrics")] == [
            200, 200, 404, 200,
        ]  # fmt: skip
        with connected(address) as live:
            header = wire.SearchHeader(index="trio")
            live.cells.SearchCells(wire.SearchCellsRequest(header=header, queries=VECTOR))
            with pytest.raises(grpc.RpcError):
                live.cells.GetCells(wire.GetCellsRequest(index="none"))
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=60)
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    assert lines[0]["event"] == "server starts"
    assert lines[0]["pid"] == process.pid
    assert lines[0]["settings"] == {
        "store": str(store_path), "listen": "127.0.0.1:0", "metrics": f"127.0.0.1:{port}",
        "json_logs": True, "request_log": True, "grace_s": 2.0,
    }  # fmt: skip
    good, bad = (line for line in lines if line["logger"] == "cellkin.requests")
    assert (good["code"], bad["code"]) == ("OK", "NOT_FOUND")
    assert good["method"] == "/cellkin.v1.CellService/SearchCells"
    assert good["versions"][0].startswith("trio@")
    assert 0 < good["seconds"] < 60
    assert good["client"].startswith("ipv4:127.0.0.1:")
