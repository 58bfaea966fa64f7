"""Contrastive refinement: a linear head that draws cells of one label together.

Supervised contrast (Khosla et al. 2020, arXiv:2004.11362) on the cells' vectors: no bias, no hidden
layer, so that what each gene adds to a label stays exact.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from cellkin.space.arrays import Float32Matrix, Int32Vector

OUT_DIM = 64
"""Dimensions after the head."""


@dataclass(frozen=True)
class Contrast:
    """How the head is trained.

    Parameters
    ----------
    steps, batch
        Optimizer steps, and cells a step, drawn with probability ``n_c ** -balance`` a cell.
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
def _one_thread() -> Iterator[None]:
    """Steps this small take ten times as long where threads wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@_one_thread()
def fit_head(
    vectors: Float32Matrix,
    labels: Int32Vector,
    settings: Contrast | None = None,
    device: str = "cpu",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Float32Matrix:
    """Train a linear head.

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
    x = torch.from_numpy(np.array(vectors, np.float32)).to(device)
    scale = x.std(dim=0).clamp(min=1e-6)
    x = x / scale
    y = torch.from_numpy(np.array(labels, np.int64))
    chances = torch.bincount(y).double()[y] ** -how.balance
    dim, out = x.shape[1], min(OUT_DIM, x.shape[1])
    bound = dim**-0.5
    weight = torch.empty(out, dim).uniform_(-bound, bound, generator=generator).to(device)
    weight.requires_grad_()
    optimizer = torch.optim.AdamW([weight], how.learning_rate, weight_decay=how.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, how.learning_rate, total_steps=how.steps
    )
    itself = torch.eye(how.batch, dtype=torch.bool, device=device)
    for step in range(how.steps):
        drawn = torch.multinomial(chances, how.batch, replacement=True, generator=generator)
        kept = torch.rand(how.batch, dim, generator=generator) >= how.dropout
        inputs = x[drawn.to(device)] * kept.to(device) / (1 - how.dropout)
        z = torch.nn.functional.normalize(inputs @ weight.T, dim=1)
        logits = (z @ z.T / how.temperature).masked_fill(itself, -1e9)
        alike = (y[drawn][:, None] == y[drawn][None]).to(device) & ~itself
        log_chance = logits - logits.logsumexp(dim=1, keepdim=True)
        n_alike = alike.sum(dim=1)
        paired = n_alike > 0
        loss = -((log_chance * alike).sum(dim=1)[paired] / n_alike[paired]).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch has no annotation here
        optimizer.step()
        schedule.step()
        progress(step + 1, how.steps)
    return np.asarray((weight.detach() / scale).cpu().numpy(), np.float32)
