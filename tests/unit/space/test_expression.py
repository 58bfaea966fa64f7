"""The expression space beside its definition in double precision, gene by gene."""

import itertools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from cellkin.space.expression import (
    CLIP,
    ExpressionColumns,
    ExpressionSpace,
    by_gene,
    place_expression,
)
from cellkin.wire.errors import InvalidArgumentError

N_GENES, DIM, REFINED_DIM, LEADING_DIM = 9, 4, 3, 2


def space_of(
    n_genes: int = N_GENES, n_variable: int = 6, dim: int = DIM, seed: int = 0,
    n_weighted: int = 5, refined_dim: int = REFINED_DIM, leading_dim: int = LEADING_DIM,
) -> ExpressionSpace:  # fmt: skip
    rng = np.random.default_rng(seed)
    shares = rng.uniform(0.1, 1, n_genes)
    loadings, _ = np.linalg.qr(rng.standard_normal((n_variable, dim)))
    return ExpressionSpace(
        np.arange(n_genes, dtype=np.int64) * 10 + 5,
        (shares / shares.sum()).astype(np.float32),
        np.sort(rng.permutation(n_genes)[:n_variable]).astype(np.int32),
        rng.uniform(0, 4, n_variable).astype(np.float32),
        rng.uniform(0.2, 3, n_variable).astype(np.float32),
        loadings.astype(np.float32),
        rng.normal(0, 0.1, dim).astype(np.float32),
        np.sort(rng.permutation(n_genes)[:n_weighted]).astype(np.int32),
        rng.uniform(0, 4, n_weighted).astype(np.float32),
        rng.standard_normal((n_weighted, refined_dim)).astype(np.float32),
        rng.standard_normal((n_weighted, leading_dim)).astype(np.float32),
    )


def defined(
    cell: npt.NDArray[np.float64], rows: npt.NDArray[np.int64], space: ExpressionSpace
) -> tuple[list[npt.NDArray[np.float64]], bool]:
    """Return a cell's places, by the head and before it, too, and whether it is empty."""
    x = np.zeros(len(space.gene_ids))
    for value, row in zip(cell, rows, strict=True):
        if row >= 0:
            x[row] += value
    if not x.sum() > 0:
        return [np.zeros(n) for n in (space.dim, space.refined_dim, space.leading_dim)], True
    measured = np.isin(np.arange(len(x)), rows)
    share = space.shares[measured].astype(np.float64).sum()
    logs = np.log1p(10_000 * share * x / x.sum())
    scores = (logs[space.variable] - space.means.astype(np.float64)) / space.deviations
    # What was not measured has the mean of the reference.
    scores = np.where(measured[space.variable], np.minimum(scores, CLIP), 0)
    z = scores @ space.loadings.astype(np.float64) - space.center
    off = logs[space.weighted] - space.weighted_means.astype(np.float64)
    off = np.where(measured[space.weighted], off, 0)
    second = (space.weighted_loadings, space.leading_loadings)
    return [z, *(off @ loadings.astype(np.float64) for loadings in second)], False


@dataclass(frozen=True)
class Case:
    """Cells, and the genes of their columns."""

    counts: npt.NDArray[Any]
    rows: npt.NDArray[np.int64]


@st.composite
def cases(draw: st.DrawFn, repeated: bool = True) -> Case:
    """Draw cells: empty, of one gene, of repeated, missing and foreign genes, in any order."""
    n_columns = draw(st.integers(1, 14))
    values = st.sampled_from([0, 0, 0, 1, 1, 2, 7, 300, 1_000_000])
    if not repeated or draw(st.booleans()):
        values = st.sampled_from([0.0, 0.0, 0.25, 1.0, 2.5, 0.1, 3.1e4, 1e-6])
    cell = st.one_of(
        st.lists(values, min_size=n_columns, max_size=n_columns),
        st.just([0] * n_columns),
        st.just([5] + [0] * (n_columns - 1)),
    )
    counts = np.array(draw(st.lists(cell, min_size=1, max_size=6)), np.float32)
    if repeated:
        rows = draw(st.lists(st.integers(-1, N_GENES - 1), min_size=n_columns, max_size=n_columns))
    else:
        rows = draw(st.permutations(range(-5, N_GENES)))[:n_columns]
    return Case(counts, np.maximum(np.array(rows, np.int64), -1))


