"""Other libraries of vector search, as benchmarks/index.py measures them."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from cellkin.space.arrays import Float32Matrix, Int64Vector

_LINKS, _BUILD_EF = 32, 60
"""As of cellkin's HNSW32."""
_REFINE = 30
"""Rows that LanceDB compares exactly, for each that is wanted."""
_MILVUS_ROWS = 4096
"""Rows in a request to Milvus Lite, whose messages are limited."""
_QDRANT_MOST = 100_000
"""Cells that Qdrant's local mode, which compares a query with all of them, is given at most."""


class Other(ABC):
    """An index of another library.

    Parameters
    ----------
    folder
        Where it may write.
    n, dim
        Number and dimension of the vectors.
    """

    module = ""
    setting = ""
    """What its recall is tuned by; empty if it is exact."""
    most = 4096
    """Largest value of the setting."""

    @abstractmethod
    def __init__(self, folder: Path, n: int, dim: int) -> None:
        """Make an empty index."""

    @abstractmethod
    def add(self, block: Float32Matrix, start: int) -> None:
        """Add vectors, whose ids count up from a number."""

    def finish(self) -> None:  # noqa: B027  most have nothing to do
        """Build what is built once all vectors are there."""

    def set(self, value: int) -> None:  # noqa: B027  exact ones have none
        """Set what its recall is tuned by."""

    @abstractmethod
    def search(self, queries: Float32Matrix, k: int) -> Int64Vector:
        """Return the ids (n_queries, k) of the nearest vectors, on one thread where it can."""

    @abstractmethod
    def n_bytes(self) -> int:
        """Return the bytes that it takes in memory or, of a database, on disk."""


class Hnswlib(Other):
    """hnswlib's graph."""

    module, setting = "hnswlib", "ef"

    def __init__(self, folder: Path, n: int, dim: int) -> None:
        import hnswlib

        self._graph, self._folder = hnswlib.Index("ip", dim), folder
        self._graph.init_index(n, ef_construction=_BUILD_EF, M=_LINKS, random_seed=0)

    def add(self, block: Float32Matrix, start: int) -> None:
        """Add vectors."""
        self._graph.add_items(block, np.arange(start, start + len(block)))

    def set(self, value: int) -> None:
        """Set ef."""
        self._graph.set_ef(value)

    def search(self, queries: Float32Matrix, k: int) -> Int64Vector:
        """Return the ids of the nearest vectors."""
        found = self._graph.knn_query(queries, k, num_threads=1)[0]
        return np.asarray(found, np.int64)

    def n_bytes(self) -> int:
        """Return the size of its file, which is that in memory."""
        self._graph.save_index(str(self._folder / "hnswlib"))
        return (self._folder / "hnswlib").stat().st_size


class Usearch(Other):
    """USearch's graph."""

    module, setting = "usearch", "expansion_search"

    def __init__(self, folder: Path, n: int, dim: int) -> None:
        from usearch.index import Index

        self._graph = Index(
            ndim=dim, metric="ip", dtype="f32", connectivity=_LINKS, expansion_add=_BUILD_EF
        )

    def add(self, block: Float32Matrix, start: int) -> None:
        """Add vectors."""
        self._graph.add(np.arange(start, start + len(block)), block)

    def set(self, value: int) -> None:
        """Set the expansion of a search."""
        self._graph.expansion_search = value

    def search(self, queries: Float32Matrix, k: int) -> Int64Vector:
        """Return the ids of the nearest vectors."""
        keys = self._graph.search(queries, k, threads=1).keys
        return np.asarray(keys, np.int64).reshape(len(queries), k)

    def n_bytes(self) -> int:
        """Return its size in memory."""
        return int(self._graph.memory_usage)


class LanceDb(Other):
    """LanceDB's own index, IVF_PQ with the rows read again, as its documentation advises."""

    module, setting, most = "lancedb", "nprobes", 1024

    def __init__(self, folder: Path, n: int, dim: int) -> None:
        import lancedb

        self._folder, self._dim, self._nprobes = folder / "lancedb", dim, 1
        self._database, self._table = lancedb.connect(str(self._folder)), None

    def add(self, block: Float32Matrix, start: int) -> None:
        """Add vectors."""
        import pyarrow as pa

        values = pa.FixedSizeListArray.from_arrays(pa.array(block.ravel()), self._dim)
        rows = pa.table({"id": np.arange(start, start + len(block)), "vector": values})
        if self._table is None:
            self._table = self._database.create_table("cells", rows)
        else:
            self._table.add(rows)

    def finish(self) -> None:
        """Build the index."""
        assert self._table is not None
        self._table.create_index(metric="dot", index_type="IVF_PQ")

    def set(self, value: int) -> None:
        """Set how many lists are searched."""
        self._nprobes = value

    def search(self, queries: Float32Matrix, k: int) -> Int64Vector:
        """Return the ids of the nearest vectors."""
        assert self._table is not None
        found = np.full((len(queries), k), -1, np.int64)
        for at, query in enumerate(queries):
            asked = self._table.search(query).metric("dot").nprobes(self._nprobes)
            rows = asked.refine_factor(_REFINE).limit(k).select(["id", "_distance"]).to_arrow()
            ids = rows["id"].to_numpy()
            found[at, : len(ids)] = ids
        return found

    def n_bytes(self) -> int:
        """Return the size of its files."""
        return sum(path.stat().st_size for path in self._folder.rglob("*") if path.is_file())


