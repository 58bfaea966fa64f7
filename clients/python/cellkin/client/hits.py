"""Hits of cells as arrays for AnnData, and as one table."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cellkin.client.results.cells import CellHits


def rectangles(hits: CellHits, k: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Return hits as arrays with one row per query.

    Parameters
    ----------
    hits
        Hits of n_queries queries.
    k
        Maximum number of hits per query.

    Returns
    -------
    rows
        (n_queries, k) int64 rows of the reference, -1 if there are fewer.
    similarities
        (n_queries, k) float32 cosine similarities, NaN if there are fewer.
    """
    rows = np.full((len(hits.counts), k), -1, np.int64)
    similarities = np.full(rows.shape, np.nan, np.float32)
    there = np.arange(k) < hits.counts[:, None]
    rows[there], similarities[there] = hits.rows, hits.similarities
    return rows, similarities


def joined(
    names: npt.NDArray[Any], rows: npt.NDArray[Any], cosines: npt.NDArray[Any], cells: pd.DataFrame
) -> pd.DataFrame:
    """Return one row per hit; see `cellkin.client.tl.hits_table`.

    Parameters
    ----------
    names
        (n_queries,) names of the query cells.
    rows, cosines
        (n_queries, k) arrays from `rectangles`.
    cells
        The reference cells among the hits: ``row``, ``cell_id``, ``label``, ``batch``.
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
