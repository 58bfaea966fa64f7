"""How the inner loops are compiled."""

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from numba import njit

Scalar = TypeVar("Scalar", bound=np.generic)


def compiled(function: Callable[..., Any]) -> Any:
    """Compile a function on its first call, to run without the interpreter's lock.

    The machine code is kept on disk where a folder can be written, next to the source or in the
    user's cache. Threads are the caller's: numba's own do not survive several callers.
    """
    try:
        return njit(cache=True, nogil=True, error_model="numpy")(function)
    except RuntimeError:  # numba found no folder it may write to
        return njit(nogil=True, error_model="numpy")(function)


def only_read(array: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
    """Return an array that cannot be written: for one that can, a function is compiled anew."""
    view = array.view()
    view.flags.writeable = False
    return view
