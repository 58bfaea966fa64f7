"""Limit the BLAS threads: for small products, threads mostly wait for each other.

OpenBLAS threads spin while they wait. On a busy machine a product ends only when its last thread
has been given a core, and until then the other threads burn theirs.
"""

import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import cache
from threading import Thread
from typing import Any, TypeVar

from threadpoolctl import ThreadpoolController

from cellkin.store.machine import n_cores

Item = TypeVar("Item")
Result = TypeVar("Result")

_WITH_BLAS = ("numpy", "scipy.linalg", "faiss", "torch")
"""Packages that load a BLAS of their own when they are imported."""
_SMALL = 20_000_000
"""Matrix entries up to which one thread is as fast as several on a busy machine."""


def blas_threads(n: int) -> AbstractContextManager[Any]:
    """Return a context manager that limits BLAS to n threads."""
    loaded = tuple(name for name in _WITH_BLAS if name in sys.modules)
    limited: AbstractContextManager[Any] = _libraries(loaded).limit(limits=n, user_api="blas")
    return limited


@cache
def _libraries(_loaded: tuple[str, ...]) -> ThreadpoolController:
    """Return the libraries that these packages have loaded; finding them takes 20 ms."""
    return ThreadpoolController()


def share_cores(n_threads: int) -> None:
    """Set the thread limits of a worker process that shares the machine with others.

    Parameters
    ----------
    n_threads
        OpenMP threads of libraries loaded later, such as torch; BLAS gets one.
    """
    os.environ["OMP_NUM_THREADS"] = str(n_threads)
    blas_threads(1)


def threads_for(n_values: int) -> AbstractContextManager[Any]:
    """Return a context manager with one BLAS thread for small matrices, else one per core.

    Parameters
    ----------
    n_values
        Entries of the largest matrix.
    """
    return blas_threads(1 if n_values <= _SMALL else n_cores())


def in_parallel(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """Call a function for each item in as many threads as there are cores, BLAS with one in each.

    Processes would import the libraries again; numpy, BLAS and compiled loops release the GIL.

    Parameters
    ----------
    function
        Called from several threads.
    items
        Its arguments.

    Returns
    -------
    list
        The results in the order of the items.
    """
    with blas_threads(1):
        n_threads = min(n_cores(), len(items))
        if n_threads < 2:
            return [function(item) for item in items]
        # OpenMP, which some builds of BLAS use, has a limit for each thread.
        with ThreadPoolExecutor(n_threads, "parts", blas_threads, (1,)) as pool:
            return list(pool.map(function, items))


def in_background(function: Callable[[], Result]) -> Callable[[], Result]:
    """Call a function in a thread for which the end of the process does not wait.

    Parameters
    ----------
    function
        Takes long, outside of the interpreter's lock.

    Returns
    -------
    callable
        Waits for the result and returns it, or raises the function's error.
    """
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(function())
        except BaseException as error:  # noqa: BLE001  # raised where the result is asked for
            future.set_exception(error)

    Thread(target=run, name="background", daemon=True).start()
    return future.result
