"""Bounded thread pools that refuse requests early, and limits per client.

An executor belongs to one event loop. All but the work runs there, so no locks are needed.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

import structlog

from cellkin.server import calls
from cellkin.server.calls import Call
from cellkin.wire.errors import CellkinError, InternalError, ResourceExhaustedError

_log = structlog.get_logger("cellkin.server")

LEAST_DELAY_S = 0.05
_MOST_DELAY_S = 5.0
_RECENT = 0.05
"""Weight of the newest request in the running mean of the time per request."""
_FIRST_GUESS_S = 0.001
_PACE_S = 0.5
"""The number of concurrent requests adapts so that each takes about this time."""
_SHORT_S = 0.005
"""Shorter requests do not raise the concurrency: they would only contend for the GIL."""
_BUSY = 0.75
"""Minimum load, as a share of `n_at_once`, at which the time per request is measured."""


class _Job:
    """A function call queued or running in an executor."""

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


class BoundedExecutor:
    """A thread pool for requests of one kind, with a bounded wait and adaptive concurrency.

    The number of concurrent requests adapts, between ``n_least`` and ``n_threads``, so that each
    takes about half a second. It grows by one for each request that took less while others waited,
    except for very short ones, and shrinks by one for each that took more. So many requests can
    share a search, while long requests are few and do not slow each other down.

    Parameters
    ----------
    name
        Prefix of the threads' names, also used in refusals.
    n_threads
        Maximum number of concurrent requests.
    n_waiting
        Maximum number of waiting requests, however short the wait.
    max_wait_s
        Longest wait in seconds. A request expected to wait longer is refused at once, and one that
        did is refused instead of run. None for no limit on the wait or on waiting requests.
    n_least
        Minimum number of concurrent requests.

    Attributes
    ----------
    n_at_once
        Current limit of concurrent requests.
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
        """Number of running and waiting requests."""
        return self._n_working + len(self._waiting)

    def wait_s(self) -> float:
        """Return the expected wait of a new request in seconds."""
        n_ahead = self.n_pending - self.n_at_once + 1
        return max(n_ahead, 0) * self._takes_s

    def require_room(self, call: Call) -> None:
        """Refuse a request whose expected wait exceeds the longest wait or its deadline.

        Raises
        ------
        ResourceExhaustedError
            If so, or if too many requests wait; its retry delay is the expected wait.
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
        """Run a function on a thread of the executor, and return its result.

        If the awaiting task is cancelled, ``call.left`` is set and the function is still awaited,
        so that a client cannot run more requests than its share by cancelling them.

        Raises
        ------
        ResourceExhaustedError
            If it waited longer than `max_wait_s`, or would.
        BaseException
            Any exception of the function.
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
            elif job.future.cancelled() and not job.ended:  # running, neither refused nor done
                job.abandoned, job.future = True, self._loop.create_future()
                await asyncio.wait([job.future])
            _log_dropped(job)
            raise
        finally:
            del job  # avoids a cycle: the job holds its error, whose traceback holds this frame

    def turn_away(self) -> None:
        """Refuse requests that waited too long, from the oldest on; then start what can run.

        Only a request for which no thread could be started is still waiting though it could run.
        """
        now = time.perf_counter()
        while self._waiting and self._is_late(self._waiting[0], now):
            self._refuse(self._waiting.popleft(), now)
        self._start_waiting()

    def _is_late(self, job: _Job, now: float) -> bool:
        if self._max_wait_s is not None and now - job.queued > self._max_wait_s:
            return True
        return job.call.lost() is not None

    def _refuse(self, job: _Job, now: float) -> None:
        if not job.future.done():
            refusal = job.call.lost() or self._refusal(max(now - job.queued, self.wait_s()))
            job.future.set_exception(refusal)

    def _start_waiting(self) -> None:
        """Start waiting requests while the concurrency limit allows."""
        while self._waiting and self._n_working < self.n_at_once:
            if self._n_working == len(self._threads) and not self._add_thread():
                return
            job = self._waiting.popleft()
            now = time.perf_counter()
            if self._is_late(job, now):
                self._refuse(job, now)
                continue
            self._n_working += 1
            job.n_beside = self._n_working
            self._started.put(job)

    def _add_thread(self) -> bool:
        """Start a thread; return whether the system allowed it."""
        # A daemon thread that hangs in a search does not keep a stopped server alive.
        thread = threading.Thread(
            target=_work, args=(self._loop, self._started, self._end),
            name=f"{self.name}-{len(self._threads)}", daemon=True,
        )  # fmt: skip
        try:
            thread.start()
        except RuntimeError as error:
            _log.warning("thread not started", executor=self.name, error=str(error))
            return False
        self._threads.append(thread)
        return True

    def _end(self, job: _Job) -> None:
        """Deliver the result of a job, adapt the concurrency, and start the next job."""
        took_s = job.ended - job.began
        # Concurrent requests share the elapsed time equally. Measured only under load: with few
        # requests nobody waits, and many may share their searches.
        n_beside = (job.n_beside + self._n_working) / 2
        if n_beside >= _BUSY * self.n_at_once:
            self._takes_s += _RECENT * (min(took_s / n_beside, _PACE_S) - self._takes_s)
        if took_s > _PACE_S:
            self.n_at_once = max(self.n_at_once - 1, self._n_least)
        elif self._waiting and took_s > _SHORT_S:
            self.n_at_once = min(self.n_at_once + 1, self._n_threads)
        self._n_working -= 1
        self._start_waiting()
        if job.future.done():  # cancelled just before the job ended
            return
        if job.error is None or job.abandoned:
            job.future.set_result(job.result)
        else:
            job.future.set_exception(job.error)

    def close(self) -> None:
        """End the threads, each after its current job."""
        for _ in self._threads:
            self._started.put(None)


