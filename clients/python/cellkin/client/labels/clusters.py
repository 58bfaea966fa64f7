"""Labels of clusters, by the summed votes of their cells."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cellkin.client.results.tables import Tabular
from cellkin.wire.terms import UNKNOWN_LABEL


@dataclass(frozen=True, repr=False)
class Clusters(Tabular):
    """The labels of clusters, in the order of the clusters' categories.

    Parameters
    ----------
    names
        Names of the n_clusters clusters.
    labels
        For each cluster: the label with the largest confidence, ties by name; ``unknown`` if the
        confidence is below ``min_probability``.
    winners
        For each cluster: the most probable label if one is forced, a hint for unknown clusters;
        empty if no cell has any.
    winner_shares
        (n_clusters,) float64 in [0, 1]: the same as ``confidences`` for the winner, with unknown
        cells included in the sum.
    confidences
        (n_clusters,) float64 in [0, 1]: the summed probabilities of the cells with the label,
        divided by the number of cells in the cluster: the expected share of the label in the
        cluster, with unknown cells counted for no label.
    n_cells
        (n_clusters,) int64.
    split_labels
        The n_labels labels of the cells, ascending, ``unknown`` last.
    split
        (n_clusters, n_labels) int64, number of cells of each label.
    min_probability
        Minimum confidence of a label.
    """

    names: tuple[str, ...]
    labels: tuple[str, ...]
    winners: tuple[str, ...]
    winner_shares: npt.NDArray[np.float64]
    confidences: npt.NDArray[np.float64]
    n_cells: npt.NDArray[np.int64]
    split_labels: tuple[str, ...]
    split: npt.NDArray[np.int64]
    min_probability: float

    def columns(self) -> dict[str, Any]:
        """Return one row per cluster: label, confidence, winner, cells and their split."""
        return {
            "cluster": list(self.names),
            "label": list(self.labels),
            "confidence": self.confidences,
            "winner": list(self.winners),
            "winner_share": self.winner_shares,
            "n_cells": self.n_cells,
            "split": [self._described(cells) for cells in self.split],
        }

    def split_columns(self) -> dict[str, Any]:
        """Return one row per cluster and label with cells: their number and share."""
        cluster, label = np.nonzero(self.split)
        cells = self.split[cluster, label]
        return {
            "cluster": [self.names[at] for at in cluster.tolist()],
            "label": [self.split_labels[at] for at in label.tolist()],
            "n_cells": cells,
            "share": cells / self.n_cells[cluster],
        }

    def of_cells(self, clusters: Any) -> pd.Categorical:
        """Return the cluster label of each cell, missing for cells in no cluster."""
        of = dict(zip(self.names, self.labels, strict=True))
        labels = [of.get(str(name)) for name in clusters]
        return pd.Categorical(labels, categories=sorted(set(self.labels)))

    def _described(self, cells: npt.NDArray[np.int64]) -> str:
        most_first = [at for at in np.argsort(-cells, kind="stable").tolist() if cells[at]]
        shares = cells / max(1, cells.sum())
        return ", ".join(f"{self.split_labels[at]} {shares[at]:.1%}" for at in most_first)


def vote(
    clusters: Any,
    labels: pd.Categorical,
    winners: pd.Categorical,
    probabilities: npt.NDArray[np.float32],
    min_probability: float,
) -> Clusters:
    """Sum the votes of the cells of each cluster.

    Parameters
    ----------
    clusters
        (n_cells,) cluster of each cell, such as ``obs['leiden']``; cells with a missing value do
        not vote.
    labels
        (n_cells,) label of each cell, or ``unknown``.
    winners
        (n_cells,) most probable label of each cell, equal to its label if it has one; missing if
        none of its genes matched.
    probabilities
        (n_cells,) float32 in [0, 1], probability of the winner.
    min_probability
        Minimum confidence of a label.
    """
    grouped = pd.Categorical(clusters)
    names = tuple(map(str, grouped.categories))
    held = sorted({*labels.categories, *winners.categories} - {UNKNOWN_LABEL})
    split_labels = (*held, UNKNOWN_LABEL)
    voting = np.flatnonzero(grouped.codes >= 0)
    rows = grouped.codes[voting].astype(np.int64)
    of, forced = (_codes(each, split_labels)[voting] for each in (labels, winners))
    shape = (len(names), len(split_labels))
    chances = probabilities[voting].astype(np.float64)
    split = _summed(rows, of, None, shape).astype(np.int64)
    n_cells = split.sum(axis=1)
    votes = _summed(rows, of, chances, shape)[:, : len(held)]
    there = forced >= 0
    shares = _summed(rows[there], forced[there], chances[there], shape)
    won, winner_shares = _best(shares / np.maximum(n_cells, 1)[:, None], split_labels, "")
    best, confidences = _best(votes / np.maximum(n_cells, 1)[:, None], held, UNKNOWN_LABEL)
    chosen = tuple(
        label if sure else UNKNOWN_LABEL
        for label, sure in zip(best, confidences >= min_probability, strict=True)
    )
    return Clusters(
        names, chosen, won, winner_shares, confidences, n_cells, split_labels, split,
        min_probability,
    )  # fmt: skip


def _codes(labels: pd.Categorical, names: Sequence[str]) -> npt.NDArray[np.int64]:
    """Return the position of each label in names, -1 for missing labels."""
    return np.asarray(pd.Categorical(labels, categories=names).codes, np.int64)


def _summed(
    rows: npt.NDArray[np.int64],
    columns: npt.NDArray[np.int64],
    weights: npt.NDArray[np.float64] | None,
    shape: tuple[int, int],
) -> npt.NDArray[Any]:
    """Sum weights by row and column; without weights, count."""
    flat = np.bincount(rows * shape[1] + columns, weights, shape[0] * shape[1])
    return flat.reshape(shape)


def _best(
    shares: npt.NDArray[np.float64], names: Sequence[str], none: str
) -> tuple[tuple[str, ...], npt.NDArray[np.float64]]:
    """Return the name with the largest share in each row, and that share; ``none`` for zero."""
    if not shares.shape[1]:
        return (none,) * len(shares), np.zeros(len(shares))
    largest = shares.max(axis=1)
    best = (names[at] for at in shares.argmax(axis=1).tolist())
    return tuple(n if share else none for n, share in zip(best, largest, strict=True)), largest
