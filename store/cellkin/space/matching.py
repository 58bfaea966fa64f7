"""From the names of a matrix to the genes of a cell space."""

import numpy as np

from cellkin.space.arrays import Int64Vector, UInt8Vector
from cellkin.space.genes import Resolution
from cellkin.space.projection import CellSpace
from cellkin.wire.match import GeneMatch


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
    met = resolution.rows >= 0
    safe = np.where(met, resolution.rows, 0)
    ids = np.where(met, gene_ids[safe], 0) if len(gene_ids) else np.zeros(len(met), np.int64)
    rows = space.rows_of(ids)
    match = GeneMatch(
        resolution.taxon,
        resolution.taxon_inferred,
        ids.astype(np.int64),
        resolution.routes,
        np.where(met, rungs[safe], 0).astype(np.uint8)
        if len(rungs)
        else np.zeros(len(met), np.uint8),
        (rows >= 0).astype(np.uint8),
    )
    return match, rows
