"""Inner products of queries with vectors, each summed in an order independent of the others.

In BLAS the order of summation depends on the shape of the matrices and the position of the row, so
the last bits of a cell's product depend on the other cells. Here they do not.

For a few queries the cost is reading the vectors. BLAS first copies them into its own layout, which
doubles it; here vectors are multiplied in place while the next ones are prefetched. Queries lie in
SIMD lanes, so the products of a vector with all of them are sums in registers, and nothing is added
across lanes.
"""

# numba infers types and inspects the parameters of an intrinsic; neither has annotations.
# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from cellkin.space.arrays import Float32Matrix, Int64Vector, frozen
from cellkin.space.compiled import compiled, compiled_brief
from cellkin.space.vector_code import HAS_AVX512, VectorCode

_LANES = 16 if HAS_AVX512 else 8
_TOGETHER = 2 * _LANES
# Vectors multiplied at once with one and with two registers of queries, as registers allow.
_ROWS_ONE, _ROWS_TWO = (16, 12) if HAS_AVX512 else (8, 5)
# Floats per cache line; at least the numbers of rows above.
_FLOATS_A_LINE = 16
# Vectors multiplied with all queries before the next block: they stay in the L2 cache, and either
# number of rows divides them.
_BLOCK = 240
# A literal 0 would be another type, for which a function is compiled again.
_FIRST = np.int64(0)
# Float products that take about 20 microseconds.
_BRIEF = 1 << 20


def _products(n_rows: int, n_vectors: int) -> Any:
    """Return an intrinsic that multiplies ``n_rows`` vectors with ``n_vectors * _LANES`` queries.

    ``multiply(vectors, row, dim, queries, at, out, to)`` writes the product of vector ``row + r``
    with query q to ``out[to + r * _TOGETHER + q]``. Queries lie as (dim, _TOGETHER) from
    ``queries[at]`` on.
    """

    @intrinsic
    def multiply(typing_context, vectors, row, dim, queries, at, out, to):
        signature = types.void(vectors, row, dim, queries, at, out, to)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            def data(number: int) -> Any:
                return context.make_array(signature.args[number])(
                    context, builder, arguments[number]
                ).data

            emit = VectorCode(builder, _LANES, n_vectors)
            _, row, dim, _, at, _, to = arguments
            rows = [
                builder.gep(data(0), [builder.mul(builder.add(row, emit.number(r)), dim)])
                for r in range(n_rows + 1)
            ]
            slots = [
                [cgutils.alloca_once_value(builder, emit.zero) for _ in range(n_vectors)]
                for _ in range(n_rows)
            ]
            for slot in (slot for line in slots for slot in line):
                # The zero above is stored on entry to the function; this code may be in a loop.
                builder.store(emit.zero, slot)
            first = builder.gep(data(3), [at])
            ends = emit.number(0), dim, emit.number(1), emit.index
            with cgutils.for_range_slice(builder, *ends) as (j, _):
                # One cache line per float of a row: all following rows are prefetched by the end.
                if n_rows > 1:
                    ahead = builder.mul(j, emit.number(_FLOATS_A_LINE))
                    emit.prefetch(builder.gep(rows[n_rows], [ahead]))
                asked = emit.load(builder.gep(first, [builder.mul(j, emit.number(_TOGETHER))]))
                for r, line in enumerate(slots):
                    value = emit.spread(builder.load(builder.gep(rows[r], [j])))
                    for slot, query in zip(line, asked, strict=True):
                        builder.store(emit.add_product(builder.load(slot), value, query), slot)
            target = builder.gep(data(5), [to])
            for r, line in enumerate(slots):
                out = builder.gep(target, [emit.number(r * _TOGETHER)])
                emit.store([builder.load(slot) for slot in line], out)
            return context.get_dummy_value()

        return signature, generate

    return multiply


_many_by_one, _one_by_one = _products(_ROWS_ONE, 1), _products(1, 1)
_many_by_two, _one_by_two = _products(_ROWS_TWO, 2), _products(1, 2)


