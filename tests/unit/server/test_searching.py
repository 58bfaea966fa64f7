"""Requests that come together are searched together, and each gets its own answer."""

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellkin.server import calls
from cellkin.server.calls import Call
from cellkin.server.searching import (
    BatchedSearch,
    ConcurrentSearch,
    Cores,
    DeviceSearch,
    DirectSearch,
)
from cellkin.space.arrays import BoolVector, Float32Matrix
from cellkin.space.vectors import unit_rows
from cellkin.store.neighbor_search import Found
from cellkin.store.neighbors import NeighborIndex
from cellkin.store.neighbors_device import MOST_ON_CPU, DeviceIndex, TorchDevice
from cellkin.wire.errors import CancelledError, DeadlineExceededError

RNG = np.random.default_rng(3)
VECTORS = unit_rows(RNG.standard_normal((300, 16)).astype(np.float32))
QUERIES = unit_rows(RNG.standard_normal((64, 16)).astype(np.float32))


class Counts:
    """Remembers what was searched."""

    def __init__(self) -> None:
        self.searches: list[tuple[int, int]] = []

    def searched(self, index: str, n_queries: int, n_requests: int, search_s: float) -> None:
        self.searches.append((n_queries, n_requests))


class Gate(NeighborIndex):
    """An index whose searches wait until they are let go."""

    def __init__(self, inner: NeighborIndex) -> None:
        self.inner = inner
        self.open = threading.Event()
        self.entered = threading.Event()
        self.fails: Exception | None = None

    def __len__(self) -> int:
        return len(self.inner)

    def search(self, queries: Float32Matrix, k: int, passing: BoolVector | None = None) -> Found:
        self.entered.set()
        assert self.open.wait(20)
        if self.fails is not None:
            raise self.fails
        return self.inner.search(queries, k, passing)


def a_call(left_s: float | None = None, active: bool = True) -> Call:
    now = time.perf_counter()
    return Call("/test", now, None if left_s is None else now + left_s, left=not active)


def at_once(n: int, work: Callable[[int], object]) -> list[threading.Thread]:
    threads = [threading.Thread(target=work, args=(i,)) for i in range(n)]
    for thread in threads:
        thread.start()
    return threads


def test_a_small_index_is_searched_at_once_and_counted() -> None:
    index, counts = NeighborIndex.build(VECTORS), Counts()
    alone = DirectSearch(index, "x@1", counts)
    assert len(alone) == 300
    calls.work_on(a_call())
    for part in (QUERIES[:1], QUERIES, QUERIES[:0]):
        for got, want in zip(alone.search(part, 5), index.search(part, 5), strict=True):
            np.testing.assert_array_equal(got, want)
    assert counts.searches == [(1, 1), (64, 1), (0, 1)]
    assert calls.current().compute_s > 0
    calls.work_on(None)


def test_what_came_during_a_search_is_searched_in_one_batch() -> None:
    gate, counts = Gate(NeighborIndex.build(VECTORS)), Counts()
    together = BatchedSearch(gate, "x", counts, Cores(1))
    answers: dict[int, Found] = {}

    def ask(i: int) -> None:
        answers[i] = together.search(QUERIES[i : i + 1], 5)

    first = at_once(1, ask)
    assert gate.entered.wait(20)
    others = at_once(9, lambda i: ask(i + 1))
    deadline = time.monotonic() + 20
    while len(together._queue) < 9 and time.monotonic() < deadline:
        time.sleep(0.005)
    gate.open.set()
    for thread in first + others:
        thread.join(20)
    assert counts.searches == [(1, 1), (9, 9)]
    expected = NeighborIndex.build(VECTORS).search(QUERIES[:10], 5)
    for i in range(10):
        np.testing.assert_array_equal(answers[i][0], expected[0][i : i + 1])
        np.testing.assert_array_equal(answers[i][1], expected[1][i : i + 1])


@settings(max_examples=10, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 5), st.integers(1, 12)), min_size=1, max_size=24),
    st.booleans(),
)
def test_every_request_gets_its_own_answer(asked: list[tuple[int, int]], flat: bool) -> None:
    index = NeighborIndex.build(VECTORS)
    search: Any = (
        BatchedSearch(index, "x", Counts(), Cores(2))
        if flat
        else ConcurrentSearch(index, "x", Counts(), Cores(2))
    )
    answers: dict[int, Found] = {}

    def ask(i: int) -> None:
        n, k = asked[i]
        answers[i] = search.search(QUERIES[i : i + n], k)

    for thread in at_once(len(asked), ask):
        thread.join(20)
    for i, (n, k) in enumerate(asked):
        expected = index.search(QUERIES[i : i + n], k)
        np.testing.assert_array_equal(answers[i][1], expected[1])


@pytest.mark.parametrize(
    ("left_s", "active", "error"),
    [(-1.0, True, DeadlineExceededError), (None, False, CancelledError)],
)
@pytest.mark.parametrize("flat", [True, False])
def test_nobody_waits_in_a_queue_for_who_left(
    left_s: float | None, active: bool, error: type[Exception], flat: bool
) -> None:
    gate, counts = Gate(NeighborIndex.build(VECTORS)), Counts()
    search: Any = (
        BatchedSearch(gate, "x", counts, Cores(1))
        if flat
        else ConcurrentSearch(gate, "x", counts, Cores(1))
    )
    running = at_once(1, lambda i: search.search(QUERIES[:1], 5))
    assert gate.entered.wait(20)
    calls.work_on(a_call(left_s, active))
    try:
        with pytest.raises(error):
            search.search(QUERIES[1:2], 5)
    finally:
        calls.work_on(None)
        gate.open.set()
    running[0].join(20)
    assert counts.searches == [(1, 1)]


