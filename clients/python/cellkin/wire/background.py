"""Which cells of a query are its background: drawn evenly, in runs, for runs are read fast."""

import numpy as np

from cellkin.wire.terms import BACKGROUND_CELLS

WANTED_CELLS = 3072
"""Cells of a background; all of a query that has fewer."""
_RUN_CELLS = 128


def background_runs(n_cells: int, n_wanted: int = WANTED_CELLS) -> list[tuple[int, int]]:
    """Choose the cells of a background.

    Parameters
    ----------
    n_cells
        Cells of the query.
    n_wanted
        Cells wanted.

    Returns
    -------
    list
        Ranges of rows (start, stop), ascending and apart, spread evenly over the query: about
        ``n_wanted`` rows, all rows of a query of no more, none of one with fewer than
        `BACKGROUND_CELLS`.
    """
    if n_cells < BACKGROUND_CELLS:
        return []
    run = min(_RUN_CELLS, n_cells)
    starts = np.unique(np.linspace(0, n_cells - run, max(n_wanted // _RUN_CELLS, 1)).astype(int))
    ends = np.minimum(starts + run, np.append(starts[1:], n_cells))
    return list(zip(starts.tolist(), ends.tolist(), strict=True))
