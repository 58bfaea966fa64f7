"""What cells are called unknown by is learned from the reference's own cells."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from tests.unit.indexer.spaces.made import sample_of

from cellkin.indexer.spaces.expression import fit_expression
from cellkin.indexer.spaces.novelty import (
    discriminants,
    mean_directions,
    nearest,
    with_novelty,
)
from cellkin.indexer.spaces.readout import FittedSpace, Votes, draft
from cellkin.indexer.spaces.sample import Sample
from cellkin.space.arrays import Float32Matrix, Float32Vector
from cellkin.space.readout import Readout, closeness, neighbor_vectors, novelty
from cellkin.space.vectors import unit_rows

SAMPLE = sample_of([80, 70, 60, 50], seed=4, n_batches=2)


def learned(sample: Sample, fitted: FittedSpace) -> tuple[Readout, Float32Matrix]:
    z = fitted.place(sample.cells).z
    return with_novelty(draft(fitted, sample, z, Votes(), False), z, sample)[0], z


def test_the_nearest_are_those_of_a_sort() -> None:
    rng = np.random.default_rng(0)
    reference = unit_rows(rng.standard_normal((50, 6)).astype(np.float32))
    queries = unit_rows(rng.standard_normal((1100, 6)).astype(np.float32))
    similarities, rows = nearest(queries, reference, 7)
    cosines = queries @ reference.T
    want = np.argsort(-cosines, axis=1, kind="stable")[:, :7]
    np.testing.assert_allclose(similarities, np.take_along_axis(cosines, want, 1), atol=1e-6)
    assert (rows == want).mean() > 0.999
    assert nearest(queries[:3], reference[:2], 7)[1].shape == (3, 2)


def test_the_discriminants_are_those_of_a_balanced_ridge_regression() -> None:
    sample = sample_of([90, 40, 8])
    z = fit_expression(sample).place(sample.cells).z
    weights = 1 / (3 * sample.counts()[sample.labels])
    center = weights @ z
    shrinkage = 0.3 * float(weights @ (z - center) ** 2 @ np.ones(z.shape[1])) / z.shape[1]
    model = Ridge(alpha=shrinkage).fit(z, np.eye(3)[sample.labels], sample_weight=weights)
    found = discriminants(z, sample)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, model.coef_, atol=1e-5)


def test_one_label_of_one_cell_has_discriminants_that_say_nothing() -> None:
    sample = sample_of([1])
    assert discriminants(np.ones((1, 5), np.float32), sample).tolist() == [[0] * 5]


def test_a_mean_direction_is_that_of_the_mean() -> None:
    vectors = np.random.default_rng(0).standard_normal((SAMPLE.n_cells, 6)).astype(np.float32)
    found = mean_directions(vectors, SAMPLE)
    means = np.stack([vectors[SAMPLE.labels == label].mean(axis=0) for label in range(4)])
    np.testing.assert_allclose(found, unit_rows(means), atol=1e-6)


def deviations_of(close: np.ndarray, labels: np.ndarray, label: int) -> np.ndarray:
    """Return a label's deviations, shrunk as by ten cells of the mean variance within labels."""
    own = close[:, labels == label]
    within = np.stack([row - np.bincount(labels, row)[labels] / np.bincount(labels)[labels]
                       for row in close])  # fmt: skip
    n = own.shape[1]
    pooled = (within**2).mean(axis=1)
    found = np.sqrt((n * own.var(axis=1) + 10 * pooled) / (n + 10))
    return np.asarray(np.maximum(found, 0.02))


def test_novelty_is_in_the_deviations_of_the_labels_own_cells_but_for_the_length() -> None:
    readout, z = learned(SAMPLE, fit_expression(SAMPLE))
    none = np.empty((len(z), 0), np.float32)
    close = closeness(z, none, none > 0, SAMPLE.labels, readout)
    for label in range(4):
        own = close[:2, SAMPLE.labels == label]
        np.testing.assert_allclose(readout.novelty_means[:2, label], own.mean(axis=1), atol=1e-4)
        want = deviations_of(close[:2], SAMPLE.labels, label)
        np.testing.assert_allclose(readout.novelty_deviations[:2, label], want, rtol=1e-3)
        assert readout.novelty_means[2, label] == pytest.approx(close[2].mean(), abs=1e-5)
        assert readout.novelty_deviations[2, label] == pytest.approx(
            max(close[2].std(), 0.1), rel=1e-3
        )
    assert novelty(close, SAMPLE.labels, readout).mean() == pytest.approx(0, abs=1e-3)


def test_where_neighbors_count_cells_are_as_near_as_others_of_the_reference() -> None:
    fitted, z = learned(SAMPLE, fit_expression(SAMPLE))
    none = np.empty((0, z.shape[1]), np.float32)
    bare = replace(fitted, discriminants=none)
    readout, own_novelty = with_novelty(bare, z, SAMPLE)
    compared = neighbor_vectors(z, readout.n_components)
    cosines = compared @ compared.T
    np.fill_diagonal(cosines, -2)
    near = -np.sort(-cosines, axis=1)[:, :10]
    close = closeness(z, near, np.ones(near.shape, bool), SAMPLE.labels, readout)
    for label in range(4):
        own = close[:, SAMPLE.labels == label]
        np.testing.assert_allclose(readout.novelty_means[:, label], own.mean(axis=1), atol=1e-4)
        want = deviations_of(close, SAMPLE.labels, label)
        np.testing.assert_allclose(readout.novelty_deviations[:, label], want, rtol=1e-3)
    np.testing.assert_allclose(own_novelty, novelty(close, SAMPLE.labels, readout), atol=1e-3)


def test_a_label_of_one_cell_takes_its_deviation_from_the_others() -> None:
    sample = sample_of([40, 40, 1])
    readout, _ = learned(sample, fit_expression(sample))
    assert (readout.novelty_deviations >= 0.02).all()


def test_cells_between_labels_and_cells_of_much_that_no_label_explains_are_novel() -> None:
    readout, z = learned(SAMPLE, fit_expression(SAMPLE))
    own, other = (z[SAMPLE.labels == label][:50] for label in range(2))
    lengths = np.linalg.norm(own, axis=1, keepdims=True)

    def far(cells: Float32Matrix) -> Float32Vector:
        none, winners = np.empty((len(cells), 0), np.float32), np.zeros(len(cells), np.int32)
        return novelty(closeness(cells, none, none > 0, winners, readout), winners, readout)

    assert (far(lengths * unit_rows(own + other)) > far(own) + 1).all()
    # Of what neither discriminants nor directions see, as much as there is of the rest.
    seen, _ = np.linalg.qr(np.concatenate([readout.discriminants, readout.prototypes]).T)
    aside = np.random.default_rng(0).standard_normal(own.shape).astype(np.float32)
    aside = unit_rows(aside - aside @ seen @ seen.T)
    assert (far(own + lengths * aside) > far(own) + 1).all()
