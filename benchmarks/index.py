"""Build neighbor indexes of several kinds over a million cells: recall, speed, memory, time.

Cells are a Gaussian mixture of 200 overlapping types, made here. Every index is built in a process
of its own, by cellkin, tuned to the same recall and measured; then cellkin and bare FAISS search
that index in turns. Other libraries' indexes are built and tuned the same way. Speeds are of CPU
time, of one thread where the library lets one choose.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from index_others import OTHERS, measurable, one_by_one
from report import (
    Figure,
    add_options,
    at_least,
    cpu_s,
    cpu_speedup,
    finish,
    interleaved,
    machine,
)

from cellkin.indexer.neighbors.build import build_neighbors
from cellkin.indexer.neighbors.choice import list_count
from cellkin.indexer.neighbors.exact import Queries, choose_queries, shares
from cellkin.indexer.neighbors.gpu import nearest
from cellkin.indexer.neighbors.tune import Trial, smallest
from cellkin.space.arrays import Float32Matrix, Int64Vector
from cellkin.space.vectors import unit_rows
from cellkin.store.neighbors import NeighborIndex
from cellkin.store.neighbors_faiss import faiss

DIM = 384
N_TYPES = 200
EFFECTIVE_DIM = 38
# Variance between the types' centers, where that within a type is 1.
SPREAD = 0.3
N_QUERIES = 1000
K = 10
_CHUNK = 65536
_BATCH = 8192
_FLAT_CELLS = 100_000
_EXACT_QUERIES = 100
_TIMED_S = 1.0
"""About how long one round of another library's queries takes."""


