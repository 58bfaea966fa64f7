"""Telling counts from logarithms."""

import numpy as np
import pytest
import scipy.sparse as sp

from cellkin.matrices.units import check_values, find_units
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
    found = find_units(sp.csr_matrix(np.atleast_2d(np.array(values, np.float32))), "x.h5ad")
    assert (found.units, found.why) == (units, why)


@pytest.mark.parametrize(
    ("per_cell", "of"), [(1e4, "counts per 10,000"), (1e6, "normalized counts")]
)
def test_what_a_logarithm_is_of(per_cell: float, of: str) -> None:
    counts = np.random.default_rng(0).poisson(3, (30, 50)).astype(np.float32)
    counts[4] = 0
    scaled = counts / np.maximum(1, counts.sum(axis=1, keepdims=True)) * per_cell
    found = find_units(sp.csr_matrix(np.log1p(scaled)), "x.h5ad")
    assert found.units is ExpressionUnits.LOG1P
    assert found.why.startswith(f"log1p of {of} (fractions up to ")


def test_scaled_values_are_refused() -> None:
    with pytest.raises(
        InvalidArgumentError, match=r"^x.h5ad: values down to -1\.5; centred or scaled"
    ):
        check_values(np.array([-1.5, 2]), "x.h5ad")
    with pytest.raises(InvalidArgumentError, match=r"^x.h5ad: some values are not finite"):
        check_values(np.array([np.inf]), "x.h5ad")


def test_the_refusal_names_the_matrices_to_read_instead() -> None:
    with pytest.raises(InvalidArgumentError, match=r"also has --layer counts, --raw$"):
        check_values(np.array([-1.0]), "x.h5ad", ["--layer counts", "--raw"])
