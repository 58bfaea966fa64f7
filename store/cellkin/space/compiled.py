"""Compile inner loops with numba."""

from collections.abc import Callable
from typing import Any

from numba import njit


def compiled(function: Callable[..., Any]) -> Any:
    """Compile a function on its first call, to run without the GIL.

    The machine code is cached on disk if a folder is writable, next to the source or in the user's
    cache. Threads are left to the caller: numba's thread pool does not allow concurrent callers.
    """
    return _compiled(function, nogil=True)


def compiled_brief(function: Callable[..., Any]) -> Any:
    """Compile a function that runs for microseconds and keeps the GIL.

    With many threads waiting for the GIL, releasing and reacquiring it takes longer than the call.
    """
    return _compiled(function, nogil=False)


def _compiled(function: Callable[..., Any], nogil: bool) -> Any:
    try:
        return njit(cache=True, nogil=nogil, error_model="numpy")(function)
    except RuntimeError:  # numba found no writable cache folder
        return njit(nogil=nogil, error_model="numpy")(function)
