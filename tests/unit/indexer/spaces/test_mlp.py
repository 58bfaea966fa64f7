"""The MLP refines as the linear head does, and also where no linear map can."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
from tests.unit.indexer.spaces.made import held_out, sample_of, text_space

from cellkin.indexer.spaces.contrast import Contrast, fit_head
from cellkin.indexer.spaces.mlp import (
    HIDDEN_DIM,
    TEXT_V2_MLP,
    FittedMlpText,
    Mlp,
    fit_mlp,
    fit_mlp_text,
)
from cellkin.indexer.spaces.text import fit_text
from cellkin.space.vectors import unit_rows

FEW = Contrast(steps=20, batch=64)


def exclusive_or(seed: int = 0, n: int = 400) -> tuple[npt.NDArray[np.float32], np.ndarray]:
    """Two labels that lie in opposite quadrants each: to a linear map they have one mean."""
    rng = np.random.default_rng(seed)
    signs = rng.choice([-1, 1], (n, 2))
    vectors = np.tile(signs, 4) + rng.normal(0, 0.15, (n, 8))
    return unit_rows(vectors.astype(np.float32)), (signs.prod(axis=1) > 0).astype(np.int32)


def apart(vectors: npt.NDArray[np.float32], labels: np.ndarray) -> float:
    """Return by how much cosines within labels are above those between them."""
    unit = unit_rows(vectors)
    cosines, alike = unit @ unit.T, labels[:, None] == labels[None]
    return float(cosines[alike].mean() - cosines[~alike].mean())


def test_it_draws_apart_what_a_linear_head_cannot() -> None:
    vectors, labels = exclusive_or()
    asked, truth = exclusive_or(seed=1)
    assert apart(asked @ fit_head(vectors, labels).T, truth) < 0.2
    assert apart(fit_mlp(vectors, labels)(asked), truth) > 0.8


def test_it_is_one_rectified_layer() -> None:
    hidden = np.array([[1, 0], [0, -2]], np.float32)
    mlp = Mlp(hidden, np.array([0.5, 0], np.float32), np.array([[1, 1], [0, 1]], np.float32))
    found = mlp(np.array([[1, 1], [0.5, -1.0]], np.float32))
    want = np.array([[1.5, 0], [3, 2]])
    np.testing.assert_allclose(found, want / np.linalg.norm(want, axis=1, keepdims=True), 1e-6)


def test_the_same_seed_is_the_same_mlp() -> None:
    vectors, labels = exclusive_or()
    one, again = (fit_mlp(vectors, labels, FEW) for _ in range(2))
    for name in ("hidden", "bias", "out"):
        assert getattr(one, name).tobytes() == getattr(again, name).tobytes()
        assert getattr(one, name).dtype == np.float32
    assert one.hidden.shape == (HIDDEN_DIM, 8)
    other = fit_mlp(vectors, labels, replace(FEW, seed=1))
    assert not np.allclose(one.hidden, other.hidden, atol=1e-3)


def test_a_text_space_is_refined_by_it() -> None:
    train, asked = held_out(sample_of([60, 60, 60]))
    plain, fitted = (fit(text_space(TEXT_V2_MLP), train) for fit in (fit_text, fit_mlp_text))
    assert isinstance(fitted, FittedMlpText)
    # The space itself has no head: nothing of the MLP could be kept in an index.
    assert fitted.space.head is None
    placed = fitted.place(asked.cells)
    assert placed.z.shape == (asked.n_cells, fitted.n_components)
    assert fitted.coefficients.shape == (0, fitted.n_components)
    lengths = np.linalg.norm(placed.z, axis=1)
    np.testing.assert_allclose(lengths, np.ones(asked.n_cells), atol=1e-5)
    np.testing.assert_array_equal(placed.z, fitted.mlp(plain.place(asked.cells).z))
    prototypes = np.stack(
        [fitted.place(train.cells).z[train.labels == i].mean(0) for i in range(3)]
    )
    assert ((placed.z @ prototypes.T).argmax(axis=1) == asked.labels).mean() > 0.95


def test_an_empty_cell_is_nowhere() -> None:
    sample = sample_of([30, 30])
    counts = sample.cells.tolil()
    counts[5] = 0
    hollow = replace(sample, cells=counts.tocsr())
    placed = fit_mlp_text(text_space(TEXT_V2_MLP), hollow).place(hollow.cells)
    assert np.flatnonzero(placed.empty).tolist() == [5]
    assert not placed.z[5].any()
    assert np.isfinite(placed.z).all()


def test_one_label_needs_no_mlp() -> None:
    fitted = fit_mlp_text(text_space(TEXT_V2_MLP), sample_of([30]))
    assert not isinstance(fitted, FittedMlpText)
