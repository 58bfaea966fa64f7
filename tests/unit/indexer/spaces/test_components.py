"""Principal axes against a full decomposition."""

import numpy as np
import pytest

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
