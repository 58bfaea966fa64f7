"""Fitting an expression space: genes that vary, directions that tell labels apart."""

from dataclasses import replace

import numpy as np
import pytest
from tests.unit.indexer.spaces.made import held_out, sample_of

from cellkin.indexer.spaces.expression import (
    N_COMPONENTS,
    N_WEIGHTED,
    fit_expression,
)
from cellkin.indexer.spaces.sample import log_expression
from cellkin.indexer.spaces.text import label_dispersion
from cellkin.indexer.spaces.variable_genes import N_VARIABLE
from cellkin.space.expression import ExpressionColumns, z_scores
from cellkin.space.vectors import unit_rows

SAMPLE = sample_of([60, 50, 30])


def test_loadings_are_orthonormal_and_hold_what_labels_are_read_by() -> None:
    fitted = fit_expression(SAMPLE)
    space = fitted.space
    np.testing.assert_allclose(space.loadings.T @ space.loadings, np.eye(space.dim), atol=1e-5)
    assert len(space.variable) <= N_VARIABLE
    assert space.shares.sum() == pytest.approx(1, abs=1e-5)
    assert (space.deviations > 0).all()
    placed = fitted.place(SAMPLE.cells)
    np.testing.assert_allclose(placed.z.mean(axis=0), 0, atol=2e-3)
    said = (placed.z @ fitted.coefficients.T + fitted.intercepts).argmax(axis=1)
    assert (said == SAMPLE.labels).mean() > 0.97
    scores, _ = z_scores(SAMPLE.cells, ExpressionColumns.of(np.arange(len(space.gene_ids))), space)
    assert (scores**2).mean() == pytest.approx(1, rel=0.1), "a variance of 1 a gene"


def test_leading_dimensions_are_principal_components() -> None:
    fitted = fit_expression(SAMPLE)
    spread = fitted.place(SAMPLE.cells).z[:, :N_COMPONENTS].std(axis=0)
    assert (np.diff(spread) < 1e-3).all()


def test_the_head_sees_the_genes_that_tell_labels_apart() -> None:
    space = fit_expression(SAMPLE).space
    weights = label_dispersion(SAMPLE)
    n = min(N_WEIGHTED, int((weights > 0).sum()))
    assert len(space.weighted) == n
    assert (np.diff(space.weighted) > 0).all()
    assert weights[space.weighted].min() >= np.delete(weights, space.weighted).max(initial=0)
    logs = log_expression(SAMPLE.cells)[:, space.weighted].toarray()
    np.testing.assert_allclose(space.weighted_means, logs.mean(axis=0), rtol=1e-5)
    assert space.weighted_loadings.shape == (n, space.refined_dim)
    assert space.leading_loadings.shape == (n, space.leading_dim)


def test_the_leading_components_are_of_the_weighted_genes() -> None:
    fitted = fit_expression(SAMPLE)
    space, leading = fitted.space, fitted.place(SAMPLE.cells).leading
    assert space.leading_dim == 20
    logs = log_expression(SAMPLE.cells)[:, space.weighted].toarray()
    weighted = (logs - logs.mean(axis=0)) * label_dispersion(SAMPLE)[space.weighted]
    left, sizes, _ = np.linalg.svd(weighted, full_matrices=False)
    want = left[:, :20] * sizes[:20]
    # But for the signs of the components.
    np.testing.assert_allclose(leading @ leading.T, want @ want.T, atol=1e-2)


def test_the_head_draws_cells_together_that_had_no_part() -> None:
    train, asked = held_out(sample_of([120, 90, 60]))
    fitted = fit_expression(train)
    own, refined = fitted.place(train.cells).refined, fitted.place(asked.cells).refined
    assert fitted.space.refined_dim <= 64
    np.testing.assert_allclose(own.mean(axis=0), 0, atol=1e-2)
    means = np.stack([own[train.labels == label].mean(axis=0) for label in range(3)])
    said = (unit_rows(refined) @ unit_rows(means).T).argmax(axis=1)
    assert (said == asked.labels).mean() > 0.9


def test_cells_that_had_no_part_are_told_apart() -> None:
    train, asked = held_out(sample_of([120, 90, 60]))
    fitted = fit_expression(train)
    z = fitted.place(asked.cells).z
    said = (z @ fitted.coefficients.T + fitted.intercepts).argmax(axis=1)
    assert (said == asked.labels).mean() > 0.95


def test_the_order_of_cells_does_not_matter() -> None:
    order = np.random.default_rng(1).permutation(SAMPLE.n_cells)
    plain, shuffled = fit_expression(SAMPLE), fit_expression(SAMPLE.take(order))
    assert np.array_equal(plain.space.variable, shuffled.space.variable)
    np.testing.assert_allclose(shuffled.space.means, plain.space.means, rtol=1e-5)
    # Axes of nearly equal variance may turn; what is between cells may not change.
    one, other = (f.place(SAMPLE.cells).z.astype(np.float64) for f in (plain, shuffled))
    np.testing.assert_allclose(other @ other.T, one @ one.T, atol=1e-2 * np.abs(one @ one.T).max())
    chances = [f.place(SAMPLE.cells).z @ f.coefficients.T + f.intercepts for f in (plain, shuffled)]
    np.testing.assert_allclose(chances[1], chances[0], atol=0.02)


def test_the_same_sample_gives_the_same_bits() -> None:
    one, other = fit_expression(SAMPLE), fit_expression(SAMPLE)
    assert one.space.loadings.tobytes() == other.space.loadings.tobytes()
    assert one.coefficients.tobytes() == other.coefficients.tobytes()
    assert one.space.weighted_loadings.tobytes() == other.space.weighted_loadings.tobytes()
    assert one.space.leading_loadings.tobytes() == other.space.leading_loadings.tobytes()


def test_two_labels_are_read_as_two() -> None:
    sample = sample_of([50, 40])
    fitted = fit_expression(sample)
    assert fitted.coefficients.shape == (2, fitted.space.dim)
    np.testing.assert_allclose(fitted.coefficients[0], -fitted.coefficients[1], atol=1e-6)
    z = fitted.place(sample.cells).z
    said = (z @ fitted.coefficients.T + fitted.intercepts).argmax(axis=1)
    assert (said == sample.labels).mean() > 0.97


def test_one_label_is_no_error() -> None:
    fitted = fit_expression(sample_of([40]))
    assert not fitted.coefficients.any()
    placed = fitted.place(sample_of([40]).cells)
    assert np.isfinite(placed.z).all()
    assert placed.refined.shape == (40, 0), "there is nothing to be drawn apart"
    assert placed.leading.shape == (40, 0)


def test_a_handful_of_cells_and_genes_is_no_error() -> None:
    tiny = sample_of([3, 2], n_genes=6)
    fitted = fit_expression(tiny)
    placed = fitted.place(tiny.cells)
    assert np.isfinite(placed.z).all()
    assert np.isfinite(placed.refined).all()
    assert np.isfinite(placed.leading).all()
    assert fitted.n_components <= 6


def test_an_empty_cell_in_the_sample_is_no_error() -> None:
    counts = SAMPLE.cells.tolil()
    counts[3] = 0
    fitted = fit_expression(replace(SAMPLE, cells=counts.tocsr()))
    placed = fitted.place(counts.tocsr())
    assert placed.empty.tolist() == [i == 3 for i in range(SAMPLE.n_cells)]
    assert not placed.z[3].any()
    assert not placed.refined[3].any()
    assert not placed.leading[3].any()
