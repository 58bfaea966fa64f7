"""Train and search exactly on a GPU, if FAISS (or torch, for search only) finds one.

Both are matrix products. The resulting index and its file are always the CPU form.
"""

import numpy as np

from cellkin.indexer.devices import resolve
from cellkin.space.arrays import Float32Matrix, Int64Vector
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
    queries: Float32Matrix, block: Float32Matrix, k: int
) -> tuple[Float32Matrix, Int64Vector]:
    """Find the exact nearest rows of a block.

    Parameters
    ----------
    queries
        (n_queries, dim) float32, unit rows.
    block
        (n_rows, dim) float32, unit rows.
    k
        Neighbors per query, at most ``n_rows``.

    Returns
    -------
    similarities, rows
        (n_queries, k) float32 cosine similarities, best first; (n_queries, k) int64 rows of the
        block.
    """
    queries, block = np.ascontiguousarray(queries), np.ascontiguousarray(block)
    metric = faiss.METRIC_INNER_PRODUCT
    if faiss.get_num_gpus():
        resources = faiss.StandardGpuResources()
        return faiss.knn_gpu(resources, queries, block, k, metric=metric)
    if resolve("auto") != "cpu":
        from cellkin.indexer.neighbors.torch_exact import exact_neighbors

        return exact_neighbors(queries, [block], k, "auto")
    return faiss.knn(queries, block, k, metric=metric)