def test_an_error_reaches_every_request_of_its_batch_and_no_later_one() -> None:
    gate = Gate(NeighborIndex.build(VECTORS))
    together = BatchedSearch(gate, "x", Counts(), Cores(1))
    errors: list[Exception] = []

    def ask(i: int) -> None:
        try:
            together.search(QUERIES[i : i + 1], 5)
        except ZeroDivisionError as error:
            errors.append(error)

    gate.fails = ZeroDivisionError("broken")
    threads = at_once(4, ask)
    gate.open.set()
    for thread in threads:
        thread.join(20)
    assert len(errors) == 4
    gate.fails = None
    assert together.search(QUERIES[:1], 5)[1].shape == (1, 5)


def test_times_are_told_apart() -> None:
    gate = Gate(NeighborIndex.build(VECTORS))
    together = BatchedSearch(gate, "x", Counts(), Cores(1))
    first = at_once(1, lambda i: together.search(QUERIES[:1], 5))
    assert gate.entered.wait(20)
    threading.Timer(0.1, gate.open.set).start()
    call = a_call()
    calls.work_on(call)
    try:
        together.search(QUERIES[1:2], 5)
    finally:
        calls.work_on(None)
    first[0].join(20)
    assert call.queue_s >= 0.05
    assert 0 < call.compute_s < call.queue_s


def test_a_large_block_ends_when_its_caller_leaves() -> None:
    calls.work_on(a_call(active=False))
    together = BatchedSearch(NeighborIndex.build(VECTORS), "x", Counts(), Cores(1))
    try:
        with pytest.raises(CancelledError):
            together.search(np.repeat(QUERIES, 40, axis=0), 5)
    finally:
        calls.work_on(None)


def test_only_large_blocks_wait_for_the_device() -> None:
    index, counts, lane = NeighborIndex.build(VECTORS), Counts(), Cores(1)
    on_device = DeviceSearch(
        DeviceIndex(index, TorchDevice("cpu")), DirectSearch(index, "x", counts), "x", counts, lane
    )
    large = np.tile(QUERIES, (3, 1))
    assert len(large) > MOST_ON_CPU
    calls.work_on(a_call())
    lane.take(a_call())  # another search is on the device
    for queries, passing in ((QUERIES, None), (large, np.arange(300) < 200)):
        found = on_device.search(queries, 5, passing)
        np.testing.assert_array_equal(found[1], index.search(queries, 5, passing)[1])
    calls.work_on(a_call(left_s=-1))
    with pytest.raises(DeadlineExceededError):
        on_device.search(large, 5)
    lane.give()
    calls.work_on(a_call())
    np.testing.assert_array_equal(on_device.search(large, 5)[0], index.search(large, 5)[0])
    assert counts.searches == [(64, 1), (192, 1), (192, 1)]
    calls.work_on(None)


class Failing(NeighborIndex):
    """An index that remembers its threads, and fails at some query."""

    def __init__(self, inner: NeighborIndex, fails_at: int | None) -> None:
        self.inner, self.fails_at = inner, fails_at
        self.met, self.threads = threading.Barrier(2), set[str]()

    def __len__(self) -> int:
        return len(self.inner)

    def search(self, queries: Float32Matrix, k: int, passing: BoolVector | None = None) -> Found:
        self.threads.add(threading.current_thread().name)
        if self.met.n_waiting < 2 and len(self.threads) < 3:
            self.met.wait(20)  # breaks unless two threads are at work
        if self.fails_at is not None and (queries == LARGE[self.fails_at]).all(axis=1).any():
            raise ValueError("damaged")
        return self.inner.search(queries, k, passing)


LARGE = unit_rows(RNG.standard_normal((130, 16)).astype(np.float32))


@pytest.mark.parametrize("flat", [True, False])
def test_a_large_block_is_shared_among_idle_cores(flat: bool) -> None:
    index, counts, cores = NeighborIndex.build(VECTORS), Counts(), Cores(2)
    slow = Failing(index, None)
    kind = BatchedSearch if flat else ConcurrentSearch
    shared = kind(slow, "x", counts, cores)
    calls.work_on(a_call())
    found = shared.search(LARGE, 5)
    for got, want in zip(found, index.search(LARGE, 5), strict=True):
        np.testing.assert_array_equal(got, want)
    assert counts.searches == [(130, 1)]
    assert len(slow.threads) == 2
    assert cores.take_idle()
    assert cores.take_idle()
    assert not cores.take_idle(), "a place was released twice"
    # No core is idle: what is left is searched by the request's own thread.
    if flat:
        np.testing.assert_array_equal(kind(index, "x", counts, cores).search(LARGE, 5)[1], found[1])
    calls.work_on(None)


@pytest.mark.parametrize("fails_at", [0, 129])
def test_the_error_of_a_part_is_that_of_the_request(fails_at: int) -> None:
    cores = Cores(2)
    shared = ConcurrentSearch(Failing(NeighborIndex.build(VECTORS), fails_at), "x", Counts(), cores)
    calls.work_on(a_call())
    with pytest.raises(ValueError, match="damaged"):
        shared.search(LARGE, 5)
    assert cores.take_idle()
    assert cores.take_idle()
    calls.work_on(None)
