"""Nearest-neighbor search with FAISS, exact or approximate."""

from pathlib import Path
from typing import Any

import numpy as np

from cellkin.space.arrays import BoolVector, Float32Matrix, Int64Vector
from cellkin.space.products import found_products, largest_products
from cellkin.store.neighbor_search import Found, Neighbors
from cellkin.store.neighbors_faiss import faiss, flat_vectors, only_among, require_one_faiss
from cellkin.wire.errors import DimensionMismatchError

_FILES = {"text": "neighbors.faiss", "expression": "expression-neighbors.faiss"}
# Candidates beyond k, so that the order among near ties does not depend on FAISS's kernel.
_SPARE = 16
# An index that rescores its candidates has too few of them when k is small.
_LEAST = 10
# From this many queries on, BLAS was measured to be faster than query by query.
_BLAS_QUERIES = 3
# From 2 to this many queries and up to this many neighbors, comparing all products was measured to
# take a half to a fifth of the time of FAISS.
OWN_QUERIES = 128
_OWN_NEIGHBORS = 256
# The least difference of similarities that rounding by FAISS cannot hide.
_ROUNDING = np.float32(1e-5)
_widest = 0


class NeighborIndex(Neighbors):
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
        self.exact = self._vectors is not None
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

    @classmethod
    def read(cls, folder: Path, space: str) -> "NeighborIndex":
        """Memory-map the index of a space from the folder of a cell index."""
        return cls.load(folder / _FILES[space])

    def write(self, folder: Path, space: str) -> None:
        """Write the file of a space; see `Neighbors.write`."""
        self.save(folder / _FILES[space])

    def close(self) -> None:
        """Do nothing: there is no connection to close."""

    def save(self, path: Path) -> None:
        """Write the index and its search settings to a file."""
        faiss.write_index(self._index, str(path))

    @property
    def faiss_index(self) -> faiss.Index:
        """The FAISS index; a loaded one is memory-mapped, and adding to it crashes the process."""
        return self._index

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
        """Find the nearest vectors of each query; see `Neighbors.search`."""
        if queries.shape[1] != self._dim:
            raise DimensionMismatchError(
                f"queries of {queries.shape[1]} dimensions, index of {self._dim}"
            )
        wide = self.width(k)
        if not len(queries) or k < 1 or not wide:
            return _nothing(len(queries), k)
        queries = np.ascontiguousarray(queries, np.float32)
        own = wide <= _OWN_NEIGHBORS and 1 < len(queries) <= OWN_QUERIES
        if self._vectors is not None and own and passing is None:
            return _compared(self._vectors, queries, k, None)
        only = None if passing is None else only_among(self._index, passing)
        similarities, ids = self._candidates(queries, wide, only)
        if self._vectors is not None:
            similarities = found_products(queries, self._vectors, ids)
        similarities, ids = _in_order(similarities, ids)
        if self._vectors is not None and k < wide < len(self):
            # Where the candidates end among near ties, which of them FAISS found depends on the
            # number of queries.
            near = (similarities[:, k - 1] <= similarities[:, -1] + _ROUNDING) & (ids[:, -1] >= 0)
            if near.any():
                found = _compared(self._vectors, queries[near], k, passing)
                similarities[near, :k], ids[near, :k] = found
        return _padded(similarities[:, :k], ids[:, :k], k)

    def width(self, k: int) -> int:
        """Return how many candidates a search looks at, for its k nearest."""
        return min(k + _SPARE if self.exact else max(k, _LEAST), len(self))

    def _candidates(self, queries: Float32Matrix, wide: int, only: Any) -> Found:
        """Return similarities and ids of candidates; for a flat index only the ids count."""
        found: Found = self._index.search(queries, wide, params=only)
        return found


def _compared(
    vectors: Float32Matrix, queries: Float32Matrix, k: int, passing: BoolVector | None
) -> Found:
    """Find the nearest vectors by comparing all that pass."""
    if passing is None:
        return _padded(*largest_products(vectors, queries, min(k, len(vectors))), k)
    rows = np.flatnonzero(passing)
    similarities, at = largest_products(vectors[rows], queries, min(k, len(rows)))
    return _padded(similarities, rows[at], k)


def _padded(similarities: Float32Matrix, ids: Int64Vector, k: int) -> Found:
    """Return k columns, the last of them missing if there are fewer."""
    n = similarities.shape[1]
    if n == k:
        return similarities, ids
    padded = _nothing(len(ids), k)
    padded[0][:, :n], padded[1][:, :n] = similarities, ids
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
