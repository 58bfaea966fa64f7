"""One label for a cluster: the votes of its cells added up."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cellkin.client.results.tables import Tabular
from cellkin.wire.terms import UNKNOWN_LABEL


@dataclass(frozen=True)
class Clusters(Tabular):
    """The labels of clusters, in the order of the clusters' categories.

    Parameters
    ----------
    names
        The n_clusters clusters.
    labels
        Of each: the label with the largest confidence, of equal ones the first by name;
        ``unknown`` where that is below ``min_probability``.
    confidences
        (n_clusters,) float64 in [0, 1]: the probabilities of the label's cells, added up, by the
        cluster's cells. So it is the share of the cluster that is expected to be of the label,
        where unknown cells count for none.
    n_cells
        (n_clusters,) int64.
    split_labels
        The n_labels labels that cells have, ascending, ``unknown`` last.
    split
        (n_clusters, n_labels) int64 cells of each label.
    min_probability
        The least confidence of a label.
    """

    names: tuple[str, ...]
    labels: tuple[str, ...]
    confidences: npt.NDArray[np.float64]
    n_cells: npt.NDArray[np.int64]
    split_labels: tuple[str, ...]
    split: npt.NDArray[np.int64]
    min_probability: float

    def columns(self) -> dict[str, Any]:
        """Return one row a cluster: its label, confidence, cells, and how these are split."""
        return {
            "cluster": list(self.names),
            "label": list(self.labels),
            "confidence": self.confidences,
            "n_cells": self.n_cells,
            "split": [self._described(cells) for cells in self.split],
        }

    def split_columns(self) -> dict[str, Any]:
        """Return one row a label of a cluster that has cells: how many, and their share."""
        cluster, label = np.nonzero(self.split)
        cells = self.split[cluster, label]
        return {
            "cluster": [self.names[at] for at in cluster.tolist()],
            "label": [self.split_labels[at] for at in label.tolist()],
            "n_cells": cells,
            "share": cells / self.n_cells[cluster],
        }

    def of_cells(self, clusters: Any) -> pd.Categorical:
        """Return the label of the cluster of each cell, missing where it is in none."""
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
    probabilities: npt.NDArray[np.float32],
    min_probability: float,
) -> Clusters:
    """Add up the votes of the cells of each cluster.

    Parameters
    ----------
    clusters
        (n_cells,) names of anything, such as ``obs['leiden']``; cells where it is missing do not
        vote.
    labels
        (n_cells,) the label of each cell, ``unknown`` where none can be claimed.
    probabilities
        (n_cells,) float32 in [0, 1], that of the label.
    min_probability
        The least confidence of a label.
    """
    grouped = pd.Categorical(clusters)
    names = tuple(map(str, grouped.categories))
    held = sorted(set(labels.categories) - {UNKNOWN_LABEL})
    split_labels = (*held, UNKNOWN_LABEL)
    of = np.asarray(pd.Categorical(labels, categories=split_labels).codes, np.int64)
    voting = grouped.codes >= 0
    at = grouped.codes[voting].astype(np.int64) * len(split_labels) + of[voting]
    shape = (len(names), len(split_labels))
    split = np.bincount(at, minlength=shape[0] * shape[1]).reshape(shape)
    weights = probabilities[voting].astype(np.float64)
    votes = np.bincount(at, weights, shape[0] * shape[1]).reshape(shape)[:, : len(held)]
    n_cells = split.sum(axis=1)
    confidences = np.zeros(len(names))
    chosen = [UNKNOWN_LABEL] * len(names)
    if held:
        best = votes.argmax(axis=1)
        confidences = votes.max(axis=1) / np.maximum(n_cells, 1)
        chosen = [
            held[label] if sure else UNKNOWN_LABEL
            for label, sure in zip(best, confidences >= min_probability, strict=True)
        ]
    return Clusters(
        names, tuple(chosen), confidences, n_cells, split_labels, split, min_probability
    )
