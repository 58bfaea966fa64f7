"""The request a thread is working on: its deadline, timings and log fields."""

import threading
import time
from dataclasses import dataclass, field

from cellkin.wire.errors import CancelledError, CellkinError, DeadlineExceededError

_here = threading.local()


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
        Whether the client cancelled the request; set by the edge.
    client
        Name of the token, or address of the connection.
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
    client: str = ""
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


def check() -> None:
    """Raise if nobody waits for the current request; see `Call.check`."""
    current().check()
