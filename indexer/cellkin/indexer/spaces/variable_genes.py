"""Highly variable genes."""

from typing import Any

import numpy as np
import numpy.typing as npt

from cellkin.space.arrays import CsrMatrix, Int64Vector
from cellkin.space.projection import Float64Vector

N_VARIABLE = 2000
"""Number of highly variable genes."""
_N_BINS = 20


def highly_variable(logs: CsrMatrix, n: int = N_VARIABLE) -> Int64Vector:
    """Choose the genes with the highest normalized dispersion (Satija et al. 2015).

    The logarithm of variance over mean, in linear units, is standardized within 20 bins of equal
    width of the mean's log1p. The genes are those of ``scanpy.pp.highly_variable_genes`` with its
    defaults (flavor ``seurat``), which is not called because scanpy takes seconds to import; a
    test compares the two.

    Parameters
    ----------
    logs
        (n_cells, n_genes) CSR of log expression, at least 2 cells.
    n
        Number of genes.

    Returns
    -------
    Int64Vector
        (at most n,) int64 columns, ascending; genes without variance are never among them.
    """
    return most_variable(*moments(logs, np.expm1(logs.data)), n)


def most_variable(mean: Float64Vector, variance: Float64Vector, n: int = N_VARIABLE) -> Int64Vector:
    """Choose genes as `highly_variable`, from the moments of their linear expression.

    Parameters
    ----------
    mean, variance
        (n_genes,) float64.
    n
        Number of genes.
    """
    varies = np.flatnonzero((mean > 0) & (variance > 0))
    dispersion = np.log(variance[varies] / mean[varies])
    bins = _equal_width_bins(np.log1p(mean))[varies]
    score = np.empty(len(varies))
    for number in np.unique(bins):
        inside = bins == number
        spread = dispersion[inside].std(ddof=1) if inside.sum() > 1 else 0.0
        # A gene alone in its bin is one of the few of such high expression: keep it.
        score[inside] = (
            (dispersion[inside] - dispersion[inside].mean()) / spread if spread > 0 else 1.0
        )
    return np.sort(varies[np.argsort(-score, kind="stable")[:n]])


def moments(pattern: CsrMatrix, values: npt.NDArray[Any]) -> tuple[Float64Vector, Float64Vector]:
    """Return the mean and the sample variance of each column of a sparse matrix.

    Parameters
    ----------
    pattern
        (n_cells, n_genes) CSR, of which only the indices are used.
    values
        (n_stored,) stored values.
    """
    n_cells, n_genes = pattern.shape
    mean = np.bincount(pattern.indices, values, n_genes) / n_cells
    # Centered, because sums of squares would cancel for genes that hardly vary.
    squares = np.bincount(pattern.indices, (values - mean[pattern.indices]) ** 2, n_genes)
    n_zero = n_cells - np.bincount(pattern.indices, minlength=n_genes)
    return mean, (squares + n_zero * mean**2) / max(n_cells - 1, 1)


def _equal_width_bins(values: Float64Vector) -> Int64Vector:
    """Return the bin of each value, cut as by ``pandas.cut``.

    Bins include their upper end, and the first is wider by a thousandth of the range.
    """
    low, high = values.min(), values.max()
    if low == high:
        return np.zeros(len(values), np.int64)
    edges = np.linspace(low, high, _N_BINS + 1)
    edges[0] -= (high - low) * 0.001
    return np.searchsorted(edges, values, side="left").astype(np.int64) - 1