@given(cases())
def test_places_are_those_of_the_definition(case: Case) -> None:
    space = space_of()
    placed = place_expression(sp.csr_matrix(case.counts), ExpressionColumns.of(case.rows), space)
    assert placed.z.dtype == placed.refined.dtype == placed.leading.dtype == np.float32
    for at, cell in enumerate(case.counts.astype(np.float64)):
        (z, refined, leading), empty = defined(cell, case.rows, space)
        assert placed.empty[at] == empty
        np.testing.assert_allclose(placed.z[at], z, rtol=1e-6, atol=1e-5)
        np.testing.assert_allclose(placed.refined[at], refined, rtol=1e-6, atol=1e-4)
        np.testing.assert_allclose(placed.leading[at], leading, rtol=1e-6, atol=1e-4)


def cells_of(n: int, n_genes: int, seed: int = 0) -> sp.csr_matrix:
    rng = np.random.default_rng(seed)
    counts = rng.poisson(0.4, (n, n_genes)) * rng.choice([1, 0.37, 2.5], (n, n_genes))
    return sp.csr_matrix(counts, dtype=np.float32)


@given(cases(repeated=False), st.randoms(use_true_random=False))
def test_the_order_of_columns_does_not_change_a_bit(case: Case, random: Any) -> None:
    order = list(range(len(case.rows)))
    random.shuffle(order)
    space = space_of()
    plain = place_expression(sp.csr_matrix(case.counts), ExpressionColumns.of(case.rows), space)
    shuffled = place_expression(
        sp.csr_matrix(case.counts[:, order]), ExpressionColumns.of(case.rows[order]), space
    )
    assert plain.z.tobytes() == shuffled.z.tobytes()
    assert plain.refined.tobytes() == shuffled.refined.tobytes()


@pytest.mark.parametrize("rows", [np.arange(300), np.arange(300)[::-1], np.arange(300) % 290])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_blocks_threads_and_types_of_counts_do_not_change_a_bit(
    dtype: type, rows: npt.NDArray[np.int64]
) -> None:
    space = space_of(300, 120, 20, n_weighted=90, refined_dim=40)
    cells = sp.csr_matrix(np.round(cells_of(2500, 300).toarray()), dtype=dtype)
    columns = ExpressionColumns.of(rows)
    whole = place_expression(cells, columns, space)
    threaded = place_expression(cells, columns, space, threads=3)
    assert threaded.z.tobytes() == whole.z.tobytes()
    assert threaded.refined.tobytes() == whole.refined.tobytes()
    cuts = [0, 1, 2, 40, 40, 1023, 1025, 2500]
    parts = [place_expression(cells[a:b], columns, space) for a, b in itertools.pairwise(cuts)]
    assert np.concatenate([part.z for part in parts]).tobytes() == whole.z.tobytes()
    assert np.concatenate([part.refined for part in parts]).tobytes() == whole.refined.tobytes()


@given(cases(), st.sampled_from([np.float32, np.float64, np.int32]), st.booleans())
def test_cells_are_sorted_and_summed_by_gene(case: Case, dtype: type, turned: bool) -> None:
    dense: npt.NDArray[Any] = case.counts.astype(dtype)
    cells = sp.csr_matrix(dense)
    if turned:  # the entries of each cell are stored in descending order
        at = [np.arange(a, b)[::-1] for a, b in itertools.pairwise(cells.indptr)]
        order = np.concatenate([*at, np.empty(0, int)]).astype(int)
        cells = sp.csr_matrix((cells.data[order], cells.indices[order], cells.indptr), dense.shape)
    found, genes = by_gene(cells, ExpressionColumns.of(case.rows))
    assert genes.tolist() == sorted({row for row in case.rows.tolist() if row >= 0})
    sums = dense.astype(np.float64) @ (case.rows[:, None] == genes)
    np.testing.assert_allclose(found.toarray(), sums, rtol=1e-12)
    found.check_format(full_check=True)
    assert found.copy().has_canonical_format
    assert (found.data != 0).all()


def test_columns_in_the_order_of_the_space_are_placed_as_any_others() -> None:
    space = space_of(60, 30, 8)
    cells = cells_of(20, 60)
    own = place_expression(cells, ExpressionColumns.of(np.arange(60)), space)
    foreign = sp.hstack([sp.csr_matrix(np.full((20, 1), 3.0)), cells], format="csr")
    beside = place_expression(foreign, ExpressionColumns.of(np.arange(-1, 60)), space)
    assert own.z.tobytes() == beside.z.tobytes()
    assert own.refined.tobytes() == beside.refined.tobytes()
    unsorted = cells.copy()
    for row in range(20):
        part = slice(unsorted.indptr[row], unsorted.indptr[row + 1])
        unsorted.indices[part] = unsorted.indices[part][::-1]
        unsorted.data[part] = unsorted.data[part][::-1]
    unsorted.has_sorted_indices = False
    unsorted.has_canonical_format = False
    before = unsorted.indices.copy()
    again = place_expression(unsorted, ExpressionColumns.of(np.arange(60)), space)
    assert own.z.tobytes() == again.z.tobytes()
    assert own.refined.tobytes() == again.refined.tobytes()
    assert np.array_equal(unsorted.indices, before), "the caller's cells are left as they are"


