"""How the inner loops are compiled."""

from collections.abc import Callable
from typing import Any

from numba import njit


def compiled(function: Callable[..., Any]) -> Any:
    """Compile a function on its first call, to run without the interpreter's lock.

    The machine code is kept on disk where a folder can be written, next to the source or in the
    user's cache. Threads are the caller's: numba's own do not survive several callers.
    """
    try:
        return njit(cache=True, nogil=True, error_model="numpy")(function)
    except RuntimeError:  # numba found no folder it may write to
        return njit(nogil=True, error_model="numpy")(function)
