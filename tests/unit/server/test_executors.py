"""Waiting is bounded by time, and who may not wait is told when to come back."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from functools import partial

import pytest
import structlog

from cellkin.server import calls, executors
from cellkin.server.calls import Call
from cellkin.server.executors import BoundedExecutor, ClientLimiter
from cellkin.wire.errors import DeadlineExceededError, ResourceExhaustedError


def a_call(left_s: float | None = None) -> Call:
    now = time.perf_counter()
    return Call("/test", now, None if left_s is None else now + left_s)


def on_a_loop(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 20))


async def until(true: Callable[[], bool]) -> None:
    while not true():
        await asyncio.sleep(0.005)


def taking(executor: BoundedExecutor, seconds: float) -> BoundedExecutor:
    """Let an executor believe that requests take some time."""
    executor._takes_s = seconds
    return executor


def test_work_is_done_on_threads_for_the_call_and_its_errors_are_raised() -> None:
    async def test() -> None:
        executor, call = BoundedExecutor("test", 2, 4, 1.0, 2), a_call()

        def work() -> tuple[str, Call]:
            return threading.current_thread().name, calls.current()

        assert await executor.run(call, work) == ("test-0", call)
        assert call.queue_s > 0
        with pytest.raises(ZeroDivisionError):
            await executor.run(a_call(), lambda: 1 // 0)
        assert executor.n_pending == 0
        executor.close()

    on_a_loop(test)


def test_what_would_wait_longer_than_requests_may_is_refused_before_its_message() -> None:
    async def test() -> None:
        executor, go = taking(BoundedExecutor("test", 2, 100, 1.0, 2), 0.5), threading.Event()
        working = [
            asyncio.create_task(executor.run(a_call(), partial(go.wait, 20))) for _ in range(3)
        ]
        await until(lambda: executor.n_pending == 3)
        assert executor.wait_s() == pytest.approx(1.0)
        executor.require_room(a_call())
        with pytest.raises(ResourceExhaustedError) as short:
            executor.require_room(a_call(0.4))
        working.append(asyncio.create_task(executor.run(a_call(), partial(go.wait, 20))))
        await until(lambda: executor.n_pending == 4)
        with pytest.raises(ResourceExhaustedError) as refused:
            executor.require_room(a_call())
        # In what is ahead of it, not in less and not at random.
        assert short.value.retry_after_s == pytest.approx(1.0)
        assert refused.value.retry_after_s == pytest.approx(1.5)
        assert refused.value.metadata == {"limit": "test", "value": "1"}
        go.set()
        await asyncio.gather(*working)
        executor.require_room(a_call(0.4))
        executor.close()

    on_a_loop(test)


def test_what_has_waited_too_long_is_refused_without_work() -> None:
    async def test() -> None:
        executor, go, worked = (
            BoundedExecutor("test", 1, 100, 0.05, 1),
            threading.Event(),
            list[int](),
        )
        first = asyncio.create_task(executor.run(a_call(), partial(go.wait, 20)))
        late = asyncio.create_task(executor.run(a_call(), partial(worked.append, 1)))
        lost = asyncio.create_task(executor.run(a_call(0.08), partial(worked.append, 2)))
        await asyncio.sleep(0.2)
        executor.turn_away()
        with pytest.raises(ResourceExhaustedError):
            await late
        with pytest.raises(DeadlineExceededError):
            await lost
        go.set()
        await first
        assert (worked, executor.n_pending) == ([], 0)
        executor.close()

    on_a_loop(test)


def test_of_slow_requests_fewer_are_worked_on_at_once_and_of_quick_ones_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def test() -> None:
        executor = BoundedExecutor("test", 8, 256, None, 2)
        assert executor.n_at_once == 2
        await asyncio.gather(*(executor.run(a_call(), bool) for _ in range(64)))
        # What is over at once gains nothing by company.
        monkeypatch.setattr(executors, "_SHORT_S", 0.0005)
        running = [executor.run(a_call(), partial(time.sleep, 0.001)) for _ in range(64)]
        await asyncio.gather(*running)
        assert executor.n_at_once == 8
        monkeypatch.setattr(executors, "_PACE_S", 0.0005)
        running = [executor.run(a_call(), partial(time.sleep, 0.001)) for _ in range(16)]
        await asyncio.gather(*running)
        assert executor.n_at_once == 2
        executor.close()

    on_a_loop(test)


def test_what_a_request_takes_is_measured_where_it_matters() -> None:
    async def test() -> None:
        executor = BoundedExecutor("test", 8, 256, None, 8)
        # One alone says nothing of eight at once, which may share a search.
        for _ in range(50):
            await executor.run(a_call(), partial(time.sleep, 0.004))
        assert executor._takes_s == 0.001
        running = [executor.run(a_call(), partial(time.sleep, 0.04)) for _ in range(64)]
        await asyncio.gather(*running)
        assert 0.003 < executor._takes_s < 0.05
        executor.close()

    on_a_loop(test)


def test_the_place_of_who_gives_up_is_taken_until_the_work_has_ended() -> None:
    async def test() -> None:
        executor, go, call = BoundedExecutor("test", 1, 100, 1.0, 1), threading.Event(), a_call()

        def work() -> None:
            go.wait(20)
            calls.check()

        working = asyncio.create_task(executor.run(call, work))
        waiting = asyncio.create_task(executor.run(a_call(), work))
        await until(lambda: executor.n_pending == 2)
        waiting.cancel()
        await asyncio.sleep(0)
        await until(lambda: executor.n_pending == 1)
        working.cancel()
        await asyncio.sleep(0.02)
        assert not working.done()
        assert call.left
        go.set()
        with pytest.raises(asyncio.CancelledError):
            await working
        assert executor.n_pending == 0
        executor.close()

    on_a_loop(test)


def test_who_gives_up_just_after_being_refused_does_not_wait_for_ever() -> None:
    async def test() -> None:
        executor, go, call = BoundedExecutor("test", 1, 100, 1.0, 1), threading.Event(), a_call()
        first = asyncio.create_task(executor.run(a_call(), partial(go.wait, 20)))
        late = asyncio.create_task(executor.run(call, bool))
        await until(lambda: executor.n_pending == 2)
        # A deadline that passes does both at once: the executor refuses, gRPC cancels.
        call.deadline = time.perf_counter()
        executor.turn_away()
        late.cancel()
        done, _ = await asyncio.wait([late], timeout=1)
        assert done
        assert late.cancelled()
        go.set()
        await first
        assert executor.n_pending == 0
        executor.close()

    on_a_loop(test)


@pytest.mark.parametrize("raised", [StopIteration, SystemExit, KeyboardInterrupt])
def test_errors_that_futures_cannot_hold_are_answered_too(raised: type[BaseException]) -> None:
    async def test() -> None:
        executor = BoundedExecutor("test", 1, 4, 1.0, 1)

        def work() -> None:
            raise raised

        with pytest.raises(RuntimeError, match=raised.__name__):
            await asyncio.wait_for(executor.run(a_call(), work), 1)
        assert await executor.run(a_call(), partial(int, 3)) == 3
        executor.close()

    on_a_loop(test)


def test_where_no_thread_can_be_started_requests_wait_and_results_are_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def test() -> None:
        start, executor, go = (
            threading.Thread.start,
            BoundedExecutor("test", 2, 4, 1.0, 2),
            threading.Event(),
        )

        def refuse(thread: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr(threading.Thread, "start", refuse)
        first = asyncio.create_task(executor.run(a_call(), partial(go.wait, 20)))
        await asyncio.sleep(0)
        executor.turn_away()
        assert executor.n_pending == 1
        monkeypatch.setattr(threading.Thread, "start", start)
        executor.turn_away()
        monkeypatch.setattr(threading.Thread, "start", refuse)
        others = [asyncio.create_task(executor.run(a_call(), partial(int, n))) for n in range(2)]
        await until(lambda: executor.n_pending == 3)
        go.set()
        assert await asyncio.gather(first, *others) == [True, 0, 1]
        assert executor.n_pending == 0
        executor.close()

    on_a_loop(test)


def test_an_unforeseen_error_is_logged_even_if_the_client_left() -> None:
    async def test() -> None:
        executor, go = BoundedExecutor("test", 1, 4, 1.0, 1), threading.Event()

        def work() -> None:
            go.wait(20)
            raise ZeroDivisionError

        working = asyncio.create_task(executor.run(a_call(), work))
        await until(lambda: executor.n_pending == 1)
        working.cancel()
        await asyncio.sleep(0)
        go.set()
        with structlog.testing.capture_logs() as log:
            await asyncio.wait([working])
        assert working.cancelled()
        assert [(line["event"], line["method"]) for line in log] == [("request failed", "/test")]
        executor.close()

    on_a_loop(test)


def test_lanes_without_a_bound_let_messages_wait() -> None:
    async def test() -> None:
        executor, go = taking(BoundedExecutor("test", 1, 0, None, 1), 0.5), threading.Event()
        working = [
            asyncio.create_task(executor.run(a_call(), partial(go.wait, 20))) for _ in range(9)
        ]
        await until(lambda: executor.n_pending == 9)
        go.set()
        await asyncio.gather(*working)
        executor.close()

    on_a_loop(test)


def test_a_client_has_its_share_and_others_theirs() -> None:
    places = ClientLimiter("requests", 4, 2)
    places.enter("a")
    places.enter("a")
    places.enter("b")
    with pytest.raises(ResourceExhaustedError, match="a has 2 requests at once") as caught:
        places.enter("a")
    assert caught.value.metadata == {"limit": "per-client-requests", "value": "2"}
    places.enter("b")
    with pytest.raises(ResourceExhaustedError, match="the server has 4 requests at once") as caught:
        places.enter("c")
    assert caught.value.metadata == {"limit": "requests", "value": "4"}
    places.leave("a")
    places.enter("c")
    for client in ("a", "b", "b", "c"):
        places.leave(client)
    assert (places._counts, places._moved, places.n_open) == ({}, {}, 0)


def test_who_asks_when_nothing_is_given_back_is_told_to_ask_seldom(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    places = ClientLimiter("streams", 1, 1)
    places.enter("a")

    def told_s(client: str) -> float:
        with pytest.raises(ResourceExhaustedError) as caught:
            places.enter(client)
        assert caught.value.retry_after_s is not None
        return caught.value.retry_after_s

    assert (told_s("a"), told_s("b")) == (0.05, 0.05)
    now += 8
    assert (told_s("a"), told_s("b")) == (8, 8)
    now += 100
    assert (told_s("a"), told_s("b")) == (30, 30)
    places.leave("a")
    places.enter("a")
    assert told_s("b") == 0.05
