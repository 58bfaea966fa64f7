"""Log expression of a sample's cells: computed once, and shared by all parts of the sample.

A cell's logarithms do not depend on the other cells, so parts that are fitted again need only their
rows. Statistics of genes and dense matrices are made in one pass over the stored values.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from cellkin.space.arrays import CsrMatrix, Float32Matrix, Float32Vector, Int32Vector, Int64Vector
from cellkin.space.compiled import compiled
from cellkin.space.coverage import detected
from cellkin.space.expression import PER_CELL

Float64Matrix: TypeAlias = npt.NDArray[np.float64]
Float64Vector: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True)
class GeneMoments:
    """Statistics of genes in some cells.

    Parameters
    ----------
    sums, squares
        (n_labels, n_genes) float64, sums of log expression and of its squares by label.
    mean, variance
        (n_genes,) float64, mean and sample variance of counts per 10,000.
    n_detected
        (n_genes,) int64, cells with a value above 0.
    """

    sums: Float64Matrix
    squares: Float64Matrix
    mean: Float64Vector
    variance: Float64Vector
    n_detected: Int64Vector


@dataclass(frozen=True)
class LogExpression:
    """``ln(1 + 10,000 x / total)`` of some cells of a sample; made by `of`.

    Parameters
    ----------
    indptr, indices
        (n_all + 1,) int64 and (n_stored,) int32 of the CSR matrix of all cells of the sample.
    linear, logs
        (n_stored,) float32, counts per 10,000 and their log1p.
    centers
        (n_genes,) float64, means of the counts per 10,000 of all cells of the sample.
    n_met
        (n_all,) int64, the number of genes above 0 in each cell of the sample.
    rows
        (n_cells,) int64, the cells.
    """

    indptr: Int64Vector
    indices: Int32Vector
    linear: Float32Vector
    logs: Float32Vector
    centers: Float64Vector
    n_met: Int64Vector
    rows: Int64Vector

    @classmethod
    def of(cls, cells: CsrMatrix) -> "LogExpression":
        """Compute the logarithms of (n_cells, n_genes) linear expression, CSR."""
        n_cells, n_genes = cells.shape
        totals = np.asarray(cells.sum(axis=1, dtype=np.float64)).ravel()
        factors = PER_CELL / np.where(totals > 0, totals, 1.0)
        indptr = np.ascontiguousarray(cells.indptr, np.int64)
        indices = np.ascontiguousarray(cells.indices, np.int32)
        linear, sums = np.empty(len(indices), np.float32), np.zeros(n_genes)
        _scale(indptr, indices, cells.data, factors, linear, sums)
        return cls(
            indptr, indices, linear, np.log1p(linear), sums / max(n_cells, 1), detected(cells),
            np.arange(n_cells),
        )  # fmt: skip

    def take(self, rows: Int64Vector) -> "LogExpression":
        """Return some of the cells; nothing is copied."""
        return replace(self, rows=self.rows[rows])

    def moments(self, labels: Int32Vector, n_labels: int) -> GeneMoments:
        """Compute the statistics of all genes.

        Parameters
        ----------
        labels
            (n_cells,) int32 labels of the cells.
        n_labels
            Number of labels.
        """
        n, n_genes = len(self.rows), len(self.centers)
        by_label = np.zeros((n_labels, n_genes, 2))
        linear = np.zeros((n_genes, 3))
        # Cells of one label after another: their sums stay in the cache.
        order = np.argsort(labels, kind="stable")
        _add_moments(
            self.indptr, self.indices, self.linear, self.logs, self.centers, self.rows[order],
            np.ascontiguousarray(labels[order], np.int64), by_label, linear,
        )  # fmt: skip
        off, squares, met = linear.T
        # Sums are of differences from the centers, because squares would cancel for genes that
        # hardly vary; a cell without the gene differs by the center.
        off, squares = off - (n - met) * self.centers, squares + (n - met) * self.centers**2
        shift = off / n
        variance = np.maximum(squares - n * shift**2, 0) / max(n - 1, 1)
        # The same value in all cells leaves rounding noise.
        mean = self.centers + shift
        variance[variance <= 1e-12 * mean**2] = 0
        mean[met == 0] = variance[met == 0] = 0
        return GeneMoments(
            np.ascontiguousarray(by_label[..., 0]), np.ascontiguousarray(by_label[..., 1]),
            mean, variance, met.astype(np.int64),
        )  # fmt: skip

    def dense(
        self, genes: Int64Vector, shifts: Any, scales: Any, most: float = np.inf
    ) -> Float32Matrix:
        """Return ``min((l - shift) * scale, most)`` of the log expression ``l`` of some genes.

        Parameters
        ----------
        genes
            (n,) int64, distinct columns.
        shifts, scales
            (n,) float.
        most
            Upper limit.

        Returns
        -------
        Float32Matrix
            (n_cells, n) float32.
        """
        places = np.full(len(self.centers), -1, np.int32)
        places[genes] = np.arange(len(genes), dtype=np.int32)
        shifts, scales = np.asarray(shifts, np.float32), np.asarray(scales, np.float32)
        found = np.empty((len(self.rows), len(genes)), np.float32)
        found[:] = np.minimum(-shifts * scales, np.float32(most))
        _fill(
            self.indptr, self.indices, self.logs, self.rows, places, shifts, scales,
            np.float32(most), found,
        )  # fmt: skip
        return found

    @property
    def n_detected(self) -> Int64Vector:
        """(n_cells,) int64, the number of genes above 0 in each cell."""
        return self.n_met[self.rows]


@compiled
def _scale(indptr, indices, data, factors, linear, sums):
    """Write the values of each cell times its factor, and add them to the sums of their genes."""
    for cell in range(len(factors)):
        for i in range(indptr[cell], indptr[cell + 1]):
            linear[i] = data[i] * factors[cell]
            sums[indices[i]] += linear[i]


@compiled
def _add_moments(indptr, indices, linear, logs, centers, rows, labels, by_label, of_gene):
    """Add up logs and squares by label; differences from the centers, their squares, and cells."""
    for at in range(len(rows)):
        sums = by_label[labels[at]]
        for i in range(indptr[rows[at]], indptr[rows[at] + 1]):
            if linear[i] > 0:
                gene = indices[i]
                value = float(logs[i])
                sums[gene, 0] += value
                sums[gene, 1] += value * value
                off = linear[i] - centers[gene]
                of_gene[gene, 0] += off
                of_gene[gene, 1] += off * off
                of_gene[gene, 2] += 1


@compiled
def _fill(indptr, indices, logs, rows, places, shifts, scales, most, found):
    """Write the scaled logarithms of stored values of some genes."""
    for at in range(len(rows)):
        row = found[at]
        for i in range(indptr[rows[at]], indptr[rows[at] + 1]):
            place = places[indices[i]]
            if place >= 0:
                row[place] = min((logs[i] - shifts[place]) * scales[place], most)
