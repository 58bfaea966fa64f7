"""Telling counts from logarithms, and logarithms from each other."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import scipy.sparse as sp

from cellkin.matrices.linear import LinearReader
from cellkin.matrices.scales import LINEAR, LOG1P, LOG2, LOG10, LOG_TWICE, SQUARE_ROOT, Scale
from cellkin.matrices.unit_evidence import _rank_correlation
from cellkin.matrices.units import UnitsFinding, check_values, find_units, whole_rows
from cellkin.wire.errors import InvalidArgumentError

Dense = npt.NDArray[np.float64]


def counted(n_cells: int = 200, n_genes: int = 500, mean: float = 1.0, seed: int = 0) -> Dense:
    """Return counts of cells of various depth, genes of very different expression."""
    rng = np.random.default_rng(seed)
    rates = rng.gamma(0.3, mean / 0.3, n_genes) * rng.lognormal(0, 0.4, (n_cells, 1))
    counts: Dense = rng.poisson(rates).astype(np.float64)
    counts[counts.sum(axis=1) == 0, 0] = 1
    return counts


def per(counts: Dense, total: float) -> Dense:
    return np.asarray(counts / counts.sum(axis=1, keepdims=True) * total)


def csr(values: Dense) -> sp.csr_matrix:
    return sp.csr_matrix(values.astype(np.float32))


def found(values: Dense, said: str | None = None) -> UnitsFinding:
    return find_units(csr(values), "x.h5ad", said=said)


def log2p(x: Dense) -> Dense:
    return np.asarray(np.log2(1 + x))


def corrected(counts: Dense) -> Dense:
    """Return counts without a part of each, as corrections for ambient RNA leave them."""
    return np.asarray(counts * np.random.default_rng(1).uniform(0.85, 1, counts.shape))


@pytest.mark.parametrize(
    ("values", "scale", "why"),
    [
        ([1, 2, 3000], LINEAR, "counts (integers up to 3000)"),
        ([], LINEAR, "counts (integers up to 0)"),
        ([2.5, 4000.1], LINEAR, "normalized or corrected counts (fractions up to 4000"),
    ],
)
def test_a_few_values(values: list[float], scale: Scale, why: str) -> None:
    units = found(np.atleast_2d(np.array(values)))
    assert units.scale is scale
    assert units.why.startswith(why)
    assert not units.caution


FORMS: dict[str, tuple[Callable[[Dense], Any], Scale]] = {
    "CP10K": (lambda x: per(x, 1e4), LINEAR),
    "CPM": (lambda x: per(x, 1e6), LINEAR),
    "log1p CP10K": (lambda x: np.log1p(per(x, 1e4)), LOG1P),
    "log1p CPM": (lambda x: np.log1p(per(x, 1e6)), LOG1P),
    "log1p of the median": (lambda x: np.log1p(per(x, np.median(x.sum(axis=1)))), LOG1P),
    "log1p of counts": (np.log1p, LOG1P),
    "log2 CP10K": (lambda x: log2p(per(x, 1e4)), LOG2),
    "log2 CPM": (lambda x: log2p(per(x, 1e6)), LOG2),
    "log2 by size factors": (lambda x: log2p(per(x, x.sum(axis=1).mean())), LOG2),
    "log10 CP10K": (lambda x: np.log10(1 + per(x, 1e4)), LOG10),
    "log10 CPM": (lambda x: np.log10(1 + per(x, 1e6)), LOG10),
    "counts times 0.3": (lambda x: x * 0.3, LINEAR),
    "corrected counts": (corrected, LINEAR),
    "log1p CP10K, corrected": (lambda x: np.log1p(per(corrected(x), 1e4)), LOG1P),
    "log2 CPM, corrected": (lambda x: log2p(per(corrected(x), 1e6)), LOG2),
    "square roots": (np.sqrt, SQUARE_ROOT),
    "log1p twice": (lambda x: np.log1p(np.log1p(per(x, 1e4))), LOG_TWICE),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "counts",
    [counted(), counted(mean=0.12), counted(n_genes=100), counted(n_genes=20), counted(mean=6)],
    ids=["usual", "60 counts a cell", "100 genes", "20 genes", "deep"],
)
def test_scales_are_told_apart(form: str, counts: Dense) -> None:
    make, scale = FORMS[form]
    units = found(make(counts))
    assert units.scale is scale, units


@pytest.mark.parametrize("decimals", [2, 3])
@pytest.mark.parametrize("form", [form for form in FORMS if not form.startswith("counts times")])
def test_scales_are_told_apart_after_rounding(form: str, decimals: int) -> None:
    make, scale = FORMS[form]
    for counts in (counted(mean=4), counted(60, 2000, mean=150)):
        units = found(np.round(make(counts), decimals))
        assert units.scale is scale, units


@pytest.mark.parametrize("form", ["log1p CP10K", "log1p CPM", "log2 CP10K", "log2 CPM"])
def test_scales_are_told_apart_when_genes_were_chosen_afterwards(form: str) -> None:
    make, scale = FORMS[form]
    for n_genes in (20, 100, 377):
        units = found(make(counted())[:, :n_genes])
        assert units.scale is scale, (n_genes, units)


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ("CP10K", "counts per 10,000 (row sums are 10,000 in 199 of 199 sampled cells)"),
        ("log1p CP10K", "log1p of counts per 10,000 (row sums of expm1 are 10,000 in 200 of 200"),
        ("log2 CPM", "log2(x + 1) of counts per 1,000,000 (row sums of 2^x - 1 are 1,000,000 in"),
        ("log1p of counts", "log1p of counts (expm1 of the values are multiples of each cell's"),
        ("counts times 0.3", "counts times 0.3 (the values are multiples of each cell's smallest"),
    ],
)
def test_the_evidence_is_stated(form: str, said: str) -> None:
    assert found(FORMS[form][0](counted())).why.startswith(said)


def test_ties_have_their_mean_rank() -> None:
    # Mean ranks (2, 2, 2, 4, 5) and (5, 2.5, 2.5, 4, 1): products sum to -4, squares to 8 and 9.5.
    a, b = np.array([1, 1, 1, 2, 3]), np.array([0.9, 0.2, 0.2, 0.5, 0.1])
    assert _rank_correlation(a, b) == pytest.approx(-4 / np.sqrt(8 * 9.5))
    assert _rank_correlation(a, np.ones(5)) == 0
    assert _rank_correlation(a[2:4], b[2:4]) == 0


@pytest.mark.parametrize("form", FORMS)
def test_what_is_read_is_the_linear_expression(form: str) -> None:
    make, _ = FORMS[form]
    counts = counted(30)
    cells = csr(make(counts))
    linear = LinearReader(find_units(cells, "x"), "x").linear(cells).toarray()
    assert linear.dtype == np.float32
    assert cells.dtype == np.float32
    expected = corrected(counts) if "corrected" in form else counts
    np.testing.assert_allclose(per(linear.astype(float), 1), per(expected, 1), rtol=2e-4, atol=1e-9)


def test_values_without_evidence_are_taken_by_size_and_said_so() -> None:
    values = log2p(per(corrected(counted()), 1e4))[:, :300]
    units = found(values)
    assert not units.sure
    assert "no unit explains the values clearly" in units.caution
    said = found(values, "log2")
    assert said.scale is LOG2
    assert not said.caution


def test_detection_alone_is_said() -> None:
    assert "0 or 1" in found((counted(mean=3) > 0).astype(float)).caution


def mixed(n_logs: int = 100) -> tuple[Dense, Dense]:
    """Return counts, and the same with the last cells as log1p of counts per 10,000."""
    counts = counted()
    return counts, np.vstack([counts[:-n_logs], np.log1p(per(counts[-n_logs:], 1e4))])


@pytest.mark.parametrize("n_sampled", [200, 100], ids=["sampled", "not sampled"])
@pytest.mark.parametrize("form", ["log1p CP10K", "log2 CPM", "log1p CP10K, corrected"])
def test_cells_of_two_units_are_each_read_by_their_own(n_sampled: int, form: str) -> None:
    counts = counted()
    logs = FORMS[form][0](counts[100:])
    cells = csr(np.vstack([counts[:100], logs]))
    reader = LinearReader(find_units(cells[:n_sampled], "x"), "x")
    blocks = [reader.linear(cells[at : at + 40], at) for at in range(0, 200, 40)]
    linear = sp.vstack(blocks).toarray().astype(float)
    np.testing.assert_array_equal(linear[:100], counts[:100])
    expected = corrected(counts[100:]) if "corrected" in form else counts[100:]
    np.testing.assert_allclose(per(linear[100:], 1), per(expected, 1), rtol=2e-4, atol=1e-9)
    assert "100 are log" in reader.finding.caution
    assert "100 are counts or linear" in reader.finding.caution


def test_cells_are_counted_once_however_often_they_are_read() -> None:
    _, values = mixed(50)
    cells = csr(values)
    reader = LinearReader(find_units(cells, "x"), "x")
    for _ in range(2):
        for at in range(0, 200, 50):
            reader.linear(cells[at : at + 50], at)
    assert "50 are log1p" in reader.finding.caution


def test_a_single_cell_of_counts_among_logarithms_is_found() -> None:
    counts = counted()
    values = np.log1p(per(counts, 1e4))
    values[150] = counts[150]
    reader = LinearReader(find_units(csr(values[:100]), "x"), "x")
    linear = reader.linear(csr(values)).toarray()
    np.testing.assert_array_equal(linear[150], counts[150])
    assert "1 are counts" in reader.finding.caution


def test_linear_fractions_beyond_every_logarithm_are_told_from_logarithms() -> None:
    counts = counted(mean=2)
    values = np.vstack([per(counts[:80], 1e4), np.log1p(per(counts[80:], 1e4))])
    reader = LinearReader(find_units(csr(values), "x"), "x")
    linear = reader.linear(csr(values)).toarray().astype(float)
    np.testing.assert_allclose(per(linear, 1), per(counts, 1), rtol=2e-4, atol=1e-9)
    assert "80 are counts or linear" in reader.finding.caution


def test_cells_on_two_logarithms_are_refused() -> None:
    scaled = per(counted(mean=2), 1e4)
    values = np.vstack([np.log1p(scaled[:80]), log2p(scaled[80:])])
    with pytest.raises(InvalidArgumentError, match="on two scales"):
        find_units(csr(values), "x")
    reader = LinearReader(find_units(csr(values[:80]), "x"), "x")
    reader.linear(csr(np.vstack([values[:80]] * 30)))
    with pytest.raises(InvalidArgumentError, match=r"^x, cells from 2,400 on: values are log2"):
        reader.linear(csr(np.vstack([values[80:]] * 20)), 2400)


def test_fractions_that_cannot_be_told_after_counts_are_refused() -> None:
    counts = counted(mean=0.5)
    reader = LinearReader(find_units(csr(counts), "x"), "x")
    odd = corrected(np.minimum(counts, 12))[:3]
    with pytest.raises(InvalidArgumentError, match="cannot be told"):
        reader.linear(csr(odd), 200)
    said = LinearReader(find_units(csr(counts), "x", said="counts"), "x")
    np.testing.assert_allclose(said.linear(csr(odd)).toarray(), odd.astype(np.float32))


@pytest.mark.parametrize(
    ("form", "said", "scale"),
    [("CP10K", "cp10k", LINEAR), ("log1p CP10K", "log1p", LOG1P), ("log2 CPM", "log2", LOG2)],
)
def test_units_are_said_by_hand(form: str, said: str, scale: Scale) -> None:
    units = found(FORMS[form][0](counted()), said)
    assert (units.scale, units.caution) == (scale, "")
    assert units.why.startswith(f"{said}, as was said")


def test_what_was_said_is_done_and_what_it_looks_like_is_added() -> None:
    units = found(np.log1p(per(counted(), 1e4)), "log2")
    assert units.scale is LOG2
    assert "look like log1p of counts per 10,000" in units.caution


@pytest.mark.parametrize("said", ["log1p", "log2"])
def test_what_cannot_be_as_said_is_refused(said: str) -> None:
    for values in (counted(), per(counted(), 1e6)):
        with pytest.raises(InvalidArgumentError, match=f"said to be {said}, but 200 of 200 cells"):
            found(values, said)
    with pytest.raises(InvalidArgumentError, match="give one of counts, cp10k, log1p, log2"):
        found(counted(), "tpm")
    logs = csr(np.log1p(per(counted(), 1e4)))
    reader = LinearReader(find_units(logs, "x", said=said), "x")
    with pytest.raises(InvalidArgumentError, match="said to be"):
        reader.linear(csr(counted()))


def test_scaled_values_are_refused() -> None:
    with pytest.raises(
        InvalidArgumentError, match=r"^x.h5ad: values down to -1\.5; centered or scaled"
    ):
        check_values(np.array([-1.5, 2]), "x.h5ad")
    with pytest.raises(InvalidArgumentError, match=r"^x.h5ad: some values are not finite"):
        check_values(np.array([np.inf]), "x.h5ad")


def test_the_refusal_names_the_matrices_to_read_instead() -> None:
    with pytest.raises(InvalidArgumentError, match=r"also has --layer counts, --raw$"):
        check_values(np.array([-1.0]), "x.h5ad", ["--layer counts", "--raw"])


def test_rows_of_whole_numbers_are_told_from_others() -> None:
    cells = sp.csr_matrix(np.array([[1, 0, 2], [0, 0, 0], [0, 1.5, 3], [4, 0, 0]], np.float32))
    assert whole_rows(cells).tolist() == [True, True, False, True]
    cells.data[0] = np.nan
    assert whole_rows(cells).tolist() == [False, True, False, True]
    assert whole_rows(cells[[1, 3]]).all()
