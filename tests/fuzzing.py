"""Requests of any kind against all of the server but its sockets, for the fuzzers.

A request goes through the interceptor as it does when it comes by the network: parsed from bytes,
admitted, answered, its answer or status serialized.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import grpc
import numpy as np
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from cellkin.server.catalog import CatalogService
from cellkin.server.cells import CellService
from cellkin.server.exchange import Timeouts
from cellkin.server.executors import BoundedExecutor, ClientLimiter
from cellkin.server.gene_sets import GeneSetService
from cellkin.server.genes import GeneService
from cellkin.server.interceptor import ClientLimiters, Executors, RequestInterceptor
from cellkin.server.methods import Handlers
from cellkin.server.metrics import Metrics
from cellkin.server.security import Access
from cellkin.server.text_models import TextModels
from cellkin.server.traces import NoTracer
from cellkin.server.version_cache import VersionCache
from cellkin.store.store import Store
from cellkin.v1 import (
    catalog_service_pb2,
    catalog_service_pb2_grpc,
    cell_service_pb2,
    cell_service_pb2_grpc,
    gene_service_pb2,
    gene_service_pb2_grpc,
    gene_set_service_pb2,
    gene_set_service_pb2_grpc,
)

Draw = Callable[[int], int]
"""Chooses a number from 0 up to one below what it is given."""

_SERVICES = {
    name: module.DESCRIPTOR.services_by_name[name]
    for name, module in (
        ("CatalogService", catalog_service_pb2),
        ("CellService", cell_service_pb2),
        ("GeneService", gene_service_pb2),
        ("GeneSetService", gene_set_service_pb2),
    )
}
CHANGING = ("SetAlias", "RetractVersion", "Reload", "BackUpStore")
METHODS = {
    f"/cellkin.v1.{service}/{method.name}": method
    for service, descriptor in _SERVICES.items()
    for method in descriptor.methods
}

_NUMBERS = (0, 1, 2, 3, 9606, 10090, -1, 7, 100, 1001, 2**31 - 1, -(2**31))
_TEXTS = (
    "trio", "random-64-7", "random:64:7", "genes", "trio@latest", "GENE5", "SHARED", "", "cell1-3",
    "label", "batch", "alpha", "d0", "trio@2020-01-01.1", "nope", "x" * 5000, "\x00", "é\u202e😀",
    "ENSG00000000005.6", "stable", "../../etc/passwd", "' OR 1=1 --", "trio@", "@", " ",
    "sets", "sets/alpha", "beta", "-", "cosine",
)  # fmt: skip
_GENES = [f"GENE{i}" for i in range(1, 121)]


class Refused(Exception):
    """A call was ended with a status."""


class Context:
    """The transport's side of one call."""

    def __init__(self, messages: list[bytes]) -> None:
        self._messages = iter(messages)
        self.code: Any = None
        self.details = ""
        self.trailing_metadata: tuple[tuple[str, bytes], ...] = ()

    def peer(self) -> str:
        return "ipv4:127.0.0.1:1"

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return ()

    def time_remaining(self) -> None:
        return None

    async def read(self) -> Any:
        return next(self._messages, grpc.aio.EOF)

    async def write(self, message: bytes) -> None:
        assert isinstance(message, bytes)

    def add_done_callback(self, callback: Callable[["Context"], None]) -> None:
        callback(self)

    async def abort(self, code: Any, details: str, metadata: Any) -> NoReturn:
        self.code, self.details, self.trailing_metadata = code, details, metadata
        raise Refused


