"""Build a neighbor index in Milvus, certified like any other index."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version

from cellkin.indexer.neighbors.certify import certify
from cellkin.indexer.neighbors.choice import Choice
from cellkin.store.cell_table import CellTable
from cellkin.store.cell_vectors import CellVectors
from cellkin.store.certificate import Certificate
from cellkin.store.milvus import MilvusNeighbors, fill_collection


def build_in_milvus(
    uri: str,
    name: str,
    cells: CellTable,
    vectors: CellVectors,
    content: bytes,
    progress: Callable[[int, int], None],
) -> tuple[MilvusNeighbors, Certificate]:
    """Fill a Milvus collection with the cells of a reference and certify its recall.

    Parameters
    ----------
    uri
        ``milvus://...``.
    name
        Name of the index.
    cells
        The placed cells.
    vectors
        Their search vectors.
    content
        Everything else that determines the vectors; hashed into the name of the collection.
    progress
        Called with the cells written and the cells in total.

    Returns
    -------
    index, certificate
        The index, and its measured recall and speed.
    """
    digest = hashlib.sha256(cells.digest.encode() + content).hexdigest()
    collection = "cellkin_" + "".join(c if c.isalnum() else "_" for c in name) + "_" + digest[:16]
    started = time.perf_counter()
    index = fill_collection(uri, collection, vectors.dim, cells.n_cells, vectors.named(), progress)
    build_s = time.perf_counter() - started
    choice = Choice("AUTOINDEX", f"asked for by {uri}; Milvus chooses the index")
    try:
        certificate = certify(index, vectors, choice, 0.0, build_s, cells.digest)
    except BaseException:
        index.close()
        raise
    versions = {**certificate.versions, "pymilvus": version("pymilvus")}
    return index, replace(certificate, versions=versions)
