"""Publish the vectors and labels of a reference to Milvus, certified like any index."""

import hashlib
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.metadata import version
from typing import Any, cast

import numpy as np

from cellkin.indexer.neighbors.build import BuiltNeighbors
from cellkin.indexer.neighbors.certify import certify
from cellkin.indexer.neighbors.choice import Choice
from cellkin.space.arrays import Float32Matrix
from cellkin.space.projection import CellSpace, place_means
from cellkin.store.cell_rows import vector_matrix
from cellkin.store.cell_table import CellTable, CellVectors
from cellkin.store.certificate import TUNED_K
from cellkin.store.milvus import fill_collection

_TIMED = 20


def build_in_milvus(
    uri: str,
    name: str,
    cells: CellTable,
    space: CellSpace,
    digest: str,
    progress: Callable[[int, int], None],
) -> BuiltNeighbors:
    """Fill a collection with the cells of a reference and measure how good its answers are.

    Parameters
    ----------
    uri
        ``milvus://...``.
    name
        Name of the index.
    cells
        The placed cells.
    space
        The cell space.
    digest
        SHA-256 of the rows.
    progress
        Called with the cells written and to be written.
    """
    head = b"" if space.head is None else space.head.tobytes()
    content = hashlib.sha256(digest.encode() + space.center.tobytes() + head).hexdigest()
    collection = "cellkin_" + "".join(c if c.isalnum() else "_" for c in name) + "_" + content[:16]
    started = time.perf_counter()
    index = fill_collection(
        uri, collection, space.dim, cells.n_cells, _rows(cells, space), progress
    )
    build_s = time.perf_counter() - started
    choice = Choice("AUTOINDEX", f"asked for by {uri}; Milvus chooses the index")
    vectors = CellVectors(cells, space)
    # Certifying asks for lengths, searches and a size, which this has like any other index.
    certificate = certify(cast("Any", index), vectors, choice, 0.0, build_s, digest)
    probes = vectors.take(np.unique(np.linspace(0, vectors.n - 1, _TIMED).astype(np.int64)))
    certificate = replace(
        certificate,
        # Milvus works elsewhere: what counts is how long an answer takes here.
        qps_batch=len(probes) / _median_s(lambda: index.search(probes, TUNED_K)),
        qps_single=1 / _median_s(lambda: index.search(probes[:1], TUNED_K)),
        versions={**certificate.versions, "pymilvus": version("pymilvus")},
    )
    return BuiltNeighbors(cast("Any", index), choice, certificate)


def _rows(
    cells: CellTable, space: CellSpace
) -> Iterator[tuple[list[str], list[str], Float32Matrix]]:
    for batch in cells.batches(["id", "label", "vector"]):
        vectors = place_means(vector_matrix(batch["vector"]), space)
        yield batch["id"].to_pylist(), batch["label"].to_pylist(), vectors


def _median_s(ask: Callable[[], object]) -> float:
    times = []
    for _ in range(4):
        started = time.perf_counter()
        ask()
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])
