"""The vectors with the largest inner products with each query, found by comparing all.

The products are those of `cellkin.space.products`: bitwise independent of the other queries. They
are compared while they are in the L1 cache, and most of them only with the least of those found.
"""

# numba infers types and inspects the parameters of an intrinsic; neither has annotations.
# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from typing import Any

import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from cellkin.space.arrays import Float32Matrix, Int64Vector, frozen
from cellkin.space.compiled import compiled
from cellkin.space.products import (
    BLOCK,
    FIRST,
    LANES,
    TOGETHER,
    multiply_block,
    multiply_by_one,
    require_same_dim,
)
from cellkin.space.vector_code import VectorCode

# Vectors whose largest products are found before any is compared with what was found.
_PART = 24
# Vectors multiplied at once with a single query.
_ROWS = 8 * TOGETHER
_ALL = np.empty(0, np.int64)
# Products and ids are kept as one number each, see `_key`.
_MOST_IDS = (1 << 32) - 1
# The key of minus infinity and no id.
_NOTHING = np.int64(np.int32(0x807FFFFF - (1 << 32))) << np.int64(32)
_NO_LIMITS = np.full(TOGETHER, -np.inf, np.float32)
_MINUS_ZERO = np.int32(-(1 << 31))


class LargestProducts:
    """The vectors with the largest inner products with each query, of blocks added one by one.

    Parameters
    ----------
    queries
        (n_queries, dim) float32.
    k
        Number of vectors to find for each query.
    """

    def __init__(self, queries: Float32Matrix, k: int) -> None:
        n, self._dim = queries.shape
        # One query among 256 vectors takes 10 microseconds, and `np.full` takes 3.
        self._heaps = np.empty((n, k), np.int64)
        self._heaps.fill(_NOTHING)
        if n == 1:
            self._lanes = np.array(queries, np.float32, order="C").reshape(-1)
            self._limits = _NO_LIMITS.copy()
            return
        n_groups = -(-n // TOGETHER)
        padded = np.zeros((n_groups * TOGETHER, self._dim), np.float32)
        padded[:n] = queries
        lanes = padded.reshape(n_groups, TOGETHER, self._dim).transpose(0, 2, 1)
        self._lanes = np.ascontiguousarray(lanes).reshape(-1)
        # The lanes without a query find nothing.
        self._limits = np.full(n_groups * TOGETHER, np.inf, np.float32)
        self._limits[:n] = -np.inf

    def add(
        self, vectors: Float32Matrix, only: Int64Vector | None = None, first_id: int = 0
    ) -> None:
        """Compare a block of vectors with all queries.

        Parameters
        ----------
        vectors
            (n, dim) float32, mapped from a file or in memory; copied if not C-contiguous.
        only
            (n_compared,) int64, ascending rows of the vectors to compare; None for all.
        first_id
            Id of the first row, above those of all blocks before.

        Raises
        ------
        ValueError
            If the dimensions differ, or ids reach 4,294,967,295.
        """
        require_same_dim(self._dim, vectors.shape[1])
        if first_id + len(vectors) > _MOST_IDS:
            raise ValueError(f"ids up to {first_id + len(vectors)}; they are below {_MOST_IDS}")
        rows = _ALL if only is None else np.ascontiguousarray(only, np.int64)
        if not vectors.size or not self._heaps.size or (only is not None and not len(rows)):
            return
        flat = frozen(np.ascontiguousarray(vectors, np.float32).reshape(-1))
        heaps, (n, k) = self._heaps.reshape(-1), self._heaps.shape
        scan = _scan_for_one if n == 1 else _scan
        scan(flat, frozen(rows), first_id, self._lanes, self._dim, self._limits, heaps, k)

    def result(self) -> tuple[Float32Matrix, Int64Vector]:
        """Return the largest products so far.

        Returns
        -------
        products
            (n_queries, k) float32, descending; -inf where there are fewer vectors.
        ids
            (n_queries, k) int64, ascending among equal products; -1 where there are fewer.
        """
        shape = self._heaps.shape
        products, ids = np.empty(shape, np.float32), np.empty(shape, np.int64)
        if products.size:
            _take_out(
                self._heaps.reshape(-1).copy(), shape[1], products.reshape(-1), ids.reshape(-1)
            )
        return products, ids


def largest_products(
    vectors: Float32Matrix, queries: Float32Matrix, k: int
) -> tuple[Float32Matrix, Int64Vector]:
    """Find the vectors with the largest inner products with each query.

    Parameters
    ----------
    vectors
        (n, dim) float32, C-contiguous, mapped from a file or in memory.
    queries
        (n_queries, dim) float32.
    k
        Number of vectors to find.

    Returns
    -------
    products, rows
        As `LargestProducts.result`.

    Raises
    ------
    ValueError
        If the dimensions differ.
    """
    largest = LargestProducts(queries, k)
    largest.add(vectors)
    return largest.result()


def _marking() -> Any:
    """Return an intrinsic that marks the queries of a group with a product above their limit.

    ``above(products, at, n_rows, limits, first)`` compares the products of ``n_rows`` vectors, from
    ``products[at]`` on, with the limits from ``limits[first]`` on, and returns one bit per query.
    """

    @intrinsic
    def above(typing_context, products, at, n_rows, limits, first):
        signature = types.int64(products, at, n_rows, limits, first)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            def pointer(number: int, at: Any) -> Any:
                array = context.make_array(signature.args[number])(
                    context, builder, arguments[number]
                )
                return builder.gep(array.data, [at])

            emit = VectorCode(builder, LANES, TOGETHER // LANES)
            _, at, n_rows, _, first = arguments
            limits = emit.load(pointer(3, first))
            slots = [cgutils.alloca_once(builder, limit.type) for limit in limits]
            for slot, limit in zip(slots, limits, strict=True):
                builder.store(limit, slot)
            start = pointer(0, at)
            with cgutils.for_range(builder, n_rows) as loop:
                place = builder.mul(loop.index, emit.number(TOGETHER))
                values = emit.load(builder.gep(start, [place]))
                for slot, value in zip(slots, values, strict=True):
                    builder.store(emit.larger(value, builder.load(slot)), slot)
            return emit.above([builder.load(slot) for slot in slots], limits)

        return signature, generate

    return above


_above = _marking()


@compiled
def _put(heap, first, k, key):
    """Replace the first, lowest key of the heap of ``k`` that begins at ``first``."""
    at, child = 0, 1
    while child < k:
        if child + 1 < k and heap[first + child + 1] < heap[first + child]:
            child += 1
        if heap[first + child] > key:
            break
        heap[first + at] = heap[first + child]
        at, child = child, 2 * child + 1
    heap[first + at] = key


@compiled
def _take_out(heap, k, products, ids):
    """Empty the heaps into products, descending, and their ids."""
    bits = products.view(np.int32)
    for first in range(0, len(heap), k):
        for at in range(k - 1, -1, -1):
            key = heap[first]
            bits[first + at] = _turned(np.int32(key >> 32))
            ids[first + at] = -1 if key == _NOTHING else _MOST_IDS - (key & _MOST_IDS)
            _put(heap, first, at, heap[first + at])


@compiled
def _keep(scores, first_query, names, limits, heap, k):
    """Update what was found for a group of queries with the products of some vectors."""
    bits, limit_bits = scores.view(np.int32), limits.view(np.int32)
    for start in range(0, len(names), _PART):
        n_rows = min(_PART, len(names) - start)
        # Most queries keep nothing of most parts.
        marked = _above(scores, start * TOGETHER, n_rows, limits, first_query)
        query = first_query
        while marked:
            if marked & 1:
                for row in range(start, start + n_rows):
                    at = row * TOGETHER + query - first_query
                    if scores[at] > limits[query]:
                        _put(heap, query * k, k, _key(bits[at], names[row]))
                        limit_bits[query] = _turned(np.int32(heap[query * k] >> 32))
            marked >>= 1
            query += 1


@compiled
def _keep_for_one(scores, n, only, begin, first_id, limits, heap, k):
    """Update what was found for one query with the products of n vectors from ``begin`` on."""
    bits, limit_bits = scores.view(np.int32), limits.view(np.int32)
    scores[n : n + (-n) % TOGETHER] = -np.inf
    for start in range(0, n, TOGETHER):
        marked, row = _above(scores, start, 1, limits, FIRST), start
        while marked:
            if marked & 1 and scores[row] > limits[0]:
                at = only[begin + row] if len(only) else begin + row
                _put(heap, FIRST, k, _key(bits[row], first_id + at))
                limit_bits[:] = _turned(np.int32(heap[0] >> 32))
            marked >>= 1
            row += 1


@compiled
def _turned(bits):
    """Return the bits of a float32 as a number of the same order, or the reverse."""
    return bits ^ ((bits >> 31) & np.int32(0x7FFFFFFF))


@compiled
def _key(bits, name):
    """Return a number that is greater for a larger product, and for a lower id of equal ones."""
    if bits == _MINUS_ZERO:
        bits = np.int32(0)
    return (np.int64(_turned(bits)) << 32) | (_MOST_IDS - name)


@compiled
def _gather(vectors, only, begin, n, dim, gathered):
    """Copy the n selected vectors from ``begin`` on."""
    for at in range(n):
        for j in range(dim):  # assigning a row would take seconds to compile
            gathered[at * dim + j] = vectors[only[begin + at] * dim + j]


@compiled
def _scan(vectors, only, first_id, queries, dim, limits, heap, k):
    """Update what was found with the products of some vectors, or of all without ``only``."""
    scores = np.zeros(BLOCK * TOGETHER, np.float32)
    gathered = np.empty(BLOCK * dim if len(only) else 0, np.float32)
    names = np.empty(BLOCK, np.int64)
    n_queries, n_vectors = len(heap) // k, len(only) if len(only) else len(vectors) // dim
    for begin in range(0, n_vectors, BLOCK):
        n = min(BLOCK, n_vectors - begin)
        for at in range(n):
            names[at] = first_id + (only[begin + at] if len(only) else begin + at)
        if len(only):
            _gather(vectors, only, begin, n, dim, gathered)
        for first in range(0, n_queries, TOGETHER):
            group, at = min(n_queries - first, TOGETHER), first * dim
            if len(only):
                multiply_block(gathered, FIRST, n, dim, queries, at, group, scores)
            else:
                multiply_block(vectors, begin, begin + n, dim, queries, at, group, scores)
            _keep(scores, first, names[:n], limits, heap, k)


@compiled
def _scan_for_one(vectors, only, first_id, query, dim, limits, heap, k):
    """Update what was found for one query, as `_scan` does for several."""
    scores = np.empty(_ROWS, np.float32)
    gathered = np.empty(_ROWS * dim if len(only) else 0, np.float32)
    n_vectors = len(only) if len(only) else len(vectors) // dim
    for begin in range(0, n_vectors, _ROWS):
        n = min(_ROWS, n_vectors - begin)
        if len(only):
            _gather(vectors, only, begin, n, dim, gathered)
            multiply_by_one(gathered, FIRST, n, dim, query, scores)
        else:
            multiply_by_one(vectors, begin, n, dim, query, scores)
        _keep_for_one(scores, n, only, begin, first_id, limits, heap, k)
