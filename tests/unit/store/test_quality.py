"""What a manifest says of the labels of an index."""

from typing import Any

import pytest

from cellkin.store.quality import WEAK_AUROC, read_qualities


def stored(**changes: Any) -> dict[str, Any]:
    """One space, as the cell job writes it."""
    return {
        "held_out": "4 batches in turn",
        "n_held_out": 900,
        "macro_f1": {"combined": 0.9, "votes": 0.8, "prototypes": 0.7, "logistic": 0.95},
        "mix": [1 / 7, 1 / 7, 0.0, 5 / 7],
        "ece": 0.01,
        "accuracy": 0.97,
        "reliability": [[900, 0.96, 0.97]],
        "novelty_limit": 1.5,
        "left_out": [
            {"label": "CD8 T", "n_cells": 90, "auroc": 0.6, "found": 0.1},
            {"label": "B", "n_cells": 100, "auroc": WEAK_AUROC, "found": 0.8},
        ],
        **changes,
    }


def test_a_space_is_read_with_its_labels_in_order() -> None:
    quality = read_qualities({"quality": {"expression": stored()}})["expression"]
    assert (quality.held_out, quality.n_cells) == ("4 batches in turn", 900)
    assert (quality.accuracy, quality.calibration_error) == (0.97, 0.01)
    assert quality.novelty_limit == 1.5
    assert [(x.label, x.n_cells, x.auroc, x.found, x.weak) for x in quality.labels] == [
        ("B", 100, 0.85, 0.8, False),
        ("CD8 T", 90, 0.6, 0.1, True),
    ]
    assert quality.weak_labels == ("CD8 T",)
    assert quality.novelty_note == ""
    noted = stored(novelty_note="only 40 cells were held out")
    assert read_qualities({"quality": {"text": noted}})["text"].novelty_note.startswith("only 40")


@pytest.mark.parametrize(
    ("mix", "macro_f1"),
    [
        ([0.1, 0.1, 0.3, 0.5], 0.9),
        ([0.5, 0.5, 0, 0], 0.9),
        ([0, 0, 0, 1.0], 0.95),
        ([1, 0, 0, 0], 0.8),
    ],
)
def test_macro_f1_is_that_of_the_evidence_in_use(mix: list[float], macro_f1: float) -> None:
    quality = read_qualities({"quality": {"text": stored(mix=mix)}})["text"]
    assert quality.macro_f1 == macro_f1
    assert quality.macro_f1_by_evidence["prototypes"] == 0.7


@pytest.mark.parametrize(
    "manifest", [{}, {"quality": {}}, {"quality": None}, {"quality": {"text": {}}}]
)
def test_where_nothing_could_be_held_out_there_is_no_quality(manifest: dict[str, Any]) -> None:
    assert read_qualities(manifest) == {}


def test_a_space_without_a_quality_does_not_hide_the_other() -> None:
    assert set(read_qualities({"quality": {"text": {}, "expression": stored()}})) == {"expression"}


def test_spaces_come_in_the_order_of_their_names() -> None:
    both = read_qualities({"quality": {"text": stored(), "expression": stored()}})
    assert list(both) == ["expression", "text"]


def test_what_depth_costs_is_read() -> None:
    cost = {"at_least": 0.125, "below": 0.25, "n_cells": 90, "wrong": 0.02, "unknown": 0.4}
    found = read_qualities({"quality": {"expression": stored(depth={"costs": [cost]})}})
    assert [vars(each) for each in found["expression"].depth_costs] == [cost]
    assert read_qualities({"quality": {"text": stored()}})["text"].depth_costs == ()
