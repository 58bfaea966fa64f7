"""Multinomial logistic regression.

The loss and the minimizer are those of `sklearn.linear_model.LogisticRegression`, which computes in
double precision and takes longer to import than a small reference to fit; a test compares the two.
"""

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from cellkin.indexer.spaces.logs import Float64Matrix, Float64Vector
from cellkin.space.arrays import Float32Matrix, Int32Vector

PENALTY = 0.1
"""Inverse strength of the penalty, scikit-learn's C."""
_STEPS, _TOLERANCE = 100, 1e-3
_LINE_SEARCHES = 50


def fit_logistic(
    z: Float32Matrix, labels: Int32Vector, n_labels: int
) -> tuple[Float64Matrix, Float64Vector]:
    """Fit a regression with a squared penalty on the coefficients, not on the intercepts.

    Parameters
    ----------
    z
        (n_cells, dim) float32.
    labels
        (n_cells,) int32, each label with at least one cell.
    n_labels
        Number of labels, at least 2. For two, the penalty is that of one row of coefficients.

    Returns
    -------
    coefficients
        (n_labels, dim) float64.
    intercepts
        (n_labels,) float64.
    """
    n, dim = z.shape
    n_rows = 1 if n_labels == 2 else n_labels
    strength = 1 / (PENALTY * n)
    at = np.arange(n), labels

    def loss(flat: Float64Vector) -> tuple[float, Float64Vector]:
        rows = flat.reshape(n_rows, dim + 1)
        weights = rows[:, :-1]
        logits = z @ weights.T.astype(np.float32) + rows[:, -1].astype(np.float32)
        if n_rows == 1:
            logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
        logits -= logits.max(axis=1, keepdims=True)
        chances = np.exp(logits)
        totals = chances.sum(axis=1)
        value = float((np.log(totals) - logits[at]).mean(dtype=np.float64))
        chances /= totals[:, None]
        chances[at] -= 1
        chances = chances[:, -n_rows:] / np.float32(n)
        gradient = np.empty_like(rows)
        gradient[:, :-1] = chances.T @ z
        gradient[:, :-1] += strength * weights
        gradient[:, -1] = chances.sum(axis=0, dtype=np.float64)
        return value + 0.5 * strength * float(np.vdot(weights, weights)), gradient.ravel()

    # Early stopping regularizes a little more, which does no harm here.
    options = {
        "maxiter": _STEPS, "maxls": _LINE_SEARCHES, "gtol": _TOLERANCE,
        "ftol": 64 * np.finfo(np.float64).eps,
    }  # fmt: skip
    start: npt.NDArray[np.float64] = np.zeros(n_rows * (dim + 1))
    found = minimize(loss, start, method="L-BFGS-B", jac=True, options=options)
    rows = found.x.reshape(n_rows, dim + 1)
    if n_rows == 1:
        rows = np.concatenate([-rows / 2, rows / 2])
    return rows[:, :-1], rows[:, -1]
