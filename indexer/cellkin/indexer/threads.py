"""How many threads linear algebra has: those of small products mostly wait for each other.

OpenBLAS waits by spinning. On a machine that is busy with other work, every product ends when the
last of its threads was given a core, and the others burn theirs until then.
"""

import os
from contextlib import AbstractContextManager
from typing import Any

from threadpoolctl import threadpool_limits

from cellkin.store.machine import n_cores

_SMALL = 20_000_000
"""Values of a matrix that one thread decomposes as soon as several that share a busy machine."""


def blas_threads(n: int) -> AbstractContextManager[Any]:
    """Return a block in which BLAS has so many threads."""
    limited: AbstractContextManager[Any] = threadpool_limits(n, "blas")
    return limited


def share_cores(n_threads: int) -> None:
    """Make this process one of several that work at once.

    Parameters
    ----------
    n_threads
        Threads of libraries that are loaded later, such as torch; BLAS has one.
    """
    os.environ["OMP_NUM_THREADS"] = str(n_threads)
    blas_threads(1)


def threads_for(n_values: int) -> AbstractContextManager[Any]:
    """Return a block with one thread of BLAS for small matrices, and one a core for others.

    Parameters
    ----------
    n_values
        Entries of the largest matrix.
    """
    return blas_threads(1 if n_values <= _SMALL else n_cores())
