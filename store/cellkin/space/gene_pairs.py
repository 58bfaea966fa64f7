"""Genes of a foreign sample paired with genes of a reference by their texts."""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from dataclasses import dataclass

import numpy as np

from cellkin.space.arrays import CsrMatrix, Float32Matrix, Float32Vector, Int32Vector
from cellkin.space.compiled import compiled
from cellkin.space.expression import PER_CELL
from cellkin.space.projection import GeneColumns

PAIRS = 1_000
"""Pairs of genes that are compared at most: those that tell the reference's labels apart best."""

# Fewer pairs than this, each counted by its weight, say nothing about a sample.
_LEAST_PAIRS = 40.0
# Added to a gene's deviation between labels, in units of log expression.
_LEAST_DEVIATION = 0.1


@dataclass(frozen=True)
class ForeignReference:
    """What a reference keeps to check foreign samples by.

    Parameters
    ----------
    partners
        (n_genes,) int32, by gene of the text space: the kept gene that is its partner, -1 where
        there is none. The partner of a measured gene is itself, if it is kept.
    cosines
        (n_genes,) float32, the cosine of the texts' vectors of a gene and its partner.
    profiles
        (n_labels, n_kept) float32, the mean of ``ln(1 + 10,000 x / total)`` over the cells of each
        label.
    weights
        (n_kept,) float32 above 0, how well each kept gene tells labels apart.
    """

    partners: Int32Vector
    cosines: Float32Vector
    profiles: Float32Matrix
    weights: Float32Vector

    @property
    def n_labels(self) -> int:
        """Labels of the reference."""
        return len(self.profiles)


@dataclass(frozen=True)
class Pairs:
    """Genes of a query paired with genes of a reference, and what is expected of them.

    Parameters
    ----------
    positions
        (n_columns,) int32 of the query's columns: the pair that a column belongs to, or -1.
    weights
        (n_pairs,) float32, adding up to 1.
    profiles
        (n_labels, n_pairs) float32 of the reference.
    deviations
        (n_pairs,) float32 above 0, how much the profiles of labels differ.
    """

    positions: Int32Vector
    weights: Float32Vector
    profiles: Float32Matrix
    deviations: Float32Vector

    @classmethod
    def of(cls, columns: GeneColumns, reference: ForeignReference) -> "Pairs":
        """Pair the genes of a query's columns.

        Of several genes with one partner the nearest has it. A pair weighs as its gene of the
        reference does, times the cosine of its texts. At most `PAIRS` are taken, those of the
        largest weights.
        """
        genes = np.unique(columns.rows[columns.rows >= 0])
        partners = reference.partners[genes]
        genes, partners = genes[partners >= 0], partners[partners >= 0]
        order = np.lexsort((genes, -reference.cosines[genes], partners))
        first = np.ones(len(order), bool)
        first[1:] = np.diff(partners[order]) > 0
        genes, partners = genes[order[first]], partners[order[first]]
        weights = reference.weights[partners] * np.maximum(reference.cosines[genes], 0)
        best = np.argsort(-weights, kind="stable")[:PAIRS]
        # Every second pair makes up one half of them, the others the other half.
        best = np.concatenate([best[::2], best[1::2]])
        where = np.full(columns.n_genes, -1, np.int32)
        where[genes[best]] = np.arange(len(best), dtype=np.int32)
        chosen = partners[best]
        weights = weights[best]
        profiles = np.ascontiguousarray(reference.profiles[:, chosen])
        return cls(
            np.where(columns.rows >= 0, where[columns.rows], -1).astype(np.int32),
            weights / max(float(weights.sum()), 1e-9),
            profiles,
            profiles.std(axis=0) + np.float32(_LEAST_DEVIATION),
        )

    @property
    def n(self) -> int:
        """Pairs there are."""
        return len(self.weights)

    @property
    def halves(self) -> tuple[slice, slice]:
        """The two halves of the pairs: what is chosen by one is judged by the other."""
        half = (self.n + 1) // 2
        return slice(0, half), slice(half, self.n)

    @property
    def are_enough(self) -> bool:
        """Whether they can tell anything."""
        squares = float((self.weights**2).sum())
        return squares > 0 and 1 / squares >= _LEAST_PAIRS

    def log_expression(self, cells: CsrMatrix) -> Float32Matrix:
        """Return (n_cells, n_pairs) float32 ``ln(1 + 10,000 x / total)``."""
        logs = np.zeros((cells.shape[0], self.n), np.float32)
        _log_expression(
            np.ascontiguousarray(cells.indptr, np.int64),
            np.ascontiguousarray(cells.indices, np.int32),
            np.ascontiguousarray(cells.data, np.float32),
            self.positions,
            logs,
        )
        return logs


@compiled
def _log_expression(indptr, indices, values, positions, logs):
    """Fill in the log expression of pairs, from zeros."""
    for cell in range(len(logs)):
        total = 0.0
        for i in range(indptr[cell], indptr[cell + 1]):
            value = values[i]
            total += value
            position = positions[indices[i]]
            if position >= 0:
                logs[cell, position] += value
        if total > 0.0:
            factor = PER_CELL / total
            for pair in range(logs.shape[1]):
                if logs[cell, pair] > 0.0:
                    logs[cell, pair] = np.log1p(logs[cell, pair] * factor)
