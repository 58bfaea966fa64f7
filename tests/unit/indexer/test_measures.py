"""Measures against scikit-learn, by hand, and in words."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import f1_score, roc_auc_score

from cellkin.indexer.measures import (
    Hierarchy,
    accuracy,
    auroc,
    confusion,
    expected_calibration_error,
    f1_by_type,
    macro_f1,
    rarest_third,
    reliability,
    risk_coverage,
)

N_TYPES = 5
# The first call imports what scikit-learn and scipy left for later.
FEW = settings(max_examples=25, deadline=None)
LABELED = st.lists(
    st.tuples(st.integers(0, N_TYPES - 1), st.integers(-1, N_TYPES - 1)), min_size=1, max_size=60
)


def codes(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


def test_a_confusion_by_hand() -> None:
    counts = confusion(codes(0, 0, 1, -1), codes(0, 1, -1, 0), 2)
    assert counts.tolist() == [[1, 1, 0], [0, 0, 1]]
    assert accuracy(counts) == pytest.approx(1 / 3)


@FEW
@given(LABELED)
def test_macro_f1_is_that_of_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    truth, predicted = np.array(pairs, np.int32).T
    present = np.unique(truth)
    counts = confusion(truth, predicted, N_TYPES)
    theirs = f1_score(truth, predicted, labels=present, average=None, zero_division=0)
    assert f1_by_type(counts)[present] == pytest.approx(theirs)
    assert macro_f1(counts) == pytest.approx(theirs.mean())
    assert accuracy(counts) == pytest.approx((truth == predicted).mean())


def test_types_of_no_cell_do_not_count() -> None:
    counts = confusion(codes(0, 0), codes(0, 2), 3)
    assert np.isnan(f1_by_type(counts)[1:]).all()
    assert macro_f1(counts) == pytest.approx(2 / 3)
    assert np.isnan(macro_f1(counts, np.array([False, True, True])))


@pytest.mark.parametrize(
    ("counts", "rare"),
    [
        ([9, 1, 5], [False, True, False]),
        ([9, 1, 5, 3], [False, True, False, True]),
        ([4, 0, 8, 0], [True, False, False, False]),
        ([2, 2, 2], [False, False, True]),
        ([7], [True]),
    ],
)
def test_the_rarest_third(counts: list[int], rare: list[bool]) -> None:
    assert rarest_third(np.array(counts)).tolist() == rare


def test_ancestors_right_are_partly_right() -> None:
    paths = ["neuron/RGC/alpha", "neuron/RGC/beta", "glia", "neuron"]
    hierarchy = Hierarchy.of(paths)
    assert hierarchy.depth.tolist() == [3, 3, 1, 1]

    def f1(truth: int, predicted: int) -> float:
        return float(hierarchy.f1(confusion(codes(truth), codes(predicted), 4)))

    assert f1(0, 0) == 1
    assert f1(0, 1) == pytest.approx(2 * 2 / (3 + 3))
    assert f1(0, 3) == pytest.approx(2 * 1 / (3 + 1))  # backed off to the ancestor
    assert f1(0, 2) == 0
    assert f1(0, -1) == 0


def test_a_step_of_one_name_under_two_parents_is_two_steps() -> None:
    assert Hierarchy.of(["a/x", "b/x"]).shared.tolist() == [[2, 0], [0, 2]]


@FEW
@given(LABELED)
def test_flat_paths_give_micro_f1(pairs: list[tuple[int, int]]) -> None:
    truth, predicted = np.array(pairs, np.int32).T
    counts = confusion(truth, predicted, N_TYPES)
    flat = Hierarchy.of([f"t{i}" for i in range(N_TYPES)]).f1(counts)
    theirs = f1_score(truth, predicted, labels=range(N_TYPES), average="micro", zero_division=0)
    assert flat == pytest.approx(theirs)


def test_calibration_by_hand() -> None:
    # Two bins: .2 and .5 fall into the first (it includes its upper end), .9 into the second.
    bins = reliability(np.array([False, True, True]), np.array([0.2, 0.5, 0.9]), n_bins=2)
    assert [(b.low, b.high, b.n_cells) for b in bins] == [(0, 0.5, 2), (0.5, 1, 1)]
    assert bins[0].probability == pytest.approx(0.35)
    assert bins[0].accuracy == 0.5
    assert expected_calibration_error(bins) == pytest.approx(2 / 3 * 0.15 + 1 / 3 * 0.1)


def test_bins_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    probability = np.concatenate([rng.random(300), [0, 0.2, 0.6, 1]])
    right = rng.random(len(probability)) < probability
    bins = [b for b in reliability(right, probability) if b.n_cells]
    accuracies, means = calibration_curve(right, probability, n_bins=15)
    assert [b.accuracy for b in bins] == pytest.approx(accuracies)
    assert [b.probability for b in bins] == pytest.approx(means)


def test_empty_bins_and_the_ends_of_the_scale() -> None:
    bins = reliability(np.array([False, True]), np.array([0.0, 1.0]))
    assert [b.n_cells for b in bins] == [1] + [0] * 13 + [1]
    assert bins[5].accuracy is None
    assert expected_calibration_error(bins) == 0


@FEW
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 4)), min_size=1, max_size=50))
def test_auroc_is_that_of_scikit_learn(cells: list[tuple[bool, int]]) -> None:
    positive = np.array([p for p, _ in cells])
    score = np.array([s for _, s in cells], float)
    ours = auroc(positive, score)
    if positive.all() or not positive.any():
        assert ours is None
    else:
        assert ours == pytest.approx(roc_auc_score(positive, score))


def test_risk_rises_with_coverage_where_the_probable_are_right() -> None:
    curve = risk_coverage(np.array([True, True, False]), np.array([0.9, 0.8, 0.1]))
    assert curve.coverage == pytest.approx([1 / 3, 2 / 3, 1])
    assert curve.risk == pytest.approx([0, 0, 1 / 3])
    assert curve.area == pytest.approx(1 / 9)


@FEW
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3)), min_size=1, max_size=40), st.randoms())
def test_the_order_of_cells_changes_no_risk(
    cells: list[tuple[bool, int]], random: np.random.Generator
) -> None:
    right = np.array([r for r, _ in cells])
    probability = np.array([p for _, p in cells]) / 3
    order = list(range(len(cells)))
    random.shuffle(order)
    one = risk_coverage(right, probability)
    other = risk_coverage(right[order], probability[order])
    assert one.risk == pytest.approx(other.risk)
    assert one.risk[-1] == pytest.approx(1 - right.mean())
