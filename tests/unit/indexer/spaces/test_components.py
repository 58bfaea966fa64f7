"""Principal axes against a full decomposition."""

import numpy as np
import pytest

from cellkin.indexer.spaces import components
from cellkin.indexer.spaces.components import principal_axes


@pytest.mark.parametrize("shape", [(40, 200), (200, 40), (150, 90)])
def test_principal_axes_are_those_of_a_full_decomposition(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    low_rank = rng.standard_normal((shape[0], 12)) * np.arange(12, 0, -1)
    x = (low_rank @ rng.standard_normal((12, shape[1]))).astype(np.float32)
    x -= x.mean(axis=0)
    squares, axes = principal_axes(x, 30)
    _, sizes, want = np.linalg.svd(x.astype(np.float64), full_matrices=False)
    assert axes.shape == (30, shape[1])
    assert np.abs(np.sum(axes[:10] * want[:10], axis=1)) == pytest.approx(1, abs=1e-4)
    assert squares[:12] == pytest.approx(sizes[:12] ** 2, rel=1e-3)
    assert (squares[12:] < 1e-5 * squares[0]).all()
    largest = axes[np.arange(12), np.abs(axes[:12]).argmax(axis=1)]
    assert (largest > 0).all()


@pytest.mark.parametrize("shape", [(300, 500), (700, 300)], ids=["wide", "tall"])
def test_approximate_axes_have_nearly_the_same_span(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    scales = np.concatenate([np.linspace(9, 3, 20), np.ones(shape[1] - 20)])
    x = (rng.standard_normal(shape) * scales).astype(np.float32)
    x -= x.mean(axis=0)
    (exact, axes), (squares, found) = (principal_axes(x, 30, fast) for fast in (False, True))
    np.testing.assert_allclose(found @ found.T, np.eye(30), atol=1e-4)
    np.testing.assert_allclose(squares[:15], exact[:15], rtol=0.01)
    assert ((axes[:15] @ found[:20].T) ** 2).sum(axis=1).min() > 0.98
    assert exact.sum() * 0.98 < squares.sum() < exact.sum() * 1.0001
    assert not np.array_equal(squares, exact)


@pytest.mark.parametrize("by_gram", [True, False])
@pytest.mark.parametrize("shape", [(400, 900), (900, 400)], ids=["wide", "tall"])
def test_axes_of_large_matrices_are_found_in_a_subspace(
    shape: tuple[int, int], by_gram: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(components, "_GRAM_UP_TO", 100 if by_gram else 0)
    monkeypatch.setattr(components, "_decomposed", None)
    rng = np.random.default_rng(0)
    scales = np.concatenate([np.linspace(9, 3, 30), np.ones(shape[1] - 30)])
    x = (rng.standard_normal(shape) * scales).astype(np.float32)
    x -= x.mean(axis=0)
    squares, axes = principal_axes(x, 20)
    _, sizes, want = np.linalg.svd(x.astype(np.float64), full_matrices=False)
    np.testing.assert_allclose(squares, sizes[:20] ** 2, rtol=1e-4)
    np.testing.assert_allclose(np.abs((axes * want[:20]).sum(axis=1)), 1, atol=1e-3)
