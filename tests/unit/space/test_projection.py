"""The projection against its definition, on awkward cells."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.space import reference
from tests.unit.space.awkward import (
    DIM,
    EXPRESSIONS,
    N_GENES,
    TOLERANCE,
    VECTORS,
    Case,
    cases,
    space_of,
)

from cellkin.space import projection
from cellkin.space.projection import (
    CpuProjector,
    count_detected,
    gene_columns,
    linear_expression,
    project,
    weighted_means,
)
from cellkin.space.recipe import TEXT_V1, Expression
from cellkin.wire.errors import InvalidArgumentError


def means_of(case: Case, threads: int = 1) -> npt.NDArray[np.float32]:
    return weighted_means(case.cells, gene_columns(case.rows, N_GENES), case.space, threads)[0]


@settings(deadline=None, max_examples=300)
@given(cases())
def test_weighted_means_equal_the_definition(case: Case) -> None:
    got, empty = weighted_means(case.cells, gene_columns(case.rows, N_GENES), case.space)
    space = case.space
    chosen = [
        reference.chosen_genes(cell, case.rows, space.weights, space.recipe) for cell in case.counts
    ]
    want = np.array([reference.mean(genes, VECTORS) for genes in chosen])
    np.testing.assert_allclose(got, want, atol=TOLERANCE)
    assert empty.tolist() == [not genes for genes in chosen]


@settings(deadline=None, max_examples=200)
@given(cases())
def test_the_chosen_genes_are_those_of_the_definition(case: Case) -> None:
    space = replace(case.space, vectors=np.eye(N_GENES, dtype=np.float32))
    got, _ = weighted_means(case.cells, gene_columns(case.rows, N_GENES), space)
    for cell, shares in zip(case.counts, got, strict=True):
        genes = reference.chosen_genes(cell, case.rows, space.weights, space.recipe)
        least = sum(float(w) for w in genes.values()) * 1e-44
        assert set(np.flatnonzero(shares)) <= set(genes)
        assert {g for g, w in genes.items() if w > least} <= set(np.flatnonzero(shares))


@settings(deadline=None, max_examples=100)
@given(cases(), st.integers(1, 5))
def test_a_cell_is_placed_alike_in_any_block(case: Case, cut: int) -> None:
    whole = means_of(case)
    parts = [
        means_of(replace(case, counts=part))
        for part in (case.counts[:cut], case.counts[cut:])
        if len(part)
    ]
    assert whole.tobytes() == np.vstack(parts).tobytes()


@settings(deadline=None, max_examples=100)
@given(cases(), st.randoms(use_true_random=False))
def test_the_order_of_columns_changes_nothing(case: Case, random: st.DrawFn) -> None:
    order = list(range(len(case.rows)))
    random.shuffle(order)  # type: ignore[attr-defined]
    turned = replace(case, counts=case.counts[:, order], rows=case.rows[order])
    assert means_of(case).tobytes() == means_of(turned).tobytes()


@pytest.fixture(scope="module")
def many() -> Case:
    """Five thousand cells of two thousand genes in any order, two columns a gene now and then."""
    rng = np.random.default_rng(3)
    n_genes = 2000
    rows = rng.permutation(n_genes)
    rows[:40] = rows[40:80]
    rows[80:100] = -1
    weights = rng.random(n_genes).astype(np.float32)
    vectors = rng.standard_normal((n_genes, 400)).astype(np.float32)
    cells = sp.random(5000, n_genes, 0.03, "csr", rng=rng, data_rvs=lambda n: rng.integers(1, 4, n))
    recipe = replace(TEXT_V1, top_n=20)
    return Case(cells, rows, space_of(recipe, weights, vectors))


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_many_cells_on_many_threads(many: Case, expression: Expression) -> None:
    space = replace(many.space, recipe=replace(many.space.recipe, expression=expression))
    columns = gene_columns(many.rows, len(space.weights))
    alone, empty = weighted_means(many.cells, columns, space)
    for threads in (2, 3):
        together, _ = weighted_means(many.cells, columns, space, threads)
        assert alone.tobytes() == together.tobytes()
    few = slice(2040, 2060)
    counts = many.cells[few].toarray()
    want = reference.weighted_means(counts, many.rows, space.weights, space.vectors, space.recipe)
    np.testing.assert_allclose(alone[few], want, atol=TOLERANCE)
    assert not empty.any()


def test_cells_with_most_genes_are_summed_alike(many: Case) -> None:
    """Cells of a third of all genes or more, between others, few and many together."""
    rng = np.random.default_rng(7)
    space = replace(many.space, recipe=replace(many.space.recipe, top_n=0))
    columns = gene_columns(many.rows, len(space.weights))
    counts = rng.integers(0, 4, (300, len(many.rows))) * (rng.random((300, 1)) < 0.9)
    counts[:, : len(many.rows) // 2] *= rng.random((300, 1)) < 0.5
    cells = sp.csr_matrix(counts)
    want = reference.weighted_means(
        counts[::29], many.rows, space.weights, space.vectors, space.recipe
    )
    got, _ = weighted_means(cells, columns, space, 2)
    np.testing.assert_allclose(got[::29], want, atol=TOLERANCE)
    for few in (slice(0, 1), slice(5, 9), slice(40, 300)):
        alone, _ = weighted_means(cells[few], columns, space, 1)
        assert alone.tobytes() == got[few].tobytes()


def test_callers_on_several_threads_do_not_disturb_each_other(many: Case) -> None:
    columns = gene_columns(many.rows, len(many.space.weights))
    cells = many.cells[:600]
    alone, _ = weighted_means(cells, columns, many.space)
    with ThreadPoolExecutor(4) as pool:
        found = [pool.submit(weighted_means, cells, columns, many.space, 2) for _ in range(8)]
        assert all(f.result()[0].tobytes() == alone.tobytes() for f in found)


@pytest.mark.parametrize(("at_once", "lengths"), [(2048, [33]), (3, [7, 23, 3])])
def test_a_projector_joins_blocks(
    many: Case, monkeypatch: pytest.MonkeyPatch, at_once: int, lengths: list[int]
) -> None:
    monkeypatch.setattr(projection, "BLOCK_CELLS", at_once)
    columns = gene_columns(many.rows, len(many.space.weights))
    blocks = [many.cells[:7], many.cells[7:7], many.cells[7:30], many.cells[30:33]]
    parts = list(CpuProjector(many.space, columns, 2).means(blocks))
    assert [len(means) for means, _ in parts] == lengths
    whole, empty = weighted_means(many.cells[:33], columns, many.space)
    assert np.vstack([means for means, _ in parts]).tobytes() == whole.tobytes()
    assert np.array_equal(np.concatenate([none for _, none in parts]), empty)


def test_among_equals_the_lowest_gene_counts() -> None:
    cells = sp.csr_matrix(np.ones((1, N_GENES), np.float32))
    order = np.random.default_rng(0).permutation(N_GENES)
    got, _ = weighted_means(
        cells, gene_columns(order, N_GENES), space_of(replace(TEXT_V1, top_n=3))
    )
    np.testing.assert_allclose(got[0], VECTORS[:3].mean(axis=0), atol=1e-6)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.sampled_from([0, 1, 2, 7]), min_size=N_GENES, max_size=N_GENES))
def test_the_depth_of_a_cell_does_not_matter(counts: list[int]) -> None:
    center = np.full(DIM, 0.01, np.float32)
    columns = gene_columns(np.arange(N_GENES), N_GENES)
    cells = sp.csr_matrix(np.array([counts], np.float32))
    for expression in EXPRESSIONS:
        space = space_of(replace(TEXT_V1, expression=expression), center=center)
        straight, _ = project(cells, columns, space)
        for depth in (0.5, 3.0, 1e-3):
            scaled, _ = project(cells * np.float32(depth), columns, space)
            np.testing.assert_allclose(straight, scaled, atol=1e-5)


@pytest.mark.parametrize("n_dims", [1, 16, 33, 64, 96, 384, 400, 1000])
def test_vectors_of_any_width(n_dims: int) -> None:
    rng = np.random.default_rng(n_dims)
    vectors = rng.standard_normal((N_GENES, n_dims)).astype(np.float32)
    counts = rng.integers(0, 5, (9, N_GENES))
    space = space_of(TEXT_V1, vectors=vectors)
    got, _ = weighted_means(sp.csr_matrix(counts), gene_columns(np.arange(N_GENES), N_GENES), space)
    want = counts @ vectors.astype(np.float64) / counts.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(got, want, atol=TOLERANCE)


def test_columns_given_twice_and_in_disorder_add_up() -> None:
    columns = gene_columns(np.arange(3), N_GENES)
    strange = sp.csr_matrix(
        (np.array([1, 2, 3, 4], np.float32), np.array([2, 0, 2, 1]), np.array([0, 3, 4])), (2, 3)
    )
    plain = sp.csr_matrix(np.array([[2, 0, 4], [0, 4, 0]], np.float32))
    space = space_of(TEXT_V1)
    got, want = (weighted_means(cells, columns, space)[0] for cells in (strange, plain))
    assert got.tobytes() == want.tobytes()
    assert strange.indices.tolist() == [2, 0, 2, 1], "the caller's matrix is as it was"


def test_arrays_that_may_not_be_written_and_wide_indices_are_read() -> None:
    counts = np.random.default_rng(0).integers(0, 3, (5, N_GENES))
    columns = gene_columns(np.arange(N_GENES), N_GENES)
    want, _ = weighted_means(sp.csr_matrix(counts), columns, space_of(TEXT_V1))
    cells = sp.csr_matrix(counts.astype(np.uint16))
    cells.indices, cells.indptr = cells.indices.astype(np.int64), cells.indptr.astype(np.int64)
    for array in (cells.data, cells.indices, cells.indptr):
        array.flags.writeable = False
    got, _ = weighted_means(cells, columns, space_of(TEXT_V1))
    assert got.tobytes() == want.tobytes()


def test_logarithms_given_twice_are_undone_before_they_add_up() -> None:
    values = np.log1p(np.array([3, 1, 2], np.float32))
    for array in (values, columns := np.array([1, 0, 1]), bounds := np.array([0, 3])):
        array.flags.writeable = False
    linear = linear_expression(sp.csr_matrix((values, columns, bounds), shape=(1, 2)))
    np.testing.assert_allclose(linear.toarray(), [[1, 5]], rtol=1e-6)


def test_counts_of_genes() -> None:
    cells = sp.csr_matrix(np.array([[1, 2, 4, 8], [0, 3, 0, 0], [1, 0, 1, 0]], np.float32))
    detected, mass = np.array([5, 0, 0]), np.zeros(4)
    columns = gene_columns(np.array([2, -1, 2, 0]), 3)
    count_detected(cells, columns, detected, mass)
    count_detected(cells[:1], columns, detected, mass)
    assert detected.tolist() == [7, 0, 3]
    assert mass.tolist() == [3, 7, 9, 16]


@settings(deadline=None, max_examples=50)
@given(cases())
def test_counts_equal_those_of_a_matrix_product(case: Case) -> None:
    detected, mass = np.zeros(N_GENES, np.int64), np.zeros(len(case.rows))
    count_detected(case.cells, gene_columns(case.rows, N_GENES), detected, mass)
    by_gene = case.counts.astype(np.float64) @ (case.rows[:, None] == np.arange(N_GENES))
    assert detected.tolist() == (by_gene > 0).sum(axis=0).tolist()
    np.testing.assert_allclose(mass, case.counts.sum(axis=0, dtype=np.float64), rtol=1e-6)


def test_vectors_begin_on_a_line_and_are_copied_at_most_once() -> None:
    crooked = np.empty(N_GENES * 48 + 1, np.float32)[1:].reshape(N_GENES, 48)
    crooked[:] = VECTORS.mean()
    space = space_of(TEXT_V1, vectors=crooked)
    assert space.vectors.ctypes.data % 64 == 0
    np.testing.assert_array_equal(space.vectors, crooked)
    assert replace(space, center=np.ones(48, np.float32)).vectors is space.vectors


def test_vectors_that_reach_another_process_begin_on_a_line() -> None:
    kept: list[pickle.PickleBuffer] = []
    packed = pickle.dumps(space_of(TEXT_V1), protocol=5, buffer_callback=kept.append)
    # As a pickle holds them: anywhere.
    moved = [memoryview(b"1234567" + buffer.raw())[7:] for buffer in kept]
    space = pickle.loads(packed, buffers=moved)
    assert space.vectors.ctypes.data % 64 == 0
    np.testing.assert_array_equal(space.vectors, VECTORS)


def test_a_cell_without_genes_is_zero_and_said_to_be() -> None:
    z, empty = project(
        sp.csr_matrix((2, N_GENES), dtype=np.float32),
        gene_columns(np.arange(N_GENES), N_GENES),
        space_of(TEXT_V1, center=np.full(DIM, 0.5, np.float32)),
    )
    assert empty.all()
    assert not z.any()


def test_no_cells_and_no_genes() -> None:
    columns = gene_columns(np.arange(N_GENES), N_GENES)
    z, _ = project(sp.csr_matrix((0, N_GENES), dtype=np.float32), columns, space_of(TEXT_V1))
    assert z.shape == (0, DIM)
    none = space_of(TEXT_V1, vectors=np.zeros((0, DIM), np.float32))
    _, empty = project(sp.csr_matrix(np.ones((2, 1))), gene_columns(np.array([-1]), 0), none)
    assert empty.all()


def test_the_head_is_applied_after_centring() -> None:
    center = VECTORS.mean(axis=0)
    head = np.random.default_rng(1).standard_normal((3, DIM)).astype(np.float32)
    cells = sp.csr_matrix(np.eye(N_GENES, dtype=np.float32))
    columns = gene_columns(np.arange(N_GENES), N_GENES)
    for centered in (True, False):
        recipe = replace(TEXT_V1, centered=centered)
        z, _ = project(cells, columns, space_of(recipe, center=center, head=head))
        want = (VECTORS - (center if centered else 0)) @ head.T
        want /= np.linalg.norm(want, axis=1, keepdims=True)
        np.testing.assert_allclose(z, want, atol=1e-5)


def test_a_cell_is_placed_by_a_head_alike_in_any_block(many: Case) -> None:
    rng = np.random.default_rng(1)
    dim = many.space.vectors.shape[1]
    head = rng.standard_normal((203, dim)).astype(np.float32)
    space = replace(many.space, head=head, center=rng.standard_normal((dim,)).astype(np.float32))
    columns = gene_columns(many.rows, len(many.space.vectors))
    whole, _ = project(many.cells[:200], columns, space)
    for n in (1, 7, 64, 199):
        for begin in (0, 200 - n):
            part, _ = project(many.cells[begin : begin + n], columns, space, 2)
            assert part.tobytes() == whole[begin : begin + n].tobytes()


def test_columns_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="the space has 0 to 2"):
        gene_columns(np.array([0, 3]), 3)
    with pytest.raises(InvalidArgumentError, match="cells of 4 columns"):
        weighted_means(
            sp.csr_matrix((1, 4)), gene_columns(np.array([0, 1]), N_GENES), space_of(TEXT_V1)
        )


def test_a_broken_matrix_is_refused_and_not_read() -> None:
    cells = sp.csr_matrix(np.ones((1, 3), np.float32))
    cells.indices[2] = 99
    with pytest.raises(ValueError, match="indices"):
        weighted_means(cells, gene_columns(np.arange(3), N_GENES), space_of(TEXT_V1))


@pytest.mark.parametrize(("wanted", "row"), [(0, 0), (110, 11), (55, -1), (-3, -1), (999, -1)])
def test_rows_of_genes(wanted: int, row: int) -> None:
    assert space_of(TEXT_V1).rows_of(np.array([wanted])).tolist() == [row]


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int16])
def test_entries_of_a_narrow_type_are_summed_without_overflow(dtype: type) -> None:
    space = space_of(TEXT_V1)
    n = len(space.gene_ids)
    most = 1 if dtype is np.bool_ else np.iinfo(dtype).max
    data, indices = np.full(4, most), np.array([0, 0, 1, 2])
    narrow = sp.csr_matrix((data.astype(dtype), indices, [0, 4]), (1, n))
    wide = sp.csr_matrix((data.astype(np.float64), indices, [0, 4]), (1, n))
    columns = gene_columns(np.arange(n), n)
    found, _ = project(narrow, columns, space)
    assert np.array_equal(found, project(wide, columns, space)[0])
