"""Threads that requests wait for, and the time beyond which they are refused at once.

A lane belongs to one event loop: all of it but the work itself happens there, so that nothing here
needs a lock.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from cellkin.server import calls
from cellkin.server.calls import Call
from cellkin.wire.errors import ResourceExhaustedError

LEAST_DELAY_S = 0.05
_MOST_DELAY_S = 5.0
_RECENT = 0.05
"""Share of the newest request in the running mean of what one takes."""
_FIRST_GUESS_S = 0.001
_PACE_S = 0.5
"""As many requests are worked on at once as are answered in about this time."""
_SHORT_S = 0.005
"""What is over sooner is not over sooner in company, where threads wait for the interpreter."""
_BUSY = 0.75
"""Share of the places to work that is taken where what a request takes is worth knowing."""


class _Job:
    """A piece of work on its way through a lane."""

    __slots__ = ("abandoned", "began", "call", "ended", "error", "future", "n_beside", "queued",
                 "result", "work")  # fmt: skip

    def __init__(
        self, call: Call, work: Callable[[], Any], future: "asyncio.Future[Any]", queued: float
    ) -> None:
        self.call, self.work, self.future, self.queued = call, work, future, queued
        self.began = self.ended = 0.0
        self.n_beside, self.abandoned = 0, False
        self.result: Any = None
        self.error: BaseException | None = None


class Lane:
    """Threads for requests of one kind, and a bounded time to wait for one.

    As many requests are worked on at once as each is answered in about half a second, at least
    ``n_least`` and at most ``n_threads``: one more for each request that took less while others
    waited, but for those that are over at once, and one less for each that took more. So those
    that share a search are many, and those that take long are few and do not keep each other from
    ending.

    Parameters
    ----------
    name
        Of the threads, and in refusals.
    n_threads
        Most requests worked on at once.
    n_waiting
        Requests that may wait for a thread, however short the wait.
    max_wait_s
        Longest wait. A request that would wait longer is refused at once, and one that did is
        refused instead of worked on. None where requests wait for as long as it takes.
    n_least
        Requests worked on at once however long they take.

    Attributes
    ----------
    n_at_once
        Requests worked on at once now.
    """

    def __init__(
        self, name: str, n_threads: int, n_waiting: int, max_wait_s: float | None, n_least: int
    ) -> None:
        self.name = name
        self._n_threads, self._limit = n_threads, n_threads + n_waiting
        self._n_least = min(n_least, n_threads)
        self._max_wait_s = max_wait_s
        self._loop = asyncio.get_running_loop()
        self._threads: list[threading.Thread] = []
        self._waiting: deque[_Job] = deque()
        self._started: SimpleQueue[_Job | None] = SimpleQueue()
        self._n_working = 0
        self.n_at_once = self._n_least
        self._takes_s = _FIRST_GUESS_S

    @property
    def n_pending(self) -> int:
        """Requests worked on or waiting."""
        return self._n_working + len(self._waiting)

    def wait_s(self) -> float:
        """Return how long another request would wait."""
        n_ahead = self.n_pending - self.n_at_once + 1
        return max(n_ahead, 0) * self._takes_s

    def require_room(self, call: Call) -> None:
        """Refuse a request that would wait longer than it may, or than its caller does.

        Raises
        ------
        ResourceExhaustedError
            If so, with the time in which what is ahead of it is answered.
        """
        if self._max_wait_s is None:
            return
        wait_s, n = self.wait_s(), self.n_pending
        left_s = call.time_left_s()
        may_s = self._max_wait_s if left_s is None else min(self._max_wait_s, left_s)
        if (wait_s and wait_s > may_s) or n >= self._limit:
            raise self._refusal(wait_s)

    def _refusal(self, wait_s: float) -> ResourceExhaustedError:
        delay_s = min(max(wait_s, LEAST_DELAY_S), _MOST_DELAY_S)
        return ResourceExhaustedError(
            f"the server has {self.n_pending} requests to answer, and this one would wait "
            f"{wait_s:.2g} s, longer than requests may ({self._max_wait_s:.2g} s) or than its "
            f"deadline; ask again in {delay_s:.2g} s",
            {"limit": self.name, "value": f"{self._max_wait_s:g}"},
            retry_after_s=delay_s,
        )

    async def run(self, call: Call, work: Callable[[], Any]) -> Any:
        """Do a piece of work on a thread of the lane; return what it returns.

        If the task that waits for it is cancelled, the work is told so by ``call.left`` and is
        waited for, so that who gives requests up cannot have more of them worked on.

        Raises
        ------
        ResourceExhaustedError
            If it waited for longer than `max_wait_s`, or would.
        BaseException
            Whatever the work raises.
        """
        self.require_room(call)
        job = _Job(call, work, self._loop.create_future(), time.perf_counter())
        self._waiting.append(job)
        self._start_waiting()
        try:
            return await job.future
        except asyncio.CancelledError:
            call.left = True
            if job in self._waiting:
                self._waiting.remove(job)
            elif not job.ended:
                job.abandoned, job.future = True, self._loop.create_future()
                await asyncio.wait([job.future])
            raise
        finally:
            del job  # an error's traceback holds this frame, and must not hold itself by it

    def turn_away(self) -> None:
        """Refuse what has waited for longer than it may."""
        now = time.perf_counter()
        while self._waiting and self._is_late(self._waiting[0], now):
            self._refuse(self._waiting.popleft(), now)

    def _is_late(self, job: _Job, now: float) -> bool:
        if self._max_wait_s is not None and now - job.queued > self._max_wait_s:
            return True
        return job.call.lost() is not None

    def _refuse(self, job: _Job, now: float) -> None:
        if not job.future.done():
            refusal = job.call.lost() or self._refusal(max(now - job.queued, self.wait_s()))
            job.future.set_exception(refusal)

    def _start_waiting(self) -> None:
        """Give what waits to threads, as far as there are any."""
        while self._waiting and self._n_working < self.n_at_once:
            job = self._waiting.popleft()
            now = time.perf_counter()
            if self._is_late(job, now):
                self._refuse(job, now)
                continue
            self._n_working += 1
            job.n_beside = self._n_working
            if self._n_working > len(self._threads):
                self._add_thread()
            self._started.put(job)

    def _add_thread(self) -> None:
        # As a daemon, a thread that hangs in a search does not keep a stopped server alive.
        thread = threading.Thread(
            target=_work, args=(self._loop, self._started, self._end),
            name=f"{self.name}-{len(self._threads)}", daemon=True,
        )  # fmt: skip
        self._threads.append(thread)
        thread.start()

    def _end(self, job: _Job) -> None:
        """Take the result of a piece of work from its thread, and let the next begin."""
        took_s = job.ended - job.began
        # Of the time that all of them took, one took its share. Nobody waits beside few, and few
        # say nothing of many, which may share their searches.
        n_beside = (job.n_beside + self._n_working) / 2
        if n_beside >= _BUSY * self.n_at_once:
            self._takes_s += _RECENT * (min(took_s / n_beside, _PACE_S) - self._takes_s)
        if took_s > _PACE_S:
            self.n_at_once = max(self.n_at_once - 1, self._n_least)
        elif self._waiting and took_s > _SHORT_S:
            self.n_at_once = min(self.n_at_once + 1, self._n_threads)
        self._n_working -= 1
        self._start_waiting()
        if job.future.done():  # cancelled as it ended
            return
        if job.error is None or job.abandoned:
            job.future.set_result(job.result)
        else:
            job.future.set_exception(job.error)

    def close(self) -> None:
        """End the threads, each when its work is done."""
        for _ in self._threads:
            self._started.put(None)


def _work(
    loop: asyncio.AbstractEventLoop,
    started: "SimpleQueue[_Job | None]",
    end: Callable[[_Job], None],
) -> None:
    """Be a thread of a lane."""
    while (job := started.get()) is not None:
        call, job.began = job.call, time.perf_counter()
        call.queue_s += job.began - job.queued
        calls.work_on(call)
        try:
            job.result = job.work()
        except BaseException as error:  # noqa: BLE001  # whoever waits for the work is told
            job.error = error
        calls.work_on(None)
        job.ended = time.perf_counter()
        loop.call_soon_threadsafe(end, job)
        # What was worked on is not kept in memory until the next comes.
        del call, job


class Places:
    """Counts what each client has open, and refuses those above a limit.

    Parameters
    ----------
    noun
        Of what is counted, such as ``requests``.
    limit
        Open at once; None for no limit of all clients together.
    client_limit
        Open at once of one client.
    """

    def __init__(self, noun: str, limit: int | None, client_limit: int) -> None:
        self._noun, self._limit, self._client_limit = noun, limit, client_limit
        self._counts: dict[str, int] = {}
        self._moved: dict[str, float] = {}
        self._all_moved = 0.0
        self.n_open = 0

    def enter(self, client: str) -> None:
        """Count one of a client.

        Raises
        ------
        ResourceExhaustedError
            If it has as many as it may have, or all have together. It says to ask again after as
            long as nothing changed: who asks when places are seldom given back asks seldom.
        """
        now = time.perf_counter()
        n = self._counts.get(client, 0)
        if n >= self._client_limit:
            delay_s = _patience(now - self._moved[client])
            raise ResourceExhaustedError(
                f"{client} has {n} {self._noun} at once, the most the server takes of one client; "
                f"end some before asking more, or ask again in {delay_s:.2g} s",
                {"limit": f"per-client-{self._noun}", "value": str(self._client_limit)},
                retry_after_s=delay_s,
            )
        if self._limit is not None and self.n_open >= self._limit:
            delay_s = _patience(now - self._all_moved)
            raise ResourceExhaustedError(
                f"the server has {self.n_open} {self._noun} at once, the most it takes; "
                f"ask again in {delay_s:.2g} s",
                {"limit": self._noun, "value": str(self._limit)},
                retry_after_s=delay_s,
            )
        self._counts[client] = n + 1
        self.n_open += 1
        self._moved[client] = self._all_moved = now

    def leave(self, client: str) -> None:
        """Count one of a client off."""
        n = self._counts[client] - 1
        self.n_open -= 1
        self._all_moved = time.perf_counter()
        if n:
            self._counts[client], self._moved[client] = n, self._all_moved
        else:
            del self._counts[client], self._moved[client]


def _patience(unchanged_s: float) -> float:
    return min(max(unchanged_s, LEAST_DELAY_S), 6 * _MOST_DELAY_S)