def test_a_panel_of_fewer_genes_stays_comparable() -> None:
    # A third of the genes is left, which has a third of the expression: z-scores of these genes
    # are what they were, and those of the others are 0.
    space = space_of(60, 60, 60)
    counts = np.tile(space.shares.astype(np.float64) * 1e6, (1, 1))
    kept = np.arange(0, 60, 3)
    whole = (
        place_expression(sp.csr_matrix(counts), ExpressionColumns.of(np.arange(60)), space).z
        + space.center
    )
    part = (
        place_expression(sp.csr_matrix(counts[:, kept]), ExpressionColumns.of(kept), space).z
        + space.center
    )
    scores = whole @ space.loadings.T
    there = part @ space.loadings.T
    np.testing.assert_allclose(there[0, kept], scores[0, kept], atol=1e-3)
    np.testing.assert_allclose(np.delete(there[0], kept), 0, atol=1e-4)


def test_genes_are_found_by_their_ids() -> None:
    space = space_of()
    ids = np.array([5, 0, 85, 15, 16, 10**9], np.int64)
    assert space.rows_of(ids).tolist() == [0, -1, 8, 1, -1, -1]


def test_no_gene_in_common_leaves_every_cell_empty() -> None:
    cells = sp.csr_matrix(np.ones((2, 3), np.float32))
    placed = place_expression(cells, ExpressionColumns.of(np.full(3, -1)), space_of())
    assert placed.empty.all()
    assert not placed.z.any()
    assert not placed.refined.any()
    assert not placed.leading.any()


def test_a_space_without_a_head_refines_nothing() -> None:
    space = space_of(n_weighted=0, refined_dim=0, leading_dim=0)
    placed = place_expression(cells_of(4, N_GENES), ExpressionColumns.of(np.arange(N_GENES)), space)
    assert placed.refined.shape == placed.leading.shape == (4, 0)
    with_head = place_expression(
        cells_of(4, N_GENES), ExpressionColumns.of(np.arange(N_GENES)), space_of()
    )
    assert placed.z.tobytes() == with_head.z.tobytes()


def test_a_cell_without_the_genes_of_the_head_is_where_the_mean_is() -> None:
    space = space_of()
    others = np.setdiff1d(np.arange(N_GENES), space.weighted)
    cells = sp.csr_matrix(np.ones((1, len(others)), np.float32))
    placed = place_expression(cells, ExpressionColumns.of(others), space)
    assert not placed.empty[0]
    assert not placed.refined.any()
    assert not placed.leading.any()


def test_no_cells() -> None:
    columns = ExpressionColumns.of(np.arange(N_GENES))
    placed = place_expression(sp.csr_matrix((0, N_GENES), dtype=np.float32), columns, space_of())
    assert placed.z.shape == (0, DIM)
    assert placed.refined.shape == (0, REFINED_DIM)
    assert placed.leading.shape == (0, LEADING_DIM)


def test_columns_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InvalidArgumentError, match=r"cells of 3 columns.*given for 4"):
        place_expression(sp.csr_matrix((1, 3)), ExpressionColumns.of(np.arange(4)), space_of())


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int16])
def test_entries_of_a_narrow_type_are_summed_without_overflow(dtype: type) -> None:
    space = space_of()
    n = len(space.gene_ids)
    most = 1 if dtype is np.bool_ else np.iinfo(dtype).max
    data, indices = np.full(4, most), np.array([0, 0, 1, 2])
    narrow = sp.csr_matrix((data.astype(dtype), indices, [0, 4]), (1, n))
    wide = sp.csr_matrix((data.astype(np.float64), indices, [0, 4]), (1, n))
    columns = ExpressionColumns.of(np.arange(n))
    found = place_expression(narrow, columns, space).z
    assert np.array_equal(found, place_expression(wide, columns, space).z)


def test_a_space_of_no_genes_has_no_rows() -> None:
    none = replace(space_of(), gene_ids=np.empty(0, np.int64))
    assert none.rows_of(np.array([0, 7])).tolist() == [-1, -1]
