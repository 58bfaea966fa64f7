"""The second inner loop of the projection: add up the vectors of a cell's genes.

Vectors are read many times each, so what counts is where they are read from. A block's cells take
their genes a tile of genes at a time, which stays in the cache, and a cell's sums stay in registers
meanwhile; numba keeps no array in registers, so that one loop spells out its vector instructions.
"""

# numba infers types, and reads the parameters of an intrinsic; neither has annotations.
# mypy: disable-error-code="no-untyped-def,no-untyped-call"

import os
from typing import Any

import numpy as np
from llvmlite import binding, ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from cellkin.space.compiled import compiled

# Floats that are summed together: an AVX-512 register, two of AVX2, four of NEON.
_LANES = 16
# Vectors of _LANES that fit the registers at once, with a few left over for what is added.
_WIDE = 24 if binding.get_host_cpu_features().get("avx512f", False) else 6


def _cache_bytes() -> int:
    """Return the size of a core's second-level cache, 1 MiB where nobody says."""
    try:
        known = os.sysconf("SC_LEVEL2_CACHE_SIZE")
    except (AttributeError, ValueError, OSError):
        known = 0
    return min(max(known or 1 << 20, 1 << 19), 4 << 20)


# A tile leaves a quarter of the second-level cache to the sums; but a cell should find a few genes
# in a tile, for its sums are loaded and stored once a tile. No sum depends on it.
_TILE_BYTES = _cache_bytes() // 4 * 3
_GENES_PER_TILE = 8
_MOST_TILES = 4
_WIDE_DIMS = _WIDE * _LANES
_NARROW_DIMS = 2 * _LANES


def _row_sum(n_vectors: int) -> Any:
    """Return an intrinsic that adds weighted rows to ``n_vectors * _LANES`` floats.

    ``add(rows, shares, begin, end, vectors, stride, first, out, at)`` adds ``shares[i] *
    vectors[rows[i] * stride + first + j]`` to ``out[at + j]`` for i from begin to end, in that
    order, each j by itself. The sums stay in registers, which no loop over an array achieves.
    """

    @intrinsic
    def add(typing_context, rows, shares, begin, end, vectors, stride, first, out, at):
        signature = types.void(rows, shares, begin, end, vectors, stride, first, out, at)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            def data(number: int) -> Any:
                return context.make_array(signature.args[number])(
                    context, builder, arguments[number]
                ).data

            emit = _Emitter(builder, n_vectors)
            _, _, begin, end, _, stride, first, _, at = arguments
            target = builder.gep(data(7), [at])
            sums = emit.load(target)
            slots = [cgutils.alloca_once_value(builder, value) for value in sums]
            step = ir.Constant(emit.index, 1)
            with cgutils.for_range_slice(builder, begin, end, step, emit.index) as (i, _):
                row = builder.sext(builder.load(builder.gep(data(0), [i])), emit.index)
                share = emit.spread(builder.load(builder.gep(data(1), [i])))
                source = builder.gep(data(4), [builder.add(builder.mul(row, stride), first)])
                for slot, part in zip(slots, emit.load(source), strict=True):
                    product = builder.fmul(part, share, flags=("contract",))
                    total = builder.fadd(builder.load(slot), product, flags=("contract",))
                    builder.store(total, slot)
            emit.store([builder.load(slot) for slot in slots], target)
            return context.get_dummy_value()

        return signature, generate

    return add


class _Emitter:
    """Writes loads and stores of several vectors in a row."""

    def __init__(self, builder: Any, n_vectors: int) -> None:
        self.index = ir.IntType(64)
        self._builder = builder
        self._vector = ir.VectorType(ir.FloatType(), _LANES)
        self._offsets = [ir.Constant(self.index, _LANES * k) for k in range(n_vectors)]

    def _parts(self, pointer: Any) -> list[Any]:
        builder, kind = self._builder, self._vector.as_pointer()
        return [builder.bitcast(builder.gep(pointer, [o]), kind) for o in self._offsets]

    def load(self, pointer: Any) -> list[Any]:
        values = [self._builder.load(part) for part in self._parts(pointer)]
        for value in values:
            value.align = 4
        return values

    def store(self, values: list[Any], pointer: Any) -> None:
        for value, part in zip(values, self._parts(pointer), strict=True):
            self._builder.store(value, part).align = 4

    def spread(self, value: Any) -> Any:
        """Fill a vector with one value."""
        blank = ir.Constant(self._vector, ir.Undefined)
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), _LANES), [0] * _LANES)
        one = self._builder.insert_element(blank, value, ir.Constant(ir.IntType(32), 0))
        return self._builder.shuffle_vector(one, blank, zeros)


_add_wide = _row_sum(_WIDE)
_add_narrow = _row_sum(2)


@compiled
def add_vectors(begins, ends, genes, shares, vectors, n_genes, dim, sums):
    """Add up the vectors of the chosen genes of some cells.

    Parameters
    ----------
    begins, ends
        (n_cells,) int64: cell i has the entries from ``begins[i]`` to ``ends[i]``.
    genes, shares
        int32 and float32, of `kernels.choose_genes`.
    vectors
        (n_genes * dim,) float32.
    n_genes, dim
        Its shape.
    sums
        (n_cells * dim,) float32, written.
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


@compiled
def scatter(bounds, genes, shares, dense):
    """Write the shares of some cells into a matrix of all genes, zero elsewhere.

    Parameters
    ----------
    bounds, genes, shares
        Of `kernels.choose_genes`, of n cells.
    dense
        (at least n, n_genes) float32, written; rows beyond n are zero.
    """
    dense[:] = np.float32(0)
    for cell in range(len(bounds) - 1):
        for i in range(bounds[cell], bounds[cell + 1]):
            dense[cell, genes[i]] = shares[i]
