"""Exact neighbors of queries, and the recall of an index against them."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cellkin.indexer.neighbors import gpu
from cellkin.indexer.neighbors.vectors import Vectors, spread_rows
from cellkin.space.arrays import Float32Matrix, Int64Vector
from cellkin.space.vectors import unit_rows
from cellkin.store.certificate import DEPTHS
from cellkin.store.neighbor_search import Neighbors

N_QUERIES = 1000
"""Number of queries for tuning, and of others for certifying."""

# More than the deepest recall needs, to include neighbors tied with the last.
_DEPTH = DEPTHS[-1] + 28
# Above the rounding differences of the same dot product summed in another order.
_SAME = 1e-6
_NEAR = 30
_SEED = 1


@dataclass(frozen=True)
class Queries:
    """Stand-ins for new cells: reference cells, slightly moved, and their exact neighbors.

    The neighbors of an indexed cell are easier to find than those of a new one: in a graph the cell
    itself leads to them. So each cell is moved by the difference of two of its neighbors divided by
    sqrt(2), a step in scale and direction typical of its surroundings, and is excluded from its own
    neighbors.

    Parameters
    ----------
    rows
        (n_queries,) int64 ids of the cells.
    vectors
        (n_queries, dim) float32, unit rows, moved.
    similarities, ids
        (n_queries, depth) float32 cosine similarities and int64 ids of the exact neighbors, best
        first; -inf and -1 where there are fewer other cells.
    """

    rows: Int64Vector
    vectors: Float32Matrix
    similarities: Float32Matrix
    ids: Int64Vector

    def every_other(self, first: int) -> "Queries":
        """Return every other query, starting at ``first`` (0 or 1)."""
        part = slice(first, None, 2)
        return Queries(self.rows[part], self.vectors[part], self.similarities[part], self.ids[part])


def choose_queries(vectors: Vectors) -> tuple[Queries, Queries]:
    """Choose queries spread over a reference and compute their exact neighbors.

    Reads the vectors twice, holding one block. The same vectors give the same queries.

    Parameters
    ----------
    vectors
        The reference.

    Returns
    -------
    tuning, certifying
        Disjoint queries, or the same ones for very small references.
    """
    rows = spread_rows(vectors.n, 2 * N_QUERIES, _SEED)
    cells = vectors.take(rows)
    moved = _moved(vectors, cells, _answer(vectors, rows, cells, _NEAR)[1])
    chosen = Queries(rows, moved, *_answer(vectors, rows, moved, _DEPTH))
    if len(rows) < 2 * DEPTHS[1]:
        return chosen, chosen
    return chosen.every_other(0), chosen.every_other(1)


def _answer(
    vectors: Vectors, rows: Int64Vector, queries: Float32Matrix, k: int
) -> tuple[Float32Matrix, Int64Vector]:
    """Return the exact similarities and ids of neighbors, excluding each query's own cell."""
    # One more than is kept, as the cell itself may be among them.
    similarities, ids = gpu.nearest(queries, vectors.batches(), k + 1)
    similarities[ids == rows[:, None]] = -np.inf
    best = np.argsort(-similarities, axis=1, kind="stable")[:, :k]
    similarities = np.take_along_axis(similarities, best, axis=1)
    ids = np.take_along_axis(ids, best, axis=1)
    ids[np.isneginf(similarities)] = -1
    return similarities, ids


def _moved(vectors: Vectors, cells: Float32Matrix, near: Int64Vector) -> Float32Matrix:
    """Move cells by the difference of two of their neighbors; those without any stay."""
    n_near = (near >= 0).sum(axis=1)
    rng = np.random.default_rng(_SEED)
    first = rng.integers(0, np.maximum(n_near, 1))
    second = (first + rng.integers(1, np.maximum(n_near, 2))) % np.maximum(n_near, 1)
    pair = np.take_along_axis(near, np.stack([first, second], axis=1), axis=1)
    there, at = np.unique(pair[n_near > 0], return_inverse=True)
    moved = cells.copy()
    if len(there):
        near_vectors = vectors.take(there)[at.reshape(-1, 2)]
        moved[n_near > 0] += (near_vectors[:, 0] - near_vectors[:, 1]) / np.float32(np.sqrt(2))
    return unit_rows(moved)


def recalls(
    index: Neighbors, vectors: Vectors, queries: Queries, k: int
) -> npt.NDArray[np.float64]:
    """Measure the recall of an index for each query.

    Parameters
    ----------
    index
        The index.
    vectors
        The vectors it was built from.
    queries
        The queries and their exact neighbors.
    k
        Neighbors per query, at most 100.

    Returns
    -------
    ndarray
        (n_queries,) float64, fraction of the k nearest neighbors that was found; 1 if there is no
        other cell. Any neighbor as near as the k-th counts, whatever its id.
    """
    return shares(index.search(queries.vectors, k + 1)[1], vectors, queries)


def shares(found: Int64Vector, vectors: Vectors, queries: Queries) -> npt.NDArray[np.float64]:
    """Compute the recall of search results.

    Parameters
    ----------
    found
        (n_queries, k + 1) int64 ids found by an index, one more than k; -1 where missing.
    vectors, queries
        As in `recalls`.

    Returns
    -------
    ndarray
        (n_queries,) float64, as in `recalls`.
    """
    k = found.shape[1] - 1
    n_true = min(k, vectors.n - 1)
    if not n_true:
        return np.ones(len(queries.rows))
    # Move each query's own cell to the end, then drop the last column.
    order = np.argsort(found == queries.rows[:, None], axis=1, kind="stable")
    found = np.take_along_axis(found, order, axis=1)[:, :k]
    near_enough = queries.similarities[:, n_true - 1] - _SAME
    good = (queries.ids >= 0) & (queries.similarities >= near_enough[:, None])
    hit = np.zeros(found.shape, bool)
    for column in range(queries.ids.shape[1]):
        hit |= (found == queries.ids[:, column, None]) & good[:, column, None]
    tied = np.flatnonzero(good[:, -1])
    if len(tied):
        hit[tied] |= (
            _similarities(vectors, queries.vectors[tied], found[tied]) >= near_enough[tied, None]
        )
    share: npt.NDArray[np.float64] = np.minimum(hit.sum(axis=1), n_true) / n_true
    return share


def _similarities(vectors: Vectors, queries: Float32Matrix, found: Int64Vector) -> Float32Matrix:
    """Compute similarities for queries whose ties extend beyond their known neighbors."""
    similarities = np.full(found.shape, -np.inf, np.float32)
    for row, (query, ids) in enumerate(zip(queries, found, strict=True)):
        there = np.flatnonzero(ids >= 0)
        ascending = there[np.argsort(ids[there])]
        similarities[row, ascending] = vectors.take(ids[ascending]) @ query
    return similarities
