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

    def transposed(self, rows: list[Any]) -> list[Any]:
        """Return the columns of as many vectors as there are floats in each; 8 or 16.

        Shuffles within 128 bits come first, which CPUs do fastest, then those of whole 128 bits.
        """
        n = self._lanes

        def within(a: Any, b: Any, places: list[int]) -> Any:
            return self._shuffled(a, b, [at + p for at in range(0, n, 4) for p in places])

        def every_other(a: Any, b: Any, first: int) -> Any:
            starts = [of + at for of in (0, n) for at in range(4 * first, n, 8)]
            return self._shuffled(a, b, [start + i for start in starts for i in range(4)])

        columns: dict[int, Any] = {}

        def place(parts: list[Any], column: int, step: int) -> None:
            if len(parts) == 1:
                columns[column] = parts[0]
                return
            for odd in (0, 1):
                pairs = zip(parts[::2], parts[1::2], strict=True)
                place([every_other(a, b, odd) for a, b in pairs], column + odd * step, 2 * step)

        fours: list[list[Any]] = []
        for at in range(0, n, 4):
            twos = [
                within(rows[at + i], rows[at + i + 1], places)
                for i in (0, 2)
                for places in ([0, n, 1, n + 1], [2, n + 2, 3, n + 3])
            ]
            fours.append([
                within(twos[i], twos[i + 2], places)
                for i in (0, 1)
                for places in ([0, 1, n, n + 1], [2, 3, n + 2, n + 3])
            ])  # fmt: skip
        for column in range(4):
            place([four[column] for four in fours], column, 4)
        return [columns[column] for column in range(n)]

    def joined(self, values: list[Any]) -> Any:
        """Return a vector of single floats."""
        vector = ir.Constant(self._vector, ir.Undefined)
        for place, value in enumerate(values):
            number = ir.Constant(ir.IntType(32), place)
            vector = self._builder.insert_element(vector, value, number)
        return vector

    def _shuffled(self, a: Any, b: Any, places: list[int]) -> Any:
        mask = ir.Constant(ir.VectorType(ir.IntType(32), self._lanes), places)
        return self._builder.shuffle_vector(a, b, mask)

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
