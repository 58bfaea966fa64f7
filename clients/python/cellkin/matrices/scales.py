"""Scales of expression: transformations of counts, and their inverses."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

Values: TypeAlias = npt.NDArray[np.floating]

_LN2, _LN10 = float(np.log(2)), float(np.log(10))


@dataclass(frozen=True)
class Scale:
    """A scale of expression.

    Parameters
    ----------
    name
        Name in messages, such as ``log1p``.
    undone
        The inverse in messages, such as ``expm1``.
    largest
        The largest possible value on this scale, as counts per million end at 1,000,000.
    """

    name: str
    undone: str
    largest: float

    def linear(self, values: Values) -> Values:
        """Return the linear expression, in the precision of the values."""
        return values

    def slope(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return the derivative of `linear`."""
        return np.ones_like(values)

    def linear_cells(self, cells: sp.csr_matrix) -> sp.csr_matrix:
        """Return the linear expression of cells; on the linear scale, the cells themselves."""
        if self is LINEAR:
            return cells
        linear = sp.csr_matrix(cells.shape, dtype=np.float32)
        # Set, not passed: the constructor would check them again.
        linear.indptr, linear.indices = cells.indptr, cells.indices
        linear.data = self.linear(cells.data).astype(np.float32, copy=False)
        linear.has_canonical_format = cells.has_canonical_format
        return linear


@dataclass(frozen=True)
class _Logarithm(Scale):
    """``log(1 + x)``; `factor` converts it to the natural logarithm."""

    factor: float = 1.0

    def linear(self, values: Values) -> Values:
        # The same operation as the server's for log1p, so that results are equal to the bit.
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


# Just above the logarithm of a cell whose million counts are all of one gene.
LINEAR = Scale("linear", "", np.inf)
LOG1P = _Logarithm("log1p", "expm1", 15.0)
LOG2 = _Logarithm("log2(x + 1)", "2^x - 1", 21.0, _LN2)
LOG10 = _Logarithm("log10(x + 1)", "10^x - 1", 6.5, _LN10)
SQUARE_ROOT = _SquareRoot("square root", "x^2", np.inf)
LOG_TWICE = _LogTwice("log1p, twice,", "expm1, twice,", 2.8)

SCALES = (LINEAR, LOG1P, LOG2, LOG10, SQUARE_ROOT, LOG_TWICE)
"""All scales that are distinguished, the most usual first."""

BY_HAND = {"counts": LINEAR, "cp10k": LINEAR, "log1p": LOG1P, "log2": LOG2}
"""The scales of the units that a user may give."""
