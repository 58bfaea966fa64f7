"""From the names of a matrix to the genes of a cell space."""

from dataclasses import replace

import numpy as np

from cellkin.space.arrays import Int64Vector, UInt8Vector
from cellkin.space.genes import Resolution
from cellkin.space.projection import CellSpace
from cellkin.wire.match import GeneMatch
from cellkin.wire.terms import TextRung


def match_genes(
    resolution: Resolution, gene_ids: Int64Vector, rungs: UInt8Vector, space: CellSpace
) -> tuple[GeneMatch, Int64Vector]:
    """Say of each name what it met, and which row of the space it counts for.

    Parameters
    ----------
    resolution
        The names as `GeneResolver.resolve` read them.
    gene_ids, rungs
        (n_genes,) of the corpus: int64 NCBI GeneIDs, uint8 `TextRung`.
    space
        The cell space.

    Returns
    -------
    match
        The report.
    rows
        (n_names,) int64 rows of the space, -1 where a name does not count.
    """
    match = match_texts(resolution, gene_ids, rungs)
    rows = space.rows_of(match.gene_ids)
    return replace(match, in_space=(rows >= 0).astype(np.uint8)), rows


def match_texts(resolution: Resolution, gene_ids: Int64Vector, rungs: UInt8Vector) -> GeneMatch:
    """Say of each name what it met, where every gene with a text counts.

    Parameters
    ----------
    resolution
        The names as `GeneResolver.resolve` read them.
    gene_ids, rungs
        (n_genes,) of the corpus: int64 NCBI GeneIDs, uint8 `TextRung`.

    Returns
    -------
    GeneMatch
        The report; ``in_space`` says which genes have a text.
    """
    met = resolution.rows >= 0
    ids, texts = np.zeros(len(met), np.int64), np.zeros(len(met), np.uint8)
    ids[met], texts[met] = gene_ids[resolution.rows[met]], rungs[resolution.rows[met]]
    has_text = met & (texts != TextRung.NONE)
    return GeneMatch(
        resolution.taxon,
        resolution.taxon_inferred,
        ids,
        resolution.routes,
        texts,
        has_text.astype(np.uint8),
    )
