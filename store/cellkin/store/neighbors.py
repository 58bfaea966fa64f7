"""Nearest-neighbor search with FAISS, exact or approximate."""

from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np

from cellkin.space.arrays import BoolVector, Float32Matrix, Int64Vector
from cellkin.space.one_query import in_order, nearest_to_one
from cellkin.space.products import largest_products
from cellkin.store.neighbors_faiss import faiss, flat_vectors, only_among, require_one_faiss
from cellkin.wire.errors import DimensionMismatchError

Found: TypeAlias = tuple[Float32Matrix, Int64Vector]

# Candidates beyond k, so that the order among near ties does not depend on FAISS's kernel.
_SPARE = 16
# An index that rescores its candidates has too few of them when k is small.
_LEAST = 10
# From this many queries on, BLAS was measured to be faster than query by query.
_BLAS_QUERIES = 3
# Up to this many queries and neighbors, our kernels were measured to be faster than FAISS and BLAS:
# for 1 or 32 queries, they take about half the time.
_OWN_QUERIES = 128
_OWN_NEIGHBORS = 256
_widest = 0


class Searchable(Protocol):
    """Anything that can be searched like a `NeighborIndex`."""

    def search(self, queries: Float32Matrix, k: int, passing: BoolVector | None = None) -> Found:
        """Find the nearest vectors of each query; see `NeighborIndex.search`."""

    def __len__(self) -> int:
        """Return the number of vectors."""


class NeighborIndex:
    """An inner-product index of unit vectors, so scores are cosine similarities.

    A flat index is exact, and a query's result is bit-identical whatever else is in the batch. The
    recall of other indexes is in their certificate. HNSW results do not depend on the batch either;
    with inverted lists, rounding may change the last list that is searched.

    Parameters
    ----------
    index
        The complete FAISS index, with inner product metric and its search settings.

    Raises
    ------
    FailedPreconditionError
        If several distributions of FAISS are installed.
    """

    def __init__(self, index: faiss.Index) -> None:
        require_one_faiss()
        self._index = index
        # Cached because each access through FAISS releases the GIL.
        self._dim, self._n = int(index.d), int(index.ntotal)
        self._vectors = flat_vectors(index) if isinstance(index, faiss.IndexFlat) else None
        _choose_blas_from(self._dim)

    @classmethod
    def build(cls, vectors: Float32Matrix) -> "NeighborIndex":
        """Build an exact index, with row i under id i.

        Parameters
        ----------
        vectors
            (n, dim) float32, unit rows.
        """
        index = faiss.IndexFlatIP(vectors.shape[1])
        index.add(np.ascontiguousarray(vectors))
        return cls(index)

    @classmethod
    def load(cls, path: Path) -> "NeighborIndex":
        """Memory-map an index file; processes on one machine share the pages."""
        return cls(faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC))

    def save(self, path: Path) -> None:
        """Write the index and its search settings to a file."""
        faiss.write_index(self._index, str(path))

    def close(self) -> None:
        """Do nothing: there is no connection to close."""

    @property
    def faiss_index(self) -> faiss.Index:
        """The FAISS index; a loaded one is memory-mapped, and adding to it crashes the process."""
        return self._index

    @property
    def exact(self) -> bool:
        """Whether every vector is compared with every query."""
        return self._vectors is not None

    @property
    def dim(self) -> int:
        """Dimension of a vector."""
        return self._dim

    @property
    def n_bytes(self) -> int:
        """Size of the file, and of the memory used once all pages were touched."""
        n_bytes = 0

        def count(block: bytes) -> None:
            nonlocal n_bytes
            n_bytes += len(block)

        faiss.write_index(self._index, faiss.PyCallbackIOWriter(count))  # type: ignore[attr-defined]
        return n_bytes

    def __len__(self) -> int:
        """Return the number of vectors."""
        return self._n

    def search(self, queries: Float32Matrix, k: int, passing: BoolVector | None = None) -> Found:
        """Find the nearest vectors of each query.

        Parameters
        ----------
        queries
            (n_queries, dim) float32, unit rows.
        k
            Neighbors per query.
        passing
            (n,) bool, the vectors that may be found; None for all. The fewer pass, the farther an
            approximate index searches, but its recall still decreases.

        Returns
        -------
        similarities
            (n_queries, k) float32 cosine similarities, best first, ties by ascending id; -inf
            where fewer than k vectors were found. For an index that compresses its vectors,
            similarities to the compressed vectors.
        ids
            (n_queries, k) int64, -1 where missing.

        Raises
        ------
        DimensionMismatchError
            If the queries have another dimension than the index.
        """
        if queries.shape[1] != self._dim:
            raise DimensionMismatchError(
                f"queries of {queries.shape[1]} dimensions, index of {self._dim}"
            )
        spare = k + _SPARE if self.exact else max(k, _LEAST)
        wide = min(spare, len(self))
        if not len(queries) or k < 1 or not wide:
            return _nothing(len(queries), k)
        queries = np.ascontiguousarray(queries, np.float32)
        if self._vectors is not None:
            own = passing is None and wide <= _OWN_NEIGHBORS and len(queries) <= _OWN_QUERIES
            if own and len(queries) == 1:
                return nearest_to_one(self._vectors, queries, wide, k)
            if own:
                _, ids = largest_products(self._vectors, queries, wide)
            else:
                only = None if passing is None else only_among(self._index, passing)
                _, ids = self._index.search(queries, wide, params=only)
            return in_order(self._vectors, queries, ids, k)
        only = None if passing is None else only_among(self._index, passing)
        similarities, ids = _in_order(*self._index.search(queries, wide, params=only))
        if wide >= k:
            return similarities[:, :k], ids[:, :k]
        padded = _nothing(len(queries), k)
        padded[0][:, :wide], padded[1][:, :wide] = similarities, ids
        return padded


def _in_order(similarities: Float32Matrix, ids: Int64Vector) -> Found:
    """Sort ties by id; FAISS already sorts by similarity."""
    missing = ids < 0
    if missing.any():
        similarities[missing] = -np.inf
    if (similarities[:, 1:] >= similarities[:, :-1]).any():
        order = np.lexsort((np.where(missing, np.iinfo(np.int64).max, ids), -similarities), axis=1)
        similarities = np.take_along_axis(similarities, order, axis=1)
        ids = np.take_along_axis(ids, order, axis=1)
    return similarities, ids


def _nothing(n_queries: int, k: int) -> Found:
    return np.full((n_queries, k), -np.inf, np.float32), np.full((n_queries, k), -1, np.int64)


def _choose_blas_from(dim: int) -> None:
    """Set the batch size from which FAISS uses BLAS.

    Below a process-wide threshold of queries times dimensions (since 1.15; queries before), FAISS
    scans query by query. The threshold is set for the widest index: for narrower ones, BLAS starts
    a few queries later than ideal, but never with a single query.
    """
    global _widest
    _widest = max(_widest, dim)
    faiss.cvar.distance_compute_blas_threshold = _BLAS_QUERIES * _widest