class FileVectors:
    """Vectors of a file, read and not mapped, so that memory is only what the index takes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.dim = DIM
        self.n = path.stat().st_size // (4 * DIM)

    def batches(self) -> Iterator[Float32Matrix]:
        """Yield the rows in order."""
        with self._path.open("rb") as file:
            while len(block := np.fromfile(file, np.float32, _BATCH * DIM)):
                yield block.reshape(-1, DIM)

    def take(self, rows: Int64Vector) -> Float32Matrix:
        """Return some rows."""
        taken = np.empty((len(rows), DIM), np.float32)
        with self._path.open("rb", buffering=0) as file:
            for at, row in enumerate(rows.tolist()):
                file.seek(4 * DIM * row)
                file.readinto(taken[at].data)
        return taken


def mixture(n: int, seed: int) -> Iterator[Float32Matrix]:
    """Yield unit vectors of cells of 200 types; the centers are those of seed 0 always."""
    fixed = np.random.default_rng(0)
    axes = np.linalg.qr(fixed.standard_normal((DIM, DIM)))[0] * _spectrum()[:, None]
    centers = np.sqrt(SPREAD) * fixed.standard_normal((N_TYPES, DIM)) @ axes
    sizes = fixed.lognormal(size=N_TYPES)
    sizes /= sizes.sum()
    centers -= sizes @ centers
    rng, axes = np.random.default_rng(seed), axes.astype(np.float32)
    for start in range(0, n, _CHUNK):
        size = min(_CHUNK, n - start)
        cells = rng.standard_normal((size, DIM), np.float32) @ axes
        yield unit_rows(cells + centers[rng.choice(N_TYPES, size, p=sizes)].astype(np.float32))


def _spectrum() -> Any:
    """Return standard deviations along the axes, of a power law with the effective dimension."""
    low, high = 0.0, 3.0
    while True:
        variances = np.arange(1.0, DIM + 1) ** -((low + high) / 2)
        effective = variances.sum() ** 2 / (variances**2).sum()
        if abs(effective - EFFECTIVE_DIM) < 1e-3:
            return np.sqrt(variances / variances.sum())
        low, high = (
            ((low + high) / 2, high) if effective > EFFECTIVE_DIM else (low, (low + high) / 2)
        )


def write_inputs(folder: Path, n: int) -> None:
    """Write the cells, and new cells of the same types with their exact neighbors."""
    with (folder / "cells").open("wb") as file:
        for block in mixture(n, seed=1):
            block.tofile(file)
    queries = next(mixture(N_QUERIES, seed=2))
    ids = nearest(queries, FileVectors(folder / "cells").batches(), K)[1]
    np.savez(folder / "new.npz", queries=queries, ids=ids)


def measure_ours(folder: Path, factory: str, target: float) -> dict[str, Any]:
    """Build an index as cellkin does and search it, by cellkin and by bare FAISS."""
    vectors = FileVectors(folder / "cells")
    began_s = time.process_time()
    built = build_neighbors(vectors, factory, target)
    peak_bytes = _peak_bytes()
    certificate, index = built.certificate, built.index
    new = np.load(folder / "new.npz")
    queries = new["queries"]
    faiss.omp_set_num_threads(1)
    bare = index.faiss_index
    singles = queries[: max(20, int(certificate.qps_single / 10))]

    batch = interleaved(
        {"ours": lambda: index.search(queries, K), "bare": lambda: bare.search(queries, K)}, 7
    )
    ways = {
        "ours": one_by_one(index.search, singles, K),
        "bare": one_by_one(bare.search, singles, K),
    }
    single = interleaved(ways, 25)
    return {
        "build_s": certificate.build_s,
        "total_cpu_s": time.process_time() - began_s,
        "peak_bytes": peak_bytes,
        "bytes_per_cell": certificate.bytes_per_cell,
        "parameters": dict(certificate.parameters),
        "recall": certificate.recall[K],
        "recall_new": _overlap(index.search(queries, K)[1], new["ids"]),
        "single": certificate.qps_single,
        "batch": certificate.qps_batch,
        "single_of_bare": cpu_speedup(single["bare"], single["ours"]),
        "batch_of_bare": cpu_speedup(batch["bare"], batch["ours"]),
    }


def measure_other(kind: str, folder: Path, target: float) -> dict[str, Any]:
    """Build and tune the index of another library with the same queries and rule."""
    vectors = FileVectors(folder / "cells")
    index = OTHERS[kind](folder, vectors.n, DIM)
    started, n = time.perf_counter(), 0
    for block in vectors.batches():
        index.add(block, n)
        n += len(block)
    index.finish()
    build_s = time.perf_counter() - started
    peak_bytes = _peak_bytes()
    tuning, certifying = choose_queries(vectors)

    def trial(value: int, queries: Queries = tuning) -> Trial:
        index.set(value)
        recall = shares(index.search(queries.vectors, K + 1), vectors, queries)
        mean = float(recall.mean())
        return Trial(mean, mean - 2 * float(recall.std()) / N_QUERIES**0.5, 0)

    chosen = (smallest(trial, target, 16, index.most) or index.most) if index.setting else 0
    # What is exact and slow is asked fewer queries.
    new, n_asked = np.load(folder / "new.npz"), N_QUERIES if index.setting else _EXACT_QUERIES
    recall_new = _overlap(index.search(new["queries"][:n_asked], K), new["ids"][:n_asked])
    recall = trial(chosen, certifying).recall if index.setting else recall_new
    before = time.process_time()
    index.search(certifying.vectors[:10], K)
    per_query_s = max(time.process_time() - before, 1e-4) / 10
    some = certifying.vectors[: max(20, min(500, int(_TIMED_S / per_query_s)))]
    ways: dict[str, Callable[[], object]] = {
        "single": one_by_one(index.search, some, K),
        "batch": lambda: index.search(some, K),
    }
    rates = {name: len(some) / cpu_s(found) for name, found in interleaved(ways, 3).items()}
    return {
        "build_s": build_s,
        "peak_bytes": peak_bytes,
        "bytes_per_cell": index.n_bytes() / vectors.n,
        "parameters": {index.setting: chosen} if index.setting else {"exact": "yes"},
        "recall": recall,
        "recall_new": recall_new,
        **rates,
    }


def measure_flat(folder: Path) -> dict[str, Any]:
    """Search a part of the cells exactly, 64 queries at once and one by one."""
    vectors = FileVectors(folder / "cells")
    index = NeighborIndex.build(vectors.take(np.arange(min(_FLAT_CELLS, vectors.n))))
    faiss.omp_set_num_threads(1)
    queries = np.load(folder / "new.npz")["queries"][:64]
    ways: dict[str, Callable[[], object]] = {
        "single": lambda: [index.search(queries[i : i + 1], K) for i in range(64)],
        "batch": lambda: index.search(queries, K),
    }
    timings = interleaved(ways, 5)
    return {"batch_of_single": cpu_speedup(timings["single"], timings["batch"])}


def figures(kinds: dict[str, dict[str, Any]], target: float) -> list[Figure]:
    """Turn what the processes measured into figures."""
    found = []
    for kind, m in kinds.items():
        found += [
            Figure(f"{kind}: build", m["build_s"], "s"),
            Figure(f"{kind}: peak memory of building", m["peak_bytes"] / 2**30, "GiB"),
            Figure(f"{kind}: memory", m["bytes_per_cell"], "bytes/cell"),
            Figure(f"{kind}: recall@10", m["recall"], "")
            if kind in OTHERS
            else at_least(f"{kind}: recall@10", m["recall"], "", target),
            Figure(f"{kind}: recall@10 of new cells", m["recall_new"], ""),
            Figure(f"{kind}: single queries", m["single"], "queries/s"),
            Figure(f"{kind}: queries in a batch", m["batch"], "queries/s"),
        ]
        if "single_of_bare" in m:
            found += [
                at_least(f"{kind}: speed of bare FAISS, single", m["single_of_bare"], "x", 0.9),
                at_least(f"{kind}: speed of bare FAISS, batch", m["batch_of_bare"], "x", 0.9),
            ]
    codes, plain = (m for kind, m in kinds.items() if kind.startswith("IVF"))
    faster = at_least("RaBitQ,Refine: speed of SQ8, batch", codes["batch"] / plain["batch"], "x", 2)
    if "hnswlib" not in kinds:
        return [*found, faster]
    graph, other = kinds["HNSW32"], kinds["hnswlib"]
    return [
        *found,
        *(
            at_least(f"HNSW32: speed of hnswlib, {way}", graph[way] / other[way], "x", 0.74)
            for way in ("single", "batch")
        ),
        faster,
    ]


def main() -> int:
    """Measure, print and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=1_000_000, help="how many cells")
    parser.add_argument("--recall", type=float, default=0.95, help="the recall@10 to tune to")
    parser.add_argument("--child", nargs=2, metavar=("KIND", "FOLDER"), help=argparse.SUPPRESS)
    add_options(parser)
    arguments = parser.parse_args()
    if arguments.child:
        kind, folder = arguments.child
        print(json.dumps(_measure(kind, Path(folder), arguments.recall)))
        return 0
    lists = f"IVF{list_count(arguments.n)}"
    others, skipped = measurable(arguments.n)
    wanted = ["HNSW32", f"{lists},RaBitQ,Refine(SQ8)", f"{lists},SQ8", *others]
    notes = machine(
        "faiss-cpu", "hnswlib", "lancedb", "milvus-lite", "numpy", "qdrant-client", "usearch"
    )
    with tempfile.TemporaryDirectory(prefix="cellkin-") as scratch:
        write_inputs(Path(scratch), arguments.n)
        kinds = {kind: _run(kind, scratch, arguments.recall) for kind in wanted}
        flat = _run("flat", scratch, arguments.recall)
    notes += skipped
    best = max(kinds, key=lambda kind: kinds[kind]["single"])
    notes += [
        f"{arguments.n} cells of {DIM} dimensions: {N_TYPES} overlapping types of effective "
        f"dimension {EFFECTIVE_DIM}, seeded; {faiss.omp_get_max_threads()} threads build, "
        "one searches, and its CPU time is counted",
        f"tuned to recall@10 >= {arguments.recall:g} with {N_QUERIES} stand-ins for new cells, "
        "certified with as many others; new cells are of the same types, and not in the index",
        *(
            f"{kind}: " + ", ".join(f"{k} {v}" for k, v in m["parameters"].items())
            for kind, m in kinds.items()
        ),
        f"most single queries a second at that recall: {best}, {kinds[best]['single']:.0f}",
    ]
    found = figures(kinds, arguments.recall)
    ratio = at_least(
        f"Flat, {min(_FLAT_CELLS, arguments.n)} cells: 64 at once against one by one",
        flat["batch_of_single"], "x", 8,
    )  # fmt: skip
    return finish(arguments, "index", "Neighbor indexes", notes, [*found, ratio])


def _measure(kind: str, folder: Path, target: float) -> dict[str, Any]:
    if kind == "flat":
        return measure_flat(folder)
    if kind in OTHERS:
        return measure_other(kind, folder, target)
    return measure_ours(folder, kind, target)


def _run(kind: str, folder: str, target: float) -> dict[str, Any]:
    """Measure in a process of its own, so that its peak of memory is its own."""
    command = [sys.executable, __file__, "--child", kind, folder, "--recall", str(target)]
    started = time.perf_counter()
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    print(f"{kind}: {time.perf_counter() - started:.0f} s in all", file=sys.stderr)
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measured


def _peak_bytes() -> int:
    """Return the most memory this process ever had; Linux only."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(x.split()[1]) * 1024 for x in status.splitlines() if x.startswith("VmHWM"))


def _overlap(found: Int64Vector, exact: Int64Vector) -> float:
    return float(
        np.mean([len(np.intersect1d(a, b)) / K for a, b in zip(found, exact, strict=True)])
    )


if __name__ == "__main__":
    sys.exit(main())
