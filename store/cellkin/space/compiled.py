"""How the inner loops are compiled."""

from collections.abc import Callable
from typing import Any

from numba import njit


def compiled(function: Callable[..., Any]) -> Any:
    """Compile a function on its first call, to run without the interpreter's lock.

    The machine code is kept on disk where a folder can be written, next to the source or in the
    user's cache. Threads are the caller's: numba's own do not survive several callers.
    """
    return _compiled(function, nogil=True)


def compiled_brief(function: Callable[..., Any]) -> Any:
    """Compile a function that runs for microseconds, under the interpreter's lock.

    To let go of the lock and wait for it again takes longer than that where many threads want it.
    """
    return _compiled(function, nogil=False)


def _compiled(function: Callable[..., Any], nogil: bool) -> Any:
    try:
        return njit(cache=True, nogil=nogil, error_model="numpy")(function)
    except RuntimeError:  # numba found no folder it may write to
        return njit(nogil=nogil, error_model="numpy")(function)