@compiled
def _keep(scores, n_queries, first, begin, end, limits, best, ids):
    """Update the largest products of the queries from ``first`` on with those of some vectors."""
    k = best.shape[1]
    for row in range(begin, end):
        line = scores[(row - begin) * _TOGETHER : (row - begin + 1) * _TOGETHER]
        # Most vectors have nothing to keep, and counting needs no branches.
        n_better = np.int32(0)
        for i in range(_TOGETHER):
            n_better += np.int32(line[i] > limits[first + i])
        if n_better == 0:
            continue
        for i in range(n_queries):
            value, query = line[i], first + i
            if not value > limits[query]:
                continue
            at = k - 1
            while at > 0 and best[query, at - 1] < value:
                best[query, at] = best[query, at - 1]
                ids[query, at] = ids[query, at - 1]
                at -= 1
            best[query, at], ids[query, at] = value, row
            limits[query] = best[query, k - 1]


@compiled
def _block(vectors, begin, end, dim, queries, at, n_queries, scores):
    """Multiply the vectors from ``begin`` to ``end`` with the group of queries at ``at``."""
    row, to = begin, 0
    if n_queries > _LANES:
        while row + _ROWS_TWO <= end:
            _many_by_two(vectors, row, dim, queries, at, scores, to)
            row += _ROWS_TWO
            to += _ROWS_TWO * _TOGETHER
        while row < end:
            _one_by_two(vectors, row, dim, queries, at, scores, to)
            row += 1
            to += _TOGETHER
    else:
        while row + _ROWS_ONE <= end:
            _many_by_one(vectors, row, dim, queries, at, scores, to)
            row += _ROWS_ONE
            to += _ROWS_ONE * _TOGETHER
        while row < end:
            _one_by_one(vectors, row, dim, queries, at, scores, to)
            row += 1
            to += _TOGETHER


