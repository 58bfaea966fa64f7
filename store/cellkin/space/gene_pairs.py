"""Pair the genes of a foreign sample with genes of a reference by their texts."""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from dataclasses import dataclass

import numpy as np

from cellkin.space.arrays import CsrMatrix, Float32Matrix, Float32Vector, Int32Vector
from cellkin.space.compiled import compiled
from cellkin.space.expression import PER_CELL
from cellkin.space.projection import GeneColumns

PAIRS = 1_000
"""Maximum number of pairs: those that separate the reference's labels best."""

# Minimum effective number of pairs, (sum of weights)**2 / sum of squared weights.
_LEAST_PAIRS = 40.0
# Added to a gene's deviation between labels, in units of log expression.
_LEAST_DEVIATION = 0.1


@dataclass(frozen=True)
class ForeignReference:
    """Statistics of a reference for checking foreign samples.

    Parameters
    ----------
    partners
        (n_genes,) int32, the kept gene that is the partner of each gene of the text space, -1 for
        none. The partner of a measured gene is itself, if it is kept.
    cosines
        (n_genes,) float32, the cosine of the embeddings of a gene and its partner.
    profiles
        (n_labels, n_kept) float32, the mean of ``ln(1 + 10,000 x / total)`` over the cells of each
        label.
    weights
        (n_kept,) float32 above 0, how well each kept gene separates labels.
    """

    partners: Int32Vector
    cosines: Float32Vector
    profiles: Float32Matrix
    weights: Float32Vector

    @property
    def n_labels(self) -> int:
        """Number of labels of the reference."""
        return len(self.profiles)


@dataclass(frozen=True)
class Pairs:
    """Genes of a query paired with genes of a reference, and the reference's profiles.

    Parameters
    ----------
    positions
        (n_columns,) int32, the pair of each column of the query, or -1.
    weights
        (n_pairs,) float32, with sum 1.
    profiles
        (n_labels, n_pairs) float32 of the reference.
    deviations
        (n_pairs,) float32 above 0, the deviation of the profiles between labels.
    """

    positions: Int32Vector
    weights: Float32Vector
    profiles: Float32Matrix
    deviations: Float32Vector

    @classmethod
    def of(cls, columns: GeneColumns, reference: ForeignReference) -> "Pairs":
        """Pair the genes of a query's columns.

        If several genes have the same partner, the nearest gets it. The weight of a pair is that of
        the reference gene times the cosine of its texts. The `PAIRS` pairs of the largest weights
        are used.
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
        # Alternate pairs form the two halves; see `halves`.
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
        """Number of pairs."""
        return len(self.weights)

    @property
    def halves(self) -> tuple[slice, slice]:
        """The two halves of the pairs: one selects cells, the other compares them."""
        half = (self.n + 1) // 2
        return slice(0, half), slice(half, self.n)

    @property
    def are_enough(self) -> bool:
        """Whether there are enough pairs to check a sample."""
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
    """Write the log expression of pairs into ``logs``, which is zero."""
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
