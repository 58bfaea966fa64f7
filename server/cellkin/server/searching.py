"""Search for concurrent requests: in joint batches for flat indexes, in parallel for others.

A flat index reads every vector for every batch, so 64 queries in one batch cost little more than
two. Requests that arrive during a search wait and are searched together next. There is no timer: a
single request is searched at once, on its own thread. Inverted lists and graphs gain nothing from
batching, so their searches run in parallel, limited to the number of cores. On a CUDA device one
search runs at a time, beside those on the cores. A large block is shared among the cores that are
idle when it comes.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Protocol

import numpy as np

from cellkin.server import calls
from cellkin.server.calls import Call
from cellkin.space.arrays import BoolVector, Float32Matrix
from cellkin.store.neighbor_search import Found, Neighbors
from cellkin.store.neighbors_device import DeviceIndex

MOST_TOGETHER = 1024
"""Most queries of one batch; a larger block is searched alone, in parts."""
_LEAST_PART = 64
"""Fewest queries of a part of a block that is shared among cores."""
SMALL = 1 << 20
"""Size in floats up to which searching a flat index is faster than joining a batch."""


class Meter(Protocol):
    """Where searches are counted."""

    def searched(self, index: str, n_queries: int, n_requests: int, search_s: float) -> None:
        """Count one search of an index."""


class _Measured(Neighbors):
    """An index whose searches are counted.

    Parameters
    ----------
    inner
        The index.
    name
        Its version, for metrics.
    meter
        Where searches are counted.
    """

    def __init__(self, inner: Neighbors, name: str, meter: Meter) -> None:
        self.inner, self.exact, self.remote = inner, inner.exact, inner.remote
        self._name, self._meter = name, meter

    def __len__(self) -> int:
        """Return the number of vectors."""
        return len(self.inner)

    @property
    def dim(self) -> int:
        """Dimension of a vector."""
        return self.inner.dim

    @property
    def n_bytes(self) -> int:
        """Size of the index, bytes."""
        return self.inner.n_bytes

    def write(self, folder: Path, space: str) -> None:
        """Write the index; see `Neighbors.write`."""
        self.inner.write(folder, space)

    def close(self) -> None:
        """Close the index."""
        self.inner.close()


class Cores:
    """A limit on concurrent searches, shared by the indexes of a process.

    Parameters
    ----------
    n
        Maximum number of concurrent searches.
    """

    def __init__(self, n: int) -> None:
        self.n = n
        # threading.Semaphore is written in Python, and takes ten times as long.
        self._free: SimpleQueue[None] = SimpleQueue()
        for _ in range(n):
            self._free.put(None)
        self._helpers = ThreadPoolExecutor(n, "searching")

    def take(self, call: Call) -> None:
        """Wait for a place.

        Raises
        ------
        DeadlineExceededError, CancelledError
            If the deadline passed or the client cancelled while waiting.
        """
        while True:
            try:
                return self._free.get(timeout=calls.TURN_S)
            except Empty:
                call.check()

    def take_idle(self) -> bool:
        """Take a place if there is one."""
        try:
            self._free.get_nowait()
        except Empty:
            return False
        return True

    def give(self) -> None:
        """Release a place."""
        self._free.put(None)

    def help(self, work: Callable[[], None], n_most: int) -> "list[Future[None]]":
        """Start work in other threads, one for each idle core.

        Parameters
        ----------
        work
            Called in each.
        n_most
            Most threads to start.
        """

        def placed() -> None:
            try:
                work()
            finally:
                self.give()

        started: list[Future[None]] = []
        while len(started) < n_most and self.take_idle():
            started.append(self._helpers.submit(placed))
        return started


@dataclass(eq=False)
class _Waiting:
    """A block of queries waiting for a search."""

    queries: Float32Matrix
    k: int
    done: threading.Event = field(default_factory=threading.Event)
    found: Found | None = None
    error: BaseException | None = None
    leads: bool = False
    search_s: float = 0.0


class BatchedSearch(_Measured):
    """Searches the requests that arrived during the last search in one batch.

    Parameters
    ----------
    inner, name, meter
        As for `DirectSearch`.
    cores
        What a large batch is shared among, as far as they are idle.
    """

    def __init__(self, inner: Neighbors, name: str, meter: Meter, cores: Cores) -> None:
        super().__init__(inner, name, meter)
        self._cores = cores
        self._lock = threading.Lock()
        self._queue: deque[_Waiting] = deque()
        self._busy = False

    def search(self, queries: Float32Matrix, k: int, passing: BoolVector | None = None) -> Found:
        """Find the nearest vectors of each query; see `Neighbors.search`.

        Raises
        ------
        DeadlineExceededError, CancelledError
            If the deadline passed or the client cancelled while waiting.
        """
        began = time.perf_counter()
        mine = _Waiting(queries, k)
        with self._lock:
            if self._busy:
                self._queue.append(mine)
            else:
                self._busy = mine.leads = True
        if not mine.leads:
            self._wait(mine)
        waited_s = time.perf_counter() - began
        if mine.leads:
            self._lead(mine, passing)
        else:
            waited_s -= mine.search_s
        call = calls.current()
        call.queue_s += waited_s
        call.compute_s += mine.search_s
        if mine.error is not None:
            raise mine.error
        assert mine.found is not None  # the leader of the batch sets found or error
        return mine.found

    def _wait(self, mine: _Waiting) -> None:
        call = calls.current()
        while not mine.done.wait(calls.TURN_S):
            lost = call.lost()
            if lost is None:
                continue
            with self._lock:
                if mine in self._queue:
                    self._queue.remove(mine)
                    raise lost
            # It is being searched or has become the leader: both end soon.

    def _lead(self, mine: _Waiting, passing: BoolVector | None) -> None:
        """Search a batch of own and waiting queries, then let the oldest waiting request lead."""
        batch = [mine] if passing is not None else self._take(mine)
        try:
            self._search(batch, passing)
        finally:
            with self._lock:
                following = self._queue.popleft() if self._queue else None
                self._busy = following is not None
            if following is not None:
                following.leads = True
                following.done.set()

    def _take(self, mine: _Waiting) -> list[_Waiting]:
        batch, n_queries = [mine], len(mine.queries)
        with self._lock:
            for other in list(self._queue):
                fits = n_queries + len(other.queries) <= MOST_TOGETHER
                if fits and other.k == mine.k and other.queries.shape[1] == mine.queries.shape[1]:
                    self._queue.remove(other)
                    batch.append(other)
                    n_queries += len(other.queries)
        return batch

    def _search(self, batch: list[_Waiting], passing: BoolVector | None) -> None:
        mine = batch[0]
        try:
            together = np.concatenate([w.queries for w in batch]) if batch[1:] else mine.queries
            began = time.perf_counter()
            counted = self._cores.take_idle()
            try:
                found = _in_parts(self.inner, together, mine.k, passing, self._cores)
            finally:
                if counted:
                    self._cores.give()
            search_s = time.perf_counter() - began
            self._meter.searched(self._name, len(together), len(batch), search_s)
            start = 0
            for waiting in batch:
                part = slice(start, start + len(waiting.queries))
                waiting.found, waiting.search_s = (found[0][part], found[1][part]), search_s
                start = part.stop
        except BaseException as error:  # noqa: BLE001  # raised in every request of the batch
            for waiting in batch:
                waiting.error = error
        finally:
            for waiting in batch[1:]:
                waiting.done.set()


class DirectSearch(_Measured):
    """Searches a small index directly; see `SMALL`."""

    def search(self, queries: Float32Matrix, k: int, passing: BoolVector | None = None) -> Found:
        """Find the nearest vectors of each query; see `BatchedSearch.search`."""
        began = time.perf_counter()
        found = _in_parts(self.inner, queries, k, passing, None)
        search_s = time.perf_counter() - began
        calls.current().compute_s += search_s
        self._meter.searched(self._name, len(queries), 1, search_s)
        return found


class ConcurrentSearch(_Measured):
    """Runs searches of an index in parallel, limited by `Cores`.

    Parameters
    ----------
    inner, name, meter
        As for `BatchedSearch`.
    cores
        The limit.
    """

    def __init__(self, inner: Neighbors, name: str, meter: Meter, cores: Cores) -> None:
        super().__init__(inner, name, meter)
        self._cores = cores

    def search(self, queries: Float32Matrix, k: int, passing: BoolVector | None = None) -> Found:
        """Find the nearest vectors of each query; see `BatchedSearch.search`."""
        call, began = calls.current(), time.perf_counter()
        self._cores.take(call)
        try:
            started = time.perf_counter()
            call.queue_s += started - began
            found = _in_parts(self.inner, queries, k, passing, self._cores)
            search_s = time.perf_counter() - started
        finally:
            self._cores.give()
        call.compute_s += search_s
        self._meter.searched(self._name, len(queries), 1, search_s)
        return found


class DeviceSearch(_Measured):
    """Searches large blocks on a device, one at a time, and all others on the CPU.

    Parameters
    ----------
    inner
        The index on the device.
    cpu
        The same index as it is searched without one.
    name, meter
        As for `BatchedSearch`.
    lane
        The one place on the device.
    """

    def __init__(
        self, inner: DeviceIndex, cpu: Neighbors, name: str, meter: Meter, lane: Cores
    ) -> None:
        super().__init__(inner, name, meter)
        self._cpu, self._takes = cpu, inner.takes
        self._device = ConcurrentSearch(inner, name, meter, lane)

    def search(self, queries: Float32Matrix, k: int, passing: BoolVector | None = None) -> Found:
        """Find the nearest vectors of each query; see `BatchedSearch.search`."""
        on_device = self._takes(len(queries), k, passing)
        return (self._device if on_device else self._cpu).search(queries, k, passing)


def _in_parts(
    inner: Neighbors,
    queries: Float32Matrix,
    k: int,
    passing: BoolVector | None,
    cores: Cores | None,
) -> Found:
    """Search in parts, on all cores that are idle.

    A cancelled request frees the index after a part.
    """
    n_parts = -(-len(queries) // MOST_TOGETHER)
    if cores is not None and not inner.remote:
        n_parts = max(n_parts, min(len(queries) // _LEAST_PART, cores.n))
    if n_parts <= 1:
        return inner.search(queries, k, passing)
    parts = np.array_split(queries, n_parts)
    found: list[Found | None] = [None] * n_parts
    left = deque(range(n_parts))

    def take_part() -> bool:
        try:
            number = left.popleft()
        except IndexError:  # another thread took the last one
            return False
        found[number] = inner.search(parts[number], k, passing)
        return True

    def help_search() -> None:
        while take_part():
            pass

    helpers = [] if cores is None else cores.help(help_search, n_parts - 1)
    try:
        calls.check()
        while take_part():
            calls.check()
    finally:
        left.clear()
        wait(helpers)
    for helper in helpers:
        helper.result()  # raises its error
    done = [part for part in found if part is not None]
    return np.concatenate([part[0] for part in done]), np.concatenate([part[1] for part in done])
