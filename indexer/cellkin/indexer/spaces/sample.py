"""Samples of labeled cells that spaces are fitted to."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import scipy.sparse as sp

from cellkin.indexer.spaces.logs import Float64Matrix, GeneMoments, LogExpression
from cellkin.space.arrays import CsrMatrix, Float32Matrix, Int32Vector, Int64Vector


@dataclass(frozen=True)
class Sample:
    """Labeled cells in memory.

    Parameters
    ----------
    cells
        (n_cells, n_genes) CSR float32, linear expression.
    gene_ids
        (n_genes,) int64 NCBI GeneIDs, ascending.
    labels
        (n_cells,) int32 into ``label_names``.
    label_names
        Names of the labels, ascending; each has at least one cell.
    batches
        (n_cells,) int32, donor or batch; all 0 if unknown.
    """

    cells: CsrMatrix
    gene_ids: Int64Vector
    labels: Int32Vector
    label_names: list[str]
    batches: Int32Vector
    _logs: LogExpression | None = field(default=None, init=False, repr=False, compare=False)

    @cached_property
    def logs(self) -> LogExpression:
        """Log expression of the cells; a part of a sample shares that of the whole."""
        return self._logs or LogExpression.of(self.cells)

    @cached_property
    def moments(self) -> GeneMoments:
        """Statistics of the genes."""
        return self.logs.moments(self.labels, self.n_labels)

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return len(self.labels)

    @property
    def n_labels(self) -> int:
        """Number of labels."""
        return len(self.label_names)

    def counts(self) -> Int64Vector:
        """Return (n_labels,) int64 cells of each label."""
        return np.bincount(self.labels, minlength=self.n_labels)

    def take(self, rows: Int64Vector) -> "Sample":
        """Return some of the cells; labels without cells are dropped."""
        kept, labels = np.unique(self.labels[rows], return_inverse=True)
        names = [self.label_names[i] for i in kept]
        _, batches = np.unique(self.batches[rows], return_inverse=True)
        taken = Sample(
            self.cells[rows], self.gene_ids, labels.astype(np.int32), names,
            batches.astype(np.int32),
        )  # fmt: skip
        object.__setattr__(taken, "_logs", self.logs.take(rows))
        return taken

    def of_genes(self, columns: Int64Vector) -> "Sample":
        """Return the same cells with some of the genes; columns are ascending."""
        if len(columns) == len(self.gene_ids):
            return self
        return replace(self, cells=self.cells[:, columns], gene_ids=self.gene_ids[columns])


def balanced(labels: Int32Vector, n_cells: int, seed: int = 0) -> Int64Vector:
    """Choose cells such that rare labels keep all cells and all others get equal shares.

    Parameters
    ----------
    labels
        (n,) int32.
    n_cells
        Number of cells; if there are not more, all are chosen.
    seed
        Random seed.

    Returns
    -------
    Int64Vector
        (at most n_cells,) int64 rows, ascending.
    """
    if len(labels) <= n_cells:
        return np.arange(len(labels))
    counts = np.bincount(labels)
    # The largest quota per label that fits; labels with fewer cells keep all.
    sizes = np.sort(counts[counts > 0])
    kept = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    quotas = (n_cells - kept) // np.arange(len(sizes), 0, -1)
    quota = int(quotas[quotas < sizes][0])
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    order = shuffled[np.argsort(labels[shuffled], kind="stable")]
    starts = np.cumsum(counts) - counts
    rank = np.arange(len(labels)) - starts[labels[order]]
    return np.sort(order[rank < quota])


def folds(sample: Sample, at_most: int = 5, seed: int = 0) -> list[Int64Vector]:
    """Split the cells into folds to be held out in turn, by batch if there are several batches.

    Parameters
    ----------
    sample
        The cells.
    at_most
        Maximum number of folds. If there are more batches they are joined; with a single batch
        folds are stratified by label.
    seed
        Random seed.

    Returns
    -------
    list
        Rows of each fold, ascending.
    """
    n_batches = int(sample.batches.max()) + 1
    if n_batches >= 2:
        sizes = np.bincount(sample.batches)
        part_of, load = np.zeros(n_batches, np.int64), np.zeros(min(at_most, n_batches), np.int64)
        for batch in np.argsort(-sizes, kind="stable"):
            part_of[batch] = load.argmin()
            load[part_of[batch]] += sizes[batch]
        parts = part_of[sample.batches]
    else:
        rng = np.random.default_rng(seed)
        parts = np.empty(sample.n_cells, np.int64)
        for label in range(sample.n_labels):
            rows = rng.permutation(np.flatnonzero(sample.labels == label))
            parts[rows] = (np.arange(len(rows)) + label) % at_most
    found: Sequence[int] = np.unique(parts).tolist()
    return [np.flatnonzero(parts == part) for part in found]


def label_sums(values: Float32Matrix, sample: Sample) -> Float64Matrix:
    """Return (n_labels, dim) float64 sums of (n_cells, dim) values of the cells of each label."""
    # A product in double precision would copy all values.
    return np.stack(
        [
            values[sample.labels == label].sum(axis=0, dtype=np.float64)
            for label in range(sample.n_labels)
        ]
    )


def log_expression(cells: CsrMatrix) -> CsrMatrix:
    """Return ``ln(1 + 10,000 x / total)`` of (n_cells, n_genes) linear expression, CSR float64."""
    logs = sp.csr_matrix(cells, dtype=np.float64, copy=True)
    totals = np.asarray(logs.sum(axis=1)).ravel()
    per_value = np.repeat(np.where(totals > 0, totals, 1.0), np.diff(logs.indptr))
    logs.data = np.log1p(logs.data * (10_000.0 / per_value))
    return logs
