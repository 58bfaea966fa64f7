"""What a gene adds to a cell's score: exact, additive, and by the definition."""

from typing import get_args

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from cellkin.space.arrays import Float32Matrix
from cellkin.space.attribution import attribute, attribute_expression
from cellkin.space.expression import ExpressionColumns, ExpressionSpace, place_expression
from cellkin.space.projection import CellSpace, gene_columns, project, weighted_means
from cellkin.space.recipe import TEXT_V1, Expression, Recipe
from cellkin.space.vectors import unit_rows

N_GENES, DIM, OUT = 40, 12, 7


def space(
    seed: int, head: bool, centered: bool, top_n: int, expression: Expression = "linear"
) -> CellSpace:
    rng = np.random.default_rng(seed)
    changed = {"centered": centered, "top_n": top_n, "expression": expression}
    recipe = Recipe(**{**TEXT_V1.to_json(), **changed})
    return CellSpace(
        recipe=recipe,
        gene_ids=np.arange(1, N_GENES + 1),
        taxa=np.full(N_GENES, 9606, np.int32),
        vectors=unit_rows(rng.standard_normal((N_GENES, DIM)).astype(np.float32)),
        weights=rng.random(N_GENES, np.float32) + 0.1,
        measured=np.ones(N_GENES, bool),
        center=0.1 * rng.standard_normal(DIM).astype(np.float32),
        head=rng.standard_normal((OUT, DIM)).astype(np.float32) if head else None,
    )


def prototypes(dim: int, n: int = 4) -> Float32Matrix:
    return unit_rows(np.random.default_rng(9).standard_normal((n, dim)).astype(np.float32))


@settings(deadline=None, max_examples=25)
@given(
    st.integers(0, 999), st.booleans(), st.booleans(), st.sampled_from([0, 5, 1000]),
    st.sampled_from(get_args(Expression)), st.sampled_from([None, 2]), st.booleans(),
)  # fmt: skip
def test_contributions_of_any_recipe_add_up_to_the_score_of_the_mean(
    seed: int, head: bool, centered: bool, top_n: int, expression: Expression,
    against: int | None, mean: bool,
) -> None:  # fmt: skip
    made = space(seed, head, centered, top_n, expression)
    rng = np.random.default_rng(seed)
    counts = sp.csr_matrix(rng.poisson(0.7, (4, N_GENES + 5)), dtype=np.float32)
    rows = np.concatenate([rng.permutation(N_GENES), [-1, -1, 3, 3, 0]])
    columns, classes = gene_columns(rows, N_GENES), prototypes(made.dim)
    means, empty = weighted_means(counts, columns, made)
    if mean:
        n = max((~empty).sum(), 1)
        means, empty = means[~empty].sum(axis=0)[None] / n, np.array([empty.all()])
    label = None if against is None else 1
    for row, found in enumerate(attribute(counts, columns, made, classes, label, against, mean)):
        if empty[row]:
            assert found.class_row == -1
            continue
        z = means[row].astype(float) - (made.center if centered else 0)
        z = z if made.head is None else made.head.astype(float) @ z
        direction = classes[found.class_row].astype(float)
        direction = direction if against is None else direction - classes[against]
        assert found.score == pytest.approx(z @ direction, abs=1e-5)
        assert found.contributions.sum(dtype=float) == pytest.approx(found.score, abs=1e-5)
        assert found.similarity == pytest.approx(z @ direction / np.linalg.norm(z), abs=1e-5)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 99), st.booleans(), st.booleans(), st.sampled_from([0, 5]))
def test_contributions_add_up_to_the_score_of_the_projection(
    seed: int, head: bool, centered: bool, top_n: int
) -> None:
    made = space(seed, head, centered, top_n)
    counts = sp.csr_matrix(np.random.default_rng(seed).poisson(0.7, (3, N_GENES)), dtype=np.float32)
    columns = gene_columns(np.arange(N_GENES), N_GENES)
    classes = prototypes(made.dim)
    z, empty = project(counts, columns, made)
    for row, found in enumerate(attribute(counts, columns, made, classes)):
        if empty[row]:
            assert found.class_row == -1
            continue
        cosines = z[row] @ classes.T
        assert found.class_row == int(np.argmax(cosines))
        np.testing.assert_allclose(found.similarity, cosines[found.class_row], atol=2e-6)
        np.testing.assert_allclose(found.contributions.sum(), found.score, atol=1e-6)
        # By the definition, gene by gene, in double precision.
        moved = made.vectors[found.genes].astype(float) - (made.center if centered else 0)
        moved = moved if made.head is None else moved @ made.head.T
        by_hand = found.weights * (moved @ classes[found.class_row])
        np.testing.assert_allclose(found.contributions, by_hand, atol=1e-6)
        assert top_n == 0 or len(found.genes) <= top_n
        np.testing.assert_allclose(found.weights.sum(), 1, atol=1e-6)


def test_a_class_can_be_named_and_one_without_cells_is_never_chosen() -> None:
    made = space(1, False, True, 0)
    counts = sp.csr_matrix(np.ones((1, N_GENES), np.float32))
    columns = gene_columns(np.arange(N_GENES), N_GENES)
    classes = prototypes(made.dim)
    for row in range(4):
        assert attribute(counts, columns, made, classes, row)[0].class_row == row
    # All others point away from the cell: a class of no cells has cosine 0, which would be larger.
    away = -np.repeat(project(counts, columns, made)[0], 4, axis=0)
    away[2] = 0
    assert attribute(counts, columns, made, away)[0].class_row == 0


