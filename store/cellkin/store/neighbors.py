"""The nearest vectors by FAISS: exact and whatever the batch, or by an index of any kind."""

from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np

from cellkin.space.arrays import BoolVector, Float32Matrix, Int64Vector
from cellkin.space.one_query import in_order, nearest_to_one
from cellkin.space.products import largest_products
from cellkin.store.neighbors_faiss import faiss, flat_vectors, only_among, require_one_faiss
from cellkin.wire.errors import DimensionMismatchError

Found: TypeAlias = tuple[Float32Matrix, Int64Vector]

# Beyond the k wanted, so that the exact order among near-equals is ours and not the kernel's.
_SPARE = 16
# An index that re-scores its candidates finds few of them where few are asked for.
_LEAST = 10
# From this many queries on, a batch is faster by BLAS than query by query: measured.
_BLAS_QUERIES = 3
# Up to so many queries, for so many neighbors, our own kernels compare with all vectors sooner than
# FAISS and BLAS do; with one, or with 32, in about half the time: measured.
_OWN_QUERIES = 128
_OWN_NEIGHBORS = 256
_widest = 0


class Searchable(Protocol):
    """What answers as a `NeighborIndex`."""

    def search(self, queries: Float32Matrix, k: int, passing: BoolVector | None = None) -> Found:
        """Find the nearest vectors of each query; see `NeighborIndex.search`."""

    def __len__(self) -> int:
        """Return the number of vectors."""


class NeighborIndex:
    """An inner-product index over unit vectors, so scores are cosines.

    A flat index is exact: one query's answer is the same to the bit whatever else is in the batch.
    The others are as good as their certificate says. A query's answer by HNSW does not depend on
    its batch either; with inverted lists, rounding may choose another last list to look into.

    Parameters
    ----------
    index
        The FAISS index, of metric inner product, with its search settings; complete.

    Raises
    ------
    FailedPreconditionError
        If several distributions of FAISS are installed.
    """

    def __init__(self, index: faiss.Index) -> None:
        require_one_faiss()
        self._index = index
        # Asked of FAISS, each lets other threads in first.
        self._dim, self._n = int(index.d), int(index.ntotal)
        self._vectors = flat_vectors(index) if isinstance(index, faiss.IndexFlat) else None
        _choose_blas_from(self._dim)

    @classmethod
    def build(cls, vectors: Float32Matrix) -> "NeighborIndex":
        """Index vectors exactly, row i under id i.

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
        """Map an index file into memory; processes of one machine share the pages."""
        return cls(faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC))

    def save(self, path: Path) -> None:
        """Write the index to a file, its search settings with it."""
        faiss.write_index(self._index, str(path))

    def close(self) -> None:
        """Do nothing: there is no connection to let go of."""

    @property
    def faiss_index(self) -> faiss.Index:
        """The FAISS index; what is loaded is mapped, and adding to it ends the process."""
        return self._index

    @property
    def exact(self) -> bool:
        """Whether every vector is compared with every query."""
        return self._vectors is not None

    @property
    def dim(self) -> int:
        """Width of a vector."""
        return self._dim

    @property
    def n_bytes(self) -> int:
        """Size of the file, and of the memory it takes when all of it was touched."""
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
            Neighbors a query.
        passing
            (n,) bool, the vectors that may be found; None for all. An index that is not exact looks
            as much farther as fewer pass, and still finds the fewer of them the rarer they are.

        Returns
        -------
        similarities
            (n_queries, k) float32 cosines, best first, ties by ascending id; -inf where fewer
            than k vectors were found. Of an index that keeps shortened vectors, cosines with these.
        ids
            (n_queries, k) int64, -1 where missing.

        Raises
        ------
        DimensionMismatchError
            If the queries are of another width than the index.
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
    """Put ties in the order of their ids; FAISS gives the rest in order of similarity."""
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
    """Let FAISS scan a batch by BLAS where that is faster.

    FAISS scans query by query below a number of floats, queries times dimensions (since 1.15; it
    was queries before), which is one for the process. It fits the widest index there is: for a
    narrower one, BLAS then begins a few queries late, and never with a single one.
    """
    global _widest
    _widest = max(_widest, dim)
    faiss.cvar.distance_compute_blas_threshold = _BLAS_QUERIES * _widest
