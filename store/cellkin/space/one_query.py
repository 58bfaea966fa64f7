"""Inner products of one query with vectors: search for the largest, and exact order of a few.

SIMD lanes lie along the dimensions, because a single query cannot fill them otherwise. Each product
is summed in a fixed order that does not depend on the others.
"""

# numba infers types and inspects the parameters of an intrinsic; neither has annotations.
# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from typing import Any

import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from cellkin.space.arrays import Float32Matrix, Int64Vector, frozen
from cellkin.space.compiled import compiled, compiled_brief
from cellkin.space.vector_code import HAS_AVX512, VectorCode

_LANES = 16 if HAS_AVX512 else 8
# Vectors multiplied at once, so that no addition waits for the one before.
_ROWS = 8
# Prefetch distance, in groups of _ROWS vectors.
_AHEAD = 4
# Floats that are read in about 20 microseconds.
_BRIEF = 1 << 18


def _products(n_rows: int) -> Any:
    """Return an intrinsic that multiplies ``n_rows`` vectors with one query.

    ``multiply(vectors, row, dim, queries, at, out)`` writes the product of vector ``row + r`` with
    the query from ``queries[at]`` on to ``out[r]``.
    """

    @intrinsic
    def multiply(typing_context, vectors, row, dim, queries, at, out):
        signature = types.void(vectors, row, dim, queries, at, out)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            def data(number: int) -> Any:
                return context.make_array(signature.args[number])(
                    context, builder, arguments[number]
                ).data

            emit = VectorCode(builder, _LANES, 1)
            _, row, dim, _, at, _ = arguments
            rows = [
                builder.gep(data(0), [builder.mul(builder.add(row, emit.number(r)), dim)])
                for r in range(n_rows)
            ]
            query = builder.gep(data(3), [at])
            sums = [cgutils.alloca_once_value(builder, emit.zero) for _ in range(n_rows)]
            for slot in sums:
                builder.store(emit.zero, slot)
            whole = builder.sub(dim, builder.urem(dim, emit.number(_LANES)))
            ends = emit.number(0), whole, emit.number(_LANES), emit.index
            with cgutils.for_range_slice(builder, *ends) as (j, _):
                (asked,) = emit.load(builder.gep(query, [j]))
                for line, slot in zip(rows, sums, strict=True):
                    here = builder.gep(line, [j])
                    if n_rows > 1:
                        ahead = builder.mul(dim, emit.number(n_rows * _AHEAD))
                        emit.prefetch(builder.gep(here, [ahead]))
                    (given,) = emit.load(here)
                    builder.store(emit.add_product(builder.load(slot), given, asked), slot)
            for r, (line, slot) in enumerate(zip(rows, sums, strict=True)):
                target = builder.gep(data(5), [emit.number(r)])
                builder.store(emit.sum(builder.load(slot)), target)
                ends = whole, dim, emit.number(1), emit.index
                with cgutils.for_range_slice(builder, *ends) as (j, _):
                    given = builder.load(builder.gep(line, [j]))
                    asked = builder.load(builder.gep(query, [j]))
                    total = builder.fadd(builder.load(target), builder.fmul(given, asked))
                    builder.store(total, target)
            return context.get_dummy_value()

        return signature, generate

    return multiply


_many, _one = _products(_ROWS), _products(1)


@compiled
def _nearest(vectors, queries, n_found, k):
    """Find ``n_found`` rows for the first query, and return the ``k`` best in exact order."""
    n_vectors, dim = vectors.shape
    products = np.empty(_ROWS, np.float32)
    best, found = np.full(n_found, -np.inf, np.float32), np.full((1, n_found), -1, np.int64)
    rows, limit, row = found[0], np.float32(-np.inf), 0
    while row < n_vectors:
        n = _ROWS if row + _ROWS <= n_vectors else 1
        if n == _ROWS:
            _many(vectors, row, dim, queries, 0, products)
        else:
            _one(vectors, row, dim, queries, 0, products)
        for r in range(n):
            value = products[r]
            if not value > limit:
                continue
            at = n_found - 1
            while at > 0 and best[at - 1] < value:
                best[at], rows[at] = best[at - 1], rows[at - 1]
                at -= 1
            best[at], rows[at] = value, row + r
            limit = best[n_found - 1]
        row += n
    return _in_order(vectors, queries, found, k)


@compiled
def _in_order(vectors, queries, found, k):
    dim, shape = queries.shape[1], (len(queries), k)
    best, rows = np.full(shape, -np.inf, np.float32), np.full(shape, -1, np.int64)
    product = np.empty(1, np.float32)
    for query in range(len(found)):
        n = 0
        for row in found[query]:
            if row < 0:
                continue
            _one(vectors, row, dim, queries, query * dim, product)
            value, at = product[0], min(n, k)
            while at > 0 and (
                best[query, at - 1] < value
                or (best[query, at - 1] == value and rows[query, at - 1] > row)
            ):
                at -= 1
                if at + 1 < k:
                    best[query, at + 1], rows[query, at + 1] = best[query, at], rows[query, at]
            if at < k:
                best[query, at], rows[query, at] = value, row
            n += 1
    return best, rows


@compiled_brief
def _nearest_brief(vectors, queries, n_found, k):
    # A separate function because numba's on-disk cache is keyed by name, not by nogil.
    return _nearest(vectors, queries, n_found, k)


def nearest_to_one(
    vectors: Float32Matrix, query: Float32Matrix, n_found: int, k: int
) -> tuple[Float32Matrix, Int64Vector]:
    """Find the vectors with the largest inner products with a query.

    Parameters
    ----------
    vectors
        (n, dim) float32, C-contiguous, mapped from a file or in memory.
    query
        (1, dim) float32, C-contiguous.
    n_found
        Number of candidates, from 1 to n, which are then ordered as by `in_order`.
    k
        Number of candidates to keep.

    Returns
    -------
    products, rows
        (1, k), as in `in_order`.
    """
    nearest = _nearest_brief if vectors.size <= _BRIEF else _nearest
    found: tuple[Float32Matrix, Int64Vector] = nearest(frozen(vectors), frozen(query), n_found, k)
    return found


def in_order(
    vectors: Float32Matrix, queries: Float32Matrix, found: Int64Vector, k: int
) -> tuple[Float32Matrix, Int64Vector]:
    """Order candidate vectors by inner product; results do not depend on the batch of queries.

    Parameters
    ----------
    vectors
        (n, dim) float32, C-contiguous, mapped from a file or in memory.
    queries
        (n_queries, dim) float32, C-contiguous.
    found
        (n_queries, n_found) int64 rows in any order, -1 if missing.
    k
        Number of candidates to keep.

    Returns
    -------
    products
        (n_queries, k) float32, descending; -inf if too few were found.
    rows
        (n_queries, k) int64, ties in ascending order; -1 if too few were found.
    """
    ordered: tuple[Float32Matrix, Int64Vector] = _in_order(
        frozen(vectors), frozen(queries), frozen(found), k
    )
    return ordered
