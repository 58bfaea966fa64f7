"""By which routes the expression of cells came in: `GeneMatch.route_shares`, compiled."""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

import numpy as np

from cellkin.space.arrays import CsrMatrix, Float32Matrix, frozen
from cellkin.space.compiled import compiled
from cellkin.wire.errors import InvalidArgumentError
from cellkin.wire.match import GeneMatch, row_shares
from cellkin.wire.terms import GeneRoute

# Most values are of one route, and would wait for each other in a single sum. Unsigned numbers are
# no places counted from the end, for which numba would look.
_LANES, _N_ROUTES = np.uint32(4), np.uint32(len(GeneRoute))


def route_shares(cells: CsrMatrix, match: GeneMatch) -> Float32Matrix:
    """Return the share of each cell's expression that came in by each route.

    Parameters
    ----------
    cells
        (n_cells, n_names) CSR, linear expression: finite and not negative.
    match
        How the names of the columns met the corpus.

    Returns
    -------
    Float32Matrix
        (n_cells, n_routes) in [0, 1], a column a `GeneRoute`. Rows add up to 1; they are zero where
        a cell expresses nothing.

    Raises
    ------
    InvalidArgumentError
        If the cells have another number of columns.
    """
    if cells.shape[1] != match.n_given:
        raise InvalidArgumentError(
            f"cells of {cells.shape[1]} columns; {match.n_given} names were matched"
        )
    sums = np.zeros((cells.shape[0], len(GeneRoute)))
    _add(
        frozen(np.ascontiguousarray(cells.indptr, np.int64)),
        frozen(np.ascontiguousarray(cells.indices, np.int32)),
        frozen(np.ascontiguousarray(cells.data, np.float32)),
        frozen(match.counted_routes),
        sums,
    )
    return row_shares(sums)


@compiled
def _add(indptr, indices, values, routes, sums):
    """Add the values of each cell to the sum of their columns' route."""
    lanes = np.empty(_LANES * _N_ROUTES, np.float64)
    for cell in range(len(sums)):
        begin, end = indptr[cell], indptr[cell + 1]
        columns, x = indices[begin:end], values[begin:end]
        lanes[:] = 0.0
        for i in range(len(x)):
            lane = np.uint32(i) % _LANES
            lanes[lane * _N_ROUTES + routes[np.uint32(columns[i])]] += x[i]
        for i in range(len(lanes)):
            sums[cell, i % _N_ROUTES] += lanes[i]
