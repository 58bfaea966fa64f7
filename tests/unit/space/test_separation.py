from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from cellkin.space.expression import ExpressionColumns, ExpressionSpace, place_expression, z_scores
from cellkin.space.projection import CellSpace, gene_columns, weighted_means
from cellkin.space.recipe import RECIPES
from cellkin.space.separation import (
    mean_shares,
    mean_z_scores,
    separate_expression,
    separate_text,
)

N_GENES = 25


def expression_space(rng: np.random.Generator) -> ExpressionSpace:
    shares = rng.random(N_GENES)
    variable = np.sort(rng.permutation(N_GENES)[:10]).astype(np.int32)
    none = np.empty(0, np.float32)
    return ExpressionSpace(
        np.arange(1, N_GENES + 1), (shares / shares.sum()).astype(np.float32), variable,
        rng.uniform(0, 5, 10).astype(np.float32), rng.uniform(0.2, 2, 10).astype(np.float32),
        np.linalg.qr(rng.normal(size=(10, 4)))[0].astype(np.float32),
        rng.normal(size=4).astype(np.float32), none.astype(np.int32), none,
        none.reshape(0, 0), none.reshape(0, 0),
    )  # fmt: skip


def cells_and_group(rng: np.random.Generator) -> tuple[sp.csr_matrix, np.ndarray]:
    cells = rng.poisson(0.7, (40, 30)).astype(np.float32)
    cells[[3, 20]] = 0
    return sp.csr_matrix(cells), rng.random(40) < 0.4


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10_000))
def test_expression_contributions_sum_to_the_distance_of_centers(seed: int) -> None:
    rng = np.random.default_rng(seed)
    space, (cells, group) = expression_space(rng), cells_and_group(rng)
    columns = ExpressionColumns.of(rng.permutation(np.r_[np.arange(22), np.full(6, -1), 3, 7]))
    some = np.asarray(cells.sum(axis=1)).ravel() > 0
    means = []
    for side in (group, ~group):
        scores, measured = z_scores(cells, columns, space)
        placed = place_expression(cells, columns, space)
        some = side & ~placed.empty
        found = mean_z_scores(cells, columns, space, side)
        np.testing.assert_allclose(found, scores[some].mean(axis=0), atol=1e-5)
        assert not found[~measured].any()
        means.append((found, placed.z[some].mean(axis=0)))
    (a, center_a), (b, center_b) = means
    contributions, score = separate_expression(a, b, space)
    assert contributions.sum() == pytest.approx(score, abs=1e-5)
    assert score == pytest.approx(np.linalg.norm(center_a - center_b), rel=1e-3)


@settings(deadline=None, max_examples=15)
@given(
    st.integers(0, 10_000),
    st.sampled_from([0, 5]),
    st.booleans(),
    st.sampled_from(["linear", "log1p"]),
)
def test_text_contributions_sum_to_the_distance_of_centers(
    seed: int, top_n: int, head: bool, expression: Any
) -> None:
    rng = np.random.default_rng(seed)
    cells, group = cells_and_group(rng)
    vectors = rng.normal(size=(N_GENES, 6)).astype(np.float32)
    recipe = replace(RECIPES["text-v2"], expression=expression, top_n=top_n)
    space = CellSpace(
        recipe, np.arange(1, N_GENES + 1), np.full(N_GENES, 9606, np.int32),
        vectors / np.linalg.norm(vectors, axis=1, keepdims=True),
        rng.uniform(0.1, 2, N_GENES).astype(np.float32), np.ones(N_GENES, bool),
        rng.normal(size=6).astype(np.float32),
        rng.normal(size=(3, 6)).astype(np.float32) if head else None,
    )  # fmt: skip
    columns = gene_columns(rng.permutation(np.r_[np.arange(22), np.full(6, -1), 3, 7]), N_GENES)
    a, b = (mean_shares(cells, columns, space, side) for side in (group, ~group))
    contributions, score = separate_text(a, b, space)
    assert contributions.sum() == pytest.approx(score, abs=1e-5)
    means, empty = weighted_means(cells, columns, space)
    difference = means[group & ~empty].mean(axis=0) - means[~group & ~empty].mean(axis=0)
    moved = difference if space.head is None else space.head @ difference
    assert score == pytest.approx(float(np.linalg.norm(moved)), rel=1e-3, abs=1e-6)


def test_groups_of_the_same_center_have_no_direction() -> None:
    space = expression_space(np.random.default_rng(0))
    contributions, score = separate_expression(np.ones(10), np.ones(10), space)
    assert score == 0
    assert not contributions.any()
