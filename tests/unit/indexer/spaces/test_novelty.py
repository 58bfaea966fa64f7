"""What cells are called unknown by is learned from the reference's own cells."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from tests.unit.indexer.spaces.made import sample_of

from cellkin.indexer.spaces.classifier import FittedSpace, Votes, draft
from cellkin.indexer.spaces.expression import fit_expression
from cellkin.indexer.spaces.novelty import (
    discriminants,
    mean_directions,
    nearest,
    with_novelty,
)
from cellkin.indexer.spaces.sample import Sample
from cellkin.space.arrays import Float32Matrix, Float32Vector
from cellkin.space.classifier import LabelClassifier, Placed, neighbor_vectors
from cellkin.space.novelty import closeness, novelty
from cellkin.space.vectors import unit_rows

SAMPLE = sample_of([80, 70, 60, 50], seed=4, n_batches=2)


def learned(sample: Sample, fitted: FittedSpace) -> tuple[LabelClassifier, Placed]:
    placed = fitted.place(sample.cells)
    return with_novelty(draft(fitted, sample, placed, Votes(), False), placed, sample)[0], placed


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
    classifier, placed = learned(SAMPLE, fit_expression(SAMPLE))
    none = np.empty((SAMPLE.n_cells, 0), np.float32)
    close = closeness(placed.z, none, none > 0, SAMPLE.labels, classifier, leading=placed.leading)
    assert len(close) == 5
    for label in range(4):
        own = close[:4, SAMPLE.labels == label]
        np.testing.assert_allclose(classifier.novelty_means[:4, label], own.mean(axis=1), atol=1e-4)
        want = deviations_of(close[:4], SAMPLE.labels, label)
        np.testing.assert_allclose(classifier.novelty_deviations[:4, label], want, rtol=1e-3)
        assert classifier.novelty_means[4, label] == pytest.approx(close[4].mean(), abs=1e-5)
        assert classifier.novelty_deviations[4, label] == pytest.approx(
            max(close[4].std(), 0.1), rel=1e-3
        )
    means, deviations = (
        parts[:, SAMPLE.labels]
        for parts in (classifier.novelty_means, classifier.novelty_deviations)
    )
    want = np.maximum((means - close) / deviations, -1).mean(axis=0)
    np.testing.assert_allclose(novelty(close, SAMPLE.labels, classifier), want, atol=1e-4)


def test_a_space_without_a_head_has_three_measures() -> None:
    fitted = fit_expression(SAMPLE)
    placed = replace(fitted.place(SAMPLE.cells), leading=np.empty((SAMPLE.n_cells, 0), np.float32))
    classifier = draft(fitted, SAMPLE, placed, Votes(), False)
    classifier, own = with_novelty(classifier, placed, SAMPLE)
    assert classifier.leading_prototypes.shape == classifier.leading_discriminants.shape == (4, 0)
    assert classifier.novelty_means.shape == (3, 4)
    assert np.isfinite(own).all()


def test_where_neighbors_count_cells_are_as_near_as_others_of_the_reference() -> None:
    fitted, placed = learned(SAMPLE, fit_expression(SAMPLE))
    none = np.empty((0, placed.z.shape[1]), np.float32)
    bare = replace(fitted, discriminants=none)
    classifier, own_novelty = with_novelty(bare, placed, SAMPLE)
    compared = neighbor_vectors(placed.z, classifier.n_components)
    cosines = compared @ compared.T
    np.fill_diagonal(cosines, -2)
    near = -np.sort(-cosines, axis=1)[:, :10]
    close = closeness(placed.z, near, np.ones(near.shape, bool), SAMPLE.labels, classifier)
    for label in range(4):
        own = close[:, SAMPLE.labels == label]
        np.testing.assert_allclose(classifier.novelty_means[:, label], own.mean(axis=1), atol=1e-4)
        want = deviations_of(close, SAMPLE.labels, label)
        np.testing.assert_allclose(classifier.novelty_deviations[:, label], want, rtol=1e-3)
    np.testing.assert_allclose(own_novelty, novelty(close, SAMPLE.labels, classifier), atol=1e-3)


def test_a_label_of_one_cell_takes_its_deviation_from_the_others() -> None:
    sample = sample_of([40, 40, 1])
    classifier, _ = learned(sample, fit_expression(sample))
    assert (classifier.novelty_deviations >= 0.02).all()


def test_cells_between_labels_and_cells_of_much_that_no_label_explains_are_novel() -> None:
    classifier, placed = learned(SAMPLE, fit_expression(SAMPLE))
    own, other = (placed.z[SAMPLE.labels == label][:50] for label in range(2))
    own_leading, other_leading = (placed.leading[SAMPLE.labels == x][:50] for x in range(2))
    lengths = np.linalg.norm(own, axis=1, keepdims=True)

    def far(z: Float32Matrix, leading: Float32Matrix = own_leading) -> Float32Vector:
        none, winners = np.empty((len(z), 0), np.float32), np.zeros(len(z), np.int32)
        close = closeness(z, none, none > 0, winners, classifier, leading=leading)
        return novelty(close, winners, classifier)

    between = lengths * unit_rows(own + other), own_leading + other_leading
    assert (far(*between) > far(own) + 1).all()
    # Of what neither discriminants nor directions see, as much as there is of the rest.
    seen, _ = np.linalg.qr(np.concatenate([classifier.discriminants, classifier.prototypes]).T)
    aside = np.random.default_rng(0).standard_normal(own.shape).astype(np.float32)
    aside = unit_rows(aside - aside @ seen @ seen.T)
    assert (far(own + lengths * aside) > far(own) + 0.5).all()
    # And what only the genes show that tell labels apart, whatever all others are like.
    assert (far(own, other_leading) > far(own) + 1).all()
