"""The projection against a plain float64 reference, on awkward cells."""

import numpy as np
import numpy.typing as npt
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from cellkin.space.projection import CellSpace, gene_columns, project, weighted_means
from cellkin.space.recipe import TEXT_V1

N_GENES, DIM = 12, 5
VECTORS = np.random.default_rng(0).standard_normal((N_GENES, DIM)).astype(np.float32)


def plain_mean(
    counts: npt.NDArray[np.float64], weights: npt.NDArray[np.float32], top_n: int
) -> npt.NDArray[np.float64]:
    """One cell, gene by gene: the definition, and nothing clever."""
    weighted = counts * weights.astype(np.float64)
    order = sorted(range(len(weighted)), key=lambda g: (-weighted[g], g))[:top_n]
    chosen = [g for g in order if weighted[g] > 0]
    total = sum(weighted[g] for g in chosen)
    if not total:
        return np.zeros(DIM)
    return sum((weighted[g] / total * VECTORS[g].astype(np.float64) for g in chosen), np.zeros(DIM))


cell = st.lists(st.sampled_from([0, 0, 0, 1, 1, 2, 7, 100_000]), min_size=N_GENES, max_size=N_GENES)


@settings(deadline=None, max_examples=150)
@given(
    st.lists(cell, min_size=1, max_size=6),
    st.lists(st.sampled_from([0.0, 0.5, 1.0, 3.25]), min_size=N_GENES, max_size=N_GENES),
    st.integers(1, N_GENES + 2),
)
def test_weighted_means_equal_the_definition(
    cells: list[list[int]], weights: list[float], top_n: int
) -> None:
    w = np.array(weights, np.float32)
    got, empty = weighted_means(sp.csr_matrix(np.array(cells, np.float32)), w, VECTORS, top_n)
    want = np.array([plain_mean(np.array(c, float), w, top_n) for c in cells])
    np.testing.assert_allclose(got, want, atol=2e-6)
    assert empty.tolist() == [not np.any(np.array(c) * w > 0) for c in cells]


def test_among_equals_the_lowest_gene_counts() -> None:
    cells = sp.csr_matrix(np.ones((1, N_GENES), np.float32))
    got, _ = weighted_means(cells, np.ones(N_GENES, np.float32), VECTORS, 3)
    np.testing.assert_allclose(got[0], VECTORS[:3].mean(axis=0), atol=1e-6)


def space(
    center: npt.NDArray[np.float32], head: npt.NDArray[np.float32] | None = None
) -> CellSpace:
    ids = np.arange(N_GENES) * 10
    taxa = np.full(N_GENES, 9606, np.int32)
    ones = np.ones(N_GENES, np.float32)
    return CellSpace(TEXT_V1, ids, taxa, VECTORS, ones, np.ones(N_GENES, bool), center, head)


@settings(deadline=None, max_examples=50)
@given(st.lists(cell, min_size=2, max_size=8), st.integers(1, 7))
def test_a_cell_is_placed_alike_in_any_block(cells: list[list[int]], cut: int) -> None:
    where = space(np.full(DIM, 0.01, np.float32))
    columns = gene_columns(np.arange(N_GENES), N_GENES)
    whole = sp.csr_matrix(np.array(cells, np.float32))
    cut = min(cut, len(cells) - 1)
    together, _ = project(whole, columns, where)
    apart = np.vstack([project(part, columns, where)[0] for part in (whole[:cut], whole[cut:])])
    assert together.tobytes() == apart.tobytes()


@settings(deadline=None, max_examples=50)
@given(cell, st.permutations(range(N_GENES)), st.sampled_from([0.5, 3.0, 1e-3]))
def test_order_of_genes_and_depth_of_cells_do_not_matter(
    counts: list[int], order: list[int], depth: float
) -> None:
    where = space(np.full(DIM, 0.01, np.float32))
    plain = sp.csr_matrix(np.array([counts], np.float32))
    straight, _ = project(plain, gene_columns(np.arange(N_GENES), N_GENES), where)
    shuffled = sp.csr_matrix(np.array([counts], np.float32)[:, order] * np.float32(depth))
    turned, _ = project(shuffled, gene_columns(np.array(order), N_GENES), where)
    np.testing.assert_allclose(straight, turned, atol=1e-5)


def test_columns_of_one_gene_add_up_and_unmatched_ones_vanish() -> None:
    cells = sp.csr_matrix(np.array([[1, 2, 4, 8]], np.float32))
    by_gene = cells @ gene_columns(np.array([2, -1, 2, 0]), 3)
    assert by_gene.toarray().tolist() == [[8, 0, 5]]


def test_a_cell_without_genes_is_zero_and_said_to_be() -> None:
    z, empty = project(
        sp.csr_matrix((2, N_GENES), dtype=np.float32),
        gene_columns(np.arange(N_GENES), N_GENES),
        space(np.full(DIM, 0.5, np.float32)),
    )
    assert empty.all()
    assert not z.any()


def test_the_head_is_applied_after_centring() -> None:
    center = VECTORS.mean(axis=0)
    head = np.random.default_rng(1).standard_normal((3, DIM)).astype(np.float32)
    cells = sp.csr_matrix(np.eye(N_GENES, dtype=np.float32))
    z, _ = project(cells, gene_columns(np.arange(N_GENES), N_GENES), space(center, head))
    want = (VECTORS - center) @ head.T
    want /= np.linalg.norm(want, axis=1, keepdims=True)
    np.testing.assert_allclose(z, want, atol=1e-5)


@pytest.mark.parametrize(("wanted", "row"), [(0, 0), (110, 11), (55, -1), (-3, -1), (999, -1)])
def test_rows_of_genes(wanted: int, row: int) -> None:
    assert space(np.zeros(DIM, np.float32)).rows_of(np.array([wanted])).tolist() == [row]
