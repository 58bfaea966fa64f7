"""The vote of the nearest reference cells."""

from dataclasses import dataclass

import numpy as np

from cellkin.space.arrays import (
    BoolVector,
    Float32Matrix,
    Float32Vector,
    Int32Vector,
    Int64Vector,
    UInt8Vector,
)
from cellkin.wire.terms import UnknownReason


@dataclass(frozen=True)
class Votes:
    """What the neighbors of each cell say.

    Parameters
    ----------
    winners
        (n_cells,) int32, the label with the largest vote, -1 where there is none; among equals the
        lowest label.
    supports
        (n_cells,) float32 in [0, 1], the winner's share of the vote. No probability.
    n_votes
        (n_cells,) uint8, neighbors that carry the winning label.
    reasons
        (n_cells,) uint8, an `UnknownReason`; 0 where the winner is the label.
    """

    winners: Int32Vector
    supports: Float32Vector
    n_votes: UInt8Vector
    reasons: UInt8Vector


def vote(
    similarities: Float32Matrix,
    labels: Int32Vector,
    neighbors: Int64Vector,
    n_labels: int,
    empty: BoolVector,
    epsilon: float,
    min_support: float,
) -> Votes:
    """Let the neighbors vote, each with ``1 / max(1 - similarity, epsilon)``.

    Near neighbors weigh more, which keeps classes of fewer than k cells alive (k uniform votes
    would bury them).

    Parameters
    ----------
    similarities
        (n_cells, k) float32 cosine similarities.
    labels
        (n_reference,) int32, the label of each reference cell.
    neighbors
        (n_cells, k) int64, reference cells; -1 where fewer than k were found.
    n_labels
        Labels there are.
    empty
        (n_cells,) bool, cells none of whose genes has a vector.
    epsilon
        Least distance, so that an identical neighbor does not outvote all others without limit.
    min_support
        Winners of less support are unknown.
    """
    n_cells = len(similarities)
    found = (neighbors >= 0) & ~empty[:, None]
    weights = np.where(found, 1.0 / np.maximum(1.0 - similarities.astype(np.float64), epsilon), 0.0)
    voted = labels[np.where(found, neighbors, 0)]
    totals = np.zeros((n_cells, n_labels))
    np.add.at(totals, (np.arange(n_cells)[:, None], voted), weights)
    winners = totals.argmax(axis=1).astype(np.int32)
    cast = totals.sum(axis=1)
    supports = np.divide(
        totals[np.arange(n_cells), winners], cast, out=np.zeros(n_cells), where=cast > 0
    )
    winners[cast == 0] = -1
    reasons = np.full(n_cells, UnknownReason.KNOWN, np.uint8)
    reasons[supports < min_support] = UnknownReason.LOW_SUPPORT
    reasons[cast == 0] = UnknownReason.NO_GENE_MATCHED
    n_votes = ((voted == winners[:, None]) & found).sum(axis=1).astype(np.uint8)
    return Votes(winners, supports.astype(np.float32), n_votes, reasons)
