"""Contrastive refinement: a linear head that draws together what belongs together.

Cells of one label by supervised contrast (Khosla et al. 2020, arXiv:2004.11362), or, without
labels, views of one cell by NT-Xent (Chen et al. 2020, arXiv:2002.05709), which is the same loss
with every cell a label of its own. No bias, no hidden layer, so that what each gene adds to a label
stays exact.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from cellkin.space.arrays import Float32Matrix, Int32Vector
from cellkin.wire.errors import InvalidArgumentError

OUT_DIM = 64
"""Dimensions after the head."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Contrast:
    """How the head is trained.

    Parameters
    ----------
    steps, batch
        Optimizer steps, and cells a step. By labels a cell is drawn with probability
        ``n_c ** -balance``, by views all are drawn alike and no cell twice.
    temperature
        Cosines are divided by this.
    dropout
        Share of the inputs that are zeroed.
    learning_rate, weight_decay
        Of AdamW, the rate on one cycle.
    balance
        0 draws cells alike, 1 draws labels alike.
    seed
        Of weights, draws and dropout.
    """

    steps: int = 180
    batch: int = 256
    temperature: float = 0.1
    dropout: float = 0.3
    learning_rate: float = 2e-3
    weight_decay: float = 1e-3
    balance: float = 0.5
    seed: int = 0


@contextmanager
def one_thread() -> Iterator[None]:
    """Steps this small take ten times as long where threads wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def contrastive_loss(z: torch.Tensor, groups: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return the mean of each row's cross entropy with the others of its group.

    With ``s`` the cosines over the temperature, a row ``i`` has the loss ``-mean_p (s_ip - log
    sum_a exp s_ia)`` over ``p``, the other rows of its group, and ``a``, all other rows. Labels as
    groups make it supervised contrast, the two views of each cell NT-Xent.

    Parameters
    ----------
    z
        (n, dim) float; rows need not be of unit length.
    groups
        (n,) int64 on any device; a row alone in its group has no loss.
    temperature
        Above 0.
    """
    z = torch.nn.functional.normalize(z, dim=1)
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    logits = (z @ z.T / temperature).masked_fill(itself, -1e9)
    alike = (groups[:, None] == groups[None]).to(z.device) & ~itself
    log_chance = logits - logits.logsumexp(dim=1, keepdim=True)
    n_alike = alike.sum(dim=1)
    paired = n_alike > 0
    return -((log_chance * alike).sum(dim=1)[paired] / n_alike[paired]).mean()


def descend(
    parameters: Sequence[torch.Tensor],
    step: Callable[[], torch.Tensor],
    how: Contrast,
    progress: Progress,
) -> None:
    """Train parameters in place, by as many steps as the settings have.

    Parameters
    ----------
    parameters
        Leaves that require a gradient.
    step
        Draws a batch and returns its loss.
    how
        The settings.
    progress
        Called with steps done and steps to do.
    """
    optimizer = torch.optim.AdamW(parameters, how.learning_rate, weight_decay=how.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, how.learning_rate, total_steps=how.steps
    )
    for done in range(how.steps):
        loss = step()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch has no annotation here
        optimizer.step()
        schedule.step()
        progress(done + 1, how.steps)


def layer(n_out: int, n_in: int, generator: torch.Generator, device: str) -> torch.Tensor:
    """Draw the (n_out, n_in) weights of a layer, uniform within ``n_in ** -0.5``."""
    bound = n_in**-0.5
    weight = torch.empty(n_out, n_in).uniform_(-bound, bound, generator=generator).to(device)
    return weight.requires_grad_()


def drop(inputs: torch.Tensor, share: float, generator: torch.Generator) -> torch.Tensor:
    """Zero a share of the inputs and scale up the rest."""
    kept = torch.rand(inputs.shape, generator=generator) >= share
    return inputs * kept.to(inputs.device) / (1 - share)


