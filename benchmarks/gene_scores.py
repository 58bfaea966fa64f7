"""Scores of pairs of genes, and how well they find genes of a common set.

A score is computed in blocks: (n_rows, n_genes) float32, larger for more alike.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from scipy.stats import norm, skew
from sklearn.metrics import average_precision_score, roc_auc_score

from cellkin.space.neighborhoods import fused, nearest_means, ranks

Float32Matrix = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]
Score = Callable[[Rows], Float32Matrix]

K = 10
_BLOCK = 256


def cosine(vectors: Float32Matrix) -> Score:
    """Return the cosine of unit vectors."""
    return lambda rows: vectors[rows] @ vectors.T


def means_of(vectors: Float32Matrix) -> npt.NDArray[np.float32]:
    """Return the mean cosine of each gene to its 10 nearest."""
    n = len(vectors)
    return nearest_means(vectors, vectors, np.arange(n), np.full(n, np.nan, np.float32))


def csls(vectors: Float32Matrix) -> Score:
    """Return cosines corrected for hubs, as the server's with the query's own mean."""
    means = means_of(vectors)
    return lambda rows: 2 * (vectors[rows] @ vectors.T) - means - means[rows, None]


def mutual_proximity(vectors: Float32Matrix) -> Score:
    """Return the chance that both genes are less alike to others, by normal distributions."""
    total = vectors.sum(axis=0, dtype=np.float64)
    mean = vectors @ total / len(vectors)
    square = np.einsum("nd,de,ne->n", vectors, vectors.T @ vectors / len(vectors), vectors)
    deviation = np.sqrt(np.maximum(square - mean**2, 1e-12))

    def score(rows: Rows) -> Float32Matrix:
        cosines = vectors[rows] @ vectors.T
        ours = norm.logcdf((cosines - mean[rows, None]) / deviation[rows, None])
        theirs = norm.logcdf((cosines - mean) / deviation)
        return np.asarray(ours + theirs, np.float32)

    return score


def rank_fusion(scores: Sequence[Score]) -> Score:
    """Return reciprocal rank fusion of several scores, as the server's."""

    def score(rows: Rows) -> Float32Matrix:
        blocks = [one(rows) for one in scores]
        return np.stack([fused(ranks(block[at]) for block in blocks) for at in range(len(rows))])

    return score


def total(scores: Sequence[Score]) -> Score:
    """Return the sum of several scores."""
    return lambda rows: np.asarray(sum(one(rows) for one in scores), np.float32)


def by_candidate(values: npt.NDArray[np.float64]) -> Score:
    """Return a score that only depends on the candidate, such as its number of annotations."""
    line = np.asarray(values, np.float32)
    return lambda rows: np.broadcast_to(line, (len(rows), len(line))).copy()


@dataclass(frozen=True)
class Found:
    """How well a score finds genes of a common set.

    Parameters
    ----------
    precision
        Share of the 10 nearest that share a set with the query; mean over queries.
    average_precision, auroc
        Means over the drawn queries.
    skew
        Skewness of the number of queries that have a gene among their 10 nearest: hubs.
    """

    precision: float
    average_precision: float
    auroc: float
    skew: float


def nearest(score: Score, n: int) -> npt.NDArray[np.int64]:
    """Return the (n, 10) nearest genes of every gene, in no order."""
    found = np.empty((n, K), np.int64)
    for start in range(0, n, _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, n))
        block = score(rows)
        block[np.arange(len(rows)), rows] = -np.inf
        # Drawn order among equal scores: the order of genes would favor some.
        block += np.float32(1e-7) * _noise(rows, n)
        found[rows] = np.argpartition(block, n - K, axis=1)[:, n - K :]
    return found


def _noise(rows: Rows, n: int) -> Float32Matrix:
    return np.random.default_rng(int(rows[0])).random((len(rows), n), np.float32)


def related(sets: sp.csr_array) -> sp.csr_array:
    """Return (n_genes, n_genes), above 0 where two genes share a set, from (n_genes, n_sets)."""
    return sp.csr_array(sets @ sets.T)


def precision_at_10(near: npt.NDArray[np.int64], truth: sp.csr_array) -> float:
    """Return the share of the nearest that are related to the gene, over genes of any set."""
    rows = np.flatnonzero(np.diff(truth.indptr))
    return float((truth[np.repeat(rows, K), near[rows].ravel()] > 0).mean())


def measure(score: Score, truth: sp.csr_array, drawn: Rows, near: npt.NDArray[np.int64]) -> Found:
    """Measure a score by which genes are related.

    Parameters
    ----------
    score
        The score.
    truth
        (n_genes, n_genes) of `related`.
    drawn
        Rows of the queries for the average precision and the AUROC, which need all ranks.
    near
        (n_genes, 10) of `nearest`.
    """
    n = truth.shape[0]
    counts = np.bincount(near.ravel(), minlength=n)
    precisions, aurocs = [], []
    for start in range(0, len(drawn), _BLOCK):
        rows = drawn[start : start + _BLOCK]
        block, answers = score(rows), truth[rows].toarray() > 0
        for at, row in enumerate(rows.tolist()):
            others = np.arange(n) != row
            if answers[at][others].any():
                precisions.append(average_precision_score(answers[at][others], block[at][others]))
                aurocs.append(roc_auc_score(answers[at][others], block[at][others]))
    return Found(
        precision_at_10(near, truth), float(np.mean(precisions)), float(np.mean(aurocs)),
        float(skew(counts)),
    )  # fmt: skip


def pair_auroc(score: Score, first: Rows, second: Rows, truth: npt.NDArray[np.bool_]) -> float:
    """Return the AUROC of pairs of genes, rows of ``first`` with rows of ``second``."""
    values = np.empty(len(first), np.float32)
    order = np.argsort(first, kind="stable")
    for start in range(0, len(order), _BLOCK):
        at = order[start : start + _BLOCK]
        rows, place = np.unique(first[at], return_inverse=True)
        values[at] = score(rows)[place, second[at]]
    return float(roc_auc_score(truth, values))
