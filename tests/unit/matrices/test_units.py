"""Telling counts from logarithms."""

import numpy as np
import pytest

from cellkin.matrices.units import find_units
from cellkin.wire.errors import InvalidArgumentError
from cellkin.wire.terms import ExpressionUnits


@pytest.mark.parametrize(
    ("values", "units", "why"),
    [
        ([1, 2, 3000], ExpressionUnits.LINEAR, "counts (integers up to 3000)"),
        ([], ExpressionUnits.LINEAR, "counts (integers up to 0)"),
        ([0.69, 8.5], ExpressionUnits.LOG1P, "log1p of normalized counts (fractions up to 8.50)"),
        ([2.5, 4000.1], ExpressionUnits.LINEAR, "normalized counts (fractions up to 4000)"),
    ],
)
def test_units(values: list[float], units: ExpressionUnits, why: str) -> None:
    found = find_units(np.array(values), "x.h5ad")
    assert (found.units, found.why) == (units, why)


def test_scaled_values_are_refused() -> None:
    with pytest.raises(
        InvalidArgumentError, match=r"^x.h5ad: values down to -1\.5; centred or scaled"
    ):
        find_units(np.array([-1.5, 2]), "x.h5ad")
    with pytest.raises(InvalidArgumentError, match=r"^x.h5ad: some values are not finite"):
        find_units(np.array([np.inf]), "x.h5ad")
