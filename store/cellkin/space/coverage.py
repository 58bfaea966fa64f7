"""How much of what a reference knows a query covers: which of its genes, and how deep cells are.

A reading of few genes or few molecules is a guess, and probabilities that were calibrated on whole
cells do not know it. Two figures correct them, neither of which depends on other cells:

* **depth**, of a cell: how many genes it detects, of those that a cell of the reference would among
  the same genes. A cell that detects fewer than nearly all of the reference's own has its
  probabilities softened.
* **capture**, of two labels: the share of what tells them apart, by the coefficients of the
  regression, that lies in genes of the query.

Where either is low, a label is claimed from a higher probability on. Both corrections are fitted on
cells that were held out, thinned and cut to panels; with all genes and usual depth there are none.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cellkin.space.arrays import BoolVector, CsrMatrix, Int64Vector
from cellkin.space.expression import ExpressionColumns, ExpressionSpace
from cellkin.space.labels import CellCoverage
from cellkin.space.readout import Float64Matrix, Readout

# Capture from the first on is as good as all; at the second, labels have to be as probable as was
# fitted, and below it more than that.
_ENOUGH_CAPTURE, _LITTLE_CAPTURE, _MOST_LACK = 0.5, 0.1, 2.0
_LEAST_DEPTH = 1e-3


@dataclass(frozen=True)
class Coverage:
    """What the genes of a query cover of a reference; made by `of`.

    Parameters
    ----------
    counted
        (n_columns,) bool, the columns whose gene is in the expression space; None for all.
    expected
        Genes of these that a cell of the reference detects on average.
    lack
        (n_labels, n_labels) float64 from 0 on, how much of what tells two labels apart is missing,
        see `lack_of`; None where nothing is.
    readout
        The fitted readout.
    """

    counted: BoolVector | None
    expected: float
    lack: Float64Matrix | None
    readout: Readout

    @classmethod
    def of(
        cls, columns: ExpressionColumns, space: ExpressionSpace, readout: Readout
    ) -> "Coverage | None":
        """Compare the genes of a query with those of a reference.

        Parameters
        ----------
        columns
            How the query's columns meet the genes of the space.
        space, readout
            The space and what is read in it.

        Returns
        -------
        Coverage or None
            None where the readout knows nothing of coverage, as of an index of an older format.
        """
        if not len(readout.detection):
            return None
        rows = np.unique(columns.rows)
        counted = None
        if len(columns.order) < columns.n_columns:
            counted = np.zeros(columns.n_columns, bool)
            counted[columns.order] = True
        lack = lack_of(capture(rows, space, readout))
        expected = float(readout.detection[rows].sum(dtype=np.float64))
        return cls(counted, expected, lack if lack.any() else None, readout)

    def of_cells(self, cells: CsrMatrix) -> CellCoverage:
        """Say of each cell how deep it is.

        Parameters
        ----------
        cells
            (n_cells, n_columns) CSR, linear expression.
        """
        shallow = shallowness(self.depths(cells), self.readout.usual_depth)
        return CellCoverage(shallow, self.lack)

    def depths(self, cells: CsrMatrix) -> npt.NDArray[np.float64]:
        """Return (n_cells,) float64: genes detected, over those expected of the reference."""
        return detected(cells, self.counted) / max(self.expected, 1e-9)


def detected(cells: CsrMatrix, counted: BoolVector | None = None) -> Int64Vector:
    """Return (n_cells,) int64, the values above 0 of each cell, in columns that count."""
    met = cells.data > 0
    if counted is not None:
        met &= counted[cells.indices]
    ends = np.concatenate([[0], np.cumsum(met)])
    return np.asarray(ends[cells.indptr[1:]] - ends[cells.indptr[:-1]], np.int64)


def shallowness(depths: npt.NDArray[np.float64], usual: float) -> npt.NDArray[np.float64]:
    """Return (n_cells,) float64 from 0 on: how far depths are below what is usual.

    The root of the logarithm, for the first molecules that are missing cost the most.
    """
    below = np.log(max(usual, _LEAST_DEPTH) / np.maximum(depths, _LEAST_DEPTH))
    return np.asarray(np.sqrt(np.maximum(below, 0)))


def capture(rows: Int64Vector, space: ExpressionSpace, readout: Readout) -> Float64Matrix:
    """Return (n_labels, n_labels) float64 in [0, 1], the captured share of each two labels.

    Parameters
    ----------
    rows
        (n,) int64 distinct rows of the space, the genes that are measured.
    space, readout
        The space and what is read in it.
    """
    by_gene = space.loadings.astype(np.float64) @ readout.coefficients.T.astype(np.float64)
    every, some = _squares(by_gene), _squares(by_gene[np.isin(space.variable, rows)])
    return np.divide(some, every, out=np.ones_like(every), where=every > 0)


def lack_of(captured: Float64Matrix) -> Float64Matrix:
    """Return 0 where enough is captured, 1 where little is, and up to 2 where hardly anything is.

    Parameters
    ----------
    captured
        (n_labels, n_labels) float64 in [0, 1] from `capture`.
    """
    span = np.log(_ENOUGH_CAPTURE / _LITTLE_CAPTURE)
    missing = np.log(_ENOUGH_CAPTURE / np.maximum(captured, 1e-9)) / span
    return np.asarray(np.clip(missing, 0, _MOST_LACK))


def _squares(by_gene: Float64Matrix) -> Float64Matrix:
    """Return the squared distances of (n_genes, n_labels) columns from each other."""
    products = by_gene.T @ by_gene
    own = np.diag(products)
    return np.maximum(own[:, None] + own[None, :] - 2 * products, 0)
