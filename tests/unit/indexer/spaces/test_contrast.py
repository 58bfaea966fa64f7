"""The head that is trained by contrast draws cells of one label together, and nothing else."""

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest

from cellkin.indexer.spaces.contrast import (
    OUT_DIM,
    Contrast,
    LabelDraws,
    contrastive_loss,
    descend,
    fit_head,
    fit_view_head,
)
from cellkin.space.vectors import unit_rows
from cellkin.wire.errors import InvalidArgumentError

FEW = Contrast(steps=60, batch=128)


def made(dim: int = 24, n: int = 240, seed: int = 0) -> tuple[npt.NDArray[np.float32], np.ndarray]:
    """Labels that differ in small directions, under one large direction that says nothing."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(n) % 3).astype(np.int32)
    vectors = rng.normal(0, 0.3, (n, dim))
    vectors[:, 0] += rng.normal(0, 8, n)
    vectors[np.arange(n), 1 + labels] += 1
    return (vectors - vectors.mean(axis=0)).astype(np.float32), labels


def apart(vectors: npt.NDArray[np.float32], labels: np.ndarray) -> float:
    """Return by how much cosines within labels are above those between them."""
    unit = unit_rows(vectors)
    cosines, alike = unit @ unit.T, labels[:, None] == labels[None]
    return float(cosines[alike].mean() - cosines[~alike].mean())


def test_labels_are_drawn_apart_in_cells_it_has_not_seen() -> None:
    vectors, labels = made()
    head = fit_head(vectors, labels)
    asked, truth = made(seed=1)
    assert apart(asked, truth) < 0.1
    assert apart(asked @ head.T, truth) > 0.6


def test_the_same_seed_is_the_same_head() -> None:
    vectors, labels = made()
    one, again = (fit_head(vectors, labels, FEW) for _ in range(2))
    assert one.tobytes() == again.tobytes()
    assert one.dtype == np.float32
    other = fit_head(vectors, labels, Contrast(steps=60, batch=128, seed=1))
    assert not np.allclose(other, one, atol=1e-3)


def test_a_program_that_seeds_numpy_is_not_disturbed() -> None:
    vectors, labels = made()
    np.random.seed(7)  # noqa: NPY002  # the generator that programs share
    want = np.random.rand(3)  # noqa: NPY002
    np.random.seed(7)  # noqa: NPY002
    fit_head(vectors, labels, Contrast(steps=1, batch=8))
    assert np.array_equal(np.random.rand(3), want)  # noqa: NPY002


def test_the_head_is_as_wide_as_it_needs_to_be() -> None:
    for dim in (5, OUT_DIM, OUT_DIM + 6):
        vectors = np.random.default_rng(0).standard_normal((30, dim)).astype(np.float32)
        head = fit_head(vectors, (np.arange(30) % 2).astype(np.int32), Contrast(steps=2, batch=8))
        assert head.shape == (min(dim, OUT_DIM), dim)


def test_a_dimension_that_never_varies_is_no_error() -> None:
    vectors, labels = made()
    vectors[:, 5] = 0
    assert np.isfinite(fit_head(vectors, labels, FEW)).all()


def test_progress_is_told() -> None:
    vectors, labels = made()
    told: list[tuple[int, int]] = []
    settings = Contrast(steps=5, batch=8)
    fit_head(vectors, labels, settings, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (5, 5)
    assert all(a[0] < b[0] for a, b in pairwise(told))


def test_labels_of_one_cell_each_are_no_error() -> None:
    vectors, _ = made(n=9)
    head = fit_head(vectors, np.arange(9, dtype=np.int32), Contrast(steps=3, batch=4))
    assert np.isfinite(head).all()


def plain_loss(z: npt.NDArray[np.float64], groups: list[int], temperature: float) -> float:
    """Return supervised contrast as its paper writes it (L_out), row by row."""
    unit = z / np.linalg.norm(z, axis=1, keepdims=True)
    losses = []
    for i, row in enumerate(unit):
        others = [a for a in range(len(unit)) if a != i]
        below = sum(np.exp(row @ unit[a] / temperature) for a in others)
        alike = [p for p in others if groups[p] == groups[i]]
        if alike:
            terms = [np.log(np.exp(row @ unit[p] / temperature) / below) for p in alike]
            losses.append(-np.mean(terms))
    return float(np.mean(losses))


@pytest.mark.parametrize("groups", [[0, 1, 0, 2, 1, 0, 3], [0, 0, 0, 0, 1, 1, 1]])
@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_the_loss_is_that_of_supervised_contrast(groups: list[int], temperature: float) -> None:
    z = np.random.default_rng(0).standard_normal((7, 4))
    found, _ = contrastive_loss(z, np.array(groups), temperature)
    assert found == pytest.approx(plain_loss(z, groups, temperature), rel=1e-6)


@pytest.mark.parametrize("groups", [[0, 1, 0, 2, 1, 0, 3], [0, 0, 0, 0, 1, 1, 1]])
def test_the_gradient_is_that_of_the_loss(groups: list[int]) -> None:
    z = np.random.default_rng(2).standard_normal((7, 4))
    _, found = contrastive_loss(z, np.array(groups), 0.3)
    step = 1e-6
    want = np.empty_like(z)
    for at in np.ndindex(*z.shape):
        ends = []
        for sign in (-1, 1):
            moved = z.copy()
            moved[at] += sign * step
            ends.append(plain_loss(moved, groups, 0.3))
        want[at] = (ends[1] - ends[0]) / (2 * step)
    np.testing.assert_allclose(found, want, atol=1e-7)


def test_adamw_finds_the_lowest_point_and_shrinks_what_has_no_slope() -> None:
    parameter = np.array([[5.0, 3.0]], np.float32)
    how = Contrast(steps=400, learning_rate=0.1, weight_decay=0.0)
    descend([parameter], lambda: [(parameter - [[1.0, 3.0]])], how, lambda done, total: None)
    np.testing.assert_allclose(parameter, [[1.0, 3.0]], atol=1e-2)
    still = np.array([[2.0]], np.float32)
    decay = Contrast(steps=50, learning_rate=0.1, weight_decay=0.1)
    descend([still], lambda: [np.zeros((1, 1))], decay, lambda done, total: None)
    # By the mean rate of the cycle, each step.
    assert 0.7 < float(still[0, 0]) / 2 < 0.85


def test_labels_are_drawn_by_a_power_of_their_size() -> None:
    labels = np.repeat([0, 1], [900, 100]).astype(np.int32)
    rng = np.random.default_rng(0)
    for balance, share in ((0.0, 0.1), (1.0, 0.5)):
        draws = LabelDraws(labels, Contrast(batch=20_000, balance=balance), rng)
        assert labels[draws.rows()].mean() == pytest.approx(share, abs=0.02)


def test_over_pairs_of_views_the_loss_is_nt_xent() -> None:
    rng = np.random.default_rng(1)
    one, other = rng.standard_normal((2, 5, 4))
    z = np.concatenate([one, other])
    unit = z / np.linalg.norm(z, axis=1, keepdims=True)
    similar = unit @ unit.T / 0.5
    # Chen et al. 2020, equation 1, over both orders of every pair.
    losses = [
        -np.log(np.exp(similar[i, (i + 5) % 10]) / np.exp(np.delete(similar[i], i)).sum())
        for i in range(10)
    ]
    cells = np.tile(np.arange(5), 2)
    found, _ = contrastive_loss(z, cells, 0.5)
    assert found == pytest.approx(np.mean(losses), rel=1e-6)


def seen_again(seed: int = 0, n_views: int = 3) -> npt.NDArray[np.float32]:
    """Cells that differ in half of the dimensions; in the others only views differ, and more."""
    rng = np.random.default_rng(seed)
    cells = rng.normal(0, 1, (200, 8))
    noise = rng.normal(0, 4, (n_views, 200, 8))
    own = cells + rng.normal(0, 0.3, (n_views, 200, 8))
    return np.concatenate([own, noise], axis=2).astype(np.float32)


def test_views_of_a_cell_are_drawn_together_in_cells_it_has_not_seen() -> None:
    head = fit_view_head(seen_again())
    one, other, _ = seen_again(seed=1)

    def found(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> float:
        return float(((unit_rows(a) @ unit_rows(b).T).argmax(axis=1) == np.arange(200)).mean())

    assert found(one, other) < 0.1
    assert found(one @ head.T, other @ head.T) > 0.6


def test_the_same_seed_is_the_same_head_by_views() -> None:
    views = seen_again()
    one, again = (fit_view_head(views, FEW) for _ in range(2))
    assert one.tobytes() == again.tobytes()
    assert one.dtype == np.float32
    assert one.shape == (16, 16)
    other = fit_view_head(views, Contrast(steps=60, batch=128, seed=1))
    assert not np.allclose(other, one, atol=1e-3)


def test_batches_of_views_are_no_larger_than_there_are_cells() -> None:
    assert np.isfinite(fit_view_head(seen_again()[:, :3], FEW)).all()


@pytest.mark.parametrize("shape", [(1, 9, 4), (2, 1, 4), (9, 4)])
def test_what_leaves_nothing_to_compare_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidArgumentError, match="at least 2 of at least 2 cells"):
        fit_view_head(np.ones(shape, np.float32))
