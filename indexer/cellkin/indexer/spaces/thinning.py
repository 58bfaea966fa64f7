"""Views of cells by thinning: as if a part of their molecules had been sequenced."""

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from cellkin.space.arrays import CsrMatrix
from cellkin.wire.errors import InvalidArgumentError

KEEP = 0.3
"""Share of the molecules that a view keeps: views of more are too much alike."""
_NEAR = 0.1
_ODD = 0.01


def molecules(cells: CsrMatrix) -> CsrMatrix:
    """Return the counts behind linear expression.

    Counts per so many are counts but for one factor a cell, for the least value of a cell is hardly
    ever anything but one molecule.

    Parameters
    ----------
    cells
        (n_cells, n_genes) CSR, finite and not negative: counts, or counts scaled cell by cell.

    Returns
    -------
    CsrMatrix
        (n_cells, n_genes) CSR int64, genes in order, without stored zeros.

    Raises
    ------
    InvalidArgumentError
        If more than 1 % of the values are no multiples of their cell's least: values that were
        corrected or imputed, or lengths of genes divided out, cannot be thinned.
    """
    cells = sp.csr_matrix(cells, dtype=np.float64, copy=True)
    cells.eliminate_zeros()
    # The order in which values are stored is that of the draws: it must not be the writer's.
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
                f"{odd:.0%} of the values are no multiples of their cell's least, so they are no "
                "counts of molecules, which a head trained without labels needs; give raw counts, "
                "counts per 10,000 or logarithms of these, or choose another recipe"
            )
    return sp.csr_matrix((counts.astype(np.int64), cells.indices, cells.indptr), shape=cells.shape)


def thin(counts: CsrMatrix, keep: float, rng: np.random.Generator) -> CsrMatrix:
    """Keep each molecule with some chance, independently of all others.

    Parameters
    ----------
    counts
        (n_cells, n_genes) CSR of whole numbers, as `molecules` returns.
    keep
        The chance, above 0 and at most 1.
    rng
        Of the draw.

    Returns
    -------
    CsrMatrix
        (n_cells, n_genes) CSR float32, binomial of each count; genes that lost all are not stored.

    Raises
    ------
    InvalidArgumentError
        If the chance is out of its range.
    """
    if not 0 < keep <= 1:
        raise InvalidArgumentError(f"a view keeps {keep:g} of the molecules; give above 0 to 1")
    kept: npt.NDArray[np.int64] = rng.binomial(counts.data.astype(np.int64), keep)
    view = sp.csr_matrix(
        (kept.astype(np.float32), counts.indices.copy(), counts.indptr.copy()), shape=counts.shape
    )
    view.eliminate_zeros()
    return view
