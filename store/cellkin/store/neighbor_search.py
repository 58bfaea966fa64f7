"""What a neighbor index is, whatever library searches it."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TypeAlias

from cellkin.space.arrays import BoolVector, Float32Matrix, Int64Vector

Found: TypeAlias = tuple[Float32Matrix, Int64Vector]


class Neighbors(ABC):
    """The vectors of a reference, searched for the nearest by cosine similarity."""

    exact = False
    """Whether every vector is compared with every query."""
    remote = False
    """Whether another process searches, so that its CPU time cannot be measured here."""

    @abstractmethod
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

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of vectors."""

    @property
    @abstractmethod
    def dim(self) -> int:
        """Dimension of a vector."""

    @property
    @abstractmethod
    def n_bytes(self) -> int:
        """Size of the index, bytes."""

    @abstractmethod
    def write(self, folder: Path, space: str) -> None:
        """Write what loads the index again into the folder of a cell index.

        Parameters
        ----------
        folder
            The folder.
        space
            Name of the space, ``text`` or ``expression``.
        """

    @abstractmethod
    def close(self) -> None:
        """Close connections, if there are any."""
