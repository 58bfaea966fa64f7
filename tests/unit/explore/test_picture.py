"""Pictures of many points."""

import numpy as np
import numpy.typing as npt

from cellkin.explore.picture import Window, draw, hexadecimal, rgb

PALETTE = rgb(["#ff0000", "#0000ff"])
N_MANY = 500_000
"""Points are one pixel where there are so many."""


def window(width: int = 20, height: int = 10) -> Window:
    return Window(0.0, 2.0, 0.0, 1.0, width, height)


def channels(picture: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint8]:
    return picture.view(np.uint8).reshape(*picture.shape, 4)


def points(x: float, y: float, n: int) -> npt.NDArray[np.float32]:
    return np.tile(np.array([[x, y]], np.float32), (n, 1))


def test_a_pixel_has_the_mean_color_of_its_points() -> None:
    positions = np.concatenate([points(0.05, 0.05, 3), points(0.05, 0.05, 1)])
    positions = np.concatenate([positions, points(1.95, 0.95, N_MANY)])
    codes = np.array([0, 0, 0, 1] + [1] * N_MANY, np.int32)
    drawn = channels(draw(positions, codes, PALETTE, window()))
    assert drawn[0, 0, :3].tolist() == [191, 0, 64]
    assert drawn[9, 19].tolist() == [0, 0, 255, 255]
    assert 0 < drawn[0, 0, 3] < 255
    assert np.count_nonzero(drawn[..., 3]) == 2


def test_few_points_are_drawn_larger_than_a_pixel() -> None:
    drawn = channels(draw(points(1.0, 0.5, 1), np.zeros(1, np.int32), PALETTE, window(40, 40)))
    there = drawn[..., 3] > 0
    assert there.sum() > 20
    assert (drawn[there][:, :3] == [255, 0, 0]).all()


def test_a_point_at_the_edge_does_not_leave_the_picture() -> None:
    almost = np.nextafter(np.float32(2), np.float32(0))
    positions = np.array([[almost, 0.99999994], [0, 0]], np.float32)
    assert window().holds(positions).all()
    drawn = channels(draw(positions, np.zeros(2, np.int32), PALETTE, window()))
    assert drawn[9, 19, 3] > 0
    assert drawn[0, 0, 3] > 0


def test_what_is_outside_or_nowhere_is_not_held() -> None:
    positions = np.array([[np.nan, np.nan], [2.0, 0.5], [-0.1, 0.5], [1.0, 0.5]], np.float32)
    assert window().holds(positions).tolist() == [False, False, False, True]


def test_no_point_is_no_color() -> None:
    nothing = np.empty((0, 2), np.float32)
    assert not draw(nothing, np.empty(0, np.int32), PALETTE, window()).any()


def test_a_picture_does_not_depend_on_the_order_of_points() -> None:
    rng = np.random.default_rng(0)
    positions = rng.random((5000, 2), np.float32) * [2, 1]
    codes = rng.integers(0, 2, 5000).astype(np.int32)
    order = rng.permutation(5000)
    first = draw(positions.astype(np.float32), codes, PALETTE, window(200, 100))
    second = draw(positions[order].astype(np.float32), codes[order], PALETTE, window(200, 100))
    assert np.array_equal(first, second)


def test_colors_are_read_and_written() -> None:
    assert hexadecimal(rgb(["#0072b2", "#ffffff"])) == ["#0072b2", "#ffffff"]
