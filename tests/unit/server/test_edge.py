"""The edge of a server that drains: whoever comes is told to ask again."""

import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from cellkin.server.edge import Edge, Lanes
from cellkin.server.lanes import Lane, Turnstile
from cellkin.server.metrics import Metrics
from cellkin.server.traces import NoTracer


def unary(request: bytes, context: grpc.ServicerContext) -> bytes:
    return request


def stream(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
    yield from requests


@pytest.fixture
def served() -> Iterator[tuple[Edge, grpc.Channel]]:
    """A server of two methods that give back what they are given."""

    def same(message: bytes) -> bytes:
        return message

    lanes = Lanes(*(Lane(name, 2, 4) for name in ("requests", "streams", "control")))
    edge = Edge(lanes, Turnstile(8), None, Metrics(), NoTracer())
    server = grpc.server(lanes.control, interceptors=[edge])
    methods: dict[str, Any] = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary, same, same),
        "Stream": grpc.stream_stream_rpc_method_handler(stream, same, same),
    }
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("t.T", methods)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield edge, channel
    server.stop(None).wait()


def test_what_comes_while_a_server_drains_is_unavailable_and_what_runs_goes_on(
    served: tuple[Edge, grpc.Channel],
) -> None:
    edge, channel = served
    ask: Any = channel.unary_unary("/t.T/Unary")
    talk: Any = channel.stream_stream("/t.T/Stream")
    assert ask(b"a", timeout=20) == b"a"

    answered = threading.Event()

    def messages() -> Iterator[bytes]:
        yield b"before"
        assert answered.wait(20)
        yield b"after"

    running = talk(messages(), timeout=20)
    assert next(running) == b"before"
    edge.drain()
    answered.set()
    assert list(running) == [b"after"]
    for call in (lambda: ask(b"a", timeout=20), lambda: next(talk(iter([b"a"]), timeout=20))):
        with pytest.raises(grpc.RpcError) as refused:
            call()  # type: ignore[no-untyped-call]
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "drains" in str(refused.value.details())
