"""Choice of a query's background cells: evenly spaced runs of rows, which are fast to read."""

import numpy as np

from cellkin.wire.terms import BACKGROUND_CELLS

_RUN_CELLS = 128


def background_runs(n_cells: int, n_wanted: int) -> list[tuple[int, int]]:
    """Choose the background cells of a query.

    Parameters
    ----------
    n_cells
        Cells of the query.
    n_wanted
        Cells wanted.

    Returns
    -------
    list
        Ranges of rows (start, stop), ascending and disjoint, spread evenly over the query: about
        ``n_wanted`` rows; all rows if the query has no more; none if it has fewer than
        `BACKGROUND_CELLS`.
    """
    if n_cells < BACKGROUND_CELLS:
        return []
    run = min(_RUN_CELLS, n_cells)
    starts = np.unique(np.linspace(0, n_cells - run, max(n_wanted // _RUN_CELLS, 1)).astype(int))
    ends = np.minimum(starts + run, np.append(starts[1:], n_cells))
    return list(zip(starts.tolist(), ends.tolist(), strict=True))
