"""Shares of expression by gene route: `GeneMatch.route_shares`, compiled."""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

import numpy as np

from cellkin.space.arrays import CsrMatrix, Float32Matrix, frozen
from cellkin.space.compiled import compiled
from cellkin.wire.errors import InvalidArgumentError
from cellkin.wire.match import GeneMatch, row_shares
from cellkin.wire.terms import GeneRoute

# Most values have the same route, and each addition to a single sum would wait for the one before.
# Unsigned indexes spare numba the check for negative ones.
_LANES, _N_ROUTES = np.uint32(4), np.uint32(len(GeneRoute))


def route_shares(cells: CsrMatrix, match: GeneMatch) -> Float32Matrix:
    """Return the share of each cell's expression that was matched by each route.

    Parameters
    ----------
    cells
        (n_cells, n_names) CSR, linear expression: finite and not negative.
    match
        The match of the column names to the corpus.

    Returns
    -------
    Float32Matrix
        (n_cells, n_routes) in [0, 1], one column per `GeneRoute`. Rows sum to 1, or are zero for
        cells without expression.

    Raises
    ------
    InvalidArgumentError
        If the number of columns is not the number of matched names.
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
    """Add the values of each cell to the sums of their columns' routes."""
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