class Harness:
    """The services of a store behind the interceptor."""

    def __init__(self, store: Path) -> None:
        self._metrics = Metrics()
        self.version_cache = VersionCache(Store.open(str(store)), 1.0, 32, self._metrics, 2)
        self._loop = asyncio.new_event_loop()
        self._interceptor = self._loop.run_until_complete(self._make_edge())

    async def _make_edge(self) -> RequestInterceptor:
        executors = Executors(
            *(
                BoundedExecutor(name, 1, 1000, None, 1)
                for name in ("requests", "streams", "control")
            )
        )
        limiters = ClientLimiters(
            *(ClientLimiter(noun, None, 100) for noun in ("requests", "streams", "checks"))
        )
        timeouts = Timeouts(20, 20, 20)
        access = Access(None, "local")
        interceptor = RequestInterceptor(
            executors, limiters, timeouts, access, self._metrics, NoTracer(), log_requests=False
        )
        handlers = Handlers()
        for service, add in (
            (
                CatalogService(self.version_cache),
                catalog_service_pb2_grpc.add_CatalogServiceServicer_to_server,
            ),
            (
                CellService(self.version_cache, 1000),
                cell_service_pb2_grpc.add_CellServiceServicer_to_server,
            ),
            (
                GeneService(self.version_cache, TextModels(), 1000),
                gene_service_pb2_grpc.add_GeneServiceServicer_to_server,
            ),
            (
                GeneSetService(self.version_cache, TextModels(), 1000),
                gene_set_service_pb2_grpc.add_GeneSetServiceServicer_to_server,
            ),
        ):
            add(service, handlers)
        for name, handler in handlers.found.items():
            interceptor.add(name, handler)
        return interceptor

    def send(self, method: str, messages: list[bytes]) -> Any:
        """Send messages to a method; return how it ended, None where that is success.

        Raises
        ------
        AssertionError
            If it ended otherwise than a request may: without a reason, or by a bug.
        """
        details: Any = type("Details", (), {"method": method})()
        handler: Any = self._interceptor.service(details)
        context = Context(messages)
        answer = handler.stream_stream or handler.stream_unary
        with contextlib.suppress(Refused):
            self._loop.run_until_complete(answer(None, context))
        if context.code is None:
            return None
        _check_typed(context)
        return context


def _check_typed(ended: Context) -> None:
    packed = dict(ended.trailing_metadata)["grpc-status-details-bin"]
    rich = status_pb2.Status.FromString(packed)
    info = error_details_pb2.ErrorInfo()
    assert rich.details[0].Unpack(info), rich
    assert info.domain == "cellkin"
    assert info.reason
    code = grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN
    assert ended.code not in code, f"{rich.message} (the log has it)"
    assert len(packed) < 8000


def any_messages(method: str, draw: Draw) -> list[bytes]:
    """Make the messages of a request, of fields that are right, nearly right and wrong."""
    kind = METHODS[method].input_type
    n = 1 + draw(4) if METHODS[method].client_streaming else 1
    return [_filled(kind, draw, 0).SerializeToString() for _ in range(n)]


def _filled(descriptor: Descriptor, draw: Draw, depth: int) -> Message:
    message = message_factory.GetMessageClass(descriptor)()
    for field in descriptor.fields:
        if draw(4) == 0 or depth > 4:
            continue
        if field.is_repeated:
            values = list(_GENES) if field.name == "genes" and draw(3) else None
            values = values or [_value(field, draw, depth) for _ in range(draw(4))]
            getattr(message, field.name).extend(values)
        elif field.message_type is not None:
            getattr(message, field.name).CopyFrom(_value(field, draw, depth))
        else:
            with contextlib.suppress(ValueError):  # a number that the field cannot hold
                setattr(message, field.name, _value(field, draw, depth))
    return message


def _value(field: FieldDescriptor, draw: Draw, depth: int) -> Any:
    if field.message_type is not None:
        return _filled(field.message_type, draw, depth + 1)
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        if field.type == FieldDescriptor.TYPE_BYTES:
            return _bytes(field.name, draw)
        return _TEXTS[draw(len(_TEXTS))]
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return bool(draw(2))
    if field.cpp_type in (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE):
        return (0.0, 0.5, 1.0, -1.0, 2.0, float("nan"), float("inf"))[draw(7)]
    return _NUMBERS[draw(len(_NUMBERS))]


def _bytes(name: str, draw: Draw) -> bytes:
    n = (0, 1, 2, 3, 64)[draw(5)]
    if name == "indptr":
        ends = np.cumsum([0, *(draw(4) for _ in range(n))])
        return bytes(ends.astype("<i8").tobytes()[: None if draw(8) else 5])
    if name == "columns":
        return np.array([draw(130) - 2 for _ in range(n)], "<i4").tobytes()
    strange = (1.0, 0.0, -1.0, np.nan, np.inf, 3.4e38, 1e-38, 5.0)
    values = np.array([strange[draw(len(strange))] for _ in range(n)], "<f4").tobytes()
    return values if draw(8) else values[:-1]


def every_method() -> Iterator[str]:
    """Yield the methods that only read."""
    yield from (m for m in METHODS if m.rpartition("/")[2] not in CHANGING)