class LabelDraws:
    """Draws batches of labelled cells, rare labels oftener than they occur.

    Parameters
    ----------
    labels
        (n_cells,) int32.
    how
        The settings.
    generator
        Of the draws.
    """

    def __init__(self, labels: Int32Vector, how: Contrast, generator: torch.Generator) -> None:
        self.labels = torch.from_numpy(np.array(labels, np.int64))
        self._chances = torch.bincount(self.labels).double()[self.labels] ** -how.balance
        self._n, self._generator = how.batch, generator

    def rows(self) -> torch.Tensor:
        """Return (batch,) int64 rows; a cell may be among them more than once."""
        return torch.multinomial(
            self._chances, self._n, replacement=True, generator=self._generator
        )


@one_thread()
def fit_head(
    vectors: Float32Matrix,
    labels: Int32Vector,
    settings: Contrast | None = None,
    device: str = "cpu",
    progress: Progress = lambda done, total: None,
) -> Float32Matrix:
    """Train a linear head by supervised contrast.

    Parameters
    ----------
    vectors
        (n_cells, dim) float32, centered.
    labels
        (n_cells,) int32.
    settings
        How.
    device
        A torch device.
    progress
        Called with steps done and steps to do.

    Returns
    -------
    Float32Matrix
        (`OUT_DIM` or less, dim): the scaling of the inputs to unit deviation is part of it.
    """
    how = settings or Contrast()
    generator = torch.Generator().manual_seed(how.seed)
    x, scale = standardized(vectors, device)
    draws = LabelDraws(labels, how, generator)
    dim = x.shape[1]
    weight = layer(min(OUT_DIM, dim), dim, generator, device)

    def step() -> torch.Tensor:
        rows = draws.rows()
        inputs = drop(x[rows.to(device)], how.dropout, generator)
        return contrastive_loss(inputs @ weight.T, draws.labels[rows], how.temperature)

    descend([weight], step, how, progress)
    return as_array(weight / scale)


@one_thread()
def fit_view_head(
    views: npt.NDArray[np.float32],
    settings: Contrast | None = None,
    device: str = "cpu",
    progress: Progress = lambda done, total: None,
) -> Float32Matrix:
    """Train a linear head by NT-Xent: without labels, by views of every cell.

    Parameters
    ----------
    views
        (n_views, n_cells, dim) float32, centered, 2 views or more: of a cell that is drawn two
        different ones are compared.
    settings, device, progress
        As in `fit_head`.

    Returns
    -------
    Float32Matrix
        (`OUT_DIM` or less, dim), as that of `fit_head`.

    Raises
    ------
    InvalidArgumentError
        For fewer than 2 views or 2 cells: there is nothing to draw together or apart.
    """
    if views.ndim != 3 or min(views.shape[:2]) < 2:
        raise InvalidArgumentError(
            f"views of shape {views.shape}; give (n_views, n_cells, dim), at least 2 of at least 2 "
            "cells"
        )
    how = settings or Contrast()
    generator = torch.Generator().manual_seed(how.seed)
    n_views, n_cells, dim = views.shape
    flat, scale = standardized(views.reshape(-1, dim), device)
    x = flat.reshape(views.shape)
    weight = layer(min(OUT_DIM, dim), dim, generator, device)
    n = min(how.batch, n_cells)

    def step() -> torch.Tensor:
        cells = torch.randperm(n_cells, generator=generator)[:n]
        one = torch.randint(n_views, (n,), generator=generator)
        other = (one + torch.randint(1, n_views, (n,), generator=generator)) % n_views
        pairs = torch.cat([x[one, cells], x[other, cells]])
        inputs = drop(pairs, how.dropout, generator)
        return contrastive_loss(inputs @ weight.T, torch.cat([cells, cells]), how.temperature)

    descend([weight], step, how, progress)
    return as_array(weight / scale)


def standardized(vectors: Float32Matrix, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (n, dim) vectors in units of their (dim,) deviations, and these."""
    x = torch.from_numpy(np.array(vectors, np.float32)).to(device)
    scale = x.std(dim=0).clamp(min=1e-6)
    return x / scale, scale


def as_array(tensor: torch.Tensor) -> npt.NDArray[np.float32]:
    """Return a tensor's values as float32."""
    return np.asarray(tensor.detach().cpu().numpy(), np.float32)
