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


def compiled_sums(function: Callable[..., Any]) -> Any:
    """Compile a function as `compiled`, with sums in the order that suits the CPU's vectors.

    The order is chosen at compilation: the same numbers have the same sum in every call.
    """
    return _compiled(function, nogil=True, fastmath={"reassoc", "contract"})


def _compiled(function: Callable[..., Any], **options: Any) -> Any:
    try:
        return njit(cache=True, error_model="numpy", **options)(function)
    except RuntimeError:  # numba found no writable cache folder
        return njit(error_model="numpy", **options)(function)
