"""Read the vectors of an index in blocks, in constant memory."""

from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np

from cellkin.space.arrays import Float32Matrix, Int64Vector


class Vectors(Protocol):
    """Unit vectors; row i has id i.

    Attributes
    ----------
    n, dim
        Number and dimension of the vectors.
    """

    @property
    def n(self) -> int:
        """Number of vectors."""

    @property
    def dim(self) -> int:
        """Dimension of the vectors."""

    def batches(self) -> Iterator[Float32Matrix]:
        """Yield the (n_rows, dim) float32 unit rows in order, several thousand at a time."""

    def take(self, rows: Int64Vector) -> Float32Matrix:
        """Return the (n_rows, dim) float32 unit rows with the given ids, which are ascending."""


class Watched:
    """Vectors that report progress over several passes of reading.

    Parameters
    ----------
    vectors
        The vectors.
    progress
        Called with the rows read and the rows in total.
    n_passes
        Number of times that all vectors will be read.
    """

    def __init__(
        self, vectors: Vectors, progress: Callable[[int, int], None], n_passes: int
    ) -> None:
        self._vectors = vectors
        self._progress = progress
        self._total = vectors.n * n_passes
        self._done = 0
        self.n = vectors.n
        self.dim = vectors.dim

    def batches(self) -> Iterator[Float32Matrix]:
        """Yield the rows in order; each block is reported when the next is requested."""
        for batch in self._vectors.batches():
            yield batch
            self.report(len(batch))

    def take(self, rows: Int64Vector) -> Float32Matrix:
        """Return some rows."""
        return self._vectors.take(rows)

    def report(self, n_rows: int) -> None:
        """Report further rows as read."""
        self._done += n_rows
        self._progress(self._done, self._total)


def spread_rows(n: int, wanted: int, seed: int) -> Int64Vector:
    """Choose rows spread evenly: one at random from each of ``wanted`` equal parts.

    Parameters
    ----------
    n
        Number of rows.
    wanted
        Rows to choose; all if there are fewer.
    seed
        Seed of the random choice.

    Returns
    -------
    Int64Vector
        (min(n, wanted),) int64, ascending, distinct.
    """
    if wanted >= n:
        return np.arange(n, dtype=np.int64)
    edges = np.arange(wanted + 1, dtype=np.int64) * n // wanted
    return np.random.default_rng(seed).integers(edges[:-1], edges[1:])
