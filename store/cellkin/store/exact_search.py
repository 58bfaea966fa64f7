"""Exact nearest cells, from the vectors of the cell table and independent of the index."""

from collections.abc import Callable

import numpy as np

from cellkin.space.arrays import BoolVector, Float32Matrix
from cellkin.space.largest import LargestProducts
from cellkin.store.cell_vectors import CellVectors
from cellkin.store.neighbor_search import Found

# Vectors read at once by their rows, which is faster where few pass.
_TAKEN = 4096
_TAKEN_SHARE = 0.1


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
    largest = LargestProducts(queries, k)
    if passing is not None and passing.mean() <= _TAKEN_SHARE:
        rows = np.flatnonzero(passing)
        for start in range(0, len(rows), _TAKEN):
            check()
            largest.add(vectors.take(rows[start : start + _TAKEN]), first_id=start)
        similarities, at = largest.result()
        return similarities, np.where(at < 0, -1, rows[at]) if len(rows) else at
    start = 0
    for block in vectors.batches():
        check()
        part = None if passing is None else passing[start : start + len(block)]
        largest.add(block, None if part is None else np.flatnonzero(part), start)
        start += len(block)
    return largest.result()
