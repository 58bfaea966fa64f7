"""Load the server on loopback: latency, CPU time a query, shared searches, overload, start.

The server, the generator of the load and what it is compared with run in processes of their own,
in turns, on the same vectors: those of index.py. CPU time is that of the server's process. The
store is made once and kept (``--store``), for a million cells take minutes to index.
"""

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from index import DIM, mixture
from report import Figure, add_options, at_least, at_most, finish, machine
from serve_store import FACTORY, FLAT, LISTS, TINY, K, make_store
from serving import Server, bare, echoing, load, load_from_many, serving, wait_serving

from cellkin.store.catalog import Kind
from cellkin.store.store import Store

_ROUNDS = 3
_HEAVY = 64


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
            wait_serving("127.0.0.1:50977")
            times.append(time.perf_counter() - began)
            cpu.append(Server("", process.pid).cpu_s())
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)
    return [
        at_most("start to SERVING", statistics.median(times[1:]), "s", 2.0),
        Figure("start to SERVING: CPU", statistics.median(cpu[1:]), "s"),
    ]


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
