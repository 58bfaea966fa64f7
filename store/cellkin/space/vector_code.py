"""Vector instructions for the few loops that need them spelled out.

numba keeps no array in registers. A loop whose sums must stay there is an intrinsic that writes its
own LLVM code, with what is here.
"""

from typing import Any

from llvmlite import binding, ir  # type: ignore[import-untyped]

HAS_AVX512 = bool(binding.get_host_cpu_features().get("avx512f", False))
"""Whether there are 32 registers of 16 floats."""


class VectorCode:
    """Writes loads, stores and the like of vectors of floats in a row.

    Parameters
    ----------
    builder
        Of the function that is written.
    lanes
        Floats of a vector.
    n_vectors
        Vectors in a row.
    """

    def __init__(self, builder: Any, lanes: int, n_vectors: int) -> None:
        self.index = ir.IntType(64)
        self.zero = ir.Constant(ir.VectorType(ir.FloatType(), lanes), [0.0] * lanes)
        self._builder, self._lanes = builder, lanes
        self._vector = ir.VectorType(ir.FloatType(), lanes)
        self._offsets = [ir.Constant(self.index, lanes * k) for k in range(n_vectors)]

    def number(self, value: int) -> Any:
        """Return an index that is known now."""
        return ir.Constant(self.index, value)

    def _parts(self, pointer: Any) -> list[Any]:
        builder, kind = self._builder, self._vector.as_pointer()
        return [builder.bitcast(builder.gep(pointer, [o]), kind) for o in self._offsets]

    def load(self, pointer: Any) -> list[Any]:
        """Return the vectors from a float on."""
        values = [self._builder.load(part) for part in self._parts(pointer)]
        for value in values:
            value.align = 4
        return values

    def store(self, values: list[Any], pointer: Any) -> None:
        """Write the vectors from a float on."""
        for value, part in zip(values, self._parts(pointer), strict=True):
            self._builder.store(value, part).align = 4

    def spread(self, value: Any) -> Any:
        """Fill a vector with one value."""
        blank = ir.Constant(self._vector, ir.Undefined)
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), self._lanes), [0] * self._lanes)
        one = self._builder.insert_element(blank, value, ir.Constant(ir.IntType(32), 0))
        return self._builder.shuffle_vector(one, blank, zeros)

    def add_product(self, total: Any, a: Any, b: Any) -> Any:
        """Return ``total + a * b``, rounded once where the machine can."""
        product = self._builder.fmul(a, b, flags=("contract",))
        return self._builder.fadd(total, product, flags=("contract",))

    def sum(self, value: Any) -> Any:
        """Return the sum of the floats of a vector, added in pairs."""
        kind = ir.FunctionType(ir.FloatType(), [ir.FloatType(), self._vector])
        name = f"llvm.vector.reduce.fadd.v{self._lanes}f32"
        function = self._builder.module.declare_intrinsic(name, fnty=kind)
        zero = ir.Constant(ir.FloatType(), 0.0)
        return self._builder.call(function, [zero, value], fastmath=("reassoc",))

    def prefetch(self, pointer: Any) -> None:
        """Have what is there brought near; it need not be readable."""
        short, void = ir.IntType(32), ir.VoidType()
        kind = ir.FunctionType(void, [ir.IntType(8).as_pointer(), short, short, short])
        function = self._builder.module.declare_intrinsic("llvm.prefetch.p0", fnty=kind)
        where = self._builder.bitcast(pointer, ir.IntType(8).as_pointer())
        # To read, into every cache from the second on, data.
        flags = [ir.Constant(short, flag) for flag in (0, 2, 1)]
        self._builder.call(function, [where, *flags])
