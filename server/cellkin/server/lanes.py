"""Threads that requests wait for, and the bounds beyond which they are refused at once."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from cellkin.wire.errors import ResourceExhaustedError

Result = TypeVar("Result")

_LEAST_DELAY_S = 0.05
_MOST_DELAY_S = 5.0
_RECENT = 0.05
"""Share of the newest request in the running mean of how long one takes."""


class Lane(ThreadPoolExecutor):
    """Threads for requests of one kind, and a bounded number of places to wait.

    Parameters
    ----------
    name
        Of the threads, and in refusals.
    n_threads
        Requests worked on at once.
    n_waiting
        Requests that may wait for a thread.
    """

    def __init__(self, name: str, n_threads: int, n_waiting: int) -> None:
        super().__init__(n_threads, thread_name_prefix=name)
        self.name = name
        self._n_threads = n_threads
        self._limit = n_threads + n_waiting
        self._lock = threading.Lock()
        self._n_pending = 0
        self._mean_s = 0.001

    @property
    def n_pending(self) -> int:
        """Requests worked on or waiting."""
        return self._n_pending

    @property
    def is_full(self) -> bool:
        """Whether another request would have no place to wait."""
        return self._n_pending >= self._limit

    def refusal(self) -> ResourceExhaustedError:
        """Return the error for a request that finds no place, with when to try again."""
        ahead_s = self._n_pending * self._mean_s / self._n_threads
        delay_s = min(max(ahead_s, _LEAST_DELAY_S), _MOST_DELAY_S)
        return ResourceExhaustedError(
            f"the server works on as many requests as it takes ({self._limit} with those that "
            f"wait); ask again in {delay_s:.2g} s",
            {"limit": self.name, "value": str(self._limit)},
            retry_after_s=delay_s,
        )

    def submit(self, fn: Callable[..., Result], /, *args: Any, **kwargs: Any) -> "Future[Result]":
        """Run a function on a thread of the lane, as soon as one is free."""
        with self._lock:
            self._n_pending += 1
        future = super().submit(self._timed, fn, *args, **kwargs)
        future.add_done_callback(self._done)
        return future

    def _timed(self, fn: Callable[..., Result], /, *args: Any, **kwargs: Any) -> Result:
        began = time.perf_counter()
        try:
            return fn(*args, **kwargs)
        finally:
            took_s = time.perf_counter() - began
            self._mean_s += _RECENT * (took_s - self._mean_s)

    def _done(self, future: "Future[Any]") -> None:
        with self._lock:
            self._n_pending -= 1


class Turnstile:
    """Counts the requests of each client that are worked on, and refuses those above a limit.

    Parameters
    ----------
    limit
        Requests of one client at once.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._counts: dict[str, int] = {}

    def enter(self, client: str) -> None:
        """Count a request of a client.

        Raises
        ------
        ResourceExhaustedError
            If it has as many as it may have.
        """
        with self._lock:
            n = self._counts.get(client, 0)
            if n < self._limit:
                self._counts[client] = n + 1
                return
        raise ResourceExhaustedError(
            f"{client} has {n} requests at once, the most the server works on for one client; "
            "wait for answers before asking more",
            {"limit": "per-client", "value": str(self._limit)},
            retry_after_s=_LEAST_DELAY_S,
        )

    def leave(self, client: str) -> None:
        """Count a request of a client off."""
        with self._lock:
            n = self._counts[client] - 1
            if n:
                self._counts[client] = n
            else:
                del self._counts[client]
