"""Evidence beside the explanation of a group of cells: expression, and nearest reference cells."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from cellkin.client.client import Client
from cellkin.client.queries import WholeQuery, evenly
from cellkin.client.results.tables import Shown
from cellkin.matrices.matrix import MAX_CELLS
from cellkin.wire.match import GeneMatch
from cellkin.wire.terms import ExpressionUnits, TextRung

_PER = 1e4
_CELLS = 64
_NEIGHBORS = 10
_NEAREST = 5


@dataclass(frozen=True, repr=False)
class GroupExpression(Shown):
    """Expression of genes in and out of a group of cells; arrays are (n_genes,) float32.

    Parameters
    ----------
    means_in, means_out
        Mean log1p of counts per 10,000 over the cells of the group, and over all other cells; NaN
        if there are none.
    detected_in, detected_out
        Share of these cells in which the gene is detected, in [0, 1].
    """

    means_in: npt.NDArray[np.float32]
    means_out: npt.NDArray[np.float32]
    detected_in: npt.NDArray[np.float32]
    detected_out: npt.NDArray[np.float32]


@dataclass(frozen=True, repr=False)
class NearestCell(Shown):
    """A reference cell among the 10 nearest of a group's cells.

    Parameters
    ----------
    cell_id, label, batch
        Its name, label, and donor or batch.
    n_cells
        Number of the group's drawn cells of which it is among the 10 nearest.
    n_drawn
        Number of the group's drawn cells, up to 64.
    similarity
        Its mean cosine similarity to them, in [-1, 1].
    """

    cell_id: str
    label: str
    batch: str
    n_cells: int
    n_drawn: int
    similarity: float


class GeneColumns:
    """The columns of a query by gene.

    Parameters
    ----------
    match
        Match of the query's gene names.
    """

    def __init__(self, match: GeneMatch) -> None:
        self._match = match

    def texts(self, gene_ids: npt.NDArray[np.int64]) -> tuple[str, ...]:
        """Return the text source of genes; empty for genes that the query lacks."""
        rungs = dict(zip(self._match.gene_ids.tolist(), self._match.rungs.tolist(), strict=True))
        found = [rungs.get(gene_id, 0) for gene_id in gene_ids.tolist()]
        return tuple(TextRung(rung).label if rung else "" for rung in found)

    def picked(self, gene_ids: npt.NDArray[np.int64]) -> sp.csr_matrix:
        """Return the (n_columns, n_genes) matrix by which columns are summed to genes."""
        at = {gene_id: place for place, gene_id in enumerate(gene_ids.tolist())}
        columns = [column for column, i in enumerate(self._match.gene_ids.tolist()) if i in at]
        genes = [at[gene_id] for gene_id in self._match.gene_ids[columns].tolist()]
        ones = np.ones(len(columns), np.float32)
        shape = (len(self._match.gene_ids), len(gene_ids))
        return sp.csr_matrix((ones, (columns, genes)), shape=shape)


def expression_of_groups(
    query: WholeQuery,
    codes: npt.NDArray[np.integer[Any]],
    columns: GeneColumns,
    gene_ids: list[npt.NDArray[np.int64]],
) -> list[GroupExpression]:
    """Return the expression of each group's genes in and out of the group.

    Parameters
    ----------
    query
        The cells.
    codes
        (n_cells,) group of each cell, -1 for none.
    columns
        The columns of the query by gene.
    gene_ids
        The genes of each group.
    """
    wanted = np.unique(np.concatenate([np.empty(0, np.int64), *gene_ids]))
    n_groups, picked = len(gene_ids), columns.picked(wanted)
    sums, detected = (np.zeros((n_groups + 1, len(wanted))) for _ in range(2))
    done = 0
    for block in query.blocks(MAX_CELLS):
        totals = np.asarray(block.cells.sum(axis=1), np.float64).ravel()
        genes = sp.csr_matrix(block.cells @ picked, dtype=np.float64)
        scale = np.divide(_PER, totals, where=totals > 0, out=np.zeros(len(totals)))
        values = sp.diags(scale) @ genes
        # Cells of no group are in the last row.
        of = codes[done : done + len(totals)]
        rows = np.where(of < 0, n_groups, of)
        ones = np.ones(len(rows))
        member = sp.csr_matrix((ones, (rows, np.arange(len(rows)))), (n_groups + 1, len(rows)))
        sums += (member @ values.log1p()).toarray()
        detected += (member @ (genes > 0).astype(np.float64)).toarray()
        done += len(totals)
    counts = np.bincount(np.where(codes < 0, n_groups, codes), minlength=n_groups + 1)
    return [
        _in_and_out(group, np.searchsorted(wanted, ids), counts, sums, detected)
        for group, ids in enumerate(gene_ids)
    ]


def _in_and_out(group: int, at: Any, counts: Any, sums: Any, detected: Any) -> GroupExpression:
    n_in = counts[group]
    n_out = counts.sum() - n_in

    def shares(values: Any) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        own, every = values[group, at], values[:, at].sum(axis=0)
        none = np.full(len(own), np.nan, np.float32)
        inside = (own / n_in).astype(np.float32) if n_in else none
        return inside, ((every - own) / n_out).astype(np.float32) if n_out else none

    means, found = shares(sums), shares(detected)
    return GroupExpression(*means, *found)


def nearest_cells(
    client: Client,
    query: WholeQuery,
    rows: npt.NDArray[np.int64],
    index: str,
    taxon: int | str,
    space: str,
) -> tuple[NearestCell, ...]:
    """Return the reference cells that are nearest to most of a group's cells.

    Parameters
    ----------
    client
        The client.
    query
        The cells.
    rows
        (n_cells,) int64 rows of the group; up to 64 of them, evenly spaced, are searched for.
    index, taxon, space
        The index, the species of the cells, and the space of the comparison.

    Returns
    -------
    tuple of NearestCell
        Up to 5, nearest to most cells first, then by similarity.
    """
    drawn = evenly(rows, _CELLS)
    hits = client.search_cells(
        index, query.chosen(drawn), k=_NEIGHBORS, genes=query.gene_names,
        units=ExpressionUnits.LINEAR, taxon=taxon, space=space,
    ).hits  # fmt: skip
    places = {row: at for at, row in enumerate(hits.rows.tolist())}
    counts: Counter[int] = Counter(hits.rows.tolist())
    means = {row: float(hits.similarities[hits.rows == row].mean()) for row in counts}
    best = sorted(counts, key=lambda row: (-counts[row], -means[row], row))[:_NEAREST]
    return tuple(
        NearestCell(
            hits.cell_ids[places[row]], hits.labels[places[row]], hits.batches[places[row]],
            counts[row], len(drawn), means[row],
        )
        for row in best
    )  # fmt: skip
