"""Train a linear head by a contrastive loss.

With labels it is the supervised contrastive loss (Khosla et al. 2020, arXiv:2004.11362). Without,
it is NT-Xent on views of each cell (Chen et al. 2020, arXiv:2002.05709): the same loss, with every
cell as its own label. The head has neither bias nor hidden layer, so that the contribution of a
gene to a label is exact.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cellkin.indexer.threads import blas_threads
from cellkin.space.arrays import Float32Matrix, Int32Vector, Int64Vector
from cellkin.wire.errors import InvalidArgumentError

OUT_DIM = 64
"""Dimensions of the head's output."""
_LEAST_LENGTH, _LEAST_DEVIATION = 1e-12, 1e-6
# Constants of AdamW and of the one-cycle schedule.
_SECOND, _EPSILON = 0.999, 1e-8
_RISE = 0.3

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Contrast:
    """Settings of the training.

    Parameters
    ----------
    steps, batch
        Optimizer steps, and cells in each. With labels a cell of a label with ``n_c`` cells is
        drawn with probability proportional to ``n_c ** -balance``; without, cells are drawn
        uniformly without replacement.
    temperature
        Divides the cosines.
    dropout
        Share of the inputs that are set to zero.
    learning_rate, weight_decay
        Parameters of AdamW; the rate is the maximum of a one-cycle schedule.
    balance
        With 0 cells are drawn uniformly, with 1 labels.
    seed
        Seed of initial weights, batches and dropout.
    """

    steps: int = 180
    batch: int = 256
    temperature: float = 0.1
    dropout: float = 0.3
    learning_rate: float = 2e-3
    weight_decay: float = 1e-3
    balance: float = 0.5
    seed: int = 0


FloatMatrix = npt.NDArray[np.floating[Any]]


def contrastive_loss(
    z: FloatMatrix, groups: Int64Vector, temperature: float
) -> tuple[float, FloatMatrix]:
    """Return the contrastive loss and its gradient.

    With ``s`` the cosines over the temperature, a row ``i`` has the loss ``-mean_p (s_ip - log
    sum_a exp s_ia)`` over ``p``, the other rows of its group, and ``a``, all other rows. With
    labels as groups it is the supervised contrastive loss, with the two views of a cell NT-Xent.

    Parameters
    ----------
    z
        (n, dim) float; rows need not be of unit length.
    groups
        (n,) int64, numbers from 0; a row without others in its group has no loss.
    temperature
        Above 0.

    Returns
    -------
    loss
        Mean over the rows that have a loss; 0 if none has.
    gradient
        (n, dim) derivative of the loss with respect to ``z``.
    """
    lengths = np.maximum(np.sqrt(np.einsum("id,id->i", z, z)), _LEAST_LENGTH)[:, None]
    unit = (z / lengths).astype(z.dtype)
    # Less than the largest possible, so that the matrix stays symmetric.
    powers = unit @ unit.T.copy()
    powers -= 1
    powers /= temperature
    np.exp(powers, out=powers)
    np.fill_diagonal(powers, 0)
    totals = np.maximum(powers.sum(axis=1), np.finfo(z.dtype).tiny)
    sizes = np.bincount(groups)
    member = np.zeros((len(sizes), len(z)), z.dtype)
    member[groups, np.arange(len(z))] = 1
    n_alike = sizes[groups] - 1
    paired = n_alike > 0
    n = max(int(paired.sum()), 1)
    each = (paired / np.maximum(n_alike, 1)).astype(z.dtype)[:, None]
    alike = each * ((member @ unit)[groups] - unit)
    own = (np.einsum("id,id->i", unit, alike) - 1) / temperature - np.log(totals)
    # The mean of the chances in both directions, which a symmetric matrix has in one product.
    per_row = (paired / totals).astype(z.dtype)
    powers *= per_row[:, None] + per_row
    by_unit = (powers @ unit - 2 * alike) / (n * temperature)
    by_z = (by_unit - unit * np.einsum("id,id->i", unit, by_unit)[:, None]) / lengths
    return float(-own[paired].sum() / n), by_z


