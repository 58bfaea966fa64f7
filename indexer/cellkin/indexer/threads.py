"""How many threads linear algebra has: small products wait for each other for most of the time."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from threadpoolctl import threadpool_limits

_SMALL = 20_000_000
"""Values of a matrix that one thread decomposes as soon as several that share a busy machine."""


def blas_threads(n: int) -> AbstractContextManager[Any]:
    """Return a block in which BLAS has so many threads."""
    limited: AbstractContextManager[Any] = threadpool_limits(n, "blas")
    return limited


def threads_for(n_values: int) -> AbstractContextManager[Any]:
    """Return a block with one thread of BLAS for a small matrix, and all there are for others.

    Parameters
    ----------
    n_values
        Entries of the matrix.
    """
    return blas_threads(1) if n_values <= _SMALL else nullcontext()