def test_the_largest_are_of_either_sign() -> None:
    made = space(2, False, True, 0)
    counts = sp.csr_matrix(np.ones((1, N_GENES), np.float32))
    columns = gene_columns(np.arange(N_GENES), N_GENES)
    (found,) = attribute(counts, columns, made, prototypes(made.dim), 0)
    largest = np.abs(found.contributions[found.largest(6)])
    assert (np.diff(largest) <= 0).all()
    assert largest.min() >= np.sort(np.abs(found.contributions))[-6] - 1e-9
    assert found.contributions[found.largest(N_GENES)].min() < 0


def test_a_cell_of_no_gene_has_nothing_to_explain() -> None:
    made = space(3, True, True, 0)
    columns = gene_columns(np.arange(N_GENES), N_GENES)
    (found,) = attribute(
        sp.csr_matrix((1, N_GENES), dtype=np.float32), columns, made, prototypes(made.dim)
    )
    assert (found.class_row, len(found.genes)) == (-1, 0)
    assert found.score == pytest.approx(0)


@settings(deadline=None, max_examples=25)
@given(
    st.integers(0, 999), st.integers(2, 30), st.sampled_from([4, 6]), st.sampled_from([None, 2]),
    st.booleans(),
)  # fmt: skip
def test_z_scores_add_up_to_the_place_in_an_expression_space(
    seed: int, n_columns: int, n_components: int, against: int | None, mean: bool
) -> None:
    rng = np.random.default_rng(seed)
    n_variable, dim = 25, 6
    made = ExpressionSpace(
        gene_ids=np.arange(1, N_GENES + 1),
        shares=rng.dirichlet(np.ones(N_GENES)).astype(np.float32),
        variable=np.sort(rng.permutation(N_GENES)[:n_variable]).astype(np.int32),
        means=rng.uniform(0, 4, n_variable).astype(np.float32),
        deviations=rng.uniform(0.5, 3, n_variable).astype(np.float32),
        loadings=np.linalg.qr(rng.standard_normal((n_variable, dim)))[0].astype(np.float32),
        center=rng.normal(0, 0.1, dim).astype(np.float32),
        weighted=np.empty(0, np.int32),
        weighted_means=np.empty(0, np.float32),
        weighted_loadings=np.empty((0, 0), np.float32),
        leading_loadings=np.empty((0, 0), np.float32),
    )
    counts = sp.csr_matrix(rng.poisson(0.9, (3, n_columns)), dtype=np.float32)
    columns = ExpressionColumns.of(rng.integers(-1, N_GENES, n_columns))
    classes = prototypes(n_components)
    placed = place_expression(counts, columns, made)
    some = ~placed.empty & np.isin(made.variable, columns.rows).any()
    z = placed.z[:, :n_components].astype(float)
    if mean:
        z, some = z[some].sum(axis=0)[None] / max(some.sum(), 1), np.array([some.any()])
    label = None if against is None else 1
    explained = attribute_expression(counts, columns, made, classes, label, against, mean)
    for row, found in enumerate(explained):
        if found.class_row < 0:
            assert not some[row]
            continue
        direction = classes[found.class_row].astype(float)
        direction = direction if against is None else direction - classes[against]
        assert found.score == pytest.approx(z[row] @ direction, abs=1e-5)
        mean_cell = -float(made.center[:n_components] @ direction)
        total = found.contributions.sum(dtype=float) + mean_cell
        assert total == pytest.approx(found.score, abs=1e-5)
        if against is None:
            assert found.class_row == int(np.argmax(z[row] @ classes.T))
        assert set(found.genes) <= set(made.variable.tolist())


def expression_space() -> ExpressionSpace:
    rng = np.random.default_rng(4)
    return ExpressionSpace(
        gene_ids=np.arange(1, N_GENES + 1),
        shares=np.full(N_GENES, 1 / N_GENES, np.float32),
        variable=np.arange(N_GENES, dtype=np.int32),
        means=np.ones(N_GENES, np.float32),
        deviations=np.ones(N_GENES, np.float32),
        loadings=np.linalg.qr(rng.standard_normal((N_GENES, 3)))[0].astype(np.float32),
        center=np.zeros(3, np.float32),
        weighted=np.empty(0, np.int32),
        weighted_means=np.empty(0, np.float32),
        weighted_loadings=np.empty((0, 0), np.float32),
        leading_loadings=np.empty((0, 0), np.float32),
    )


def test_a_label_of_no_cells_is_never_chosen_by_expression() -> None:
    made, columns = expression_space(), ExpressionColumns.of(np.arange(N_GENES))
    counts = sp.csr_matrix(np.random.default_rng(5).poisson(1, (1, N_GENES)), dtype=np.float32)
    z = place_expression(counts, columns, made).z
    away = -np.repeat(unit_rows(z), 3, axis=0)
    away[0] = 0
    assert attribute_expression(counts, columns, made, away)[0].class_row == 1


def test_the_mean_of_no_cells_has_nothing_to_explain() -> None:
    made, columns = expression_space(), ExpressionColumns.of(np.arange(N_GENES))
    none = sp.csr_matrix((0, N_GENES), dtype=np.float32)
    (found,) = attribute_expression(none, columns, made, prototypes(3), mean=True)
    assert (found.class_row, len(found.genes)) == (-1, 0)
