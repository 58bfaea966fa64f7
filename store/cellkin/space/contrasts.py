"""Compare two groups of cells gene by gene: ranks, profiles, pseudobulk, contributions.

The test of genes is Wilcoxon's rank-sum test with the correction for ties. The ranks of every gene
are standardized over all cells, so that its statistic is a sum over the cells of a group: linear in
the group's membership. The statistics for other memberships, such as permuted ones, are one sparse
product, and the statistics of gene sets are linear too; see `cellkin.space.enrichment`.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from scipy.special import ndtr, stdtr

from cellkin.space.arrays import BoolVector, CsrMatrix, Int64Vector
from cellkin.space.compiled import compiled
from cellkin.space.expression import PER_CELL
from cellkin.space.projection import Float64Vector

MIN_BATCHES = 3
"""Minimum batches a side for the pseudobulk test."""

Float64Matrix = npt.NDArray[np.float64]


def per_ten_thousand(cells: CsrMatrix) -> CsrMatrix:
    """Scale each cell to a total of 10,000 (CP10k).

    Parameters
    ----------
    cells
        (n_cells, n_genes) CSR, linear expression: finite and not negative.

    Returns
    -------
    CsrMatrix
        (n_cells, n_genes) CSR float32 without stored zeros; empty cells stay empty.
    """
    scaled = sp.csr_matrix(cells, dtype=np.float32, copy=True)
    scaled.sum_duplicates()
    totals = np.asarray(scaled.sum(axis=1, dtype=np.float64)).ravel()
    factors = np.divide(PER_CELL, totals, out=np.zeros_like(totals), where=totals > 0)
    _scale(scaled.indptr, scaled.data, factors.astype(np.float32))
    if not scaled.data.all():
        scaled.eliminate_zeros()
    return scaled


@compiled
def _scale(indptr, data, factors):
    """Multiply the values of each cell by its factor."""
    for cell in range(len(factors)):
        for i in range(indptr[cell], indptr[cell + 1]):
            data[i] *= factors[cell]


@dataclass(frozen=True)
class GeneRanks:
    """The cells' ranks in every gene, standardized to mean 0 and variance 1 over all cells.

    The value of a cell is ``scores[cell, gene] + zeros[gene]``: cells that do not express a gene
    share a mean rank and are not stored.

    Parameters
    ----------
    scores
        (n_genes, n_cells) CSR float32.
    zeros
        (n_genes,) float64.
    """

    scores: CsrMatrix
    zeros: Float64Vector

    @classmethod
    def of(cls, cells: CsrMatrix) -> "GeneRanks":
        """Rank cells.

        Parameters
        ----------
        cells
            (n_cells, n_genes) CSR, normalized expression, not negative and without stored zeros.
            Any increasing function of it has the same ranks.
        """
        n_cells = cells.shape[0]
        # The same arrays as rows by gene: one conversion serves for ranking and for products.
        genes = sp.csr_matrix(sp.csc_matrix(cells).T).astype(np.float32)
        zeros = np.empty(genes.shape[0])
        _rank(genes.indptr, genes.data, n_cells, zeros)
        return cls(genes, zeros)

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return int(self.scores.shape[1])

    def statistics(self, groups: npt.NDArray[np.bool_]) -> Float64Matrix:
        """Return Wilcoxon's z of groups of cells against all other cells.

        Parameters
        ----------
        groups
            (n_cells, n_groups) bool; a group is neither empty nor all cells.

        Returns
        -------
        Float64Matrix
            (n_genes, n_groups), positive where the group's cells express more; 0 for a gene that
            no cell expresses.
        """
        sizes = groups.sum(axis=0)
        sums = (self.scores @ groups.astype(np.float32)).astype(np.float64)
        sums += self.zeros[:, None] * sizes
        return np.asarray(sums / np.sqrt(sizes * (self.n_cells - sizes) / (self.n_cells - 1)))


@compiled
def _rank(indptr, values, n_cells, zeros):
    """Replace values by standardized ranks minus that of a zero, and write the latter."""
    for gene in range(len(indptr) - 1):
        own = values[indptr[gene] : indptr[gene + 1]]
        n = len(own)
        zeros[gene] = 0.0
        if n == 0:
            continue
        n_zero = n_cells - n
        order = np.argsort(own, kind="mergesort")
        ranks = np.empty(n, np.float64)
        ties = float(n_zero) ** 3 - n_zero
        begin = 0
        while begin < n:
            end = begin + 1
            while end < n and own[order[end]] == own[order[begin]]:
                end += 1
            for at in range(begin, end):
                ranks[order[at]] = n_zero + (begin + end + 1) / 2.0
            ties += float(end - begin) ** 3 - (end - begin)
            begin = end
        variance = (float(n_cells) ** 2 - 1.0) / 12.0 - ties / (12.0 * n_cells)
        if variance <= 1e-9:
            own[:] = 0.0
            continue
        deviation = np.sqrt(variance)
        rank_of_zero = (n_zero + 1) / 2.0
        zeros[gene] = (rank_of_zero - (n_cells + 1) / 2.0) / deviation
        for at in range(n):
            # Without zeros the stored value is relative to rank 1/2, which no cell has.
            own[at] = (ranks[at] - rank_of_zero) / deviation


def normal_p_values(z: Float64Vector) -> Float64Vector:
    """Return two-sided p-values of standard normal statistics."""
    return np.asarray(2 * ndtr(-np.abs(z)))


@dataclass(frozen=True)
class GroupMeans:
    """Expression of every gene in one group of cells, each (n_genes,) float64.

    Parameters
    ----------
    n_cells
        Number of cells.
    log
        Mean ln(1 + CP10k).
    linear
        Mean CP10k.
    detected
        Share of cells that express the gene, in [0, 1].
    """

    n_cells: int
    log: Float64Vector
    linear: Float64Vector
    detected: Float64Vector

    @classmethod
    def of(cls, scaled: CsrMatrix, group: BoolVector) -> "GroupMeans":
        """Average cells.

        Parameters
        ----------
        scaled
            (n_cells, n_genes) CSR float32 in CP10k; see `per_ten_thousand`.
        group
            (n_cells,) bool.
        """
        n, member = int(group.sum()), group.astype(np.float64)
        logs = sp.csr_matrix((np.log1p(scaled.data), scaled.indices, scaled.indptr), scaled.shape)
        ones = sp.csr_matrix(
            (np.ones(scaled.nnz, np.float32), scaled.indices, scaled.indptr), scaled.shape
        )
        sums = [np.asarray(matrix.T @ member) / max(n, 1) for matrix in (logs, scaled, ones)]
        return cls(n, *sums)


def log2_fold_changes(a: GroupMeans, b: GroupMeans) -> Float64Vector:
    """Return (n_genes,) log2 of the ratio of mean CP10k, 1 added to each."""
    return np.asarray(np.log2((a.linear + 1) / (b.linear + 1)))


def pseudobulk_p_values(
    cells: CsrMatrix, batches: Int64Vector, group: BoolVector
) -> Float64Vector | None:
    """Test genes between the batches of two groups, each batch summed to one profile.

    A Welch test of ln(1 + CP10k) of the sums. Batches, not cells, are the replicates.

    Parameters
    ----------
    cells
        (n_cells, n_genes) CSR, linear expression, with the cells' own totals.
    batches
        (n_cells,) int64 codes of donors or batches, -1 for none.
    group
        (n_cells,) bool, group a; others are group b. A batch with cells in both gives each a
        profile.

    Returns
    -------
    Float64Vector or None
        (n_genes,) two-sided p-values, 1 without variance; None with fewer than `MIN_BATCHES` a
        side.
    """
    known = batches >= 0
    codes, at = np.unique(batches[known] * 2 + group[known], return_inverse=True)
    in_a = codes % 2 == 1
    n_a, n_b = int(in_a.sum()), int((~in_a).sum())
    if min(n_a, n_b) < MIN_BATCHES:
        return None
    rows = np.flatnonzero(known)
    chosen = sp.csr_matrix((np.ones(len(rows)), (at, rows)), shape=(len(codes), cells.shape[0]))
    sums = np.asarray((chosen @ cells).todense(), np.float64)
    logs = np.log1p(sums * (PER_CELL / np.maximum(sums.sum(axis=1, keepdims=True), 1e-12)))
    a, b = logs[in_a], logs[~in_a]
    return welch(
        (a.mean(axis=0), a.var(axis=0, ddof=1), n_a), (b.mean(axis=0), b.var(axis=0, ddof=1), n_b)
    )[1]


def welch(
    a: tuple[Float64Vector, Float64Vector, int], b: tuple[Float64Vector, Float64Vector, int]
) -> tuple[Float64Vector, Float64Vector]:
    """Return Welch's t and its two-sided p-value.

    Parameters
    ----------
    a, b
        Means, variances (n - 1 in the denominator) and number of values of each group.

    Returns
    -------
    tuple
        (n_genes,) t, positive where ``a`` is higher, 0 without variance; and p, 1 without variance.
    """
    (mean_a, var_a, n_a), (mean_b, var_b, n_b) = a, b
    part_a, part_b = var_a / n_a, var_b / n_b
    error = part_a + part_b
    some = error > 1e-12
    safe = np.where(some, error, 1.0)
    t = np.where(some, (mean_a - mean_b) / np.sqrt(safe), 0.0)
    below = part_a**2 / max(n_a - 1, 1) + part_b**2 / max(n_b - 1, 1)
    freedom = np.where(some, safe**2 / np.where(below > 0, below, 1.0), 1.0)
    return t, np.where(some, np.minimum(1.0, 2 * stdtr(freedom, -np.abs(t))), 1.0)
