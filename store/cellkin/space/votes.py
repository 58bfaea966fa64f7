"""Votes of the nearest reference cells."""

import numpy as np
import numpy.typing as npt

from cellkin.space.arrays import Float32Matrix, Int32Vector, Int64Vector


def vote_shares(
    similarities: Float32Matrix,
    voted: Int32Vector,
    counts: Int64Vector,
    epsilon: float,
    class_balance: float = 0.0,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int32]]:
    """Count the votes of neighbors, weighted by distance.

    Parameters
    ----------
    similarities
        (n_cells, k) float32 cosine similarities, best first.
    voted
        (n_cells, k) int32 labels of the neighbors; -1 if missing.
    counts
        (n_labels,) int64 reference cells of each label.
    epsilon, class_balance
        The minimum distance; a vote is also weighted by ``n_c ** -class_balance``, with ``n_c``
        reference cells of its label.

    Returns
    -------
    shares
        (n_cells, n_labels) float64 shares of the weighted votes; zero rows without neighbors.
    n_votes
        (n_cells, n_labels) int32, number of votes.
    """
    found = voted >= 0
    weights = 1.0 / np.maximum(1.0 - similarities.astype(np.float64), epsilon)
    safe = np.where(found, voted, 0)
    weights *= found * (np.maximum(counts, 1) ** -float(class_balance))[safe]
    n_cells, n_labels = len(voted), len(counts)
    slot = (np.arange(n_cells)[:, None] * n_labels + safe).ravel()
    size = n_cells * n_labels
    # bincount ignores the weights of an empty input and returns integers.
    totals = np.bincount(slot, weights.ravel(), size).astype(np.float64)
    totals = totals.reshape(n_cells, n_labels)
    n_votes = np.bincount(slot, found.ravel(), size).reshape(n_cells, n_labels)
    cast = totals.sum(axis=1, keepdims=True)
    shares = np.divide(totals, cast, out=np.zeros(totals.shape), where=cast > 0)
    return shares, n_votes.astype(np.int32)
