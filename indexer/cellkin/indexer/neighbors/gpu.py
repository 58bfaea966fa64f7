"""Train and search exactly on a GPU, if FAISS (or torch, for search only) finds one.

Both are matrix products. The resulting index and its file are always the CPU form.
"""

import numpy as np

from cellkin.indexer.devices import resolve
from cellkin.space.arrays import Float32Matrix, Float32Vector, Int64Vector
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
    queries: Float32Matrix, block: Float32Matrix, k: int, above: Float32Vector | None = None
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
    above
        (n_queries,) float32, similarities that rows must exceed to be wanted; None for all rows.

    Returns
    -------
    similarities, rows
        (n_queries, width) float32 cosine similarities and int64 rows of the block. They contain the
        k nearest rows that are wanted, in any order, or all; -inf and -1 where there are fewer.
    """
    queries, block = np.ascontiguousarray(queries), np.ascontiguousarray(block)
    metric = faiss.METRIC_INNER_PRODUCT
    if faiss.get_num_gpus():
        resources = faiss.StandardGpuResources()
        return faiss.knn_gpu(resources, queries, block, k, metric=metric)
    if resolve("auto") != "cpu":
        from cellkin.indexer.neighbors.torch_exact import exact_neighbors

        return exact_neighbors(queries, [block], k, "auto")
    return _nearest_of_products(queries @ block.T, k, above)


def _nearest_of_products(
    products: Float32Matrix, k: int, above: Float32Vector | None
) -> tuple[Float32Matrix, Int64Vector]:
    """Select from the (n_queries, n_rows) products, which numpy's BLAS computes faster than FAISS.

    That of FAISS's packages takes three to five times the CPU time.
    """
    if above is not None:
        wanted = products > above[:, None]
        n_wanted = np.count_nonzero(wanted, axis=1)
        if (width := int(n_wanted.max(initial=0))) <= k:
            query, row = np.nonzero(wanted)
            place = np.arange(len(query)) - np.repeat(np.cumsum(n_wanted) - n_wanted, n_wanted)
            similarities = np.full((len(products), width), -np.inf, np.float32)
            rows = np.full((len(products), width), -1, np.int64)
            similarities[query, place], rows[query, place] = products[query, row], row
            return similarities, rows
    rows = np.argpartition(products, -k, axis=1)[:, -k:]
    return np.take_along_axis(products, rows, axis=1), rows
