"""Emit SIMD instructions for the few loops that need them.

numba keeps no array in registers. A loop whose sums must stay there is an intrinsic that emits its
own LLVM code with these helpers.
"""

from typing import Any

from llvmlite import binding, ir  # type: ignore[import-untyped]

HAS_AVX512 = bool(binding.get_host_cpu_features().get("avx512f", False))
"""Whether the CPU has AVX-512: 32 registers of 16 floats."""


class VectorCode:
    """Emit LLVM instructions on consecutive SIMD vectors of floats.

    Parameters
    ----------
    builder
        The llvmlite IR builder of the function.
    lanes
        Floats per vector.
    n_vectors
        Number of consecutive vectors.
    """

    def __init__(self, builder: Any, lanes: int, n_vectors: int) -> None:
        self.index = ir.IntType(64)
        self.zero = ir.Constant(ir.VectorType(ir.FloatType(), lanes), [0.0] * lanes)
        self._builder, self._lanes = builder, lanes
        self._vector = ir.VectorType(ir.FloatType(), lanes)
        self._offsets = [ir.Constant(self.index, lanes * k) for k in range(n_vectors)]

    def number(self, value: int) -> Any:
        """Return a constant index."""
        return ir.Constant(self.index, value)

    def _parts(self, pointer: Any) -> list[Any]:
        builder, kind = self._builder, self._vector.as_pointer()
        return [builder.bitcast(builder.gep(pointer, [o]), kind) for o in self._offsets]

    def load(self, pointer: Any) -> list[Any]:
        """Load consecutive vectors from a pointer to float."""
        values = [self._builder.load(part) for part in self._parts(pointer)]
        for value in values:
            value.align = 4
        return values

    def store(self, values: list[Any], pointer: Any) -> None:
        """Store consecutive vectors at a pointer to float."""
        for value, part in zip(values, self._parts(pointer), strict=True):
            self._builder.store(value, part).align = 4

    def spread(self, value: Any) -> Any:
        """Broadcast a value to a vector."""
        blank = ir.Constant(self._vector, ir.Undefined)
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), self._lanes), [0] * self._lanes)
        one = self._builder.insert_element(blank, value, ir.Constant(ir.IntType(32), 0))
        return self._builder.shuffle_vector(one, blank, zeros)

    def add_product(self, total: Any, a: Any, b: Any) -> Any:
        """Return ``total + a * b``, fused (rounded once) if the CPU supports it."""
        product = self._builder.fmul(a, b, flags=("contract",))
        return self._builder.fadd(total, product, flags=("contract",))

    def larger(self, a: Any, b: Any) -> Any:
        """Return the larger of each pair of floats; ``b`` where ``a`` is NaN."""
        return self._builder.select(self._builder.fcmp_ordered(">", a, b), a, b)

    def above(self, values: list[Any], limits: list[Any]) -> Any:
        """Return an integer whose bit i says whether float i of all vectors is above its limit."""
        builder, bits = self._builder, ir.IntType(self._lanes)
        found: Any = self.number(0)
        for value, limit, offset in zip(values, limits, self._offsets, strict=True):
            is_above = builder.fcmp_ordered(">", value, limit)
            part = builder.zext(builder.bitcast(is_above, bits), self.index)
            found = builder.or_(found, builder.shl(part, offset))
        return found

    def prefetch(self, pointer: Any) -> None:
        """Prefetch from an address, which need not be readable."""
        short, void = ir.IntType(32), ir.VoidType()
        kind = ir.FunctionType(void, [ir.IntType(8).as_pointer(), short, short, short])
        function = self._builder.module.declare_intrinsic("llvm.prefetch.p0", fnty=kind)
        where = self._builder.bitcast(pointer, ir.IntType(8).as_pointer())
        # For reading, into the L2 cache and above, data.
        flags = [ir.Constant(short, flag) for flag in (0, 2, 1)]
        self._builder.call(function, [where, *flags])