def _work(
    loop: asyncio.AbstractEventLoop,
    started: "SimpleQueue[_Job | None]",
    end: Callable[[_Job], None],
) -> None:
    """Run jobs on one thread of an executor."""
    while (job := started.get()) is not None:
        call, job.began = job.call, time.perf_counter()
        call.queue_s += job.began - job.queued
        calls.work_on(call)
        try:
            job.result = job.work()
        except BaseException as error:  # noqa: BLE001  # passed on to the awaiting task
            job.error = _raisable(error)
        calls.work_on(None)
        job.ended = time.perf_counter()
        loop.call_soon_threadsafe(end, job)
        # Release the request before blocking on the next one.
        del call, job


def _raisable(error: BaseException) -> BaseException:
    """Return an error that a future can hold and that does not end the event loop."""
    if isinstance(error, StopIteration | SystemExit | KeyboardInterrupt):
        unforeseen = RuntimeError(f"a service raised {type(error).__name__}")
        unforeseen.__cause__ = error
        return unforeseen
    return error


def _log_dropped(job: _Job) -> None:
    """Log the error of a request whose client left, unless it is an expected one."""
    error = job.error
    expected = isinstance(error, CellkinError) and not isinstance(error, InternalError)
    if error is not None and not expected:
        _log.error("request failed", method=job.call.method, exc_info=error)


class ClientLimiter:
    """Counts open requests or streams per client, and enforces limits.

    Parameters
    ----------
    noun
        Name of what is counted, such as ``requests``, for error messages.
    limit
        Maximum number open for all clients together; None for no limit.
    client_limit
        Maximum number open for one client.
    """

    def __init__(self, noun: str, limit: int | None, client_limit: int) -> None:
        self._noun, self._limit, self._client_limit = noun, limit, client_limit
        self._counts: dict[str, int] = {}
        self._moved: dict[str, float] = {}
        self._all_moved = 0.0
        self.n_open = 0

    def enter(self, client: str) -> None:
        """Take a place for a client.

        Raises
        ------
        ResourceExhaustedError
            If a limit is reached. The retry delay is the time since the count last changed, so that
            clients retry rarely if places are rarely released.
        """
        now = time.perf_counter()
        n = self._counts.get(client, 0)
        if n >= self._client_limit:
            delay_s = _retry_delay_s(now - self._moved[client])
            raise ResourceExhaustedError(
                f"{client} has {n} {self._noun} at once, the most the server takes of one client; "
                f"end some before asking more, or ask again in {delay_s:.2g} s",
                {"limit": f"per-client-{self._noun}", "value": str(self._client_limit)},
                retry_after_s=delay_s,
            )
        if self._limit is not None and self.n_open >= self._limit:
            delay_s = _retry_delay_s(now - self._all_moved)
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
        """Release a place of a client."""
        n = self._counts[client] - 1
        self.n_open -= 1
        self._all_moved = time.perf_counter()
        if n:
            self._counts[client], self._moved[client] = n, self._all_moved
        else:
            del self._counts[client], self._moved[client]


def _retry_delay_s(unchanged_s: float) -> float:
    return min(max(unchanged_s, LEAST_DELAY_S), 6 * _MOST_DELAY_S)
