"""An MLP instead of the linear head, to measure the cost of linearity.

It is used by `cells evaluate`, but not in an index: cells would no longer be a linear function of
their genes, so the contribution of a gene to a label would not be exact.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from cellkin.indexer.spaces.contrast import (
    OUT_DIM,
    Contrast,
    FloatMatrix,
    LabelDraws,
    contrastive_loss,
    descend,
    drop,
    layer,
    standardized,
)
from cellkin.indexer.spaces.sample import Sample
from cellkin.indexer.spaces.text import FittedText, fit_text
from cellkin.space.arrays import BoolVector, Float32Matrix, Float32Vector, Int32Vector, Int64Vector
from cellkin.space.classifier import Placed
from cellkin.space.projection import CellSpace
from cellkin.space.recipe import TEXT_V2
from cellkin.space.vectors import unit_rows

HIDDEN_DIM = 256
"""Units of the hidden layer."""

TEXT_V2_MLP = replace(TEXT_V2, name="text-v2-mlp", head="none")
"""`text-v2` without its linear head, for `fit_mlp_text`."""


@dataclass(frozen=True)
class Mlp:
    """A perceptron with one hidden layer of rectified linear units.

    Parameters
    ----------
    hidden, bias
        (n_hidden, dim) and (n_hidden,) float32.
    out
        (out_dim, n_hidden) float32.
    """

    hidden: Float32Matrix
    bias: Float32Vector
    out: Float32Matrix

    @property
    def dim(self) -> int:
        """Number of output dimensions."""
        return len(self.out)

    def __call__(self, vectors: Float32Matrix) -> Float32Matrix:
        """Return (n, out_dim) float32 unit rows for (n, dim) float32."""
        rectified = np.maximum(vectors @ self.hidden.T + self.bias, 0)
        return unit_rows(np.asarray(rectified @ self.out.T, np.float32))


def fit_mlp(vectors: Float32Matrix, labels: Int32Vector, settings: Contrast | None = None) -> Mlp:
    """Train an MLP by the supervised contrastive loss, with batches as in `fit_head`.

    Parameters
    ----------
    vectors
        (n_cells, dim) float32 unit rows.
    labels
        (n_cells,) int32.
    settings
        Settings of the training.
    """
    how = settings or Contrast()
    rng = np.random.default_rng(how.seed)
    x, scale = standardized(vectors)
    draws = LabelDraws(labels, how, rng)
    dim = x.shape[1]
    hidden, bias = layer(HIDDEN_DIM, dim, rng), np.zeros((1, HIDDEN_DIM), np.float32)
    out = layer(min(OUT_DIM, dim), HIDDEN_DIM, rng)

    def step() -> Sequence[FloatMatrix]:
        rows = draws.rows()
        inputs = drop(x[rows], how.dropout, rng)
        rectified = np.maximum(inputs @ hidden.T + bias, 0)
        _, by_z = contrastive_loss(rectified @ out.T, draws.labels[rows], how.temperature)
        by_hidden = np.where(rectified > 0, by_z @ out, 0)
        return [by_hidden.T @ inputs, by_hidden.sum(axis=0, keepdims=True), by_z.T @ rectified]

    descend([hidden, bias, out], step, how, lambda done, total: None)
    return Mlp(hidden / scale, bias[0], out)


@dataclass(frozen=True)
class FittedMlpText(FittedText):
    """A text space without a head, followed by an MLP."""

    mlp: Mlp = field(kw_only=True)

    @property
    def n_components(self) -> int:
        """Number of output dimensions of the MLP."""
        return self.mlp.dim

    def finish(self, z: Float32Matrix, empty: BoolVector) -> Placed:
        """Return (n_cells, dim) unit vectors of the space after the MLP."""
        return super().finish(self.mlp(z), empty)


def fit_mlp_text(
    space: CellSpace,
    sample: Sample,
    counts: Int64Vector | None = None,
    carry: bool = True,
    training: Contrast | None = None,
) -> FittedText:
    """Fit a text space without a head, and an MLP on it if there is more than one label.

    Parameters
    ----------
    space, sample, counts, carry, training
        As in `fit_text`.
    """
    fitted = fit_text(space, sample, counts, carry, training)
    placed = fitted.own
    if sample.n_labels < 2 or placed.empty.all():
        return fitted
    mlp = fit_mlp(placed.z[~placed.empty], sample.labels[~placed.empty], training)
    return FittedMlpText(**vars(fitted), mlp=mlp)
