"""Processes of the benchmarks of the server: servers, generators of load, and bare FAISS."""

import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from grpc_health.v1 import health_pb2, health_pb2_grpc
from serve_store import K

from cellkin.store.catalog import Kind
from cellkin.store.store import Store
from cellkin.v1 import cell_service_pb2, cell_service_pb2_grpc

_HERE = Path(__file__).parent
_GENERATORS = 4
_MOST_START_S = 120


@dataclass(frozen=True)
class Server:
    """A server process."""

    address: str
    pid: int

    def cpu_s(self) -> float:
        """Return the CPU seconds it has taken."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_mib(self) -> float:
        """Return the memory that is its own, not mapped from files."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.partition("RssAnon:")[2].split()[0]) / 1024


@contextmanager
def serving(store: Path, *options: str) -> Iterator[Server]:
    """Run a server."""
    process = subprocess.Popen(
        [
            Path(sys.executable).with_name("cellkin"), "serve", "--store", str(store),
            "--listen", "127.0.0.1:0", *options,
        ],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        yield Server(line.removeprefix("serving on ").strip(), process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


def load(server: Server, what: str, **options: Any) -> dict[str, Any]:
    """Run the generator; return what came back and the server's CPU time for each answer."""
    before = server.cpu_s()
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    done = subprocess.run(
        [sys.executable, _HERE / "load.py", server.address, what, *flags],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout)
    found["cpu_ms"] = 1e3 * (server.cpu_s() - before) / max(sum(found["codes"].values()), 1)
    return found


def load_from_many(server: Server, n_clients: int, rate: float, **options: Any) -> dict[str, Any]:
    """Run several generators at once; return what came back in all."""
    each = {"clients": n_clients // _GENERATORS, "rate": rate / _GENERATORS, **options}
    with ThreadPoolExecutor(_GENERATORS) as pool:
        runs = [pool.submit(load, server, "search", **each) for _ in range(_GENERATORS)]
        found = [run.result() for run in runs]
    codes: Counter[str] = sum((Counter(run["codes"]) for run in found), Counter())
    longest = sorted(latency for run in found for latency in run["longest_ms"])
    return {
        "codes": codes,
        "rate": sum(run["rate"] for run in found),
        "offered": sum(run.get("offered", 0) for run in found),
        "p50_ms": statistics.median(run["p50_ms"] for run in found),
        # Every run gives its longest two in a hundred, and so they hold the longest one of all.
        "p99_ms": longest[-(codes["OK"] // 100 + 1)] if codes["OK"] else 0.0,
    }


def bare(store: str, name: str, seconds: float, n: int = 1) -> tuple[float, float]:
    """Search by FAISS alone, one query after the other; return queries a second, CPU-ms a query."""
    from cellkin.store.cell_index import TEXT, read_neighbors
    from cellkin.store.neighbors_faiss import faiss
    from cellkin.wire.names import VersionName

    opened = Store.open(store)
    entry = opened.catalog.resolve(Kind.INDEX, VersionName(name))
    index = read_neighbors(opened.index_folder(entry, again=False), TEXT).faiss_index
    faiss.omp_set_num_threads(1)
    queries = np.load(Path(store) / "queries.npy")
    for row in range(64):
        index.search(queries[row : row + n], K)
    began, cpu, done = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - began < seconds:
        at = done * n % (len(queries) - n)
        index.search(queries[at : at + n], K)
        done += 1
    took = time.perf_counter() - began
    return done * n / took, 1e3 * (time.process_time() - cpu) / (done * n)


class _Echo(cell_service_pb2_grpc.CellServiceServicer):
    """Answers every message of a stream with nothing."""

    def StreamSearchCells(self, request_iterator: Any, context: Any) -> Iterator[Any]:
        """Answer."""
        for _ in request_iterator:
            yield cell_service_pb2.StreamSearchCellsResponse()


def _echo(connection: Connection) -> None:
    """Serve nothing, by gRPC alone."""
    server = grpc.server(ThreadPoolExecutor(16))
    cell_service_pb2_grpc.add_CellServiceServicer_to_server(_Echo(), server)
    connection.send(server.add_insecure_port("127.0.0.1:0"))
    server.start()
    connection.recv()


@contextmanager
def echoing() -> Iterator[Server]:
    """Run a server that does nothing: what gRPC itself takes."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_echo, args=(theirs,), daemon=True)
    process.start()
    try:
        yield Server(f"127.0.0.1:{ours.recv()}", process.pid or 0)
    finally:
        process.terminate()
        process.join()


def wait_serving(address: str) -> None:
    """Return when the server answers that it serves."""
    request = health_pb2.HealthCheckRequest(service="cellkin.v1.CellService")
    until = time.monotonic() + _MOST_START_S
    while time.monotonic() < until:
        with grpc.insecure_channel(address) as channel:
            try:
                found = health_pb2_grpc.HealthStub(channel).Check(request, timeout=1)
            except grpc.RpcError:
                found = None
        if found is not None and found.status == health_pb2.HealthCheckResponse.SERVING:
            return
        time.sleep(0.02)
    raise TimeoutError(f"the server does not serve after {_MOST_START_S} s")
