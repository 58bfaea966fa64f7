"""Exact nearest cells, from the vectors of the cell table and independent of the index."""

from collections.abc import Callable, Iterator

import numpy as np

from cellkin.space.arrays import BoolVector, Float32Matrix, Int64Vector
from cellkin.space.products import all_products
from cellkin.store.cell_vectors import CellVectors
from cellkin.store.neighbor_search import Found

_TAKEN = 4096


def search_exactly(
    vectors: CellVectors,
    queries: Float32Matrix,
    k: int,
    passing: BoolVector | None = None,
    check: Callable[[], None] = lambda: None,
) -> Found:
    """Compare every query with every cell, or every cell that passes.

    Reads the table in blocks and keeps one in memory.

    Parameters
    ----------
    vectors
        Vectors of the reference cells.
    queries
        (n_queries, dim) float32, unit rows.
    k
        Neighbors per query.
    passing
        (n,) bool, the cells that may be hits; None for all.
    check
        Called before every block; raises to cancel the search.

    Returns
    -------
    similarities, ids
        As returned by `Neighbors.search`.
    """
    best = np.full((len(queries), k), -np.inf, np.float32)
    ids = np.full((len(queries), k), -1, np.int64)
    for rows, block in _blocks(vectors, passing):
        check()
        similarities = np.hstack([best, all_products(queries, block)])
        candidates = np.hstack([ids, np.broadcast_to(rows, (len(queries), len(rows)))])
        # Rows ascend from block to block, so a stable sort keeps the lowest id among ties.
        order = np.argsort(-similarities, axis=1, kind="stable")[:, :k]
        best = np.take_along_axis(similarities, order, axis=1)
        ids = np.take_along_axis(candidates, order, axis=1)
    ids[np.isneginf(best)] = -1
    return best, ids


def _blocks(
    vectors: CellVectors, passing: BoolVector | None
) -> Iterator[tuple[Int64Vector, Float32Matrix]]:
    if passing is None or passing.mean() > 0.1:
        start = 0
        for block in vectors.batches():
            rows = np.arange(start, start + len(block))
            start += len(block)
            kept = slice(None) if passing is None else passing[rows]
            yield rows[kept], block[kept]
        return
    rows = np.flatnonzero(passing)
    for begin in range(0, len(rows), _TAKEN):
        part = rows[begin : begin + _TAKEN]
        yield part, vectors.take(part)
