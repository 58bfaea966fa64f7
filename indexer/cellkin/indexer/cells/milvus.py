"""Publish the vectors and labels of a reference to Milvus, certified like any index."""

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.metadata import version

from cellkin.indexer.neighbors.certify import certify
from cellkin.indexer.neighbors.choice import Choice
from cellkin.space.arrays import Float32Matrix
from cellkin.space.projection import CellSpace, place_means
from cellkin.store.cell_rows import vector_matrix
from cellkin.store.cell_table import CellTable, CellVectors
from cellkin.store.certificate import Certificate
from cellkin.store.milvus import MilvusNeighbors, fill_collection


def build_in_milvus(
    uri: str,
    name: str,
    cells: CellTable,
    space: CellSpace,
    progress: Callable[[int, int], None],
) -> tuple[MilvusNeighbors, Certificate]:
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
    progress
        Called with the cells written and to be written.
    """
    head = b"" if space.head is None else space.head.tobytes()
    content = hashlib.sha256(cells.digest.encode() + space.center.tobytes() + head).hexdigest()
    collection = "cellkin_" + "".join(c if c.isalnum() else "_" for c in name) + "_" + content[:16]
    started = time.perf_counter()
    index = fill_collection(
        uri, collection, space.dim, cells.n_cells, _rows(cells, space), progress
    )
    build_s = time.perf_counter() - started
    choice = Choice("AUTOINDEX", f"asked for by {uri}; Milvus chooses the index")
    certificate = certify(index, CellVectors(cells, space), choice, 0.0, build_s, cells.digest)
    versions = {**certificate.versions, "pymilvus": version("pymilvus")}
    return index, replace(certificate, versions=versions)


def _rows(
    cells: CellTable, space: CellSpace
) -> Iterator[tuple[list[str], list[str], Float32Matrix]]:
    for batch in cells.batches(["id", "label", "vector"]):
        vectors = place_means(vector_matrix(batch["vector"]), space)
        yield batch["id"].to_pylist(), batch["label"].to_pylist(), vectors
