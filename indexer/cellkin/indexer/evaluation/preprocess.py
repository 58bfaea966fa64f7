"""The usual expression features: log1p of counts per 10,000, variable genes, z-scores.

The choice of genes follows the Seurat flavor of scanpy (Satija et al. 2015) value by value; a test
compares them. It is written out here since scanpy takes seconds to import and is no dependency.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from cellkin.space.arrays import CsrMatrix, Float32Matrix, Float32Vector, Int64Vector
from cellkin.wire.errors import DimensionMismatchError, GenesUnmatchedError, InvalidArgumentError

N_VARIABLE_GENES = 2000
_PER_CELL = 10_000.0
_N_BINS = 20
_CLIP = 10.0


def normalize(counts: CsrMatrix) -> CsrMatrix:
    """Return counts per 10,000 of each cell; a cell without counts stays zero.

    Parameters
    ----------
    counts
        (n_cells, n_genes) CSR of linear expression, none negative.
    """
    cells = sp.csr_matrix(counts, dtype=np.float64)
    totals = np.asarray(cells.sum(axis=1)).ravel()
    scale = np.divide(_PER_CELL, totals, out=np.zeros_like(totals), where=totals > 0)
    return sp.csr_matrix(
        (cells.data * np.repeat(scale, np.diff(cells.indptr)), cells.indices, cells.indptr),
        shape=cells.shape,
    )


def variable_genes(normalized: CsrMatrix, n_genes: int = N_VARIABLE_GENES) -> Int64Vector:
    """Choose the genes that vary more than others of their mean.

    The dispersion (variance over mean) of each gene, its logarithm z-scored within 20 bins of equal
    width of the mean's log1p.

    Parameters
    ----------
    normalized
        (n_cells, n_genes) CSR of counts per 10,000, no logarithm; at least 2 cells.
    n_genes
        Genes to choose; fewer where fewer are expressed.

    Returns
    -------
    Int64Vector
        (n_chosen,) int64, ascending columns.
    """
    mean, variance = _moments(normalized)
    expressed = mean > 0
    dispersion = np.log(
        np.divide(variance, mean, out=np.ones_like(mean), where=expressed & (variance > 0))
    )
    # scanpy gives a gene of no variance no dispersion at all, so that it is never chosen.
    dispersion[~(expressed & (variance > 0))] = np.nan
    bins = _equal_width_bins(np.log1p(mean))
    score = np.full(len(mean), np.nan)
    for b in np.unique(bins):
        inside = np.flatnonzero((bins == b) & ~np.isnan(dispersion))
        if len(inside) == 1:
            score[inside] = 1.0
        elif len(inside):
            values = dispersion[inside]
            spread = values.std(ddof=1)
            score[inside] = (values - values.mean()) / (spread if spread else 1.0)
    order = np.argsort(-score, kind="stable")
    chosen: Int64Vector = np.sort(order[: min(n_genes, int((~np.isnan(score)).sum()))])
    return chosen


def _moments(matrix: CsrMatrix) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return mean and sample variance of each column."""
    n_cells, n_genes = matrix.shape
    mean = np.bincount(matrix.indices, matrix.data, n_genes) / n_cells
    # About the mean, not by sums of squares: these cancel for genes that hardly vary.
    squares = np.bincount(matrix.indices, (matrix.data - mean[matrix.indices]) ** 2, n_genes)
    n_zero = n_cells - np.bincount(matrix.indices, minlength=n_genes)
    return mean, (squares + n_zero * mean**2) / (n_cells - 1)


def _equal_width_bins(values: npt.NDArray[np.float64]) -> Int64Vector:
    """Cut as pandas does: right-closed, the first bin a thousandth of the range wider."""
    low, high = values.min(), values.max()
    if low == high:
        return np.zeros(len(values), np.int64)
    edges = np.linspace(low, high, _N_BINS + 1)
    edges[0] -= (high - low) * 0.001
    return np.searchsorted(edges, values, side="left").astype(np.int64) - 1


@dataclass(frozen=True)
class Features:
    """The variable genes of a reference and how they are z-scored.

    Parameters
    ----------
    genes
        The chosen genes' names.
    mean, sd
        (n_chosen,) float32 of log1p of counts per 10,000 over the reference.
    """

    genes: tuple[str, ...]
    mean: Float32Vector
    sd: Float32Vector

    @classmethod
    def fit(cls, counts: CsrMatrix, genes: Sequence[str]) -> "Features":
        """Choose and scale genes by the reference alone.

        Parameters
        ----------
        counts
            (n_cells, n_genes) CSR of linear expression; at least 2 cells.
        genes
            The columns' names.
        """
        _check(counts, genes)
        if counts.shape[0] < 2:
            raise InvalidArgumentError(
                f"{counts.shape[0]} reference cells; z-scores need at least 2"
            )
        normalized = normalize(counts)
        chosen = variable_genes(normalized)
        if not len(chosen):
            raise InvalidArgumentError(
                f"none of {len(genes)} genes varies over the {counts.shape[0]} reference cells; "
                "check that the matrix holds expression"
            )
        logs = _log1p(normalized)[:, chosen]
        mean, variance = _moments(logs)
        return cls(
            tuple(genes[column] for column in chosen),
            mean.astype(np.float32),
            np.sqrt(variance).astype(np.float32),
        )

    def z_scores(self, counts: CsrMatrix, genes: Sequence[str]) -> Float32Matrix:
        """Return the chosen genes' z-scores, clipped to ±10.

        A chosen gene that these cells lack gets 0, the reference's mean: its absence says nothing.
        Of columns of one name the first counts.

        Parameters
        ----------
        counts
            (n_cells, n_genes) CSR of linear expression.
        genes
            The columns' names.

        Returns
        -------
        Float32Matrix
            (n_cells, n_chosen) float32.

        Raises
        ------
        GenesUnmatchedError
            If the cells have none of the chosen genes.
        """
        _check(counts, genes)
        column: dict[str, int] = {}
        for at, name in enumerate(genes):
            column.setdefault(name, at)
        there = np.array([at for at, name in enumerate(self.genes) if name in column], np.int64)
        if not len(there):
            raise GenesUnmatchedError(
                f"none of the reference's {len(self.genes)} variable genes is among the query's "
                f"{len(genes)}, compared letter by letter; expression can be compared only after "
                "genes are matched",
                {"n_variable_genes": str(len(self.genes)), "n_query_genes": str(len(genes))},
            )
        logs = _log1p(normalize(counts))[:, [column[self.genes[at]] for at in there]]
        z = np.zeros((counts.shape[0], len(self.genes)), np.float32)
        z[:, there] = (logs.toarray() - self.mean[there]) / self.sd[there]
        return np.clip(z, -_CLIP, _CLIP, out=z)


def log_normalize(counts: CsrMatrix) -> CsrMatrix:
    """Return log1p of counts per 10,000, as float32 CSR.

    Parameters
    ----------
    counts
        (n_cells, n_genes) CSR of linear expression.
    """
    return _log1p(normalize(counts)).astype(np.float32)


def _log1p(normalized: CsrMatrix) -> CsrMatrix:
    return sp.csr_matrix(
        (np.log1p(normalized.data), normalized.indices, normalized.indptr), shape=normalized.shape
    )


def _check(counts: CsrMatrix, genes: Sequence[str]) -> None:
    if counts.shape[1] != len(genes):
        raise DimensionMismatchError(
            f"{counts.shape[1]} columns of expression and {len(genes)} gene names; give a name a "
            "column"
        )
