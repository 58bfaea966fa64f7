"""Wall time and peak memory of a function call."""

import contextlib
import ctypes
import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

_T = TypeVar("_T")
_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Measured(Generic[_T]):
    """A result and what it cost.

    Parameters
    ----------
    value
        The return value.
    seconds
        Wall time.
    peak_bytes
        Peak resident memory during the call minus that before it; None on systems other than
        Linux.
    """

    value: _T
    seconds: float
    peak_bytes: int | None


def measured(work: Callable[[], _T]) -> Measured[_T]:
    """Call a function and measure its cost.

    Linux records the peak memory of a process and resets it on request, so no second process is
    needed, and memory allocated in C is included, which `tracemalloc` does not see. The first run
    of a method includes the libraries that it imports.

    Parameters
    ----------
    work
        A function without arguments.
    """
    before = _reset()
    started = time.perf_counter()
    value = work()
    seconds = time.perf_counter() - started
    peak = None if before is None else max(0, _field("VmHWM") - before)
    return Measured(value, seconds, peak)


def _reset() -> int | None:
    """Free unused memory, reset the peak, and return the resident memory in bytes.

    None where ``/proc`` cannot be written, as on systems other than Linux.
    """
    gc.collect()
    # Freed memory that the allocator keeps for reuse would hide what the call needs.
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
    try:
        _CLEAR.write_text("5", encoding="ascii")
        return _field("VmRSS")
    except OSError:
        return None


def _field(name: str) -> int:
    lines = _STATUS.read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))
