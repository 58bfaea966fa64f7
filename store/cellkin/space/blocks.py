"""Blocks of cells as the kernels read them, split among threads."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np

from cellkin.space import kernels
from cellkin.space.arrays import (
    CsrMatrix,
    Float32Vector,
    Int32Vector,
    Int64Vector,
    frozen,
    without_duplicates,
)
from cellkin.wire.errors import InvalidArgumentError

BLOCK_CELLS = 2048
"""Approximate number of cells per pass over the vectors."""

Share: TypeAlias = Callable[..., Iterable[Any]]
"""``map``, by one thread or several."""


@dataclass(frozen=True)
class Block:
    """A block of cells as read-only int64, int32 and float32 arrays for the kernels."""

    n_cells: int
    arrays: tuple[Int64Vector, Int32Vector, Float32Vector]

    @classmethod
    def of(cls, cells: CsrMatrix, n_columns: int, threads: int, share: Share) -> "Block":
        """Convert a matrix, sorting and summing duplicates if needed; the check uses threads."""
        if cells.shape[1] != n_columns:
            raise InvalidArgumentError(
                f"cells of {cells.shape[1]} columns; their genes are given for {n_columns}"
            )
        block = cls(cells.shape[0], cls._arrays(cells))
        if all(share(lambda part: block._is_ascending(part, n_columns), block.parts(threads))):
            return block
        return cls(cells.shape[0], cls._arrays(without_duplicates(cells)))

    def parts(self, threads: int) -> list[Int64Vector]:
        """Split the cells as `parts_of` does."""
        cells = np.arange(self.n_cells)
        return [cells[part] for part in parts_of(self.n_cells, threads)]

    def _is_ascending(self, cells: Int64Vector, n_columns: int) -> bool:
        if not len(cells):
            return True
        indptr, indices, _ = self.arrays
        first, last = int(cells[0]), int(cells[-1]) + 1
        return bool(kernels.is_ascending(indptr, indices, n_columns, first, last))

    @staticmethod
    def _arrays(cells: CsrMatrix) -> tuple[Int64Vector, Int32Vector, Float32Vector]:
        return (
            frozen(np.ascontiguousarray(cells.indptr, np.int64)),
            frozen(np.ascontiguousarray(cells.indices, np.int32)),
            frozen(np.ascontiguousarray(cells.data, np.float32)),
        )


def parts_of(n_cells: int, threads: int) -> list[slice]:
    """Split cells into parts of about `BLOCK_CELLS`, the same number for each thread."""
    n_parts = threads * max(1, round(n_cells / (threads * BLOCK_CELLS)))
    edges = [n_cells * i // n_parts for i in range(n_parts + 1)]
    return [slice(*edge) for edge in pairwise(edges)]


@contextmanager
def sharing(threads: int) -> Iterator[Share]:
    """Yield ``map``, or the ``map`` of a thread pool."""
    if threads == 1:
        yield map
    else:
        with ThreadPoolExecutor(threads, "projection") as pool:
            yield pool.map
