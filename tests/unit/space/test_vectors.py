"""Whitening and carried weights against their definitions."""

import numpy as np

from cellkin.space.vectors import (
    carry_weights,
    centered_unit_rows,
    inverse_detection,
    unit_rows,
    whiten,
)

RNG = np.random.default_rng(3)


def test_unit_rows_keep_zero_rows() -> None:
    rows = unit_rows(np.array([[3, 4], [0, 0]], np.float32))
    np.testing.assert_allclose(rows, np.array([[0.6, 0.8], [0, 0]]), atol=1e-7)


def test_centering_takes_the_common_part_away() -> None:
    vectors = unit_rows(RNG.standard_normal((200, 8)).astype(np.float32) * 0.1 + 1)
    assert (vectors @ vectors.T).mean() > 0.9
    centered = centered_unit_rows(vectors)
    assert abs((centered @ centered.T).mean()) < 0.02


def test_whitened_directions_have_the_stated_spread() -> None:
    scales = np.array([10, 3, 1, 0.1])
    raw = (RNG.standard_normal((20_000, 4)) * scales).astype(np.float32)
    x = raw.astype(np.float64) - raw.mean(axis=0)
    values, axes = np.linalg.eigh(x.T @ x / len(x))
    want = x @ axes / np.sqrt(0.95 * values + 0.05 * values.mean()) @ axes.T
    want /= np.linalg.norm(want, axis=1, keepdims=True)
    np.testing.assert_allclose(whiten(raw, 0.05), want, atol=1e-5)


def test_whitening_survives_directions_without_variance() -> None:
    raw = np.zeros((5, 3), np.float32)
    raw[:, 0] = [1, 2, 3, 4, 5]
    assert np.isfinite(whiten(raw, 0.05)).all()
    assert np.isfinite(whiten(np.ones((4, 3), np.float32), 0.05)).all()


def test_rare_genes_weigh_more() -> None:
    np.testing.assert_allclose(
        inverse_detection(99, np.array([0, 9, 99])), [np.log(100), np.log(10), 0], atol=1e-6
    )


def test_unmeasured_genes_take_the_weight_of_their_nearest() -> None:
    vectors = unit_rows(RNG.standard_normal((50, 6)).astype(np.float32))
    measured = np.arange(0, 50, 2)
    weights = RNG.random(25).astype(np.float32)
    got = carry_weights(vectors, measured, weights, k=5, temperature=0.03)
    np.testing.assert_array_equal(got[measured], weights)
    for row in range(1, 50, 2):
        cosine = (vectors[measured] @ vectors[row]).astype(np.float64)
        near = np.argsort(-cosine)[:5]
        share = np.exp(cosine[near] / 0.03)
        assert abs(got[row] - (share * weights[near]).sum() / share.sum()) < 1e-4


def test_fewer_measured_genes_than_neighbors() -> None:
    vectors = unit_rows(RNG.standard_normal((4, 3)).astype(np.float32))
    got = carry_weights(vectors, np.array([2]), np.array([0.7], np.float32), 5, 0.03)
    np.testing.assert_allclose(got, 0.7, atol=1e-6)


def test_where_no_gene_was_measured_nothing_is_carried() -> None:
    vectors = np.eye(3, dtype=np.float32)
    got = carry_weights(vectors, np.empty(0, np.int64), np.empty(0, np.float32), 5, 0.03)
    assert got.tolist() == [0, 0, 0]
