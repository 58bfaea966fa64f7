"""What the values of a matrix are: counts, their logarithm, or something no label can rest on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from cellkin.wire.errors import InvalidArgumentError
from cellkin.wire.terms import ExpressionUnits

# ln(1 + 1e6) is 13.8: no logarithm of counts per million is larger, and any cell of a few hundred
# counts scaled to 10,000 has a larger linear value.
_LARGEST_LOG = 14.0
_PER_CELL = 10_000.0


@dataclass(frozen=True)
class UnitsFinding:
    """What values were found to be, and the sentence that says why."""

    units: ExpressionUnits
    why: str


def find_units(cells: sp.csr_matrix, where: str, elsewhere: Sequence[str] = ()) -> UnitsFinding:
    """Tell counts from logarithms by a sample of cells.

    Parameters
    ----------
    cells
        (n_cells, n_genes) any sample of the matrix's rows.
    where, elsewhere
        As for `check_values`.

    Raises
    ------
    InvalidArgumentError
        If a value is negative or not finite: centred or scaled data has lost the counts.
    """
    values = cells.data
    check_values(values, where, elsewhere)
    largest = float(values.max()) if values.size else 0.0
    if np.all(values == np.rint(values)):
        return UnitsFinding(ExpressionUnits.LINEAR, f"counts (integers up to {largest:.0f})")
    if largest <= _LARGEST_LOG:
        of = "counts per 10,000" if _sums_to_10k(cells) else "normalized counts"
        return UnitsFinding(ExpressionUnits.LOG1P, f"log1p of {of} (fractions up to {largest:.2f})")
    return UnitsFinding(
        ExpressionUnits.LINEAR, f"normalized counts (fractions up to {largest:.0f})"
    )


def check_values(
    values: npt.NDArray[np.floating], where: str, elsewhere: Sequence[str] = ()
) -> None:
    """Refuse values that are no expression.

    Parameters
    ----------
    values
        Any values of the matrix.
    where
        Names the matrix in the error.
    elsewhere
        Options that choose another matrix of the same file, such as ``--layer counts``.

    Raises
    ------
    InvalidArgumentError
        If a value is negative or not finite.
    """
    instead = f"; this file also has {', '.join(elsewhere)}" if elsewhere else ""
    if not np.isfinite(values).all():
        raise InvalidArgumentError(f"{where}: some values are not finite; give counts{instead}")
    if values.size and values.min() < 0:
        raise InvalidArgumentError(
            f"{where}: values down to {values.min():.3g}; centred or scaled data cannot be used. "
            f"Give counts, or log1p of normalized counts{instead}"
        )


def _sums_to_10k(cells: sp.csr_matrix) -> bool:
    sums = np.asarray(cells.expm1().sum(axis=1, dtype=np.float64)).ravel()
    sums = sums[sums > 0]
    return bool(sums.size) and bool(abs(np.median(sums) / _PER_CELL - 1) < 0.01)
