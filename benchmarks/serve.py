"""Load the server on loopback: latency, CPU time a query, shared searches, overload, start.

The server, the generator of the load and what it is compared with run in processes of their own,
in turns, on the same vectors: those of index.py. CPU time is that of the server's process. The
store is made once and kept (``--store``), for a million cells take minutes to index.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pyarrow as pa
from grpc_health.v1 import health_pb2, health_pb2_grpc
from index import DIM, N_TYPES, mixture
from report import Figure, add_options, at_least, at_most, finish, machine

from cellkin.indexer.cells.publish import IndexChoice, Spaces, publish_index
from cellkin.space.classifier import RATES, LabelClassifier
from cellkin.space.projection import CellSpace
from cellkin.space.recipe import TEXT_V1
from cellkin.space.vectors import unit_rows
from cellkin.store import schema
from cellkin.store.catalog import Kind
from cellkin.store.cell_rows import write_rows
from cellkin.store.cell_table import commit_rows, table_name
from cellkin.store.store import Store
from cellkin.v1 import cell_service_pb2, cell_service_pb2_grpc
from cellkin.wire.terms import TextRung

FLAT, LISTS, TINY = "flat", "lists", "tiny"
FACTORY = "IVF4096,RaBitQ,Refine(SQ8)"
K = 10
_HERE = Path(__file__).parent
_N_QUERIES = 2048
_ROUNDS = 3
_HEAVY = 64
_GENERATORS = 4
_MOST_START_S = 120


# ---- the store ----------------------------------------------------------------------------------


def make_store(place: Path, n_cells: int) -> None:
    """Make a store with a flat index, one of inverted lists, and one of a handful of cells."""
    store = Store.create(str(place))
    genes = _genes(2000)
    corpus = store.publish_corpus("genes", genes, {})
    rng = np.random.default_rng(1)
    space = CellSpace(
        recipe=TEXT_V1,
        gene_ids=genes["gene_id"].to_numpy(),
        taxa=genes["taxon"].to_numpy(),
        vectors=unit_rows(rng.standard_normal((2000, DIM)).astype(np.float32)),
        weights=np.ones(2000, np.float32),
        measured=np.ones(2000, bool),
        center=np.zeros(DIM, np.float32),
    )
    spaces = Spaces(space, _classifier())
    made_from = {
        "recipe": TEXT_V1.name, "corpus": corpus.full_name, "embedding": "random@2020-01-01.1",
    }  # fmt: skip
    for name, n, factory in (
        (TINY, 256, "Flat"), (FLAT, min(100_000, n_cells), "Flat"), (LISTS, n_cells, FACTORY),
    ):  # fmt: skip
        print(f"indexing {n} cells as {factory}", flush=True)
        columns = schema.cells_schema(DIM, 0)
        rows = write_rows(store.table_uri(table_name(name)), columns, _rows(n))
        cells = commit_rows(store, name, columns, rows)
        choice = IndexChoice(factory, 0.95)
        publish_index(store, name, cells, spaces, choice, made_from, lambda _: nullcontext(_ignore))
    queries = np.concatenate([*mixture(_N_QUERIES, 77)])[:_N_QUERIES]
    np.save(place / "queries.npy", queries)


def _classifier() -> LabelClassifier:
    """Return a classifier of votes alone: no label is asked for here."""
    prototypes = unit_rows(np.random.default_rng(2).standard_normal((N_TYPES, DIM)))
    nothing, none = np.zeros((N_TYPES, 0), np.float32), np.zeros((0, DIM), np.float32)
    deviations = np.ones((2, N_TYPES), np.float32)
    return LabelClassifier(
        k=K, n_novelty=K, vote_epsilon=1e-4, class_balance=0.0, n_components=DIM,
        prototypes=prototypes.astype(np.float32), head_prototypes=nothing,
        coefficients=none, intercepts=np.zeros(0, np.float32), discriminants=none,
        leading_prototypes=nothing, leading_discriminants=nothing,
        mix=np.array([1.0, 0, 0, 0]), sharpness=1.0, votes_sharpness=1.0,
        novelty_means=np.zeros_like(deviations), novelty_deviations=deviations,
        novelty_limit=np.inf, novelty_limits=np.full(len(RATES), np.inf, np.float32),
        min_probability=0.5,
    )  # fmt: skip


def _ignore(done: int, total: int) -> None:
    return


def _genes(n: int) -> pa.Table:
    rows = [
        {
            "gene_id": i, "taxon": 9606, "symbol": f"G{i}", "name": "", "synonyms": [],
            "designations": [], "ensembl_ids": [], "former_ids": [], "gene_type": "",
            "rung": TextRung.DESIGNATIONS, "text": f"gene {i}", "text_source": "",
            "text_gene_id": i, "n_sharing": 1, "text_sha256": "",
        }
        for i in range(1, n + 1)
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=schema.CORPUS)


def _rows(n: int) -> Iterator[pa.RecordBatch]:
    done = 0
    for block in mixture(n, 5):
        ids = [f"cell-{i}" for i in range(done, done + len(block))]
        labels = [f"type-{i % N_TYPES}" for i in range(done, done + len(block))]
        batches = [f"donor-{i % 8}" for i in range(done, done + len(block))]
        flat = pa.array(np.ascontiguousarray(block).reshape(-1))
        vectors = pa.FixedSizeListArray.from_arrays(flat, DIM)
        columns = [pa.array(ids), pa.array(labels), pa.array(batches), vectors]
        yield pa.RecordBatch.from_arrays(columns, schema=schema.cells_schema(DIM, 0))
        done += len(block)


# ---- processes ----------------------------------------------------------------------------------


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


# ---- what is measured ---------------------------------------------------------------------------


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


def small_requests(store: Path, seconds: float) -> list[Figure]:
    """Measure requests and messages that ask for next to nothing."""
    queries = store / "queries.npy"
    tiny = {"index": TINY, "queries": queries, "k": 1, "clients": 8, "seconds": seconds}
    with echoing() as server:
        load(server, "stream", **tiny)
        nothing = [load(server, "stream", **tiny) for _ in range(_ROUNDS)]
    with serving(store, "--index", TINY) as server:
        load(server, "null", seconds=1)
        null = [load(server, "null", seconds=seconds) for _ in range(_ROUNDS)]
        many = [load(server, "null", clients=8, seconds=seconds) for _ in range(_ROUNDS)]
        stream = [load(server, "stream", **tiny) for _ in range(_ROUNDS)]
    return [
        at_most("nothing asked, 1 client: median", _median(null, "p50_ms"), "ms", 1.0),
        Figure("nothing asked, 8 clients", _median(many, "rate"), "requests/s"),
        Figure("nothing asked, 8 clients: CPU", _median(many, "cpu_ms"), "ms/request"),
        at_most(
            "streams of 1 query, 256 cells: CPU", _median(stream, "cpu_ms"), "ms/message", 0.12
        ),
        Figure("streams of 1 query, 256 cells", _median(stream, "rate"), "messages/s"),
        Figure("streams of gRPC alone: CPU", _median(nothing, "cpu_ms"), "ms/message"),
    ]


def lists(store: Path, seconds: float) -> list[Figure]:
    """Measure what the server adds to a search of inverted lists."""
    asked = {"index": LISTS, "queries": store / "queries.npy", "k": K, "clients": 8}
    alone, served, added = [], [], []
    with (
        serving(store, "--index", LISTS) as server,
        ProcessPoolExecutor(1, get_context("spawn")) as pool,
    ):
        load(server, "search", seconds=2, **asked)
        for _ in range(_ROUNDS):
            alone.append(pool.submit(bare, str(store), LISTS, seconds).result()[1])
            served.append(load(server, "search", seconds=seconds, **asked))
            added.append(served[-1]["cpu_ms"] - alone[-1])
    return [
        Figure(f"{FACTORY}: bare FAISS, single: CPU", statistics.median(alone), "ms/query"),
        Figure("served, 8 clients: CPU", _median(served, "cpu_ms"), "ms/query"),
        at_most("served: CPU beyond bare FAISS", statistics.median(added), "ms/query", 0.5),
        Figure("served, 8 clients", _median(served, "rate"), "queries/s"),
        Figure("served, 8 clients: median", _median(served, "p50_ms"), "ms"),
    ]


def flat(store: Path, seconds: float) -> list[Figure]:
    """Measure searches that are shared, beside searches that are not."""
    asked = {"index": FLAT, "queries": store / "queries.npy", "k": K}
    one, many, unshared = [], [], []
    n_cores = os.cpu_count() or 1
    with (
        serving(store, "--index", FLAT) as server,
        ProcessPoolExecutor(n_cores, get_context("spawn")) as pool,
    ):
        load(server, "search", seconds=1, **asked)
        for _ in range(_ROUNDS):
            one.append(load(server, "search", clients=1, seconds=seconds, **asked))
            alone = [pool.submit(bare, str(store), FLAT, seconds) for _ in range(n_cores)]
            unshared.append(sum(future.result()[0] for future in alone))
            many.append(load(server, "search", clients=64, seconds=seconds, **asked))
    rate = _median(many, "rate")
    return [
        Figure("flat, 1 client", _median(one, "rate"), "queries/s"),
        Figure("flat, 64 clients", rate, "queries/s"),
        Figure("flat, 64 clients: median", _median(many, "p50_ms"), "ms"),
        Figure("flat, 64 clients: CPU", _median(many, "cpu_ms"), "ms/query"),
        Figure("bare FAISS one by one, all cores", statistics.median(unshared), "queries/s"),
        at_least("flat: 64 clients / 1 client", rate / _median(one, "rate"), "x", 8),
        at_least("flat: 64 clients / unshared", rate / statistics.median(unshared), "x", 3),
    ]


def overload(store: Path, seconds: float) -> list[Figure]:
    """Offer ten times what can be answered."""
    asked = {
        "index": FLAT, "queries": store / "queries.npy", "k": K, "per_request": _HEAVY,
    }  # fmt: skip
    with serving(store, "--index", FLAT) as server:
        load(server, "search", clients=8, seconds=2, **asked)
        peak = load_from_many(server, 64, 0.0, seconds=min(15, seconds), **asked)
        before = server.resident_mib()
        highest = [before]
        over = threading.Event()

        def watch() -> None:
            while not over.wait(0.2):
                highest.append(server.resident_mib())

        watcher = threading.Thread(target=watch)
        watcher.start()
        found = load_from_many(server, 0, 10 * peak["rate"], seconds=seconds, **asked)
        over.set()
        watcher.join()
        after = load(server, "search", clients=1, seconds=2, **asked)
    others = set(found["codes"]) - {"OK", "RESOURCE_EXHAUSTED"}
    return [
        Figure(f"{_HEAVY} queries a request: most that is answered", peak["rate"], "requests/s"),
        Figure("overload: offered", found["offered"], "requests/s"),
        at_least("overload: answered / most", found["rate"] / peak["rate"], "x", 0.9),
        Figure("overload: refused", found["codes"].get("RESOURCE_EXHAUSTED", 0), "requests"),
        at_most("overload: ended otherwise", sum(found["codes"][c] for c in others), "requests", 0),
        Figure("overload: median of what is answered", found["p50_ms"], "ms"),
        at_most("overload: p99 of what is answered", found["p99_ms"], "ms", 3000),
        Figure("memory before it", before, "MiB"),
        Figure("memory at its height", max(highest), "MiB"),
        Figure("right after it, 1 client: median", after["p50_ms"], "ms"),
    ]


def start(store: Path) -> list[Figure]:
    """Measure the time from the start of the process to SERVING."""
    times, cpu = [], []
    for _ in range(_ROUNDS + 1):
        began = time.perf_counter()
        process = subprocess.Popen(
            [
                Path(sys.executable).with_name("cellkin"), "serve", "--store", str(store),
                "--listen", "127.0.0.1:50977", "--index", LISTS,
            ],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            _wait_serving("127.0.0.1:50977")
            times.append(time.perf_counter() - began)
            cpu.append(Server("", process.pid).cpu_s())
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)
    return [
        at_most("start to SERVING", statistics.median(times[1:]), "s", 2.0),
        Figure("start to SERVING: CPU", statistics.median(cpu[1:]), "s"),
    ]


def _wait_serving(address: str) -> None:
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


def milvus(store: Path, seconds: float) -> list[Figure]:
    """Ask Milvus Lite, exactly, over the same vectors."""
    from pymilvus import DataType, MilvusClient

    vectors = np.concatenate([*mixture(_n_flat(store), 5)])
    queries = np.load(store / "queries.npy")
    with tempfile.TemporaryDirectory() as scratch:
        client = MilvusClient(str(Path(scratch) / "lite.db"))
        form = client.create_schema(auto_id=False, enable_dynamic_field=False)
        form.add_field("row", DataType.INT64, is_primary=True)
        form.add_field("vector", DataType.FLOAT_VECTOR, dim=DIM)
        parameters = client.prepare_index_params()
        parameters.add_index("vector", index_type="FLAT", metric_type="IP")
        client.create_collection("cells", schema=form, index_params=parameters)
        for at in range(0, len(vectors), 5000):
            rows = [{"row": at + i, "vector": v} for i, v in enumerate(vectors[at : at + 5000])]
            client.insert("cells", rows)
        client.load_collection("cells")

        def ask(row: int) -> Any:
            return client.search(
                "cells", data=[queries[row % len(queries)]], anns_field="vector", limit=K,
                search_params={"metric_type": "IP"},
            )  # fmt: skip

        found = [hit["row"] for hit in ask(0)[0]]
        exact = np.argsort(-(vectors @ queries[0]), kind="stable")[:K]
        assert set(found) == set(exact.tolist()), "it is not exact"
        one, many = _asked(ask, 1, seconds), _asked(ask, 64, seconds)
        client.close()
    return [
        Figure("Milvus Lite, flat, 1 client", one, "queries/s"),
        Figure("Milvus Lite, flat, 64 clients", many, "queries/s"),
    ]


def _asked(ask: Callable[[int], Any], n_clients: int, seconds: float) -> float:
    until = time.perf_counter() + seconds

    def client(number: int) -> int:
        n = 0
        while time.perf_counter() < until:
            ask(number + n * n_clients)
            n += 1
        return n

    with ThreadPoolExecutor(n_clients) as pool:
        return sum(pool.map(client, range(n_clients))) / seconds


def _n_flat(store: Path) -> int:
    entries = Store.open(str(store)).catalog.entries(Kind.INDEX, FLAT)
    return int(entries[-1].manifest["n_cells"])


def _median(runs: list[dict[str, Any]], what: str) -> float:
    return statistics.median(run[what] for run in runs)


def main() -> int:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add_options(parser)
    parser.add_argument("--cells", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each run of the generator")
    parser.add_argument("--overload-s", type=float, default=60.0)
    parser.add_argument("--store", type=Path, default=Path(tempfile.gettempdir()) / "cellkin-serve")
    arguments = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    notes = machine("grpcio", "protobuf", "faiss-cpu", "numpy", "milvus-lite")
    if not (arguments.store / "queries.npy").exists():
        make_store(arguments.store, arguments.cells)
    store, seconds = arguments.store, arguments.seconds
    figures = [*small_requests(store, seconds), *start(store), *lists(store, seconds)]
    flat_figures = flat(store, seconds)
    lite = milvus(store, seconds)
    ratio = flat_figures[1].value / lite[1].value
    figures += [*flat_figures, *lite, at_least("flat, 64 clients / Milvus Lite", ratio, "x", 1)]
    figures += overload(store, arguments.overload_s)
    notes.append(
        f"{arguments.cells:,} cells of {DIM} dimensions in lists, {_n_flat(store):,} flat, k {K}; "
        "server, load and comparison share the CPUs; medians of "
        f"{_ROUNDS} runs of {seconds:g} s"
    )
    return finish(arguments, "serve", "The server", notes, figures)


if __name__ == "__main__":
    sys.exit(main())
