"""Certify an index against exact search, and verify its certificate later."""

import platform
import re
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np

from cellkin.indexer.neighbors.choice import Choice
from cellkin.indexer.neighbors.exact import Queries, choose_queries, recalls
from cellkin.indexer.neighbors.vectors import Vectors
from cellkin.space.arrays import Float32Matrix
from cellkin.store.certificate import DEPTHS, TUNED_K, Certificate
from cellkin.store.neighbor_search import Neighbors
from cellkin.store.neighbors_faiss import faiss
from cellkin.wire.errors import IntegrityError

TOLERANCE = 0.005
"""Largest difference between measured and certified recall that `verify` accepts.

The index and the queries are the same, so that only rounding on another machine changes recall.
"""

_QUERIES = "cells spread over the index, each moved as cells there differ, and itself left out"
# CPU time of the queries that are searched one by one, by the first of them.
_SINGLE_S = 0.1


def certify(
    index: Neighbors,
    vectors: Vectors,
    choice: Choice,
    target: float,
    build_s: float,
    digest: str = "",
    queries: Queries | None = None,
) -> Certificate:
    """Measure the recall and speed of an index; choosing queries reads the vectors twice.

    Parameters
    ----------
    index
        The index, with its search settings set.
    vectors
        The vectors it was built from.
    choice
        Factory string, search settings and the reason for the choice.
    target
        The requested recall@10.
    build_s
        Seconds it took to build.
    digest
        SHA-256 of the vectors, if known.
    queries
        The second result of `choose_queries`, if already chosen.
    """
    queries = queries or choose_queries(vectors)[1]
    batch, single = speeds(index, queries.vectors)
    return Certificate(
        recall={k: float(recalls(index, vectors, queries, k).mean()) for k in DEPTHS},
        n_queries=len(queries.rows),
        queries=_QUERIES,
        n_cells=vectors.n,
        dim=vectors.dim,
        target=target,
        qps_batch=batch,
        qps_single=single,
        bytes_per_cell=index.n_bytes / len(index),
        build_s=build_s,
        factory=choice.factory,
        parameters=dict(choice.parameters),
        why=choice.why,
        versions={
            "faiss": faiss.__version__,
            "numpy": np.__version__,
            "cellkin": version("cellkin"),
        },
        cpu=_cpu_name(),
        n_threads=faiss.omp_get_max_threads(),
        vectors_digest=digest,
    )


def verify(
    index: Neighbors, vectors: Vectors, stored: Certificate, digest: str = ""
) -> dict[int, float]:
    """Measure the recall of an index again and compare it with its certificate.

    Parameters
    ----------
    index
        The loaded index.
    vectors
        The vectors it was built from.
    stored
        Its certificate.
    digest
        Current SHA-256 of the vectors, if known.

    Returns
    -------
    dict
        Measured recall, by number of neighbors.

    Raises
    ------
    IntegrityError
        If the vectors changed, or recall differs by more than `TOLERANCE`.
    """
    if len(index) != vectors.n or vectors.n != stored.n_cells:
        raise IntegrityError(
            f"the index has {len(index)} cells and the table {vectors.n}, where the certificate "
            f"says {stored.n_cells}; publish the index again"
        )
    if digest and stored.vectors_digest and digest != stored.vectors_digest:
        raise IntegrityError(
            f"the vectors have the digest {digest[:16]} where the certificate says "
            f"{stored.vectors_digest[:16]}; publish the index again"
        )
    queries = choose_queries(vectors)[1]
    found = {k: float(recalls(index, vectors, queries, k).mean()) for k in stored.recall}
    far = [k for k, recall in found.items() if abs(recall - stored.recall[k]) > TOLERANCE]
    if far:
        said = ", ".join(f"@{k} {found[k]:.4f} (certified {stored.recall[k]:.4f})" for k in far)
        raise IntegrityError(
            f"recall differs from the certificate by more than {TOLERANCE:g}: {said}; "
            "publish the index again"
        )
    return found


def speeds(index: Neighbors, queries: Float32Matrix) -> tuple[float, float]:
    """Measure the queries per CPU-second of one thread, in one batch and one by one.

    CPU time does not depend on the machine's other load; for an index that another process
    searches, wall-clock time is used. Both are medians of three runs, after one warm-up run.
    """
    clock = time.perf_counter if index.remote else time.thread_time
    n_threads = faiss.omp_get_max_threads()
    # This affects the calling thread only.
    faiss.omp_set_num_threads(1)
    try:
        in_batch = [_rate(clock, lambda: index.search(queries, TUNED_K)) for _ in range(4)]
        batch = len(queries) * statistics.median(in_batch[1:])
        single = _rate(clock, lambda: index.search(queries[:1], TUNED_K))
        some = queries[: max(1, min(len(queries), int(_SINGLE_S * single)))]

        def one_by_one() -> None:
            for row in range(len(some)):
                index.search(some[row : row + 1], TUNED_K)

        return batch, len(some) * statistics.median(_rate(clock, one_by_one) for _ in range(3))
    finally:
        faiss.omp_set_num_threads(n_threads)


def _rate(clock: Callable[[], float], work: Callable[[], object]) -> float:
    before = clock()
    work()
    return 1 / max(clock() - before, 1e-9)


def _cpu_name() -> str:
    path = Path("/proc/cpuinfo")
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    found = re.search(r"^model name\s*:\s*(.*)$", text, re.MULTILINE)
    return found.group(1) if found else platform.processor() or platform.machine()
