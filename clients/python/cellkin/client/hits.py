"""Hits of cells as AnnData holds them, and as one table."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cellkin.client.results.cells import CellHits


def rectangles(hits: CellHits, k: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Return hits as one row a query.

    Parameters
    ----------
    hits
        Of n_queries.
    k
        The most hits of a query.

    Returns
    -------
    rows
        (n_queries, k) int64 rows of the reference, -1 where there are fewer.
    similarities
        (n_queries, k) float32 cosines, NaN there.
    """
    rows = np.full((len(hits.counts), k), -1, np.int64)
    similarities = np.full(rows.shape, np.nan, np.float32)
    there = np.arange(k) < hits.counts[:, None]
    rows[there], similarities[there] = hits.rows, hits.similarities
    return rows, similarities


def joined(
    names: npt.NDArray[Any], rows: npt.NDArray[Any], cosines: npt.NDArray[Any], cells: pd.DataFrame
) -> pd.DataFrame:
    """Return one row a hit: what `cellkin.client.tl.hits_table` says.

    Parameters
    ----------
    names
        (n_queries,) names of the cells that were asked about.
    rows, cosines
        (n_queries, k) as `rectangles` returns them.
    cells
        The reference cells met: ``row``, ``cell_id``, ``label``, ``batch``.
    """
    cell, rank = np.nonzero(rows >= 0)
    met = cells.set_index("row").loc[rows[cell, rank]]
    return pd.DataFrame(
        {
            "cell": names[cell],
            "rank": rank + 1,
            "neighbor": met["cell_id"].to_numpy(),
            "label": met["label"].to_numpy(),
            "batch": met["batch"].to_numpy(),
            "cosine": cosines[cell, rank],
        }
    )
