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

LANES = 16 if HAS_AVX512 else 8
TOGETHER = 2 * LANES
# Vectors multiplied at once with one and with two registers of queries, as registers allow.
_ROWS_ONE, _ROWS_TWO = (16, 12) if HAS_AVX512 else (8, 5)
# Floats per cache line; at least the numbers of rows above.
_FLOATS_A_LINE = 16
# Vectors multiplied with all queries before the next block: they stay in the L2 cache, and either
# number of rows divides them.
BLOCK = 240
# A literal 0 would be another type, for which a function is compiled again.
FIRST = np.int64(0)
# Float products that take about 20 microseconds.
_BRIEF = 1 << 20


def _products(n_rows: int, n_vectors: int) -> Any:
    """Return an intrinsic that multiplies ``n_rows`` vectors with ``n_vectors * LANES`` queries.

    ``multiply(vectors, row, dim, queries, at, out, to)`` writes the product of vector ``row + r``
    with query q to ``out[to + r * TOGETHER + q]``. Queries lie as (dim, TOGETHER) from
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

            emit = VectorCode(builder, LANES, n_vectors)
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
                asked = emit.load(builder.gep(first, [builder.mul(j, emit.number(TOGETHER))]))
                for r, line in enumerate(slots):
                    value = emit.spread(builder.load(builder.gep(rows[r], [j])))
                    for slot, query in zip(line, asked, strict=True):
                        builder.store(emit.add_product(builder.load(slot), value, query), slot)
            target = builder.gep(data(5), [to])
            for r, line in enumerate(slots):
                out = builder.gep(target, [emit.number(r * TOGETHER)])
                emit.store([builder.load(slot) for slot in line], out)
            return context.get_dummy_value()

        return signature, generate

    return multiply


def _products_of_one() -> Any:
    """Return an intrinsic that multiplies ``LANES`` vectors with one query.

    ``multiply(vectors, row, dim, query, out, to)`` writes the product of vector ``row + r`` to
    ``out[to + r]``, the same bits as above: vectors, not queries, lie in SIMD lanes, but each
    product is the same sum.
    """

    @intrinsic
    def multiply(typing_context, vectors, row, dim, query, out, to):
        signature = types.void(vectors, row, dim, query, out, to)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            def data(number: int) -> Any:
                return context.make_array(signature.args[number])(
                    context, builder, arguments[number]
                ).data

            emit = VectorCode(builder, LANES, 1)
            _, row, dim, _, _, to = arguments
            rows = [
                builder.gep(data(0), [builder.mul(builder.add(row, emit.number(r)), dim)])
                for r in range(2 * LANES)
            ]
            total = cgutils.alloca_once_value(builder, emit.zero)
            builder.store(emit.zero, total)

            def add(j: Any, column: Any) -> None:
                asked = emit.spread(builder.load(builder.gep(data(3), [j])))
                builder.store(emit.add_product(builder.load(total), column, asked), total)

            whole = builder.sub(dim, builder.urem(dim, emit.number(LANES)))
            tiles = emit.number(0), whole, emit.number(LANES), emit.index
            with cgutils.for_range_slice(builder, *tiles) as (j, _):
                for ahead in rows[LANES:]:
                    emit.prefetch(builder.gep(ahead, [j]))
                parts = [emit.load(builder.gep(r, [j]))[0] for r in rows[:LANES]]
                for i, column in enumerate(emit.transposed(parts)):
                    add(builder.add(j, emit.number(i)), column)
            rest = whole, dim, emit.number(1), emit.index
            with cgutils.for_range_slice(builder, *rest) as (j, _):
                values = [builder.load(builder.gep(r, [j])) for r in rows[:LANES]]
                add(j, emit.joined(values))
            emit.store([builder.load(total)], builder.gep(data(4), [to]))
            return context.get_dummy_value()

        return signature, generate

    return multiply


_some_by_one_query = _products_of_one()
_many_by_one, _one_by_one = _products(_ROWS_ONE, 1), _products(1, 1)
_many_by_two, _one_by_two = _products(_ROWS_TWO, 2), _products(1, 2)


@compiled
def multiply_block(vectors, begin, end, dim, queries, at, n_queries, scores):
    """Multiply the vectors from ``begin`` to ``end`` with the group of queries at ``at``."""
    row, to = begin, 0
    if n_queries > LANES:
        while row + _ROWS_TWO <= end:
            _many_by_two(vectors, row, dim, queries, at, scores, to)
            row += _ROWS_TWO
            to += _ROWS_TWO * TOGETHER
        while row < end:
            _one_by_two(vectors, row, dim, queries, at, scores, to)
            row += 1
            to += TOGETHER
    else:
        while row + _ROWS_ONE <= end:
            _many_by_one(vectors, row, dim, queries, at, scores, to)
            row += _ROWS_ONE
            to += _ROWS_ONE * TOGETHER
        while row < end:
            _one_by_one(vectors, row, dim, queries, at, scores, to)
            row += 1
            to += TOGETHER


@compiled
def multiply_by_one(vectors, begin, n, dim, query, scores):
    """Multiply n vectors from ``begin`` on with one query; n, rounded up to LANES, fits scores."""
    whole = n - n % LANES
    for row in range(0, whole, LANES):
        _some_by_one_query(vectors, begin + row, dim, query, scores, row)
    if whole < n:
        rest = np.zeros(LANES * dim, np.float32)
        for i in range((n - whole) * dim):
            rest[i] = vectors[(begin + whole) * dim + i]
        _some_by_one_query(rest, FIRST, dim, query, scores, whole)


@compiled
def _multiply(vectors, queries, products):
    """Write all (n_queries, n_vectors) products of (n_vectors, dim) and (n_queries, dim)."""
    n_vectors, dim = vectors.shape
    n_queries = len(queries)
    flat, lanes = vectors.reshape(-1), np.zeros(dim * TOGETHER, np.float32)
    scores = np.empty(BLOCK * TOGETHER, np.float32)
    for first in range(0, n_queries, TOGETHER):
        n = min(n_queries - first, TOGETHER)
        # The other lanes keep queries of the group before; their products are not read.
        for i in range(n):
            for j in range(dim):
                lanes[j * TOGETHER + i] = queries[first + i, j]
        for begin in range(0, n_vectors, BLOCK):
            end = min(begin + BLOCK, n_vectors)
            multiply_block(flat, begin, end, dim, lanes, FIRST, n, scores)
            for i in range(n):
                for row in range(begin, end):
                    products[first + i, row] = scores[(row - begin) * TOGETHER + i]


@compiled_brief
def _multiply_brief(vectors, queries, products):
    # A separate function because numba's on-disk cache is keyed by name, not by nogil.
    _multiply(vectors, queries, products)


@compiled
def _multiply_found(vectors, queries, found, products):
    """Write the products of each query with its found vectors, which are gathered first."""
    n_found, dim = found.shape[1], vectors.shape[1]
    lanes = np.zeros(dim * TOGETHER, np.float32)
    gathered = np.empty((n_found, dim), np.float32)
    flat, scores = gathered.reshape(-1), np.empty(BLOCK * TOGETHER, np.float32)
    for query in range(len(queries)):
        for j in range(dim):
            lanes[j * TOGETHER] = queries[query, j]
        for at in range(n_found):
            row = max(found[query, at], 0)
            for j in range(dim):  # assigning a row would take seconds to compile
                gathered[at, j] = vectors[row, j]
        for begin in range(0, n_found, BLOCK):
            end = min(begin + BLOCK, n_found)
            multiply_block(flat, begin, end, dim, lanes, 0, 1, scores)
            for at in range(begin, end):
                products[query, at] = scores[(at - begin) * TOGETHER]


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
    require_same_dim(queries.shape[1], vectors.shape[1])
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
    require_same_dim(queries.shape[1], vectors.shape[1])
    products = np.empty((len(queries), len(vectors)), np.float32)
    multiply = _multiply_brief if len(queries) * vectors.size <= _BRIEF else _multiply
    multiply(frozen(_rows(vectors)), frozen(_rows(queries)), products)
    return products


def require_same_dim(n_of_queries: int, n_of_vectors: int) -> None:
    """Raise `ValueError` if the dimensions differ, as the kernels do not check bounds."""
    if n_of_queries != n_of_vectors:
        raise ValueError(
            f"queries of dimension {n_of_queries} for vectors of dimension {n_of_vectors}"
        )


def _rows(matrix: npt.NDArray[np.floating]) -> Float32Matrix:
    return np.ascontiguousarray(matrix, np.float32)