class AdamW:
    """AdamW with a one-cycle schedule; parameters are updated in place.

    The learning rate rises to its maximum in the first 30 % of the steps and falls to nearly 0 in
    the rest, along cosines, while the momentum falls from .95 to .85 and rises again (AdamW:
    Loshchilov and Hutter 2019, arXiv:1711.05101; schedule: Smith and Topin 2019, arXiv:1708.07120).

    Parameters
    ----------
    parameters
        Arrays of float32.
    how
        The settings.
    """

    def __init__(self, parameters: Sequence[Float32Matrix], how: "Contrast") -> None:
        self._parameters, self._how = parameters, how
        self._first = [np.zeros_like(p) for p in parameters]
        self._second = [np.zeros_like(p) for p in parameters]
        self._done = 0

    def step(self, gradients: Sequence[FloatMatrix]) -> None:
        """Update each parameter by its gradient."""
        how, done = self._how, self._done
        rate = _on_cycle(done, how.steps, *_rates(how))
        momentum = _on_cycle(done, how.steps, 0.95, 0.85, 0.95)
        self._done += 1
        first_left, second_left = 1 - momentum**self._done, 1 - _SECOND**self._done
        moments = zip(self._parameters, self._first, self._second, gradients, strict=True)
        for parameter, first, second, gradient in moments:
            parameter *= np.float32(1 - rate * how.weight_decay)
            first += np.float32(1 - momentum) * (gradient - first)
            second += np.float32(1 - _SECOND) * (gradient * gradient - second)
            size = np.sqrt(second / second_left) + _EPSILON
            parameter -= np.asarray(rate / first_left * first / size, np.float32)


def _rates(how: Contrast) -> tuple[float, float, float]:
    """Return the learning rate at the start, the maximum and the end."""
    start = how.learning_rate / 25
    return start, how.learning_rate, start / 1e4


def _on_cycle(step: int, n_steps: int, start: float, middle: float, end: float) -> float:
    """Return a value of the schedule: from start to middle to end, along cosines."""
    turn, last = _RISE * n_steps - 1, n_steps - 1
    if step <= turn:
        return middle + (start - middle) * (1 + math.cos(math.pi * step / turn)) / 2
    along = (step - turn) / (last - turn)
    return end + (middle - end) * (1 + math.cos(math.pi * along)) / 2


def descend(
    parameters: Sequence[Float32Matrix],
    step: Callable[[], Sequence[FloatMatrix]],
    how: Contrast,
    progress: Progress,
) -> None:
    """Train parameters in place.

    Parameters
    ----------
    parameters
        Arrays of float32.
    step
        Draws a batch and returns the gradient of its loss with respect to each parameter.
    how
        The settings.
    progress
        Called with the number of steps done and of all steps.
    """
    optimizer = AdamW(parameters, how)
    with blas_threads(1):
        for done in range(how.steps):
            optimizer.step(step())
            progress(done + 1, how.steps)


def layer(n_out: int, n_in: int, rng: np.random.Generator) -> Float32Matrix:
    """Draw (n_out, n_in) initial weights, uniform within ``n_in ** -0.5``."""
    bound = n_in**-0.5
    return rng.uniform(-bound, bound, (n_out, n_in)).astype(np.float32)


def drop(inputs: Float32Matrix, share: float, rng: np.random.Generator) -> Float32Matrix:
    """Apply dropout: set a share of the inputs to zero and scale up the rest."""
    kept = rng.random(inputs.shape, np.float32) >= share
    return inputs * (kept.astype(np.float32) / np.float32(1 - share))


