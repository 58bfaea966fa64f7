"""Scores that order the neighbors of a gene: cosine, corrected for hubs, or fused over embeddings.

A hub is near to everything: a gene with a text of common words is among the nearest genes of
many. CSLS (cross-domain similarity local scaling) subtracts from each gene's cosine the mean cosine
to its own nearest genes. Reciprocal rank fusion adds ``1 / (60 + rank)`` over several embeddings.
"""

from collections.abc import Callable, Iterable

import numpy as np

from cellkin.space.arrays import BoolVector, Float32Matrix, Float32Vector, Int32Vector, Int64Vector
from cellkin.space.kernels import keep_best

N_NEAREST = 10
"""Nearest genes whose mean cosine measures how much of a hub a gene is."""
FUSION = 60
"""Constant of reciprocal rank fusion: how little the first ranks count more than later ones."""

_BLOCK_ROWS = 256


def nearest_means(
    vectors: Float32Matrix,
    among: Float32Matrix,
    own: Int64Vector,
    means: Float32Vector,
    check: Callable[[], None] = lambda: None,
) -> Float32Vector:
    """Return each gene's mean cosine to its 10 nearest other genes.

    Parameters
    ----------
    vectors
        (n, dim) float32, unit rows.
    among
        (m, dim) float32, unit rows: the genes among which the nearest are sought.
    own
        (n,) int64, the row of each gene in ``among``; -1 if it is not there.
    means
        (n,) float32, completed in place from its first NaN on: all NaN at first, and later what a
        computation that was stopped has come to.
    check
        Called between blocks of genes; an exception from it stops the computation.

    Returns
    -------
    Float32Vector
        ``means``. With fewer than 10 other genes the mean is over all of them, without any it is 0.
    """
    n, m = len(vectors), len(among)
    k = min(N_NEAREST, m)
    block = np.empty((_BLOCK_ROWS, m), np.float32)
    best = np.empty((_BLOCK_ROWS, k), np.float32)
    places = np.empty((_BLOCK_ROWS, k), np.int64)
    for start in range(int(np.searchsorted(np.isnan(means), True)), n, _BLOCK_ROWS):
        check()
        rows = slice(start, min(start + _BLOCK_ROWS, n))
        size = rows.stop - start
        np.matmul(vectors[rows], among.T, out=block[:size])
        here = np.flatnonzero(own[rows] >= 0)
        block[here, own[rows][here]] = -np.inf
        keep_best(block[:size], best[:size], places[:size])
        found = np.isfinite(best[:size])
        total = np.where(found, best[:size], 0).sum(axis=1)
        means[rows] = total / np.maximum(found.sum(axis=1), 1)
    return means


def csls(cosines: Float32Vector, means: Float32Vector) -> Float32Vector:
    """Return cosines corrected for hubs: twice the cosine minus the gene's mean to its nearest.

    The query's own mean is the same for all genes and left out.

    Parameters
    ----------
    cosines
        (n,) float32, of each gene with the query.
    means
        (n,) float32, of `nearest_means`.
    """
    return np.asarray(2 * cosines - means, np.float32)


def ranks(scores: Float32Vector, rows: Int64Vector | None = None) -> Int32Vector:
    """Return the ranks of scores, 1 for the largest; ties share the best rank.

    Parameters
    ----------
    scores
        (n,) float32; -inf for what is not ranked, which gets rank 0.
    rows
        (m,) int64, the scores whose ranks are wanted; None for all.
    """
    ascending = np.sort(scores)
    wanted = scores if rows is None else scores[rows]
    n_larger = len(scores) - np.searchsorted(ascending, wanted, "right")
    return np.where(np.isneginf(wanted), 0, n_larger + 1).astype(np.int32)


def fused(ranked: Iterable[Int32Vector]) -> Float32Vector:
    """Return reciprocal rank fusion: the sum of ``1 / (60 + rank)`` over embeddings.

    Parameters
    ----------
    ranked
        For each embedding (n,) int32 ranks from 1 on; 0 where it has no vector, which adds nothing.
    """
    return np.asarray(
        sum(np.where(r > 0, 1 / (FUSION + np.maximum(r, 1)), 0.0) for r in ranked), np.float32
    )


def largest(scores: Float32Vector, k: int, tie: Int64Vector) -> Int64Vector:
    """Return the positions of the k largest scores, best first, without -inf.

    Parameters
    ----------
    scores
        (n,) float32, without NaN.
    k
        Number of positions, fewer if fewer scores are above -inf.
    tie
        (n,) int64, such as GeneIDs: of equal scores the one with the smaller number comes first.
    """
    k = min(k, int(np.count_nonzero(~np.isneginf(scores))))
    if not k:
        return np.empty(0, np.int64)
    least = np.partition(scores, len(scores) - k)[len(scores) - k]
    candidates = np.flatnonzero(scores >= least)
    order = np.lexsort((tie[candidates], -scores[candidates]))[:k]
    return candidates[order]


def permutation(n: int, seed: int) -> Int64Vector:
    """Return the permutation of n genes of the control `permuted`, the same in every process."""
    generator = np.random.Generator(np.random.Philox(key=np.array([0, seed], np.uint64)))
    return generator.permutation(n).astype(np.int64)


def members(gene_ids: Int64Vector, chosen: Int64Vector) -> BoolVector:
    """Return which genes are among the chosen.

    Parameters
    ----------
    gene_ids
        (n,) int64.
    chosen
        (m,) int64, ascending, each once.
    """
    if not len(chosen):
        return np.zeros(len(gene_ids), bool)
    at = np.minimum(np.searchsorted(chosen, gene_ids), len(chosen) - 1)
    return np.asarray(chosen[at] == gene_ids)
