"""Scales of expression: what was done to counts, and how it is undone."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

Values: TypeAlias = npt.NDArray[np.floating]

_LN2, _LN10 = float(np.log(2)), float(np.log(10))


@dataclass(frozen=True)
class Scale:
    """One scale of expression.

    Parameters
    ----------
    name
        As it is said to the user, such as ``log1p``.
    undone
        What undoes it, as it is said to the user, such as ``expm1``.
    largest
        No expression has a larger value on this scale: counts per million end at 1,000,000.
    """

    name: str
    undone: str
    largest: float

    def linear(self, values: Values) -> Values:
        """Undo it: return the linear expression, in the precision of the values."""
        return values

    def slope(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return the derivative of `linear`."""
        return np.ones_like(values)

    def linear_cells(self, cells: sp.csr_matrix) -> sp.csr_matrix:
        """Return the linear expression of cells; of a linear scale the cells themselves."""
        if self is LINEAR:
            return cells
        linear = sp.csr_matrix(cells.shape, dtype=np.float32)
        # Set, not passed: the constructor would check them once more.
        linear.indptr, linear.indices = cells.indptr, cells.indices
        linear.data = self.linear(cells.data).astype(np.float32, copy=False)
        linear.has_canonical_format = cells.has_canonical_format
        return linear


@dataclass(frozen=True)
class _Logarithm(Scale):
    """``log(1 + x)``; ``factor`` times it is the natural one."""

    factor: float = 1.0

    def linear(self, values: Values) -> Values:
        # The very operation that a server does to log1p: the answers are equal to the last bit.
        return np.expm1(values if self.factor == 1 else values * values.dtype.type(self.factor))

    def slope(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return self.factor * np.exp(values * self.factor)


@dataclass(frozen=True)
class _SquareRoot(Scale):
    def linear(self, values: Values) -> Values:
        return values * values

    def slope(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return 2 * values


@dataclass(frozen=True)
class _LogTwice(Scale):
    def linear(self, values: Values) -> Values:
        return np.expm1(np.expm1(values))

    def slope(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.exp(np.expm1(values) + values)


# The largest logarithms are those of a cell whose million of counts are of one gene, and a little.
LINEAR = Scale("linear", "", np.inf)
LOG1P = _Logarithm("log1p", "expm1", 15.0)
LOG2 = _Logarithm("log2(x + 1)", "2^x - 1", 21.0, _LN2)
LOG10 = _Logarithm("log10(x + 1)", "10^x - 1", 6.5, _LN10)
SQUARE_ROOT = _SquareRoot("square root", "x^2", np.inf)
LOG_TWICE = _LogTwice("log1p, twice,", "expm1, twice,", 2.8)

SCALES = (LINEAR, LOG1P, LOG2, LOG10, SQUARE_ROOT, LOG_TWICE)
"""Every scale that is told from the others, the most usual first."""

BY_HAND = {"counts": LINEAR, "cp10k": LINEAR, "log1p": LOG1P, "log2": LOG2}
"""The scales of what a user may say that values are."""
