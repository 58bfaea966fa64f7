"""What a run costs: seconds of the clock, and the most memory it took on top."""

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
        What the work returned.
    seconds
        Of the clock.
    peak_bytes
        The most memory this process held during the work beyond what it held before; None where
        the system does not say (other than Linux).
    """

    value: _T
    seconds: float
    peak_bytes: int | None


def measured(work: Callable[[], _T]) -> Measured[_T]:
    """Run something and say what it cost.

    Linux keeps the most memory a process ever held, and forgets it on request; so no process of its
    own is needed, and memory taken in C counts, which `tracemalloc` does not see. Of a method's
    first run the memory of imported libraries counts too.

    Parameters
    ----------
    work
        Takes no argument.
    """
    before = _reset()
    started = time.perf_counter()
    value = work()
    seconds = time.perf_counter() - started
    peak = None if before is None else max(0, _field("VmHWM") - before)
    return Measured(value, seconds, peak)


def _reset() -> int | None:
    """Forget the peak; return the memory held now, None where there is no telling."""
    gc.collect()
    # Memory that was freed and kept for reuse would hide what the work takes.
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
