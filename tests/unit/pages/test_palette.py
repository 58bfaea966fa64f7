"""Colors of labels: far apart, not gray, fixed by the reference's order."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from matplotlib.colors import to_rgb

from cellkin.pages.palette import COLORS, UNKNOWN_COLOR, label_colors
from cellkin.wire.terms import UNKNOWN_LABEL

Matrix = npt.NDArray[np.float64]
_CONES = np.array(
    [[0.41222147, 0.53633254, 0.05144599], [0.2119035, 0.68069955, 0.10739696],
     [0.08830246, 0.28171884, 0.6299787]]
)  # fmt: skip
_OKLAB = np.array(
    [[0.21045426, 0.79361779, -0.00407205], [1.9779985, -2.42859221, 0.45059371],
     [0.02590404, 0.78277177, -0.80867577]]
)  # fmt: skip


def _oklab(colors: Sequence[str]) -> Matrix:
    rgb = np.array([to_rgb(color) for color in colors])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return np.asarray(np.cbrt(linear @ _CONES.T) @ _OKLAB.T)


def _nearest(places: Matrix) -> float:
    distances = np.linalg.norm(places[:, None] - places[None], axis=2)
    return float(distances[np.triu_indices(len(places), 1)].min())


@pytest.mark.parametrize(("n", "least"), [(14, 0.14), (46, 0.08), (100, 0.05)])
def test_colors_are_far_apart(n: int, least: float) -> None:
    places = _oklab([UNKNOWN_COLOR, *COLORS[:n]])
    assert _nearest(places) >= least
    assert np.linalg.norm(places - _oklab(["white"]), axis=1)[1:].min() >= 0.15


def test_colors_are_fixed_by_the_reference_and_unknown_is_gray() -> None:
    found = label_colors(["beta", UNKNOWN_LABEL, "alpha"])
    assert list(found.items()) == [
        ("beta", COLORS[0]), ("alpha", COLORS[1]), (UNKNOWN_LABEL, UNKNOWN_COLOR),
    ]  # fmt: skip


def test_more_labels_than_colors_repeat_them() -> None:
    found = label_colors(map(str, range(len(COLORS) + 1)))
    assert found[str(len(COLORS))] == COLORS[0]