@compiled
def _scan(vectors, n_vectors, dim, queries, n_queries, best, ids):
    scores = np.zeros(_BLOCK * _TOGETHER, np.float32)
    limits = np.full(len(queries) // dim, np.inf, np.float32)
    limits[:n_queries] = -np.inf
    for begin in range(0, n_vectors, _BLOCK):
        end = min(begin + _BLOCK, n_vectors)
        for first in range(0, n_queries, _TOGETHER):
            n = min(n_queries - first, _TOGETHER)
            _block(vectors, begin, end, dim, queries, first * dim, n, scores)
            _keep(scores, n, first, begin, end, limits, best, ids)


@compiled
def _multiply(vectors, queries, products):
    """Write all (n_queries, n_vectors) products of (n_vectors, dim) and (n_queries, dim)."""
    n_vectors, dim = vectors.shape
    n_queries = len(queries)
    flat, lanes = vectors.reshape(-1), np.zeros(dim * _TOGETHER, np.float32)
    scores = np.empty(_BLOCK * _TOGETHER, np.float32)
    for first in range(0, n_queries, _TOGETHER):
        n = min(n_queries - first, _TOGETHER)
        # The other lanes keep queries of the group before; their products are not read.
        for i in range(n):
            for j in range(dim):
                lanes[j * _TOGETHER + i] = queries[first + i, j]
        for begin in range(0, n_vectors, _BLOCK):
            end = min(begin + _BLOCK, n_vectors)
            _block(flat, begin, end, dim, lanes, _FIRST, n, scores)
            for i in range(n):
                for row in range(begin, end):
                    products[first + i, row] = scores[(row - begin) * _TOGETHER + i]


@compiled_brief
def _multiply_brief(vectors, queries, products):
    # A separate function because numba's on-disk cache is keyed by name, not by nogil.
    _multiply(vectors, queries, products)


@compiled
def _multiply_found(vectors, queries, found, products):
    """Write the products of each query with its found vectors, which are gathered first."""
    n_found, dim = found.shape[1], vectors.shape[1]
    lanes = np.zeros(dim * _TOGETHER, np.float32)
    gathered = np.empty((n_found, dim), np.float32)
    flat, scores = gathered.reshape(-1), np.empty(_BLOCK * _TOGETHER, np.float32)
    for query in range(len(queries)):
        for j in range(dim):
            lanes[j * _TOGETHER] = queries[query, j]
        for at in range(n_found):
            row = max(found[query, at], 0)
            for j in range(dim):  # assigning a row would take seconds to compile
                gathered[at, j] = vectors[row, j]
        for begin in range(0, n_found, _BLOCK):
            end = min(begin + _BLOCK, n_found)
            _block(flat, begin, end, dim, lanes, 0, 1, scores)
            for at in range(begin, end):
                products[query, at] = scores[(at - begin) * _TOGETHER]


def found_products(
    queries: Float32Matrix, vectors: Float32Matrix, found: Int64Vector
) -> Float32Matrix:
    """Return the products of each query with some vectors, the same bits as `all_products`.

    Parameters
    ----------
    queries
        (n_queries, dim) float32.
    vectors
        (n, dim) float32.
    found
        (n_queries, n_found) int64, rows of the vectors for each query; the product of a negative
        one means nothing.

    Returns
    -------
    Float32Matrix
        (n_queries, n_found) float32.

    Raises
    ------
    ValueError
        If the dimensions differ.
    """
    _require_same_dim(queries, vectors)
    products = np.empty(found.shape, np.float32)
    _multiply_found(frozen(_rows(vectors)), frozen(_rows(queries)), found, products)
    return products


def all_products(
    queries: npt.NDArray[np.floating], vectors: npt.NDArray[np.floating]
) -> Float32Matrix:
    """Return ``queries @ vectors.T``, each product bitwise independent of the other rows.

    Parameters
    ----------
    queries
        (n_queries, dim) float32; other types are converted.
    vectors
        (n, dim) float32; other types are converted.

    Returns
    -------
    Float32Matrix
        (n_queries, n) float32.

    Raises
    ------
    ValueError
        If the dimensions differ.
    """
    _require_same_dim(queries, vectors)
    products = np.empty((len(queries), len(vectors)), np.float32)
    multiply = _multiply_brief if len(queries) * vectors.size <= _BRIEF else _multiply
    multiply(frozen(_rows(vectors)), frozen(_rows(queries)), products)
    return products


def _require_same_dim(queries: npt.NDArray[np.floating], vectors: npt.NDArray[np.floating]) -> None:
    # The kernels do not check bounds.
    if queries.shape[1] != vectors.shape[1]:
        raise ValueError(
            f"queries of dimension {queries.shape[1]} for vectors of dimension {vectors.shape[1]}"
        )


def _rows(matrix: npt.NDArray[np.floating]) -> Float32Matrix:
    return np.ascontiguousarray(matrix, np.float32)


def largest_products(
    vectors: Float32Matrix, queries: Float32Matrix, k: int
) -> tuple[Float32Matrix, Int64Vector]:
    """Find the vectors with the largest inner products with each query.

    A product is bitwise independent of the other queries.

    Parameters
    ----------
    vectors
        (n, dim) float32, C-contiguous, mapped from a file or in memory.
    queries
        (n_queries, dim) float32.
    k
        Number of vectors to find; at most n.

    Returns
    -------
    products
        (n_queries, k) float32, descending; ties by ascending row.
    rows
        (n_queries, k) int64.

    Raises
    ------
    ValueError
        If the dimensions differ.
    """
    _require_same_dim(queries, vectors)
    n_queries, dim = queries.shape
    n_groups = -(-n_queries // _TOGETHER)
    padded = np.zeros((n_groups * _TOGETHER, dim), np.float32)
    padded[:n_queries] = queries
    lanes = padded.reshape(n_groups, _TOGETHER, dim).transpose(0, 2, 1)
    best = np.full((n_queries, k), -np.inf, np.float32)
    rows = np.full((n_queries, k), -1, np.int64)
    flat = frozen(vectors.reshape(-1))
    _scan(flat, len(vectors), dim, np.ascontiguousarray(lanes).reshape(-1), n_queries, best, rows)
    return best, rows
