"""Figures of the demo by hand."""

from pathlib import Path

import numpy as np
import pytest

from cellkin.indexer.demo.report import (
    Evaluation,
    absent_sentence,
    draw_confusion,
    evaluate,
)

TRUTH = np.array(["beta", "beta", "beta", "beta", "alpha", "alpha", "B_cell", "other"])
PREDICTED = np.array(["beta", "beta", "beta", "alpha", "alpha", "mast", "beta", "alpha"])
UNKNOWN = np.array([False, False, True, True, False, False, True, False])
REFERENCE = ["alpha", "beta", "mast"]


def test_evaluate_by_hand() -> None:
    figures = evaluate(TRUTH, PREDICTED, UNKNOWN, REFERENCE)
    assert figures.n_cells == 6
    assert figures.accuracy == pytest.approx(4 / 6)
    # beta: precision 3/3, recall 3/4 -> 6/7; alpha: precision 1/2, recall 1/2 -> 1/2.
    # mast is in the reference but not in the query, so its F1 is no part of the mean.
    assert figures.macro_f1 == pytest.approx((6 / 7 + 1 / 2) / 2)
    assert figures.recall == {"beta": 0.75, "alpha": 0.5}
    assert figures.unknown_share == pytest.approx(2 / 6)
    assert figures.accuracy_of_labeled == pytest.approx(3 / 4)


def test_types_that_the_reference_lacks_are_counted_separately() -> None:
    figures = evaluate(TRUTH, PREDICTED, UNKNOWN, REFERENCE)
    assert figures.n_absent == {"B_cell": 1, "other": 1}
    assert figures.n_absent_unknown == {"B_cell": 1, "other": 0}


def test_accuracy_of_labeled_is_none_if_all_are_unknown() -> None:
    figures = evaluate(TRUTH, PREDICTED, np.ones(len(TRUTH), bool), REFERENCE)
    assert figures.accuracy_of_labeled is None
    assert figures.unknown_share == 1.0


def test_absent_sentence_names_types_and_calls() -> None:
    figures = evaluate(TRUTH, PREDICTED, UNKNOWN, REFERENCE)
    control = evaluate(TRUTH, PREDICTED, ~UNKNOWN, REFERENCE)
    text = absent_sentence({"text": figures, "random": control})
    for part in ("6 mouse cells of the 2 types", "2 more (B_cell 1, other 1)", "text 1, random 1"):
        assert part in text


def test_absent_sentence_if_the_reference_has_all_types() -> None:
    figures = Evaluation(6, 1.0, 1.0, {"beta": 1.0, "alpha": 1.0}, 0.0, 1.0, {}, {})
    assert "lacks none" in absent_sentence({"text": figures})


def test_draw_confusion_writes_a_picture(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    draw_confusion({"text": PREDICTED, "random": TRUTH}, TRUTH, REFERENCE, path)
    assert path.read_bytes().startswith(b"\x89PNG")
