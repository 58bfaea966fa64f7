"""Fit a cell space: gene vectors, weights and centre, from an embedding and a reference."""

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

# A name says less than a paragraph: genes with no more than a name are left out, unless most of the
# reference's expression would go with them.
_ENOUGH_MASS = 0.5


@dataclass(frozen=True)
class GeneStatistics:
    """What a sample of a reference's cells says about its genes.

    Parameters
    ----------
    n_cells
        (n_genes,) int64, cells counted in which each gene was looked for.
    n_detected
        (n_genes,) int64, cells with a value above zero, by row of the embedding.
    mass
        (n_genes,) float64, summed expression.
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
    """Return the last rung of text whose genes take part.

    Parameters
    ----------
    rungs
        (n_genes,) uint8, the rung of each gene.
    mass
        (n_genes,) float64, the reference's expression of each gene.
    """
    described = mass[rungs <= TextRung.ORTHOLOG_SUMMARY].sum()
    enough = described >= _ENOUGH_MASS * mass.sum()
    return TextRung.ORTHOLOG_SUMMARY if enough else TextRung.DESIGNATIONS


def unfitted_space(
    recipe: Recipe, embedding: GeneEmbedding, rungs: UInt8Vector, statistics: GeneStatistics
) -> CellSpace:
    """Return the text space of a reference but for what depends on its labels.

    Parameters
    ----------
    recipe
        The choices.
    embedding
        The gene vectors.
    rungs
        (n_genes,) uint8 `TextRung` of each gene, by row of the embedding.
    statistics
        Of the reference, by row of the embedding.
    """
    keep = np.flatnonzero(rungs <= deepest_rung(rungs, statistics.mass))
    return fit_space(recipe, embedding, keep, statistics)


def fit_space(
    recipe: Recipe, embedding: GeneEmbedding, keep: Int64Vector, statistics: GeneStatistics
) -> CellSpace:
    """Fit all of a cell space but its centre, which is left at zero.

    Parameters
    ----------
    recipe
        The choices.
    embedding
        The gene vectors.
    keep
        Rows of the embedding that take part, ascending.
    statistics
        Of the reference, by row of the embedding.
    """
    vectors = _gene_vectors(recipe, embedding.vectors[keep])
    measured = statistics.measured[keep]
    if recipe.gene_weighting == "idf":
        rows = np.flatnonzero(measured)
        n_cells, n_detected = statistics.n_cells[keep][rows], statistics.n_detected[keep][rows]
        idf = inverse_detection(n_cells, n_detected)
        weights = carry_weights(vectors, rows, idf, recipe.carry_k, recipe.carry_temperature)
    else:  # alike, or by labels later
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
