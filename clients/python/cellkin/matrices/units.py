"""What the values of a matrix are: counts, their logarithm, or something no label can rest on."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cellkin.wire.errors import InvalidArgumentError
from cellkin.wire.terms import ExpressionUnits

# ln(1 + 1e6) is 13.8: no logarithm of counts per million is larger, and any cell of a few hundred
# counts scaled to 10,000 has a larger linear value.
_LARGEST_LOG = 14.0


@dataclass(frozen=True)
class UnitsFinding:
    """What values were found to be, and the sentence that says why."""

    units: ExpressionUnits
    why: str


def find_units(values: npt.NDArray[np.floating], where: str) -> UnitsFinding:
    """Tell counts from logarithms by a sample of the values that are not zero.

    Parameters
    ----------
    values
        Any sample of the matrix's values.
    where
        Names the matrix in the error.

    Raises
    ------
    InvalidArgumentError
        If a value is negative or not finite: centred or scaled data has lost the counts.
    """
    if not np.isfinite(values).all():
        raise InvalidArgumentError(f"{where}: some values are not finite; give counts")
    if values.size and values.min() < 0:
        raise InvalidArgumentError(
            f"{where}: values down to {values.min():.3g}; centred or scaled data cannot be used. "
            "Give counts, or log1p of normalized counts"
        )
    largest = float(values.max()) if values.size else 0.0
    if np.all(values == np.rint(values)):
        return UnitsFinding(ExpressionUnits.LINEAR, f"counts (integers up to {largest:.0f})")
    if largest <= _LARGEST_LOG:
        return UnitsFinding(
            ExpressionUnits.LOG1P, f"log1p of normalized counts (fractions up to {largest:.2f})"
        )
    return UnitsFinding(
        ExpressionUnits.LINEAR, f"normalized counts (fractions up to {largest:.0f})"
    )
