"""The request a thread is working on: how long it may take, and where its time went."""

import threading
import time
from dataclasses import dataclass, field

from cellkin.wire.errors import CancelledError, CellkinError, DeadlineExceededError

_here = threading.local()


@dataclass(eq=False, slots=True)
class Call:
    """One request, from its arrival to its answer.

    Parameters
    ----------
    method
        ``/package.Service/Method``.
    arrived
        When it came, seconds of `time.perf_counter`.
    deadline
        When its caller stops waiting, on the same clock; None where there is no deadline.
    left
        Whether the caller gave it up; the edge says so.
    client
        Who asks: the name of the token, or the address of the connection.
    queue_s, compute_s
        Seconds it waited for a thread or its turn, and seconds of search.
    versions
        The versions its answer was made from, in the order they were used.
    audit
        What a request that changes the catalog asks for.
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
        """Return the seconds until the deadline, None where there is none."""
        return None if self.deadline is None else self.deadline - time.perf_counter()

    def lost(self) -> CellkinError | None:
        """Say why nobody waits for the answer any more, None where somebody does."""
        if self.deadline is not None and self.deadline <= time.perf_counter():
            return DeadlineExceededError(
                "the deadline passed before the answer was ready; give it longer, or ask for less"
            )
        return CancelledError("the caller gave the request up") if self.left else None

    def check(self) -> None:
        """Stop working on a request that nobody waits for.

        Raises
        ------
        DeadlineExceededError
            If its deadline passed.
        CancelledError
            If the caller gave it up.
        """
        lost = self.lost()
        if lost is not None:
            raise lost


def current() -> Call:
    """Return the request this thread works on; outside of one, a request without a deadline."""
    call: Call | None = getattr(_here, "call", None)
    return call or Call("", time.perf_counter())


def work_on(call: Call | None) -> None:
    """Let a request be the one this thread works on, or none."""
    _here.call = call


def check() -> None:
    """Stop working on the current request if nobody waits for it; see `Call.check`."""
    current().check()