class MilvusLite(Other):
    """Milvus Lite's graph."""

    module, setting, most = "pymilvus", "ef", 1024

    def __init__(self, folder: Path, n: int, dim: int) -> None:
        from pymilvus import DataType, MilvusClient

        self._file, self._ef = folder / "milvus.db", _BUILD_EF
        self._client = MilvusClient(str(self._file))
        form = self._client.create_schema(auto_id=False, enable_dynamic_field=False)
        form.add_field("row", DataType.INT64, is_primary=True)
        form.add_field("vector", DataType.FLOAT_VECTOR, dim=dim)
        self._client.create_collection("cells", schema=form)

    def add(self, block: Float32Matrix, start: int) -> None:
        """Add vectors."""
        rows = [{"row": start + i, "vector": vector} for i, vector in enumerate(block)]
        for at in range(0, len(rows), _MILVUS_ROWS):
            self._client.insert("cells", rows[at : at + _MILVUS_ROWS])

    def finish(self) -> None:
        """Build the graph; rows that are not flushed would be searched without one."""
        self._client.flush("cells")
        graph = self._client.prepare_index_params()
        parameters = {"M": _LINKS, "efConstruction": _BUILD_EF}
        graph.add_index("vector", index_type="HNSW", metric_type="IP", params=parameters)
        self._client.create_index("cells", graph)
        self._client.load_collection("cells")

    def set(self, value: int) -> None:
        """Set ef, which has to be at least k."""
        self._ef = value

    def search(self, queries: Float32Matrix, k: int) -> Int64Vector:
        """Return the ids of the nearest vectors."""
        answers = self._client.search(
            "cells", data=[*queries], anns_field="vector", limit=k,
            search_params={"metric_type": "IP", "params": {"ef": max(k, self._ef)}},
        )  # fmt: skip
        return np.array([[hit["row"] for hit in hits] for hits in answers], np.int64)

    def n_bytes(self) -> int:
        """Return the size of its files."""
        files = self._file.rglob("*") if self._file.is_dir() else [self._file]
        return sum(path.stat().st_size for path in files if path.is_file())


class QdrantLocal(Other):
    """Qdrant's local mode, which is exact and in the process."""

    module = "qdrant_client"

    def __init__(self, folder: Path, n: int, dim: int) -> None:
        from qdrant_client import QdrantClient, models

        self._client, self._dim, self._n = QdrantClient(":memory:"), dim, n
        size = models.VectorParams(size=dim, distance=models.Distance.DOT)
        self._client.create_collection("cells", vectors_config=size)

    def add(self, block: Float32Matrix, start: int) -> None:
        """Add vectors."""
        ids = range(start, start + len(block))
        self._client.upload_collection("cells", vectors=block, ids=ids)

    def search(self, queries: Float32Matrix, k: int) -> Int64Vector:
        """Return the ids of the nearest vectors."""
        answers = (self._client.query_points("cells", query=query, limit=k) for query in queries)
        return np.array([[int(point.id) for point in each.points] for each in answers], np.int64)

    def n_bytes(self) -> int:
        """Return the size of its vectors."""
        return self._n * 4 * self._dim


OTHERS: dict[str, type[Other]] = {
    "hnswlib": Hnswlib,
    "USearch": Usearch,
    "LanceDB IVF_PQ": LanceDb,
    "Milvus Lite HNSW": MilvusLite,
    "Qdrant, local mode": QdrantLocal,
}


def measurable(n: int) -> tuple[list[str], list[str]]:
    """Return which of them can be measured with a number of cells, and why not the others."""
    names, skipped = [], []
    for name, other in OTHERS.items():
        if find_spec(other.module) is None:
            skipped.append(
                f"{name}: not measured, it is not installed (`make bench-index` installs it)"
            )
        elif other is QdrantLocal and n > _QDRANT_MOST:
            skipped.append(f"{name}: not measured, it compares with all cells; to {_QDRANT_MOST}")
        else:
            names.append(name)
    return names, skipped


def one_by_one(search: Callable[[Float32Matrix, int], Any], queries: Float32Matrix, k: int) -> Any:
    """Return a function that searches queries one by one."""
    return lambda: [search(queries[i : i + 1], k) for i in range(len(queries))]
