"""Colors of points of a map."""

import numpy as np
import pytest

pytest.importorskip("bokeh", reason="needs the extra explore")

from cellkin.explore.coloring import by_names, by_values
from cellkin.pages.palette import UNKNOWN_COLOR, label_colors


def test_a_label_has_the_color_that_it_has_everywhere() -> None:
    labels = ["acinar", "beta", "delta"]
    found = by_names("label", np.array([2, 0, 1], np.int8), labels)
    of = label_colors(labels)
    assert [found.colors[code] for code in found.codes] == [of["delta"], of["acinar"], of["beta"]]
    assert found.counts.tolist() == [1, 1, 1]


def test_unknown_and_missing_names_are_gray() -> None:
    found = by_names("label", np.array([0, 1, -1]), ["beta", "unknown"])
    assert found.names == ("beta", "unknown", "none")
    assert [found.colors[code] for code in found.codes[1:]] == [UNKNOWN_COLOR, UNKNOWN_COLOR]


def test_numbers_are_a_scale_and_missing_ones_gray() -> None:
    found = by_values("probability", np.array([0.0, 0.5, 1.0, 7.0, np.nan]), (0.0, 1.0))
    assert found.names == ()
    assert found.codes[0] < found.codes[1] < found.codes[2] == found.codes[3]
    assert found.colors[found.codes[4]] == UNKNOWN_COLOR


def test_a_scale_without_ends_leaves_out_the_extremes() -> None:
    values = np.append(np.linspace(0, 1, 1000), 1e6)
    assert by_values("novelty", values).ends[1] < 2


def test_a_scale_of_nothing_is_drawn() -> None:
    assert len(by_values("novelty", np.array([np.nan])).codes) == 1
