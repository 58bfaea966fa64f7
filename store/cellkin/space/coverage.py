"""Coverage of a reference by a query: which of its genes are measured, and how deep cells are.

Labels from few genes or few molecules are uncertain, which probabilities calibrated on complete
cells do not reflect. Two quantities correct them, neither of which depends on other cells:

* **depth** of a cell: the number of genes it detects, relative to the number a reference cell
  detects among the same genes. If it is below that of nearly all reference cells, the probabilities
  of the cell are softened.
* **capture** of two labels: the share of the difference between their regression coefficients that
  lies in genes of the query.

If either is low, a label needs a higher probability. Both corrections are fitted on held-out cells,
thinned and cut to panels; with all genes and usual depth there is no correction.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cellkin.space.arrays import BoolVector, CsrMatrix, Int64Vector, canonical, frozen
from cellkin.space.classifier import Float64Matrix, LabelClassifier
from cellkin.space.expression import ExpressionColumns, ExpressionSpace, by_gene
from cellkin.space.kernels import count_positive
from cellkin.space.labels import CellCoverage

# From the first capture on no correction is made; at the second, labels need the fitted
# probability, and below it a higher one.
_ENOUGH_CAPTURE, _LITTLE_CAPTURE, _MOST_LACK = 0.5, 0.1, 2.0
_LEAST_DEPTH = 1e-3


@dataclass(frozen=True)
class Coverage:
    """Coverage of a reference by the genes of a query; made by `of`.

    Parameters
    ----------
    counted
        (n_columns,) bool, the columns whose gene is in the expression space; None for all.
    shared
        The columns if several are of the same gene, else None.
    expected
        Mean number of these genes that a reference cell detects.
    lack
        (n_labels, n_labels) float64, at least 0: how much of the difference between two labels is
        missing, see `lack_of`; None if nothing is.
    classifier
        The fitted classifier.
    """

    counted: BoolVector | None
    shared: ExpressionColumns | None
    expected: float
    lack: Float64Matrix | None
    classifier: LabelClassifier

    @classmethod
    def of(
        cls, columns: ExpressionColumns, space: ExpressionSpace, classifier: LabelClassifier
    ) -> "Coverage | None":
        """Compare the genes of a query with those of a reference.

        Parameters
        ----------
        columns
            The genes of the query's columns.
        space, classifier
            The expression space and its classifier.

        Returns
        -------
        Coverage or None
            None if the classifier has no data on coverage, as in an index of an older format.
        """
        if not len(classifier.detection):
            return None
        rows = np.unique(columns.rows)
        counted = None
        if len(columns.order) < columns.n_columns:
            counted = np.zeros(columns.n_columns, bool)
            counted[columns.order] = True
        lack = lack_of(capture(rows, space, classifier))
        expected = float(classifier.detection[rows].sum(dtype=np.float64))
        shared = columns if len(rows) < len(columns.rows) else None
        return cls(counted, shared, expected, lack if lack.any() else None, classifier)

    def of_cells(self, cells: CsrMatrix) -> CellCoverage:
        """Return the coverage of cells.

        Parameters
        ----------
        cells
            (n_cells, n_columns) CSR, linear expression.
        """
        shallow = shallowness(self.depths(cells), self.classifier.usual_depth)
        return CellCoverage(shallow, self.lack)

    def depths(self, cells: CsrMatrix) -> npt.NDArray[np.float64]:
        """Return (n_cells,) float64: detected genes over the number expected in the reference."""
        counted = self.counted
        if self.shared is not None:
            cells, counted = by_gene(cells, self.shared)[0], None
        return detected(cells, counted) / max(self.expected, 1e-9)


def detected(cells: CsrMatrix, counted: BoolVector | None = None) -> Int64Vector:
    """Return (n_cells,) int64, the number of counted columns in which each cell is above 0."""
    cells = canonical(cells)
    counted = np.ones(cells.shape[1], bool) if counted is None else counted
    found = np.empty(cells.shape[0], np.int64)
    count_positive(
        frozen(cells.indptr.astype(np.int64, copy=False)),
        frozen(cells.indices.astype(np.int32, copy=False)),
        frozen(cells.data),
        frozen(counted),
        found,
    )
    return found


def shallowness(depths: npt.NDArray[np.float64], usual: float) -> npt.NDArray[np.float64]:
    """Return (n_cells,) float64, at least 0: how far depths are below the usual depth.

    The square root of the log ratio, because the first missing molecules cost the most.
    """
    below = np.log(max(usual, _LEAST_DEPTH) / np.maximum(depths, _LEAST_DEPTH))
    return np.asarray(np.sqrt(np.maximum(below, 0)))


def capture(
    rows: Int64Vector, space: ExpressionSpace, classifier: LabelClassifier
) -> Float64Matrix:
    """Return (n_labels, n_labels) float64 in [0, 1], the capture of each pair of labels.

    Parameters
    ----------
    rows
        (n,) int64 distinct rows of the space: the measured genes.
    space, classifier
        The expression space and its classifier.
    """
    by_gene = space.loadings.astype(np.float64) @ classifier.coefficients.T.astype(np.float64)
    every, some = _squares(by_gene), _squares(by_gene[np.isin(space.variable, rows)])
    return np.divide(some, every, out=np.ones_like(every), where=every > 0)


def lack_of(captured: Float64Matrix) -> Float64Matrix:
    """Return 0 for enough capture, 1 for little, and up to 2 for hardly any.

    Parameters
    ----------
    captured
        (n_labels, n_labels) float64 in [0, 1] from `capture`.
    """
    span = np.log(_ENOUGH_CAPTURE / _LITTLE_CAPTURE)
    missing = np.log(_ENOUGH_CAPTURE / np.maximum(captured, 1e-9)) / span
    return np.asarray(np.clip(missing, 0, _MOST_LACK))


def _squares(by_gene: Float64Matrix) -> Float64Matrix:
    """Return the pairwise squared distances of (n_genes, n_labels) columns."""
    products = by_gene.T @ by_gene
    own = np.diag(products)
    return np.maximum(own[:, None] + own[None, :] - 2 * products, 0)