class LabelDraws:
    """Draws batches of labeled cells, with rare labels overrepresented.

    Parameters
    ----------
    labels
        (n_cells,) int32.
    how
        The settings.
    rng
        Random generator.
    """

    def __init__(self, labels: Int32Vector, how: Contrast, rng: np.random.Generator) -> None:
        self.labels = np.asarray(labels, np.int64)
        chances = np.bincount(self.labels).astype(float)[self.labels] ** -how.balance
        self._ends = np.cumsum(chances / chances.sum())
        self._n, self._rng = how.batch, rng

    def rows(self) -> Int64Vector:
        """Return (batch,) int64 rows, drawn with replacement."""
        drawn = np.searchsorted(self._ends, self._rng.random(self._n), side="right")
        return np.minimum(drawn, len(self._ends) - 1)


def fit_head(
    vectors: Float32Matrix,
    labels: Int32Vector,
    settings: Contrast | None = None,
    progress: Progress = lambda done, total: None,
) -> Float32Matrix:
    """Train a linear head by the supervised contrastive loss.

    Parameters
    ----------
    vectors
        (n_cells, dim) float32, centered.
    labels
        (n_cells,) int32.
    settings
        Settings of the training.
    progress
        Called with the number of steps done and of all steps.

    Returns
    -------
    Float32Matrix
        (`OUT_DIM` or less, dim); includes the scaling of the inputs to unit deviation.
    """
    how = settings or Contrast()
    rng = np.random.default_rng(how.seed)
    x, scale = standardized(vectors)
    draws = LabelDraws(labels, how, rng)
    weight = layer(min(OUT_DIM, x.shape[1]), x.shape[1], rng)

    def step() -> Sequence[FloatMatrix]:
        rows = draws.rows()
        inputs = drop(x[rows], how.dropout, rng)
        return [_gradient(inputs, weight, draws.labels[rows], how.temperature)]

    descend([weight], step, how, progress)
    return weight / scale


def fit_view_head(
    views: npt.NDArray[np.float32],
    settings: Contrast | None = None,
    progress: Progress = lambda done, total: None,
) -> Float32Matrix:
    """Train a linear head without labels, by NT-Xent on views of each cell.

    Parameters
    ----------
    views
        (n_views, n_cells, dim) float32, centered, at least 2 views; pairs of different views of a
        cell are compared.
    settings, progress
        As in `fit_head`.

    Returns
    -------
    Float32Matrix
        (`OUT_DIM` or less, dim), as from `fit_head`.

    Raises
    ------
    InvalidArgumentError
        For fewer than 2 views or 2 cells.
    """
    if views.ndim != 3 or min(views.shape[:2]) < 2:
        raise InvalidArgumentError(
            f"views of shape {views.shape}; give (n_views, n_cells, dim), at least 2 of at least 2 "
            "cells"
        )
    how = settings or Contrast()
    rng = np.random.default_rng(how.seed)
    n_views, n_cells, dim = views.shape
    flat, scale = standardized(views.reshape(-1, dim))
    x = flat.reshape(views.shape)
    weight = layer(min(OUT_DIM, dim), dim, rng)
    n = min(how.batch, n_cells)

    def step() -> Sequence[FloatMatrix]:
        cells = rng.permutation(n_cells)[:n]
        one = rng.integers(n_views, size=n)
        other = (one + rng.integers(1, n_views, size=n)) % n_views
        pairs = np.concatenate([x[one, cells], x[other, cells]])
        inputs = drop(pairs, how.dropout, rng)
        return [_gradient(inputs, weight, np.tile(np.arange(n), 2), how.temperature)]

    descend([weight], step, how, progress)
    return weight / scale


def _gradient(
    inputs: Float32Matrix, weight: Float32Matrix, groups: Int64Vector, temperature: float
) -> FloatMatrix:
    _, by_z = contrastive_loss(inputs @ weight.T, groups, temperature)
    return by_z.T @ inputs


def standardized(vectors: Float32Matrix) -> tuple[Float32Matrix, Float32Matrix]:
    """Return (n, dim) vectors divided by their (dim,) standard deviations, and these."""
    x = np.asarray(vectors, np.float32)
    deviations = x.std(axis=0, ddof=min(1, len(x) - 1), dtype=np.float64)
    scale = np.maximum(deviations, _LEAST_DEVIATION).astype(np.float32)
    return x / scale, scale
