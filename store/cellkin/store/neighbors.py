"""Exact nearest neighbors by FAISS, with answers that do not depend on the batch."""

from pathlib import Path

import faiss
import numpy as np

from cellkin.space.arrays import Float32Matrix, Int64Vector
from cellkin.wire.errors import DimensionMismatchError

# Beyond the k wanted, so that the exact order among near-equals is ours and not the kernel's.
_SPARE = 16


class NeighborIndex:
    """A flat inner-product index over unit vectors, so scores are cosines.

    Parameters
    ----------
    index
        The FAISS index.
    """

    def __init__(self, index: faiss.Index) -> None:
        self._index = index
        # FAISS scans a batch query by query below this many floats; by BLAS it is several times
        # faster from three queries on. The threshold counts queries times dimensions since 1.15.
        faiss.cvar.distance_compute_blas_threshold = 3 * index.d

    @classmethod
    def build(cls, vectors: Float32Matrix) -> "NeighborIndex":
        """Index vectors, row i under id i.

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
        """Write the index to a file."""
        faiss.write_index(self._index, str(path))

    def __len__(self) -> int:
        """Return the number of vectors."""
        return int(self._index.ntotal)

    def search(self, queries: Float32Matrix, k: int) -> tuple[Float32Matrix, Int64Vector]:
        """Find the nearest vectors of each query.

        Parameters
        ----------
        queries
            (n_queries, dim) float32, unit rows.
        k
            Neighbors a query.

        Returns
        -------
        similarities
            (n_queries, k) float32 cosines, best first, ties by ascending id; -inf where fewer
            than k vectors exist.
        ids
            (n_queries, k) int64, -1 where missing.

        Raises
        ------
        DimensionMismatchError
            If the queries are of another width than the index.
        """
        if queries.shape[1] != self._index.d:
            raise DimensionMismatchError(
                f"queries of {queries.shape[1]} dimensions, index of {self._index.d}"
            )
        n, dim = queries.shape
        wide = min(k + _SPARE, len(self))
        similarities = np.full((n, k), -np.inf, np.float32)
        ids = np.full((n, k), -1, np.int64)
        if not n or not wide:
            return similarities, ids
        _, found = self._index.search(np.ascontiguousarray(queries, np.float32), wide)
        found = np.sort(found, axis=1)
        candidates = self._index.reconstruct_batch(found.reshape(-1)).reshape(n, wide, dim)
        # One query's products are summed the same way whatever else is in the batch.
        exact = np.einsum("qd,qkd->qk", queries, candidates, optimize=False)
        best = np.argsort(-exact, axis=1, kind="stable")[:, :k]
        similarities[:, : best.shape[1]] = np.take_along_axis(exact, best, axis=1)
        ids[:, : best.shape[1]] = np.take_along_axis(found, best, axis=1)
        return similarities, ids
