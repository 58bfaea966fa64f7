"""Train and fill many inverted lists by way of groups of lists.

A vector compared with every list takes as many products as there are lists, and the lists grow with
the cells: ten million cells in 16,384 lists would take FAISS hours on a few cores. Lists near each
other form a group; a vector is compared with the groups, then with the lists of the nearest ones.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy import sparse

from cellkin.indexer.threads import in_parallel
from cellkin.space.arrays import Float32Matrix, Int64Vector
from cellkin.space.vectors import unit_rows
from cellkin.store.machine import n_cores
from cellkin.store.neighbors_faiss import faiss, flat_vectors, layers

GROUPED_FROM = 8192
"""Number of lists from which on they are grouped; FAISS compares with fewer itself."""

_ITERATIONS = 10
_REFINED = 2
# The nearest list of 98 of 100 cells lies in the nearest 8 groups.
_NEAREST_GROUPS = 8
_PER_MEAN = 256
_ENCODED = 20_000
_BLOCK = 8192
_SEED = 1234


def grouped_lists(index: faiss.Index) -> Any:
    """Return the inverted lists of an index that are to be trained and filled by groups, or None.

    Parameters
    ----------
    index
        A FAISS index in main memory; keep it alive while using its lists.
    """
    *outer, lists = layers(index)
    refined = not outer or (len(outer) == 1 and hasattr(outer[0], "refine_index"))
    if not refined or getattr(lists, "nlist", 0) < GROUPED_FROM:
        return None
    return lists if isinstance(faiss.downcast_index(lists.quantizer), faiss.IndexFlat) else None


def train_lists(index: faiss.Index, lists: Any, sample: Float32Matrix) -> None:
    """Train an index: k-means within groups of the sample, then over all of them.

    Parameters
    ----------
    index
        An untrained FAISS index.
    lists
        Its lists, from `grouped_lists`.
    sample
        (n, dim) float32, unit rows, at least as many as lists.
    """
    n_lists, n_groups = int(lists.nlist), _n_groups(lists.nlist)
    groups = _means(sample[:: max(1, len(sample) // (_PER_MEAN * n_groups))], n_groups)
    group = np.concatenate([(block @ groups.T).argmax(1) for block in _blocks(sample)])
    shares = _shared_out(np.bincount(group, minlength=n_groups), n_lists)
    centers = np.concatenate(
        [_means(sample[group == i], n) for i, n in enumerate(shares.tolist()) if n]
    )
    for _ in range(_REFINED):
        grouped = ListGroups(centers)
        nearest = np.concatenate([grouped.nearest(block) for block in _blocks(sample)])
        ones = np.ones(len(sample), np.float32), (nearest, np.arange(len(sample)))
        sums = sparse.csr_array(ones, shape=(n_lists, len(sample))) @ sample
        empty = np.bincount(nearest, minlength=n_lists) == 0
        sums[empty] = centers[empty]
        centers = unit_rows(sums)
    lists.quantizer.add(centers)
    # What is left to train takes few vectors, except the range of quantized numbers.
    lists.train(np.ascontiguousarray(sample[:: max(1, len(sample) // _ENCODED)]))
    if (outer := faiss.downcast_index(index)) is not lists and hasattr(outer, "refine_index"):
        outer.refine_index.train(sample)
        outer.is_trained = True


class ListGroups:
    """Inverted lists in groups of near ones.

    Parameters
    ----------
    centers
        (n_lists, dim) float32, unit rows, the center of each list.
    """

    def __init__(self, centers: Float32Matrix) -> None:
        self._groups = _means(centers, _n_groups(len(centers)))
        self._members = _by_value((centers @ self._groups.T).argmax(1), len(self._groups))
        self._centers = [centers[members] for members in self._members]

    def nearest(self, vectors: Float32Matrix) -> Int64Vector:
        """Find the list of each vector, nearly always the nearest.

        Parameters
        ----------
        vectors
            (n, dim) float32, unit rows, a block of several thousand.

        Returns
        -------
        Int64Vector
            (n,) int64 lists.
        """
        # BLAS would have its threads wait for each other: the products with one group are small.
        return np.concatenate(in_parallel(self._nearest, np.array_split(vectors, n_cores())))

    def _nearest(self, vectors: Float32Matrix) -> Int64Vector:
        n, wanted = len(vectors), min(_NEAREST_GROUPS, len(self._groups))
        near = np.argpartition(vectors @ self._groups.T, -wanted, axis=1)[:, -wanted:]
        best, found = np.full(n, -np.inf, np.float32), np.zeros(n, np.int64)
        rows = (pairs // wanted for pairs in _by_value(near.ravel(), len(self._groups)))
        for at, members, centers in zip(rows, self._members, self._centers, strict=True):
            if not len(at) or not len(members):
                continue
            products = vectors[at] @ centers.T
            column = products.argmax(1)
            product = products[np.arange(len(at)), column]
            nearer = product > best[at]
            best[at[nearer]], found[at[nearer]] = product[nearer], members[column[nearer]]
        return found


class ListFiller:
    """Adds vectors to an index with grouped lists.

    Parameters
    ----------
    index
        A trained FAISS index.
    lists
        Its lists, from `grouped_lists`.
    """

    def __init__(self, index: faiss.Index, lists: Any) -> None:
        self._index, self._lists = faiss.downcast_index(index), lists
        self._groups = ListGroups(flat_vectors(faiss.downcast_index(lists.quantizer)))

    def add(self, vectors: Float32Matrix) -> None:
        """Add (n, dim) float32 unit rows under the next ids."""
        nearest = self._groups.nearest(vectors)
        pointers = faiss.swig_ptr(vectors), None, faiss.swig_ptr(nearest)
        self._lists.add_core(len(vectors), *pointers)
        if hasattr(self._index, "refine_index"):
            self._index.refine_index.add(vectors)
            self._index.ntotal = self._index.refine_index.ntotal


def _n_groups(n_lists: int) -> int:
    return int(2 ** np.round(np.log2(2 * np.sqrt(n_lists))))


def _blocks(vectors: Float32Matrix) -> Iterator[Float32Matrix]:
    return (vectors[at : at + _BLOCK] for at in range(0, len(vectors), _BLOCK))


def _by_value(values: Int64Vector, n_values: int) -> list[Int64Vector]:
    """Return the positions of each value from 0 to ``n_values`` - 1."""
    ends = np.cumsum(np.bincount(values, minlength=n_values))[:-1]
    return np.split(np.argsort(values, kind="stable"), ends)


def _means(vectors: Float32Matrix, k: int) -> Float32Matrix:
    """Return the (k, dim) float32 means of vectors by k-means on the sphere."""
    means = faiss.Kmeans(
        vectors.shape[1], k, niter=_ITERATIONS, seed=_SEED, spherical=True,
        min_points_per_centroid=1, max_points_per_centroid=_PER_MEAN,
    )  # fmt: skip
    means.train(np.ascontiguousarray(vectors))
    return np.asarray(means.centroids, np.float32)


def _shared_out(counts: Int64Vector, total: int) -> Int64Vector:
    """Share out a total in proportion to counts, at most as many to each as it counts."""
    exact = counts * (total / counts.sum())
    shares: Int64Vector = np.minimum(exact.astype(np.int64), counts)
    while (left := total - int(shares.sum())) > 0:
        room = np.flatnonzero(shares < counts)
        shares[room[np.argsort((shares - exact)[room], kind="stable")][:left]] += 1
    return shares
