"""Scores: what is counted, what is left out, what is refused."""

import json

import numpy as np
import pytest

from cellkin.indexer.evaluation.intervals import bootstrap
from cellkin.indexer.evaluation.metrics import Predictions, score
from cellkin.indexer.measures import accuracy
from cellkin.wire.errors import DimensionMismatchError, InvalidArgumentError

COUNTS = np.array([50, 30, 4])


def codes(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


def test_cells_of_absent_types_count_where_they_should() -> None:
    scores = score(
        Predictions(
            truth=codes(0, 0, 1, 2, -1, -1),
            predicted=codes(0, 1, 1, 2, 0, 1),
            probability=np.array([0.9, 0.6, 0.8, 0.7, 0.95, 0.1]),
            novelty=np.array([0.1, 0.2, 0.1, 0.3, 0.9, 0.15]),
            unknown=np.array([False, False, False, True, True, False]),
        ),
        COUNTS,
    )
    assert (scores.n_cells, scores.n_absent, scores.n_types) == (6, 2, 3)
    assert scores.accuracy == 0.75
    assert scores.rare_f1 == 1
    assert scores.unknown_auroc == pytest.approx((4 + 2) / 8)
    assert scores.false_alarms == 0.25
    assert scores.unknown_found == 0.5
    assert sum(b.n_cells for b in scores.reliability) == 4
    # All cells have a place on the curve; those of absent types are errors.
    assert scores.risk_coverage[0].risk == 1
    assert scores.risk_coverage[-1].risk == pytest.approx(3 / 6)


def test_what_a_method_does_not_say_is_none() -> None:
    scores = score(Predictions(codes(0, 1), codes(0, -1)), COUNTS)
    assert scores.accuracy == 0.5
    assert scores.ece is scores.unknown_auroc is scores.risk_area is scores.rare_f1 is None
    assert scores.hierarchical_f1 is scores.false_alarms is scores.unknown_found is None
    assert "rare_f1" not in scores.intervals


def test_paths_give_a_hierarchical_f1_with_an_interval() -> None:
    scores = score(Predictions(codes(0, 1), codes(1, 1)), COUNTS, ["n/a", "n/b", "g"])
    assert scores.hierarchical_f1 == pytest.approx(2 * 3 / 8)
    assert scores.intervals["hierarchical_f1"].high == 1


def test_figures_are_plain_json() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(-1, 3, 300).astype(np.int32)
    predicted = rng.integers(0, 3, 300).astype(np.int32)
    predictions = Predictions(truth, predicted, rng.random(300), rng.random(300), truth < 0)
    read = json.loads(json.dumps(score(predictions, COUNTS).to_json()))
    assert read["intervals"]["accuracy"]["over"] == "cells"
    assert len(read["risk_coverage"]) == 100
    assert len(read["reliability"]) == 15
    assert score(predictions, COUNTS) == score(predictions, COUNTS)


def test_pooling_joins_cells_and_drops_what_a_part_lacks() -> None:
    one = Predictions(codes(0), codes(0), np.array([0.5]), np.array([0.1]), None, codes(0))
    other = Predictions(codes(1, 1), codes(0, 1), None, np.array([0.2, 0.3]), None, codes(1, 1))
    both = Predictions.pooled([one, other])
    assert both.truth.tolist() == [0, 1, 1]
    assert both.probability is None
    assert both.novelty is not None
    assert both.novelty.tolist() == [0.1, 0.2, 0.3]
    with pytest.raises(InvalidArgumentError, match="at least one split"):
        Predictions.pooled([])


def test_batches_are_drawn_whole() -> None:
    # One batch all right, one all wrong: drawing batches, accuracy is 0, .5 or 1.
    truth, batches = codes(*[0] * 40), codes(*[0] * 20, *[1] * 20)
    predicted = codes(*[0] * 20, *[1] * 20)
    scores = score(Predictions(truth, predicted, batches=batches), COUNTS)
    interval = scores.intervals["accuracy"]
    assert (interval.low, interval.high, interval.over, interval.n) == (0, 1, "batches", 2)
    of_cells = score(Predictions(truth, predicted), COUNTS).intervals["accuracy"]
    assert (of_cells.over, of_cells.n) == ("cells", 40)
    assert 0.2 < of_cells.low < 0.5 < of_cells.high < 0.8


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    n_covered = 0
    for _ in range(40):
        truth = np.zeros(200, np.int32)
        predicted = (rng.random(200) > 0.8).astype(np.int32)
        interval = bootstrap(truth, predicted, None, 2, {"accuracy": accuracy})["accuracy"]
        n_covered += interval.low <= 0.8 <= interval.high
    assert 34 <= n_covered <= 40


@pytest.mark.parametrize(
    ("predictions", "match"),
    [
        (lambda: Predictions(codes(0, 1), codes(0)), "one value a cell"),
        (lambda: Predictions(codes(0), codes(0), np.array([1.2])), r"in \[0, 1\]"),
        (lambda: Predictions(codes(0), codes(0), np.array([np.nan])), "not finite"),
        (lambda: Predictions(codes(0), codes(0), None, np.array([np.inf])), "not finite"),
    ],
)
def test_predictions_that_do_not_fit_are_refused(predictions, match) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InvalidArgumentError, match=match):
        predictions()


def test_codes_beyond_the_types_are_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="codes from 0 to 3 and the reference has 3"):
        score(Predictions(codes(0, 1), codes(0, 3)), COUNTS)
    with pytest.raises(InvalidArgumentError, match="none of the 1 cells"):
        score(Predictions(codes(-1), codes(0)), COUNTS)
    with pytest.raises(DimensionMismatchError, match="2 paths and 3 types"):
        score(Predictions(codes(0), codes(0)), COUNTS, ["a", "b"])
