"""Thin cells: simulate sequencing of only a part of their molecules."""

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from cellkin.space.arrays import CsrMatrix
from cellkin.wire.errors import InvalidArgumentError

KEEP = 0.3
"""Share of molecules that a view keeps; with larger shares views are too similar."""
_NEAR = 0.1
_ODD = 0.01


def molecules(cells: CsrMatrix) -> CsrMatrix:
    """Return the counts of molecules behind linear expression.

    Values such as counts per 10,000 are counts times one factor for each cell. That factor is the
    smallest value of the cell, which is nearly always one molecule.

    Parameters
    ----------
    cells
        (n_cells, n_genes) CSR, finite and not negative: counts, or counts scaled by cell.

    Returns
    -------
    CsrMatrix
        (n_cells, n_genes) CSR int64, sorted, without stored zeros.

    Raises
    ------
    InvalidArgumentError
        If more than 1 % of the values are not multiples of the smallest value of their cell:
        values that were corrected, imputed or divided by gene length cannot be thinned.
    """
    cells = sp.csr_matrix(cells, dtype=np.float64, copy=True)
    cells.eliminate_zeros()
    # Draws are in the order of the stored values, which must not depend on the file's writer.
    cells.sum_duplicates()
    counts = np.rint(cells.data)
    if (counts != cells.data).any():
        occupied = np.flatnonzero(np.diff(cells.indptr))
        least = np.minimum.reduceat(cells.data, cells.indptr[occupied])
        ratios = cells.data / np.repeat(least, np.diff(cells.indptr)[occupied])
        counts = np.rint(ratios)
        odd = float((np.abs(ratios - counts) > _NEAR).mean())
        if odd > _ODD:
            raise InvalidArgumentError(
                f"{odd:.0%} of the values are not multiples of the smallest value of their cell, "
                "so they are not counts of molecules, which a head trained without labels needs; "
                "give raw counts, counts per 10,000 or logarithms of these, or choose another "
                "recipe"
            )
    return sp.csr_matrix((counts.astype(np.int64), cells.indices, cells.indptr), shape=cells.shape)


def thin(counts: CsrMatrix, keep: float, rng: np.random.Generator) -> CsrMatrix:
    """Keep each molecule with a given probability, independently of all others.

    Parameters
    ----------
    counts
        (n_cells, n_genes) CSR of integers, as returned by `molecules`.
    keep
        The probability, in (0, 1].
    rng
        Random generator.

    Returns
    -------
    CsrMatrix
        (n_cells, n_genes) CSR float32, binomial draws; zeros are not stored.

    Raises
    ------
    InvalidArgumentError
        If the probability is out of range.
    """
    if not 0 < keep <= 1:
        raise InvalidArgumentError(f"a view keeps {keep:g} of the molecules; give above 0 to 1")
    kept: npt.NDArray[np.int64] = rng.binomial(counts.data.astype(np.int64), keep)
    view = sp.csr_matrix(
        (kept.astype(np.float32), counts.indices.copy(), counts.indptr.copy()), shape=counts.shape
    )
    view.eliminate_zeros()
    return view
