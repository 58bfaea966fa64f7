"""Train and search exactly on a GPU, if FAISS (or torch, for search only) finds one.

Both are matrix products. The resulting index and its file are always the CPU form.
"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

from cellkin.indexer.devices import resolve
from cellkin.space.arrays import Float32Matrix, Int64Vector
from cellkin.space.largest import LargestProducts
from cellkin.store.machine import n_cores
from cellkin.store.neighbors import best_of
from cellkin.store.neighbors_faiss import faiss


def train(index: faiss.Index, sample: Float32Matrix) -> None:
    """Train an index.

    Parameters
    ----------
    index
        A FAISS index in main memory.
    sample
        (n, dim) float32, unit rows.
    """
    lists = faiss.try_extract_index_ivf(index)
    if lists is None or not faiss.get_num_gpus():
        index.train(sample)
        return
    # The device copies are needed only for the training; the index must not keep them.
    on_devices = faiss.index_cpu_to_all_gpus(faiss.IndexFlatIP(lists.d))
    lists.clustering_index = on_devices
    try:
        index.train(sample)
    finally:
        lists.clustering_index = None  # type: ignore[assignment]


def nearest(
    queries: Float32Matrix, blocks: Iterable[Float32Matrix], k: int
) -> tuple[Float32Matrix, Int64Vector]:
    """Find the exact nearest vectors of each query.

    Parameters
    ----------
    queries
        (n_queries, dim) float32, unit rows.
    blocks
        Blocks of the searched vectors, (n_rows, dim) float32, unit rows; the id of a vector is its
        row, counted over all blocks.
    k
        Neighbors per query, at least 1.

    Returns
    -------
    similarities, ids
        (n_queries, k) float32 cosine similarities, descending, and int64 ids, ascending among equal
        similarities; -inf and -1 where there are fewer vectors.
    """
    if faiss.get_num_gpus():
        return _nearest_by_faiss(queries, blocks, k)
    if resolve("auto") != "cpu":
        from cellkin.indexer.neighbors.torch_exact import exact_neighbors

        return exact_neighbors(queries, blocks, k, "auto")
    # At least one part, for the shape of what is found.
    parts = np.array_split(queries, max(1, min(n_cores(), len(queries))))
    largest = [LargestProducts(part, k) for part in parts]
    with ThreadPoolExecutor(len(largest), "nearest") as pool:
        first_id = 0
        for block in blocks:
            add = partial(LargestProducts.add, vectors=block, first_id=first_id)
            for _ in pool.map(add, largest):
                pass
            first_id += len(block)
    found = [part.result() for part in largest]
    return np.concatenate([part[0] for part in found]), np.concatenate([part[1] for part in found])


def _nearest_by_faiss(
    queries: Float32Matrix, blocks: Iterable[Float32Matrix], k: int
) -> tuple[Float32Matrix, Int64Vector]:
    resources = faiss.StandardGpuResources()
    queries = np.ascontiguousarray(queries)
    similarities = np.full((len(queries), k), -np.inf, np.float32)
    ids, first_id = np.full((len(queries), k), -1, np.int64), 0
    for block in blocks:
        near, rows = faiss.knn_gpu(
            resources, queries, np.ascontiguousarray(block), min(k, len(block)),
            metric=faiss.METRIC_INNER_PRODUCT,
        )  # fmt: skip
        similarities, ids = best_of(
            np.hstack([similarities, near]), np.hstack([ids, rows + first_id]), k
        )
        first_id += len(block)
    return similarities, ids
