"""The exact answer to queries, and how much of it an index finds."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cellkin.indexer.neighbors.gpu import nearest
from cellkin.indexer.neighbors.vectors import Vectors, spread_rows
from cellkin.space.arrays import Float32Matrix, Int64Vector
from cellkin.store.certificate import DEPTHS
from cellkin.store.neighbors import NeighborIndex

# More than the deepest recall needs, so that neighbors tied with the last are known too.
_DEPTH = DEPTHS[-1] + 28
# Sums of the same products in another order differ by less.
_SAME = 1e-6


@dataclass(frozen=True)
class Queries:
    """Cells of the reference as queries, each left out of its own answer.

    Parameters
    ----------
    rows
        (n_queries,) int64, which they are.
    vectors
        (n_queries, dim) float32, unit rows.
    similarities, ids
        (n_queries, depth) float32 and int64, the exact answer, best first; -inf and -1 where there
        are fewer other cells.
    """

    rows: Int64Vector
    vectors: Float32Matrix
    similarities: Float32Matrix
    ids: Int64Vector


def choose_queries(vectors: Vectors, wanted: int, seed: int) -> Queries:
    """Choose queries spread over a reference and answer them exactly.

    Reads the vectors once; holds one batch of them.

    Parameters
    ----------
    vectors
        The reference.
    wanted
        How many queries; all cells, where there are fewer.
    seed
        Another seed chooses other cells.
    """
    rows = spread_rows(vectors.n, wanted, seed)
    queries = vectors.take(rows)
    similarities = np.full((len(rows), _DEPTH), -np.inf, np.float32)
    ids = np.full((len(rows), _DEPTH), -1, np.int64)
    start = 0
    for block in vectors.batches():
        # One more than is kept: the query itself may be among them.
        near, at = nearest(queries, block, min(_DEPTH + 1, len(block)))
        at = at + start
        near[at == rows[:, None]] = -np.inf
        near, at = np.hstack([similarities, near]), np.hstack([ids, at])
        best = np.argsort(-near, axis=1, kind="stable")[:, :_DEPTH]
        similarities = np.take_along_axis(near, best, axis=1)
        ids = np.take_along_axis(at, best, axis=1)
        start += len(block)
    ids[np.isneginf(similarities)] = -1
    return Queries(rows, queries, similarities, ids)


def recalls(
    index: NeighborIndex, vectors: Vectors, queries: Queries, k: int
) -> npt.NDArray[np.float64]:
    """Measure how much of the exact answer an index finds.

    Parameters
    ----------
    index
        The index.
    vectors
        The vectors it was built from.
    queries
        The queries and their exact answer.
    k
        Neighbors a query, at most 100.

    Returns
    -------
    ndarray
        (n_queries,) float64, the share of the k nearest that was found; 1 where there is no other
        cell. A neighbor as near as the k-th counts, whatever its id.
    """
    return shares(index.search(queries.vectors, k + 1)[1], vectors, queries)


def shares(found: Int64Vector, vectors: Vectors, queries: Queries) -> npt.NDArray[np.float64]:
    """Measure an answer.

    Parameters
    ----------
    found
        (n_queries, k + 1) int64, what an index answered when asked for one more than k; -1 where
        missing.
    vectors, queries
        As in `recalls`, which says what is returned.
    """
    k = found.shape[1] - 1
    n_true = min(k, vectors.n - 1)
    if not n_true:
        return np.ones(len(queries.rows))
    # The query itself goes last, and the last goes.
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
    """Compute the similarities of queries whose ties reach beyond what is known of them."""
    similarities = np.full(found.shape, -np.inf, np.float32)
    for row, (query, ids) in enumerate(zip(queries, found, strict=True)):
        there = np.flatnonzero(ids >= 0)
        ascending = there[np.argsort(ids[there])]
        similarities[row, ascending] = vectors.take(ids[ascending]) @ query
    return similarities
