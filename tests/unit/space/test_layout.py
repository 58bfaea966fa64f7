"""Positions in a layout depend on nothing but a cell's own vector."""

import numpy as np
import numpy.typing as npt
import pytest

from cellkin.space.layout import PLACED_BY, Layout
from cellkin.space.vectors import unit_rows

Floats = npt.NDArray[np.float32]


def layout_of(vectors: Floats, positions: Floats) -> Layout:
    n = len(vectors)
    return Layout(positions, np.zeros(n, np.uint8), np.arange(n), {"text": vectors})


def drawn(n: int, dim: int, seed: int) -> Floats:
    return unit_rows(np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32))


@pytest.mark.parametrize(("n_fitted", "dim"), [(3, 2), (40, 7), (700, 33)])
def test_a_cell_is_placed_alike_in_any_company_and_order(n_fitted: int, dim: int) -> None:
    layout = layout_of(drawn(n_fitted, dim, 0), drawn(n_fitted, 2, 1))
    cells = drawn(130, dim, 2)
    together = layout.place(cells, "text")
    order = np.random.default_rng(3).permutation(len(cells))
    np.testing.assert_array_equal(layout.place(cells[order], "text"), together[order])
    for size in (1, 2, 37):
        parts = [layout.place(cells[at : at + size], "text") for at in range(0, len(cells), size)]
        np.testing.assert_array_equal(np.concatenate(parts), together)


def test_a_fitted_cell_keeps_its_position() -> None:
    layout = layout_of(drawn(300, 20, 0), 50 * drawn(300, 2, 1))
    placed = layout.place(layout.vectors["text"], "text")
    np.testing.assert_allclose(placed, layout.positions, atol=1e-3)


def test_a_cell_between_two_groups_is_placed_with_the_larger_part_of_its_neighbors() -> None:
    # Two groups of positions, whose cells are equally near: a mean falls between them.
    n = PLACED_BY
    vectors = unit_rows(np.ones((n, 3), np.float32))
    positions = np.zeros((n, 2), np.float32)
    positions[: n // 2] += 10
    placed = layout_of(vectors, positions).place(vectors[:1], "text")
    np.testing.assert_allclose(placed, 0, atol=0.1)
    assert positions.mean() > 4


def test_a_cell_without_a_direction_has_no_position() -> None:
    layout = layout_of(drawn(30, 4, 0), drawn(30, 2, 1))
    placed = layout.place(np.zeros((2, 4), np.float32), "text")
    assert np.isnan(placed).all()
    assert layout.place(np.empty((0, 4), np.float32), "text").shape == (0, 2)
