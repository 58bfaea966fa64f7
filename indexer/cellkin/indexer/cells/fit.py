"""Fit a text space: gene vectors and weights, from a gene embedding and a reference."""

from dataclasses import dataclass

import numpy as np

from cellkin.space.arrays import Float32Matrix, Int64Vector, UInt8Vector
from cellkin.space.projection import CellSpace
from cellkin.space.recipe import Recipe
from cellkin.space.vectors import (
    carry_weights,
    centered_unit_rows,
    inverse_detection,
    whiten,
)
from cellkin.store.store import GeneEmbedding
from cellkin.wire.terms import TextRung

# A name is less informative than a paragraph: genes with only a name are left out, unless they have
# most of the reference's expression.
_ENOUGH_MASS = 0.5


@dataclass(frozen=True)
class GeneStatistics:
    """Statistics of genes in a sample of a reference's cells, by row of the embedding.

    Parameters
    ----------
    n_cells
        (n_genes,) int64, sampled cells in which each gene was measured.
    n_detected
        (n_genes,) int64, cells with a value above zero.
    mass
        (n_genes,) float64, summed linear expression.
    measured
        (n_genes,) bool, genes that have a column in the reference.
    """

    n_cells: Int64Vector
    n_detected: Int64Vector
    mass: np.ndarray[tuple[int], np.dtype[np.float64]]
    measured: np.ndarray[tuple[int], np.dtype[np.bool_]]


def deepest_rung(
    rungs: UInt8Vector, mass: np.ndarray[tuple[int], np.dtype[np.float64]]
) -> TextRung:
    """Return the last text source whose genes are used.

    Parameters
    ----------
    rungs
        (n_genes,) uint8, `TextRung` of each gene.
    mass
        (n_genes,) float64, summed expression of each gene in the reference.
    """
    described = mass[rungs <= TextRung.ORTHOLOG_SUMMARY].sum()
    enough = described >= _ENOUGH_MASS * mass.sum()
    return TextRung.ORTHOLOG_SUMMARY if enough else TextRung.DESIGNATIONS


def unfitted_space(
    recipe: Recipe, embedding: GeneEmbedding, rungs: UInt8Vector, statistics: GeneStatistics
) -> CellSpace:
    """Return the text space of a reference without the parts that depend on its labels.

    Parameters
    ----------
    recipe
        The recipe of the space.
    embedding
        The gene embedding.
    rungs
        (n_genes,) uint8 `TextRung` of each gene, by row of the embedding.
    statistics
        Gene statistics of the reference, by row of the embedding.
    """
    keep = np.flatnonzero(rungs <= deepest_rung(rungs, statistics.mass))
    return fit_space(recipe, embedding, keep, statistics)


def fit_space(
    recipe: Recipe, embedding: GeneEmbedding, keep: Int64Vector, statistics: GeneStatistics
) -> CellSpace:
    """Fit the gene vectors and weights of a text space; its center stays zero.

    Parameters
    ----------
    recipe
        The recipe of the space.
    embedding
        The gene embedding.
    keep
        Rows of the embedding to use, ascending.
    statistics
        Gene statistics of the reference, by row of the embedding.
    """
    vectors = _gene_vectors(recipe, embedding.vectors[keep])
    measured = statistics.measured[keep]
    if recipe.gene_weighting == "idf":
        rows = np.flatnonzero(measured)
        n_cells, n_detected = statistics.n_cells[keep][rows], statistics.n_detected[keep][rows]
        idf = inverse_detection(n_cells, n_detected)
        weights = carry_weights(vectors, rows, idf, recipe.carry_k, recipe.carry_temperature)
    else:  # uniform weights, or weights fitted to labels later
        weights = np.ones(len(vectors), np.float32)
    return CellSpace(
        recipe,
        embedding.gene_ids[keep],
        embedding.taxa[keep],
        vectors,
        weights,
        measured,
        np.zeros(vectors.shape[1], np.float32),
    )


def _gene_vectors(recipe: Recipe, vectors: Float32Matrix) -> Float32Matrix:
    if recipe.whitening_shrinkage is None:
        return centered_unit_rows(vectors)
    return whiten(vectors, recipe.whitening_shrinkage)
