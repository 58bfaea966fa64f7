"""The interceptor, behind a server of gRPC: refusals before messages, waits that end, draining."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from structlog.testing import capture_logs

from cellkin.server import calls
from cellkin.server.exchange import TimeoutMonitor, Timeouts
from cellkin.server.executors import BoundedExecutor, ClientLimiter
from cellkin.server.interceptor import ClientLimiters, Executors, RequestInterceptor
from cellkin.server.metrics import Metrics
from cellkin.server.security import READ, Access, Principal
from cellkin.server.traces import NoTracer
from cellkin.wire.errors import UnauthenticatedError

UNARY, TALK = "/t.T/Unary", "/t.T/Talk"


class FewTokens:
    """Knows callers by their names alone."""

    def __init__(self, *names: str) -> None:
        self.names = set(names)

    def principal(self, metadata: dict[str, str | bytes]) -> Principal:
        name = str(metadata.get("authorization", ""))
        if name not in self.names:
            raise UnauthenticatedError("unknown")
        return Principal(name, frozenset({READ}))

    def still_known(self, principal: Principal) -> bool:
        return principal.name in self.names


@dataclass
class Served:
    """A server of two methods that give back what they are given."""

    interceptor: RequestInterceptor
    channel: grpc.aio.Channel
    tokens: FewTokens
    metrics: Metrics
    limiters: ClientLimiters

    async def until_open(self, n: int) -> None:
        """Wait until the server has looked at so many requests."""
        while self.limiters.requests.n_open != n:
            await asyncio.sleep(0.005)

    def open(self, method: str, name: str = "a") -> Any:
        """Begin a request, without a message."""
        call: Any = self.channel.stream_stream(method)
        return call(metadata=[("authorization", name)], timeout=20)

    def counted(self, method: str, code: str) -> float | None:
        labels = {"method": method, "code": code}
        return self.metrics.registry.get_sample_value("cellkin_requests_total", labels)


def talk(requests: Any, context: Any) -> Any:
    request = yield None
    while request is not None:
        request = yield request


def serve(
    test: Callable[[Served], Awaitable[None]],
    talk: Callable[[Any, Any], Any] = talk,
    **waits_s: float,
) -> None:
    """Run a test of a server on its own event loop."""

    async def run() -> None:
        def same(message: bytes) -> bytes:
            return message

        executors = Executors(
            *(BoundedExecutor(name, 2, 4, 1.0, 2) for name in ("requests", "streams", "control"))
        )
        limiters = ClientLimiters(
            ClientLimiter("requests", None, 3),
            ClientLimiter("streams", 4, 2),
            ClientLimiter("c", None, 2),
        )
        timeouts = Timeouts(**{"message_s": 20, "idle_s": 20, "age_s": 20} | waits_s)
        tokens, metrics = FewTokens("a", "b"), Metrics()
        access = Access(tokens, "token")  # type: ignore[arg-type]
        interceptor = RequestInterceptor(
            executors, limiters, timeouts, access, metrics, NoTracer(), log_requests=False
        )
        unary = grpc.unary_unary_rpc_method_handler(lambda message, _: message, same, same)
        interceptor.add(UNARY, unary)
        interceptor.add(TALK, grpc.stream_stream_rpc_method_handler(talk, same, same))
        server = grpc.aio.server(handlers=[interceptor])
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        watching = asyncio.create_task(interceptor.watch())
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                await asyncio.wait_for(
                    test(Served(interceptor, channel, tokens, metrics, limiters)), 20
                )
        finally:
            watching.cancel()
            await server.stop(None)
            for executor in executors.all():
                executor.close()
        # gRPC may tell the end of a request a moment after the stop.
        async with asyncio.timeout(5):
            while limiters.requests.n_open or limiters.streams.n_open:
                await asyncio.sleep(0.005)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TimeoutMonitor, "LOOKS_S", 0.02)
        patch.setattr(TimeoutMonitor, "CALLERS_S", 0.04)
        asyncio.run(run())


async def ended(call: Any) -> tuple[grpc.StatusCode, str]:
    return await call.code(), await call.details()


async def asked(served: Served, message: bytes = b"m", name: str = "a") -> bytes:
    ask: Any = served.channel.unary_unary(UNARY)
    answer: bytes = await ask(message, metadata=[("authorization", name)], timeout=20)
    return answer


def test_headers_are_refused_without_a_message_and_those_without_a_token_hold_nothing() -> None:
    async def test(served: Served) -> None:
        for method in (UNARY, TALK):
            strangers = [served.open(method, "nobody") for _ in range(50)]
            for call in strangers:
                assert (await ended(call))[0] is grpc.StatusCode.UNAUTHENTICATED
        held = [served.open(UNARY) for _ in range(3)]
        await served.until_open(3)
        code, details = await ended(served.open(UNARY))
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "a has 3 requests at once" in details
        # They hold no thread, and count against nobody else.
        assert await asked(served, name="b") == b"m"
        await held[0].write(b"late")
        assert await held[0].read() == b"late"
        assert (await ended(held[0]))[0] is grpc.StatusCode.OK
        await served.until_open(2)
        assert await asked(served) == b"m"

    serve(test)


def test_a_message_that_does_not_come_is_waited_for_so_long() -> None:
    async def test(served: Served) -> None:
        for method in (UNARY, TALK):
            code, details = await ended(served.open(method))
            assert code is grpc.StatusCode.DEADLINE_EXCEEDED
            assert "no whole message came for 0.1 s" in details
            assert served.counted(method, "DEADLINE_EXCEEDED") == 1

    serve(test, message_s=0.1)


def test_idle_and_old_streams_are_ended_and_say_why() -> None:
    async def idle(served: Served) -> None:
        call = served.open(TALK)
        await call.write(b"m")
        assert await call.read() == b"m"
        code, details = await ended(call)
        assert code is grpc.StatusCode.DEADLINE_EXCEEDED
        assert "no message came and no answer was taken for 0.3 s" in details

    async def old(served: Served) -> None:
        call = served.open(TALK)
        # No write may meet the end: gRPC's client then reports INTERNAL for its own failed write.
        await call.write(b"m")
        assert await call.read() == b"m"
        code, details = await ended(call)
        assert code is grpc.StatusCode.UNAVAILABLE
        assert "a stream is open for at most 0.3 s" in details

    serve(idle, idle_s=0.3)
    serve(old, age_s=0.3)


def test_streams_of_one_client_leave_places_for_others() -> None:
    async def test(served: Served) -> None:
        held = [served.open(TALK) for _ in range(2)]
        for call in held:
            await call.write(b"m")
            assert await call.read() == b"m"
        code, details = await ended(served.open(TALK))
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "a has 2 streams at once" in details
        other = served.open(TALK, "b")
        await other.write(b"m")
        assert await other.read() == b"m"
        for call in (*held, other):
            await call.done_writing()
            assert (await ended(call))[0] is grpc.StatusCode.OK

    serve(test)


def test_a_token_that_is_revoked_ends_its_streams_and_no_others() -> None:
    async def test(served: Served) -> None:
        mine, other = served.open(TALK, "a"), served.open(TALK, "b")
        waiting = served.open(UNARY, "a")
        for call in (mine, other):
            await call.write(b"m")
            assert await call.read() == b"m"
        served.tokens.names.remove("a")
        for call in (mine, waiting):
            assert (await ended(call))[0] is grpc.StatusCode.UNAUTHENTICATED
        await other.write(b"m")
        assert await other.read() == b"m"
        other.cancel()

    serve(test)


def test_a_stream_that_ended_well_counts_as_ok_and_one_given_up_as_cancelled() -> None:
    async def test(served: Served) -> None:
        async def answered() -> Any:
            call = served.open(TALK)
            await call.write(b"m")
            assert await call.read() == b"m"
            return call

        for _ in range(3):
            well = await answered()
            await well.done_writing()
            assert (await ended(well))[0] is grpc.StatusCode.OK
        assert served.counted(TALK, "OK") == 3
        # On a busy machine a caller that leaves may be taken for one that has said all.
        while not served.counted(TALK, "CANCELLED"):
            (await answered()).cancel()
            await asyncio.sleep(0.05)

    serve(test)


def test_what_comes_while_a_server_drains_is_unavailable_and_what_runs_goes_on() -> None:
    async def test(served: Served) -> None:
        running, silent = served.open(TALK), served.open(UNARY)
        await running.write(b"before")
        assert await running.read() == b"before"
        await served.until_open(1)
        served.interceptor.drain()
        await running.write(b"after")
        assert await running.read() == b"after"
        await running.done_writing()
        assert (await ended(running))[0] is grpc.StatusCode.OK
        for call in (silent, served.open(UNARY), served.open(TALK)):
            code, details = await ended(call)
            assert code is grpc.StatusCode.UNAVAILABLE
            assert "drains" in details
        counts = [served.counted(method, "UNAVAILABLE") for method in (UNARY, TALK)]
        assert counts == [2, 1]

    serve(test)


def test_open_requests_are_checked_on_after_a_check_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TimeoutMonitor, "LOOKS_S", 0.001)

    async def run() -> None:
        n, again = 0, asyncio.Event()

        def beside() -> None:
            nonlocal n
            n += 1
            if n == 1:
                raise ZeroDivisionError
            again.set()

        monitor = TimeoutMonitor(Timeouts(1, 1, 1), lambda exchange: True)
        keeping = asyncio.create_task(monitor.keep(beside))
        with capture_logs() as log:
            await asyncio.wait_for(again.wait(), 5)
        keeping.cancel()
        assert [line["event"] for line in log] == ["open requests not checked"]

    asyncio.run(run())


def test_a_unary_request_that_ends_without_a_message_is_wrong() -> None:
    async def test(served: Served) -> None:
        call = served.open(UNARY)
        await call.done_writing()
        code, details = await ended(call)
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert "takes one message, and none came" in details

    serve(test)


def test_brief_messages_are_answered_on_the_loop_and_longer_ones_on_a_thread() -> None:
    async def test(served: Served) -> None:
        call = served.open(TALK)
        threads = []
        for message in (b"brief", b"b", b"long message", b"b"):
            await call.write(message)
            threads.append((await call.read()).decode())
        here = threading.current_thread().name
        assert [name == here for name in threads] == [False, True, False, True]

    def named(requests: Any, context: Any) -> Any:
        yield None
        while True:
            calls.current().brief_bytes = 2
            yield threading.current_thread().name.encode()

    serve(test, talk=named)
