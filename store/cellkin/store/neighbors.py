"""Nearest-neighbor search: exact by comparing all vectors, or approximate by FAISS."""

from pathlib import Path

import numpy as np

from cellkin.space.arrays import BoolVector, Float32Matrix, Int64Vector
from cellkin.space.largest import LargestProducts
from cellkin.store.neighbor_search import Found, Neighbors
from cellkin.store.neighbors_faiss import faiss, flat_vectors, only_among, require_one_faiss
from cellkin.wire.errors import DimensionMismatchError

_FILES = {"text": "neighbors.faiss", "expression": "expression-neighbors.faiss"}
LEAST_CANDIDATES = 10
"""An index that rescores its candidates has too few of them when k is small."""
# From this many queries on, BLAS was measured to be faster than query by query.
_BLAS_QUERIES = 3
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
        queries = np.ascontiguousarray(queries, np.float32)
        if self._vectors is not None:
            largest = LargestProducts(queries, k)
            largest.add(self._vectors, None if passing is None else np.flatnonzero(passing))
            return largest.result()
        n_candidates = min(max(k, LEAST_CANDIDATES), len(self))
        if not len(queries) or k < 1 or not n_candidates:
            return _nothing(len(queries), k)
        only = None if passing is None else only_among(self._index, passing)
        return best_of(*self._index.search(queries, n_candidates, params=only), k)


def best_of(similarities: Float32Matrix, ids: Int64Vector, k: int) -> Found:
    """Return the best k of the candidates of each query; see `Neighbors.search`.

    Parameters
    ----------
    similarities, ids
        (n_queries, n_candidates) float32 and int64, in nearly descending order; id -1 for none.
    k
        Neighbors per query; the last are missing if there are fewer candidates.
    """
    similarities, ids = _in_order(similarities, ids)
    found, n = _nothing(len(ids), k), min(k, ids.shape[1])
    found[0][:, :n], found[1][:, :n] = similarities[:, :n], ids[:, :n]
    return found


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
    """Set the batch size from which FAISS compares queries with the centers of lists by BLAS.

    Below a process-wide threshold of queries times dimensions (since 1.15; queries before), FAISS
    scans query by query. The threshold is set for the widest index: for narrower ones, BLAS starts
    a few queries later than ideal, but never with a single query.
    """
    global _widest
    _widest = max(_widest, dim)
    faiss.cvar.distance_compute_blas_threshold = _BLAS_QUERIES * _widest
