"""Predict statistics of genes that were not measured from genes of similar text."""

from dataclasses import dataclass

import numpy as np

from cellkin.space.arrays import Float32Matrix
from cellkin.space.projection import Float64Vector

_PENALTIES = 10.0 ** np.arange(-2, 5)


@dataclass(frozen=True)
class TextPrior:
    """Statistics predicted from texts.

    Parameters
    ----------
    values
        (n_others,) float64 predictions.
    explained
        Share of the variance of the measured genes' statistics that is predicted, each gene's
        without the gene itself; 0 to 1.
    """

    values: Float64Vector
    explained: float


def predict_from_text(
    vectors: Float32Matrix, values: Float64Vector, others: Float32Matrix
) -> TextPrior:
    """Predict by ridge regression; the penalty is chosen by the error without each gene.

    Parameters
    ----------
    vectors
        (n_genes, dim) float32 gene vectors of the measured genes.
    values
        (n_genes,) float64 their statistics.
    others
        (n_others, dim) float32 vectors of the other genes.
    """
    center, mean = vectors.mean(axis=0, dtype=np.float64), values.mean()
    x, y = vectors - center, values - mean
    eigenvalues, axes = np.linalg.eigh(x.T @ x)
    rotated = x @ axes
    products = rotated.T @ y
    # Without a gene, the mean of the others alone errs by this.
    of_mean = float(np.mean((y / (1 - 1 / len(y))) ** 2))
    best, least = np.zeros(len(eigenvalues)), of_mean
    for penalty in _PENALTIES:
        shrunk = 1 / (np.maximum(eigenvalues, 0) + penalty)
        coefficients = shrunk * products
        leverage = (rotated**2) @ shrunk + 1 / len(y)
        errors = (y - rotated @ coefficients) / np.maximum(1 - leverage, 1e-9)
        error = float(np.mean(errors**2))
        if error < least:
            best, least = coefficients, error
    explained = 1 - least / of_mean if of_mean else 0.0
    return TextPrior((others - center) @ axes @ best + mean, explained)
