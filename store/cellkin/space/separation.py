"""Contributions of genes to the direction that separates two groups of cells; exact.

The centers of the groups are means of linear images of cells, so their difference is a sum over
genes. The score is its length: the sum of the contributions.
"""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from cellkin.space.arrays import BoolVector, CsrMatrix, Float32Matrix, Int64Vector
from cellkin.space.attribution import placed
from cellkin.space.expression import CLIP, PER_CELL, ExpressionColumns, ExpressionSpace, by_gene
from cellkin.space.projection import CellSpace, Float64Vector, GeneColumns, chosen_genes


def mean_z_scores(
    cells: CsrMatrix, columns: ExpressionColumns, space: ExpressionSpace, group: BoolVector
) -> Float64Vector:
    """Return the mean z-scores of a group of cells, those that `place_expression` projects.

    Parameters
    ----------
    cells, columns, space
        As in `cellkin.space.expression.place_expression`.
    group
        (n_cells,) bool.

    Returns
    -------
    Float64Vector
        (n_variable,) float64, 0 for genes that were not measured. Empty cells do not count.
    """
    ours, rows = by_gene(cells, columns)
    ours = sp.csr_matrix(ours[group], dtype=np.float64)
    totals = np.asarray(ours.sum(axis=1)).ravel()
    ours, totals = ours[totals > 0], totals[totals > 0]
    per_cell = PER_CELL * space.shares[rows].sum(dtype=np.float64)
    at = np.minimum(np.searchsorted(rows, space.variable), max(len(rows) - 1, 0))
    measured = rows[at] == space.variable if len(rows) else np.zeros(len(space.variable), bool)
    variable = sp.csr_matrix(ours[:, at[measured]])
    means = space.means[measured].astype(np.float64)
    deviations = space.deviations[measured].astype(np.float64)
    zeros = np.minimum(-means / deviations, CLIP)
    logs = np.log1p(variable.data * np.repeat(per_cell / totals, np.diff(variable.indptr)))
    scores = np.minimum((logs - means[variable.indices]) / deviations[variable.indices], CLIP)
    scores -= zeros[variable.indices]
    sums = np.bincount(variable.indices, scores, minlength=len(zeros))
    found = np.zeros(len(space.variable))
    found[measured] = sums / max(len(totals), 1) + zeros * (len(totals) > 0)
    return found


def mean_shares(
    cells: CsrMatrix, columns: GeneColumns, space: CellSpace, group: BoolVector
) -> Float64Vector:
    """Return (n_genes of the text space,) float64 mean shares of genes in a group's cells.

    Parameters
    ----------
    cells, columns, space
        As in `cellkin.space.projection.weighted_means`.
    group
        (n_cells,) bool.
    """
    sums, n_cells = np.zeros(len(space.gene_ids)), 0
    chosen: Iterable[tuple[Int64Vector, Float64Vector]] = chosen_genes(cells[group], columns, space)
    for genes, shares in chosen:
        sums[genes] += shares
        n_cells += len(genes) > 0
    return sums / max(n_cells, 1)


def separate_expression(
    a: Float64Vector, b: Float64Vector, space: ExpressionSpace
) -> tuple[Float64Vector, float]:
    """Return the contributions of the variable genes in an expression space, and the score.

    Parameters
    ----------
    a, b
        (n_variable,) float64 mean z-scores of the groups.
    space
        The space.

    Returns
    -------
    tuple
        (n_variable,) float64, and the distance of the groups' centers, which is their sum.
    """
    return _separate(a - b, space.loadings)


def separate_text(
    a: Float64Vector, b: Float64Vector, space: CellSpace
) -> tuple[Float64Vector, float]:
    """Return the contributions of genes in a text space, and the score.

    Parameters
    ----------
    a, b
        (n_genes,) float64 mean shares of the groups.
    space
        The space.

    Returns
    -------
    tuple
        As in `separate_expression`, over the genes of the space.
    """
    found, used = np.zeros(len(a)), np.flatnonzero((a != 0) | (b != 0))
    found[used], score = _separate((a - b)[used], placed(space.vectors[used], space))
    return found, score


def _separate(
    weights: Float64Vector, vectors: Float32Matrix | npt.NDArray[np.float64]
) -> tuple[Float64Vector, float]:
    vectors = vectors.astype(np.float64)
    difference = weights @ vectors
    score = float(np.linalg.norm(difference))
    if not score:
        return np.zeros(len(weights)), 0.0
    return weights * (vectors @ (difference / score)), score
