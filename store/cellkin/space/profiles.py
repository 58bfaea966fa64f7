"""Expression profiles of the labels of a reference, by donor or batch."""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cellkin.space.arrays import CsrMatrix, Float32Matrix, Int32Vector, Int64Vector
from cellkin.space.compiled import compiled
from cellkin.space.contrasts import MIN_BATCHES, GroupMeans, per_ten_thousand, welch
from cellkin.space.projection import Float64Vector

_MOST_ROWS = 4096


@dataclass(frozen=True)
class Profiles:
    """Sums over the cells of each label and batch.

    Parameters
    ----------
    gene_ids
        (n_genes,) int64 NCBI GeneIDs, ascending.
    labels
        (n_rows,) names of the labels.
    batches
        (n_rows,) int32 donor or batch.
    counts
        (n_rows,) int64 cells.
    logs, squares
        (n_rows, n_genes) float32 sums of ln(1 + CP10k), and of its squares.
    linear
        (n_rows, n_genes) float32 sums of CP10k.
    detected
        (n_rows, n_genes) float32 numbers of cells that express each gene.
    """

    gene_ids: Int64Vector
    labels: list[str]
    batches: Int32Vector
    counts: Int64Vector
    logs: Float32Matrix
    squares: Float32Matrix
    linear: Float32Matrix
    detected: Float32Matrix

    @classmethod
    def of(
        cls,
        cells: CsrMatrix,
        gene_ids: Int64Vector,
        label_names: Sequence[str],
        labels: Int32Vector,
        batches: Int32Vector,
    ) -> "Profiles":
        """Sum cells by label and batch; by label alone if there are very many of both.

        Parameters
        ----------
        cells
            (n_cells, n_genes) CSR, linear expression.
        gene_ids
            (n_genes,) int64, ascending.
        label_names, labels
            Names, and (n_cells,) int32 into them.
        batches
            (n_cells,) int32.
        """
        if len(np.unique(np.stack([labels, batches]), axis=1).T) > _MOST_ROWS:
            batches = np.zeros_like(batches)
        keys, at = np.unique(np.stack([labels, batches]), axis=1, return_inverse=True)
        scaled = per_ten_thousand(cells)
        order, counts = np.argsort(at, kind="stable"), np.bincount(at)
        starts = np.concatenate([[0], np.cumsum(counts)])
        tables = np.empty((4, len(counts), cells.shape[1]), np.float32)
        logs = np.log1p(scaled.data)
        _add(scaled.indptr, scaled.indices, scaled.data, logs, order, starts, tables)
        logs, squares, linear, detected = tables
        return cls(
            gene_ids, [label_names[code] for code in keys[0].tolist()], keys[1].astype(np.int32),
            counts.astype(np.int64), logs, squares, linear, detected,
        )  # fmt: skip

    def rows_of(self, labels: Sequence[str]) -> Int64Vector:
        """Return the rows of labels."""
        return np.flatnonzero(np.isin(np.array(self.labels, str), list(labels)))

    def means(self, rows: Int64Vector) -> tuple[GroupMeans, Float64Vector]:
        """Return the means of a group of rows, and (n_genes,) float64 variances of log expression.

        Variances have n - 1 in the denominator; 0 for a single cell.
        """
        n = int(self.counts[rows].sum())
        sums = [
            table[rows].sum(axis=0, dtype=np.float64) / max(n, 1)
            for table in (self.logs, self.linear, self.detected, self.squares)
        ]
        variance = np.maximum(sums[3] - sums[0] ** 2, 0) * n / max(n - 1, 1)
        return GroupMeans(n, sums[0], sums[1], sums[2]), variance

    def pseudobulk_p_values(self, a: Int64Vector, b: Int64Vector) -> Float64Vector | None:
        """Test genes between the batches of two groups of rows; None with too few batches.

        As `cellkin.space.contrasts.pseudobulk_p_values`, by means of CP10k instead of sums.
        """
        sides = []
        for rows in (a, b):
            batches, at = np.unique(self.batches[rows], return_inverse=True)
            if len(batches) < MIN_BATCHES:
                return None
            sums = np.zeros((len(batches), len(self.gene_ids)))
            np.add.at(sums, at, self.linear[rows])
            logs = np.log1p(sums / np.bincount(at, self.counts[rows])[:, None])
            sides.append((logs.mean(axis=0), logs.var(axis=0, ddof=1), len(batches)))
        return welch(*sides)[1]


@compiled
def _add(indptr, indices, linear, logs, order, starts, tables):
    """Sum the cells of each row: logs, their squares, linear values and detections."""
    for row in range(len(starts) - 1):
        sums = np.zeros((tables.shape[2], 4))
        for cell in order[starts[row] : starts[row + 1]]:
            for i in range(indptr[cell], indptr[cell + 1]):
                of_gene = sums[indices[i]]
                of_gene[0] += logs[i]
                of_gene[1] += logs[i] * logs[i]
                of_gene[2] += linear[i]
                of_gene[3] += 1
        for gene in range(len(sums)):
            for table in range(4):
                tables[table, row, gene] = sums[gene, table]
