"""What few genes and few molecules change: softer probabilities, and more of it to be claimed."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from cellkin.indexer.spaces.classifier import Votes, draft
from cellkin.indexer.spaces.expression import FittedExpression, fit_expression
from cellkin.indexer.spaces.sample import Sample
from cellkin.space.classifier import DEPTHS, LabelClassifier, read_classifier
from cellkin.space.coverage import Coverage, capture, detected, lack_of, shallowness
from cellkin.space.expression import ExpressionColumns
from cellkin.space.labels import CellCoverage, capped, few_cells, read_labels, softmax
from cellkin.wire.terms import UnknownReason

N_LABELS, N_GENES = 3, 40


@pytest.fixture(scope="module")
def fitted() -> tuple[FittedExpression, Sample, LabelClassifier]:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(N_LABELS), 20).astype(np.int32)
    rates = np.full((60, N_GENES), 0.5)
    for label in range(N_LABELS):
        rates[labels == label, 5 * label : 5 * label + 5] = 4
    cells = sp.csr_matrix(rng.poisson(rates), dtype=np.float32)
    sample = Sample(cells, np.arange(1, N_GENES + 1), labels, ["a", "b", "c"], labels * 0)
    space = fit_expression(sample)
    classifier = draft(space, sample, space.place(cells), Votes(), refine=True)
    detection = np.asarray((cells > 0).mean(axis=0)).ravel().astype(np.float32)
    return space, sample, replace(classifier, detection=detection, usual_depth=0.5, softening=1.0)


def test_genes_are_detected_in_columns_that_count() -> None:
    cells = sp.csr_matrix(np.array([[1.0, 0, 2], [0, 0, 0], [0, 3, 0]]))
    cells.data[0] = 0  # a zero that is stored
    assert detected(cells).tolist() == [1, 0, 1]
    assert detected(cells, np.array([True, True, False])).tolist() == [0, 0, 1]


def test_a_cell_of_usual_depth_is_not_shallow() -> None:
    found = shallowness(np.array([0.8, 0.5, 0.2, 0.0]), 0.5)
    assert found[:2].tolist() == [0, 0]
    assert 0 < found[2] < found[3] < np.inf


def test_what_is_captured_grows_with_the_genes(
    fitted: tuple[FittedExpression, Sample, LabelClassifier],
) -> None:
    space, _, classifier = fitted
    shares = [capture(np.arange(n), space.space, classifier) for n in (0, 5, 20, N_GENES)]
    off = ~np.eye(N_LABELS, dtype=bool)
    assert (shares[0][off] == 0).all()
    np.testing.assert_allclose(shares[-1], 1)
    assert all((a <= b + 1e-9).all() for a, b in itertools.pairwise(shares))
    # The first five genes are those of the first label: they say nothing of the other two.
    assert shares[1][0, 1] > 0.3 > 0.1 > shares[1][1, 2]


def test_all_genes_lack_nothing_and_none_lacks_the_most() -> None:
    lack = lack_of(np.array([[1.0, 0.5], [0.1, 0.0]]))
    np.testing.assert_allclose(lack, [[0, 0], [1, 2]])


def test_a_query_of_all_genes_is_read_as_before(
    fitted: tuple[FittedExpression, Sample, LabelClassifier],
) -> None:
    space, sample, classifier = fitted
    columns = ExpressionColumns.of(np.arange(N_GENES))
    coverage = Coverage.of(columns, space.space, replace(classifier, usual_depth=0.0))
    assert coverage is not None
    assert coverage.lack is None
    placed = space.place(sample.cells)
    near, voted = np.ones((60, 10), np.float32), np.tile(sample.labels[:, None], 10)
    plain = read_labels(placed, near, voted, sample.counts(), classifier)
    covered = read_labels(
        placed, near, voted, sample.counts(), classifier, coverage=coverage.of_cells(sample.cells)
    )
    assert np.array_equal(plain.by_label, covered.by_label)
    assert np.array_equal(plain.reasons, covered.reasons)


def test_an_index_of_an_older_format_knows_nothing_of_coverage(
    fitted: tuple[FittedExpression, Sample, LabelClassifier],
) -> None:
    space, _, classifier = fitted
    new = {"ceilings", "detection", "usual_depth", "softening", "least_of_few", "least_of_capped"}
    new |= {"least_by_depth"}
    arrays = {name: value for name, value in classifier.arrays().items() if name not in new}
    numbers = {name: value for name, value in classifier.numbers().items() if name not in new}
    old = read_classifier(arrays, numbers)
    assert Coverage.of(ExpressionColumns.of(np.arange(3)), space.space, old) is None


def test_a_shallow_cell_is_less_sure_and_has_to_be_surer(
    fitted: tuple[FittedExpression, Sample, LabelClassifier],
) -> None:
    space, sample, classifier = fitted
    leasts = np.full((len(DEPTHS) - 1, classifier.n_labels), 0.9, np.float32)
    classifier = replace(classifier, least_by_depth=leasts)
    placed = space.place(sample.cells)
    near, voted = np.ones((60, 10), np.float32), np.tile(sample.labels[:, None], 10)
    said = [
        read_labels(
            placed, near, voted, sample.counts(), classifier, coverage=CellCoverage(np.full(60, x))
        )
        for x in (0.0, 0.3, 2.0)
    ]
    assert all(np.array_equal(said[0].winners, each.winners) for each in said)
    assert (said[0].probabilities > said[1].probabilities).all()
    assert (said[1].probabilities > said[2].probabilities).all()
    unsure = said[2].reasons == UnknownReason.LOW_PROBABILITY
    assert (unsure == (said[2].probabilities < 0.9)).all()
    assert unsure.any()
    # An ancestor of an uncertain label needs the same probability.
    assert [np.unique(each.least).tolist() for each in said] == [
        [classifier.min_probability],
        *[[pytest.approx(0.9)]] * 2,
    ]


def test_how_sure_a_label_has_to_be_is_by_depth_and_label(
    fitted: tuple[FittedExpression, Sample, LabelClassifier],
) -> None:
    classifier = fitted[2]
    leasts = np.zeros((len(DEPTHS) - 1, classifier.n_labels), np.float32)
    leasts[2, 0], leasts[4, 1] = 0.8, 0.95
    classifier = replace(classifier, usual_depth=0.6, least_by_depth=leasts, least_of_few=0.0)
    by_label = np.full((5, classifier.n_labels), 0.01)
    by_label[[0, 1, 2, 3, 4], [0, 0, 1, 1, 0]] = 0.9
    depths = np.array([0.6, 0.2, 0.2, 0.01, 0.01])
    found = CellCoverage(shallowness(depths, 0.6)).least(by_label, classifier)
    usual = classifier.min_probability
    np.testing.assert_allclose(found, [usual, 0.8, usual, 0.95, usual], rtol=1e-6)


def test_what_two_labels_lack_counts_where_they_are_the_most_probable() -> None:
    lack = np.zeros((3, 3))
    lack[0, 1] = lack[1, 0] = 2.0
    by_label = np.array([[0.6, 0.3, 0.1], [0.6, 0.1, 0.3]])
    found = CellCoverage(np.zeros(2), lack).weights(by_label)
    assert found.tolist() == [2, 0]


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 6), st.integers(0, 10**6))
def test_a_ceiling_keeps_the_order_of_labels(n_labels: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    by_label = softmax(rng.normal(0, 3, (20, n_labels)))
    ceilings = np.where(np.arange(n_labels) == 0, 0.5, 1).astype(np.float32)
    classifier = LabelClassifier.__new__(LabelClassifier)
    object.__setattr__(classifier, "ceilings", ceilings)
    found = capped(by_label, classifier)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    first = by_label.argmax(axis=1) == 0
    # Half is a guess between two labels, which the predicted one is just above.
    assert (found[first, 0] <= 0.5 + (1e-3 if n_labels == 2 else 1e-6)).all()
    assert np.array_equal(found.argmax(axis=1), by_label.argmax(axis=1))
    assert np.array_equal(found[~first], by_label[~first])
    largest = np.sort(found, axis=1)[:, -1]
    np.testing.assert_allclose(found[np.arange(20), by_label.argmax(axis=1)], largest)


@pytest.mark.parametrize(
    ("counts", "few"),
    [
        ([30, 1], [False, True]),
        ([30, 4], [False, True]),
        ([30, 5], [False, False]),
        ([30, 40, 4], [False, False, False]),
        ([30, 40, 2], [False, False, True]),
        ([3, 3], [False, False]),
        ([2, 2], [True, True]),
    ],
)
def test_labels_of_few_cells(counts: list[int], few: list[bool]) -> None:
    assert few_cells(np.array(counts)).tolist() == few


def test_a_gene_of_several_columns_or_entries_is_detected_once(
    fitted: tuple[FittedExpression, Sample, LabelClassifier],
) -> None:
    space, sample, classifier = fitted
    plain = Coverage.of(ExpressionColumns.of(np.arange(N_GENES)), space.space, classifier)
    assert plain is not None
    expected = plain.depths(sample.cells)
    # Each gene has two columns, and half of its values in either; the last column has none.
    both = np.r_[np.tile(np.arange(N_GENES), 2), -1]
    twice = sp.csr_matrix(sp.hstack([sample.cells / 2, sample.cells / 2, np.ones((60, 1))]))
    paired = Coverage.of(ExpressionColumns.of(both), space.space, classifier)
    assert paired is not None
    assert np.array_equal(paired.depths(twice), expected)
    # Each value is stored as two entries.
    cells = sample.cells
    halves = sp.csr_matrix(
        (np.repeat(cells.data / 2, 2), np.repeat(cells.indices, 2), 2 * cells.indptr), cells.shape
    )
    assert np.array_equal(plain.depths(halves), expected)
    assert halves.nnz == 2 * cells.nnz
