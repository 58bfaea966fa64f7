"""Which gene sets a list, a ranking or a contrast is enriched in.

The statistic of a set is the mean of its genes' statistics minus that of all genes: a sum over
genes, and over cells too where the statistics are of `GeneRanks`. Permutations of both are tested
without drawing any: see `cellkin.space.permutation_tests`.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.special import stdtr

from cellkin.space.arrays import BoolVector, CsrMatrix, Float32Vector, Int64Vector
from cellkin.space.compiled import compiled
from cellkin.space.contrasts import Float64Matrix, GeneRanks
from cellkin.space.permutation_tests import (
    SETS_AT_ONCE,
    SetTests,
    drawn_moments,
    normal_scores,
    set_tests,
)
from cellkin.space.projection import Float64Vector

CALLED_FDR = 0.05
"""A set is called if all its false discovery rates are at most this."""


def members_of(
    indptr: Int64Vector, gene_ids: Int64Vector, weights: Float32Vector, genes: Int64Vector
) -> CsrMatrix:
    """Return the weights of sets over the genes tested.

    Parameters
    ----------
    indptr
        (n_sets + 1,) int64, start of each set in ``gene_ids``.
    gene_ids, weights
        (n_members,) int64 NCBI GeneIDs and float32 weights.
    genes
        (n_genes,) int64 NCBI GeneIDs of the genes tested, ascending.

    Returns
    -------
    CsrMatrix
        (n_sets, n_genes) float64.
    """
    at = np.searchsorted(genes, gene_ids)
    met = at < len(genes)
    met[met] = genes[at[met]] == gene_ids[met]
    rows = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))[met]
    entries = weights[met].astype(np.float64), (rows, at[met])
    return sp.csr_matrix(entries, shape=(len(indptr) - 1, len(genes)))


@dataclass(frozen=True)
class Overlaps:
    """The over-representation of sets in a list of genes, each (n_sets,).

    Parameters
    ----------
    n_listed
        Genes of the set in the list.
    odds_ratios
        Odds of being in the set, of the listed genes to the others; 1/2 added to each count.
    p_values
        Probability of at least as many genes if the list was drawn from the universe.
    """

    n_listed: Int64Vector
    odds_ratios: Float64Vector
    p_values: Float64Vector


def over_representation(
    sizes: Int64Vector, n_listed: Int64Vector, n: int | Int64Vector, n_all: int | Int64Vector
) -> Overlaps:
    """Test whether a list of genes has more genes of a set than chance would give.

    Parameters
    ----------
    sizes
        (n_sets,) int64 genes of each set in the universe.
    n_listed
        (n_sets,) int64 genes of each set in the list.
    n, n_all
        Number of genes in the list and in the universe, which contains the list; one number, or
        (n_sets,) int64.
    """
    from scipy.stats import hypergeom  # half a second, and only this needs it

    p_values = hypergeom.sf(n_listed - 1, n_all, sizes, n)
    both, only_set = n_listed + 0.5, sizes - n_listed + 0.5
    only_list, neither = n - n_listed + 0.5, n_all - sizes - n + n_listed + 0.5
    odds = both * neither / (only_set * only_list)
    return Overlaps(n_listed, odds, np.clip(p_values, 0.0, 1.0))


@dataclass(frozen=True)
class SetTester:
    """Tests sets by the statistics of their genes.

    Parameters
    ----------
    members
        (n_sets, n_genes) CSR of ones; no set is empty or has all genes.
    """

    members: CsrMatrix

    @property
    def sizes(self) -> Int64Vector:
        """(n_sets,) int64 genes of each set."""
        sizes: Int64Vector = np.diff(self.members.indptr).astype(np.int64)
        return sizes

    def differences(self, values: Float64Matrix) -> Float64Matrix:
        """Return the mean of each set's genes minus that of all genes.

        Parameters
        ----------
        values
            (n_genes,) or (n_genes, n_groups) float64.
        """
        means = np.asarray((self.members @ values).T / self.sizes).T
        return np.asarray(means - values.mean(axis=0))

    def against_genes(self, values: Float64Matrix) -> SetTests:
        """Test sets against random sets of as many genes: the null of exchangeable genes.

        Parameters
        ----------
        values
            As in `differences`.
        """
        scores = normal_scores(values)
        n, sizes = len(values), _column(self.sizes, values)
        squares, cubes = (scores**2).sum(axis=0), (scores**3).sum(axis=0)
        return set_tests(self.differences(scores) * sizes, *drawn_moments(sizes, n, squares, cubes))

    def of_cells(self, ranks: GeneRanks, chosen: Int64Vector) -> Iterator[Float64Matrix]:
        """Yield the statistics of sets in cells: the mean rank of their genes less that of all.

        Parameters
        ----------
        ranks
            The cells.
        chosen
            (n_chosen,) int64, the cells wanted.

        Yields
        ------
        Float64Matrix
            (n, n_chosen), of the next n sets.
        """
        cells = sp.csr_matrix(ranks.scores[:, chosen].T)
        mean_of_zeros = float(ranks.zeros.mean())
        for start in range(0, len(self.sizes), SETS_AT_ONCE):
            members = self.members[start : start + SETS_AT_ONCE]
            shares = 1.0 / np.diff(members.indptr)
            by_gene = sp.csr_matrix(members.T)
            parts = np.empty((len(shares), len(chosen)))
            _sum_parts(
                cells.indptr, cells.indices, cells.data, by_gene.indptr, by_gene.indices, shares,
                (members @ ranks.zeros) * shares - mean_of_zeros, parts,
            )  # fmt: skip
            yield parts


@compiled
def _sum_parts(indptr, genes, scores, starts, sets, shares, of_zeros, parts):
    """Write the statistic of each set in each cell."""
    n_genes = len(starts) - 1
    sums = np.empty(len(shares), np.float64)
    for cell in range(len(indptr) - 1):
        sums[:] = 0.0
        total = 0.0
        for at in range(indptr[cell], indptr[cell + 1]):
            gene, score = genes[at], np.float64(scores[at])
            total += score
            for other in range(starts[gene], starts[gene + 1]):
                sums[sets[other]] += score
        for s in range(len(shares)):
            parts[s, cell] = sums[s] * shares[s] + of_zeros[s] - total / n_genes


def _column(of_sets: Any, values: Float64Matrix) -> Float64Matrix:
    """Return (n_sets,) float64 as a column if there is a column of values for each group."""
    vector = np.asarray(of_sets, np.float64)
    return vector if values.ndim == 1 else vector[:, None]


def false_discovery_rates(p_values: Float64Matrix) -> Float64Matrix:
    """Return Benjamini-Hochberg's false discovery rates, each column on its own.

    Parameters
    ----------
    p_values
        (n_tests,) or (n_tests, n_columns) float64 in [0, 1].

    Returns
    -------
    Float64Matrix
        The same shape and order; empty input is returned as it is.

    Raises
    ------
    ValueError
        If a value is NaN or outside [0, 1].
    """
    from scipy.stats import false_discovery_control  # half a second, and only this needs it

    if not len(p_values):
        return p_values
    return np.asarray(false_discovery_control(p_values, axis=0))


def called(*rates: Float64Matrix) -> BoolVector:
    """Return whether every false discovery rate is at most `CALLED_FDR`."""
    return np.asarray(np.logical_and.reduce([rate <= CALLED_FDR for rate in rates]))


def activities(weights: CsrMatrix, values: Float64Vector) -> tuple[Float64Vector, Float64Vector]:
    """Estimate the activities of regulators by univariate linear models (ULM).

    The genes' values are regressed on the weights of one regulator's targets, 0 for other genes.

    Parameters
    ----------
    weights
        (n_regulators, n_genes) CSR float64, signed.
    values
        (n_genes,) float64 statistics of the genes.

    Returns
    -------
    tuple
        (n_regulators,) t statistics of the slopes, 0 without variance; and two-sided p-values.
    """
    n = len(values)
    centered = values - values.mean()
    means = np.asarray(weights.mean(axis=1)).ravel()
    squares = np.asarray(weights.multiply(weights).sum(axis=1)).ravel() - n * means**2
    below = np.sqrt(squares * (centered @ centered))
    some = below > 1e-12
    r = np.where(some, (weights @ centered) / np.where(some, below, 1.0), 0.0)
    t = r * np.sqrt((n - 2) / np.maximum(1 - r**2, 1e-300))
    return t, np.minimum(1.0, 2 * stdtr(n - 2, -np.abs(t)))
