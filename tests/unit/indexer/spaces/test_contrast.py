"""The head that is trained by contrast draws cells of one label together, and nothing else."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
import torch

from cellkin.indexer.spaces.contrast import OUT_DIM, Contrast, fit_head
from cellkin.space.vectors import unit_rows

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


def test_a_program_that_seeds_torch_is_not_disturbed() -> None:
    vectors, labels = made()
    torch.manual_seed(7)
    want = torch.rand(3)
    torch.manual_seed(7)
    fit_head(vectors, labels, Contrast(steps=1, batch=8))
    assert torch.equal(torch.rand(3), want)


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_torch_has_its_threads_back(two_threads: None) -> None:
    vectors, labels = made()
    fit_head(vectors, labels, Contrast(steps=1, batch=8))
    assert torch.get_num_threads() == 2
    with pytest.raises(RuntimeError):
        fit_head(vectors, labels, Contrast(steps=1, batch=0))
    assert torch.get_num_threads() == 2


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
