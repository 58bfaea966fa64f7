"""What gRPC's retry policy sends again, as the published service config and the server say."""

import asyncio
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
import pytest
import scipy.sparse as sp
from tests.unit.client.fake import FakeServer

from cellkin.client import AsyncClient, Client
from cellkin.server.status import pushback, status_of
from cellkin.v1 import catalog_service_pb2, cell_service_pb2, gene_service_pb2, gene_set_service_pb2
from cellkin.wire.errors import (
    CellkinError,
    DeadlineExceededError,
    InvalidArgumentError,
    NotFoundError,
    ResourceExhaustedError,
    UnavailableError,
)
from cellkin.wire.protos import service_config_path
from cellkin.wire.terms import ExpressionUnits, VersionKind

CONFIG = json.loads(service_config_path().read_text())["methodConfig"]
BUSY = ResourceExhaustedError("busy", retry_after_s=0.01)
LARGE = ResourceExhaustedError("a message is too large")
GONE = UnavailableError("drains")
FEW = sp.csr_matrix(np.ones((1, 3), np.float32))


@dataclass
class Refusing(grpc.GenericRpcHandler):
    """Refuses requests with errors in turn, as the server does, then answers streams.

    Parameters
    ----------
    errors
        The errors.
    """

    errors: list[CellkinError]
    n_sent: int = 0
    streams: FakeServer = field(default_factory=FakeServer)

    def service(self, details: Any) -> Any:
        name = details.method.rpartition("/")[2]
        if not name.startswith("Stream"):
            return grpc.unary_unary_rpc_method_handler(self._refuse)
        return grpc.stream_stream_rpc_method_handler(
            self._stream,
            cell_service_pb2.StreamPredictSubtypesRequest.FromString,
            cell_service_pb2.StreamPredictSubtypesResponse.SerializeToString,
        )

    def _refuse(self, request: Any, context: Any) -> Any:
        error = self.errors[min(self.n_sent, len(self.errors) - 1)]
        sent_before = dict(context.invocation_metadata()).get("grpc-previous-rpc-attempts", "")
        assert sent_before == (str(self.n_sent) if self.n_sent else "")
        self.n_sent += 1
        status = status_of(error)
        trailing = status.trailing_metadata + pushback(error, "", context.time_remaining())
        context.set_trailing_metadata(trailing)
        context.abort(status.code, status.details)

    def _stream(self, requests: Iterator[Any], context: Any) -> Iterator[Any]:
        if self.n_sent < len(self.errors):
            seen = [next(requests) for _ in range(3)]
            self.streams.sent.append(seen)
            self._refuse(seen[0], context)
        yield from self.streams.answer(requests)


@contextmanager
def refusing(*errors: CellkinError) -> Iterator[tuple[str, Refusing]]:
    handler = Refusing(list(errors))
    with ThreadPoolExecutor(2) as threads:
        server = grpc.server(threads, handlers=[handler])
        address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        yield address, handler
        server.stop(None).wait()


def blocking(address: str, ask: Callable[[Any], Any], **given: Any) -> Any:
    with Client(address, **given) as client:
        return ask(client)


def awaited(address: str, ask: Callable[[Any], Any], **given: Any) -> Any:
    async def run() -> Any:
        async with AsyncClient(address, **given) as client:
            return await ask(client)

    return asyncio.run(run())


BOTH = pytest.mark.parametrize("by", [blocking, awaited])


def get(client: Any) -> Any:
    return client.get_cell_index("trio")


def change(client: Any) -> Any:
    return client.set_alias(VersionKind.INDEX, "trio", "stable")


@BOTH
@pytest.mark.parametrize(
    ("ask", "errors", "given", "n_sent"),
    [
        pytest.param(get, [BUSY, BUSY, NotFoundError("no")], {}, 3, id="busy"),
        pytest.param(get, [BUSY], {}, 4, id="always-busy"),
        pytest.param(get, [BUSY], {"attempts": 2}, 2, id="two-attempts"),
        pytest.param(get, [BUSY], {"attempts": 1}, 1, id="one-attempt"),
        pytest.param(get, [LARGE], {}, 1, id="too-large"),
        pytest.param(get, [NotFoundError("no")], {}, 1, id="not-found"),
        pytest.param(get, [GONE, NotFoundError("no")], {}, 2, id="unavailable"),
        pytest.param(change, [BUSY, NotFoundError("no")], {}, 2, id="a-change-refused"),
        pytest.param(change, [GONE], {}, 1, id="a-change-unavailable"),
    ],
)
def test_what_is_sent_again(
    by: Any, ask: Any, errors: list[CellkinError], given: dict[str, Any], n_sent: int
) -> None:
    with refusing(*errors) as (address, server):
        with pytest.raises(type(errors[-1])) as caught:
            by(address, ask, **given)
        assert (server.n_sent, caught.value.message) == (n_sent, errors[-1].message)


def test_a_delay_beyond_the_deadline_is_not_waited_for() -> None:
    slow = ResourceExhaustedError("busy", retry_after_s=30)
    with refusing(slow) as (address, server):
        with pytest.raises(ResourceExhaustedError) as caught:
            blocking(address, get, timeout_s=5)
        assert (server.n_sent, caught.value.retry_after_s) == (1, 30)


@BOTH
def test_who_finds_nobody_asks_again(by: Any) -> None:
    with pytest.raises(UnavailableError, match="no cellkin server answers at"):
        by("127.0.0.1:9", get, attempts=2)
    # It would be asked again in 0.1 s.
    with pytest.raises(DeadlineExceededError):
        by("127.0.0.1:9", get, timeout_s=0.02)


@BOTH
def test_what_a_stream_sent_is_sent_again(by: Any) -> None:
    def label(client: Any) -> Any:
        return client.stream_predict_subtypes(
            "trio", ["A", "B", "C"], [FEW] * 3, units=ExpressionUnits.LINEAR, n_ahead=2
        )

    def waited(client: Any) -> int:
        return len(list(label(client)[1]))

    async def in_turn(client: Any) -> int:
        return len([part async for part in (await label(client))[1]])

    with refusing(BUSY, GONE) as (address, server):
        assert by(address, waited if by is blocking else in_turn) == 3
        refused = server.streams.sent[:2]
        assert refused[0] == refused[1] == server.streams.sent[2][:3]
        assert server.n_sent == 2


def test_every_service_is_in_the_config() -> None:
    files = (catalog_service_pb2, cell_service_pb2, gene_service_pb2, gene_set_service_pb2)
    services = {
        service.full_name: set(service.methods_by_name)
        for file in files
        for service in file.DESCRIPTOR.services_by_name.values()
    }
    all_of, some = CONFIG
    assert [name["service"] for name in all_of["name"]] == sorted(services)
    assert all(name["method"] in services[name["service"]] for name in some["name"])


@pytest.mark.parametrize("attempts", [0, 6])
def test_grpc_makes_at_most_five_attempts(attempts: int) -> None:
    with pytest.raises(InvalidArgumentError, match="and 1 to 5"):
        Client("127.0.0.1:9", attempts=attempts)
