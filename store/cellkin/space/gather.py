"""The second inner loop of the projection: sum the vectors of a cell's genes.

Vectors are read many times each, so memory locality decides the speed. The cells of a block process
one tile of genes at a time, which stays in the cache, while the sums of a cell stay in registers.
numba keeps no array in registers, so that one loop is written in SIMD instructions.
"""

# numba infers types and inspects the parameters of an intrinsic; neither has annotations.
# mypy: disable-error-code="no-untyped-def,no-untyped-call"

import os
from typing import Any

import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from cellkin.space.compiled import compiled
from cellkin.space.vector_code import HAS_AVX512, VectorCode

# Floats summed at once: one AVX-512 register, two of AVX2, four of NEON.
_LANES = 16
# Vectors of _LANES held in registers at once; a few registers are left for the summands.
_WIDE = 24 if HAS_AVX512 else 6


def _cache_bytes() -> int:
    """Return the size of a core's L2 cache from 512 KiB to 4 MiB; 1 MiB if unknown."""
    try:
        known = os.sysconf("SC_LEVEL2_CACHE_SIZE")
    except (AttributeError, ValueError, OSError):
        known = 0
    return min(max(known or 1 << 20, 1 << 19), 4 << 20)


# A tile leaves a quarter of the L2 cache to the sums. A cell should have a few genes in a tile,
# because its sums are loaded and stored once per tile. The result does not depend on tiles.
_TILE_BYTES = _cache_bytes() // 4 * 3
_GENES_PER_TILE = 8
_MOST_TILES = 4
_WIDE_DIMS = _WIDE * _LANES
_NARROW_DIMS = 2 * _LANES


def _row_sum(n_vectors: int) -> Any:
    """Return an intrinsic that adds weighted rows to ``n_vectors * _LANES`` floats.

    ``add(rows, shares, begin, end, vectors, stride, first, out, at)`` adds ``shares[i] *
    vectors[rows[i] * stride + first + j]`` to ``out[at + j]`` for i from begin to end, in that
    order, separately for each j. The sums stay in registers, which numba does not do for arrays.
    """

    @intrinsic
    def add(typing_context, rows, shares, begin, end, vectors, stride, first, out, at):
        signature = types.void(rows, shares, begin, end, vectors, stride, first, out, at)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            def data(number: int) -> Any:
                return context.make_array(signature.args[number])(
                    context, builder, arguments[number]
                ).data

            emit = VectorCode(builder, _LANES, n_vectors)
            _, _, begin, end, _, stride, first, _, at = arguments
            target = builder.gep(data(7), [at])
            sums = emit.load(target)
            slots = [cgutils.alloca_once_value(builder, value) for value in sums]
            with cgutils.for_range_slice(builder, begin, end, emit.number(1), emit.index) as (i, _):
                row = builder.sext(builder.load(builder.gep(data(0), [i])), emit.index)
                share = emit.spread(builder.load(builder.gep(data(1), [i])))
                source = builder.gep(data(4), [builder.add(builder.mul(row, stride), first)])
                for slot, part in zip(slots, emit.load(source), strict=True):
                    builder.store(emit.add_product(builder.load(slot), part, share), slot)
            emit.store([builder.load(slot) for slot in slots], target)
            return context.get_dummy_value()

        return signature, generate

    return add


_add_wide = _row_sum(_WIDE)
_add_narrow = _row_sum(2)


@compiled
def add_vectors(begins, ends, genes, shares, vectors, n_genes, dim, sums):
    """Sum the vectors of the chosen genes of some cells.

    Parameters
    ----------
    begins, ends
        (n_cells,) int64: cell i has the entries from ``begins[i]`` to ``ends[i]``.
    genes, shares
        int32 and float32, from `kernels.choose_genes`.
    vectors
        (n_genes * dim,) float32.
    n_genes, dim
        Shape of ``vectors`` as a matrix.
    sums
        (n_cells * dim,) float32, output.
    """
    n_cells = len(begins)
    least = max(64, _TILE_BYTES // (4 * min(dim, _WIDE_DIMS)))
    tile = least
    n_wanted = np.int64(_GENES_PER_TILE) * n_genes * n_cells
    while tile * len(genes) < n_wanted and tile < _MOST_TILES * least:
        tile *= 2
    n_tiles = (n_genes + tile - 1) // tile
    starts = np.empty((n_tiles + 1, n_cells), np.int64)
    for cell in range(n_cells):
        at = begins[cell]
        starts[0, cell] = at
        for t in range(n_tiles):
            while at < ends[cell] and genes[at] < (t + 1) * tile:
                at += 1
            starts[t + 1, cell] = at
    sums[:] = np.float32(0)
    first = 0
    while first < dim:
        width = 1
        if dim - first >= _WIDE_DIMS:
            width = _WIDE_DIMS
        elif dim - first >= _NARROW_DIMS:
            width = _NARROW_DIMS
        for t in range(n_tiles):
            for cell in range(n_cells):
                begin, end = starts[t, cell], starts[t + 1, cell]
                to = cell * dim + first
                if width == _WIDE_DIMS:
                    _add_wide(genes, shares, begin, end, vectors, dim, first, sums, to)
                elif width == _NARROW_DIMS:
                    _add_narrow(genes, shares, begin, end, vectors, dim, first, sums, to)
                else:
                    for i in range(begin, end):
                        sums[to] += shares[i] * vectors[np.int64(genes[i]) * dim + first]
        first += width
