"""The request a thread is working on: its deadline, timings and log fields."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from cellkin.wire.errors import CancelledError, CellkinError, DeadlineExceededError

TURN_S = 0.05
"""Seconds between a waiting request's checks for its deadline or cancellation."""
_here = threading.local()
Result = TypeVar("Result")


@dataclass(eq=False, slots=True)
class Call:
    """State of one request.

    Parameters
    ----------
    method
        ``/package.Service/Method``.
    arrived
        Arrival time, seconds of `time.perf_counter`.
    deadline
        Deadline on the same clock; None if there is none.
    left
        Whether the client cancelled the request; set by the interceptor.
    id
        The client's ``x-request-id``, or a random one.
    client
        Name of the token, or address of the connection.
    n_cells
        Cells that were read.
    brief_bytes
        Messages of a stream of up to this size are answered at once, on the event loop; set by the
        service where that takes less than passing them to a thread, and waits for nothing.
    queue_s, compute_s
        Seconds spent waiting for a thread or for a turn to search, and seconds spent searching.
    versions
        Versions the response was made from, in order of use.
    audit
        Fields for the audit log, set by requests that change the catalog.
    """

    method: str
    arrived: float
    deadline: float | None = None
    left: bool = False
    id: str = ""
    client: str = ""
    n_cells: int = 0
    brief_bytes: int = 0
    queue_s: float = 0.0
    compute_s: float = 0.0
    versions: list[str] = field(default_factory=list)
    audit: dict[str, str] = field(default_factory=dict)

    def time_left_s(self) -> float | None:
        """Return the seconds until the deadline, or None if there is none."""
        return None if self.deadline is None else self.deadline - time.perf_counter()

    def lost(self) -> CellkinError | None:
        """Return an error if the deadline passed or the client cancelled, else None."""
        if self.deadline is not None and self.deadline <= time.perf_counter():
            return DeadlineExceededError(
                "the deadline passed before the answer was ready; give it longer, or ask for less"
            )
        return CancelledError("the caller gave the request up") if self.left else None

    def check(self) -> None:
        """Raise if the deadline passed or the client cancelled.

        Raises
        ------
        DeadlineExceededError
            If the deadline passed.
        CancelledError
            If the client cancelled the request.
        """
        lost = self.lost()
        if lost is not None:
            raise lost


def current() -> Call:
    """Return this thread's request; outside of one, a request without a deadline."""
    call: Call | None = getattr(_here, "call", None)
    return call or Call("", time.perf_counter())


def work_on(call: Call | None) -> None:
    """Set this thread's request; None for no request."""
    _here.call = call


def done_by(call: Call, work: Callable[[], Result]) -> Result:
    """Return the result of a function that is run for a request, here and now."""
    work_on(call)
    try:
        return work()
    finally:
        work_on(None)


def check() -> None:
    """Raise if nobody waits for the current request; see `Call.check`."""
    current().check()


@contextmanager
def turn(lock: threading.Lock) -> Iterator[None]:
    """Hold a lock in a ``with`` block, and add the wait and the work to the current request's.

    Raises
    ------
    DeadlineExceededError
        If the deadline passed before it was free.
    CancelledError
        If the client cancelled the request before that.
    """
    call, began = current(), time.perf_counter()
    while not lock.acquire(timeout=TURN_S):
        call.check()
    started = time.perf_counter()
    call.queue_s += started - began
    try:
        call.check()
        yield
    finally:
        lock.release()
        call.compute_s += time.perf_counter() - started
