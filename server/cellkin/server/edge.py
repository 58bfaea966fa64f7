"""The edge of the server: what every request passes before a service sees it, and after.

In this order: a place in a lane or a refusal, the token and its role, the client's share, the
message itself, the deadline; then the service; then the status, the counts, the trace, and for what
changes the catalog a line in the audit log.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias

import grpc
import structlog
from google.protobuf.message import DecodeError

from cellkin.server import calls
from cellkin.server.calls import Call
from cellkin.server.lanes import Lane, Turnstile
from cellkin.server.metrics import Metrics
from cellkin.server.security import ADMIN, READ, Tokens, require_role
from cellkin.server.status import status_of
from cellkin.server.traces import Tracer
from cellkin.wire.errors import (
    CellkinError,
    InternalError,
    InvalidArgumentError,
    PermissionDeniedError,
    UnavailableError,
)

Handler: TypeAlias = Any
"""A ``grpc.RpcMethodHandler``, whose class takes the type arguments of its stubs only on paper."""

_log = structlog.get_logger("cellkin.server")
_audit = structlog.get_logger("cellkin.audit")
_CATALOG = "/cellkin.v1.CatalogService/"
_ADMIN_METHODS = frozenset(f"{_CATALOG}{n}" for n in ("SetAlias", "RetractVersion", "Reload"))
_HEALTH = "/grpc.health.v1.Health/"


@dataclass(frozen=True)
class Lanes:
    """The threads of a server.

    Parameters
    ----------
    work
        For requests that compute.
    streams
        For streams, each of which holds one for as long as it is open.
    control
        For what must be answered under any load: the catalog, health, refusals.
    """

    work: Lane
    streams: Lane
    control: Lane

    def all(self) -> tuple[Lane, ...]:
        """Return every lane."""
        return self.work, self.streams, self.control


class Edge(grpc.ServerInterceptor):
    """Takes requests in, and turns whatever a service answers or raises into their answers.

    Parameters
    ----------
    lanes
        The threads.
    turnstile
        The clients' shares.
    tokens
        Who may ask; None lets anybody read, and this machine administer.
    metrics, tracer
        Where requests are counted and traced.
    """

    def __init__(
        self,
        lanes: Lanes,
        turnstile: Turnstile,
        tokens: Tokens | None,
        metrics: Metrics,
        tracer: Tracer,
    ) -> None:
        self._lanes, self._turnstile, self._tokens = lanes, turnstile, tokens
        self._metrics, self._tracer = metrics, tracer
        self._draining = False

    def drain(self) -> None:
        """Turn away what comes from now on, by a code that says to ask again.

        What has come and was not looked at when a server stops, gRPC cancels.
        """
        self._draining = True

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Handler],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        """Choose the threads of the method that was called, and wrap it."""
        handler = continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or method.startswith(_HEALTH):
            # Health has no secrets, and answers from threads of its own.
            return handler
        make: Any = _MAKERS[bool(handler.request_streaming), bool(handler.response_streaming)]
        if self._draining:
            away: Any = _turn_away_stream if handler.response_streaming else _turn_away
            turned: Handler = make(_on(self._lanes.control, away), None, None)
            return turned
        lane = self._lane(method, handler)
        refused = lane.refusal() if lane.is_full else None
        metadata = dict(handler_call_details.invocation_metadata)
        answering = _Answering(self, method, metadata, handler, refused)
        wrapped: Any = answering.stream if handler.response_streaming else answering.unary
        # grpc runs a method on the pool that its function names.
        behavior = _on(self._lanes.control if refused else lane, wrapped)
        made: Handler = make(behavior, None, handler.response_serializer)
        return made

    def _lane(self, method: str, handler: Handler) -> Lane:
        if handler.response_streaming or handler.request_streaming:
            return self._lanes.streams
        return self._lanes.control if method.startswith(_CATALOG) else self._lanes.work

    def _admit(
        self, call: Call, metadata: dict[str, str | bytes], refused: CellkinError | None
    ) -> None:
        """Let a request in, or raise why not."""
        if refused is not None:
            raise refused
        role = ADMIN if call.method in _ADMIN_METHODS else READ
        if self._tokens is not None:
            principal = self._tokens.principal(metadata)
            call.client = principal.name
            require_role(principal, role, call.method)
        elif role == ADMIN and not _is_near(call.client):
            raise PermissionDeniedError(
                f"{call.method} is taken from this machine alone where the server has no token "
                "file; start it with --tokens",
                {"role": ADMIN},
            )
        self._turnstile.enter(call.client)

    @contextmanager
    def answering(
        self, call: Call, metadata: dict[str, str | bytes], refused: CellkinError | None
    ) -> Iterator[None]:
        """Surround the answer to a request with all that is not the answer itself."""
        context = call.context
        assert context is not None
        call.queue_s = time.perf_counter() - call.arrived
        call.client = context.peer()
        calls.work_on(call)
        entered = ""
        code, error = "OK", None
        try:
            with self._tracer.span(call, metadata):
                self._admit(call, metadata, refused)
                entered = call.client
                call.check()
                yield
        except GeneratorExit:
            code = "CANCELLED"
            raise
        except Exception as raised:  # noqa: BLE001  # the edge of the process
            error = _known(raised, call)
            code = error.code
        finally:
            calls.work_on(None)
            if entered:
                self._turnstile.leave(entered)
            whole_s = time.perf_counter() - call.arrived
            self._metrics.answered(call.method, code, whole_s, call.queue_s, call.compute_s)
            if call.method in _ADMIN_METHODS:
                _audit.info(
                    "admin request", method=call.method, client=call.client, peer=context.peer(),
                    code=code, **call.audit,
                )  # fmt: skip
        if error is not None:
            _abort(context, error)


class _Answering:
    """One request on its way through the edge."""

    def __init__(
        self,
        edge: Edge,
        method: str,
        metadata: dict[str, str | bytes],
        handler: Handler,
        refused: CellkinError | None,
    ) -> None:
        self._edge, self._metadata, self._handler = edge, metadata, handler
        self._refused = refused
        self._call = Call(method, time.perf_counter())

    def unary(self, request: bytes, context: grpc.ServicerContext) -> Any:
        """Answer one message."""
        self._call.context = context
        answer = None
        with self._edge.answering(self._call, self._metadata, self._refused):
            answer = self._handler.unary_unary(self._parsed(request), context)
        return answer

    def stream(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[Any]:
        """Answer a stream of messages."""
        self._call.context = context
        with self._edge.answering(self._call, self._metadata, self._refused):
            for answer in self._handler.stream_stream(map(self._parsed, requests), context):
                self._edge._metrics.message_answered(self._call.method)
                yield answer
                self._call.check()

    def _parsed(self, message: bytes) -> Any:
        try:
            return self._handler.request_deserializer(message)
        except DecodeError as error:
            raise InvalidArgumentError(
                f"a message of {len(message)} bytes is no request of {self._call.method}; "
                "use the stubs of this server's protos"
            ) from error


def _turn_away(request: Any, context: grpc.ServicerContext) -> NoReturn:
    _abort(context, UnavailableError("the server drains and takes no more requests; ask again"))


def _turn_away_stream(requests: Any, context: grpc.ServicerContext) -> Iterator[Any]:
    yield _turn_away(requests, context)


def _on(lane: Lane, behavior: Callable[..., Any]) -> Callable[..., Any]:
    def on_lane(request: Any, context: grpc.ServicerContext) -> Any:
        return behavior(request, context)

    on_lane.experimental_thread_pool = lane  # type: ignore[attr-defined]
    return on_lane


_MAKERS = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}


def _is_near(peer: str) -> bool:
    return peer.startswith(("ipv4:127.", "ipv6:[::1]", "ipv6:%5B::1%5D", "unix:"))


def _known(error: Exception, call: Call) -> CellkinError:
    if isinstance(error, CellkinError) and not isinstance(error, InternalError):
        _log.debug("request refused", method=call.method, reason=error.reason)
        return error
    lost = call.lost()
    if lost is not None:
        # What the transport raises in whoever reads from or writes to a caller that left.
        return lost
    _log.error("request failed", method=call.method, exc_info=error)
    return InternalError("the server met an unforeseen error; its log says which")


def _abort(context: grpc.ServicerContext, error: CellkinError) -> NoReturn:
    # This raises; of a caller that left, grpc forgets the status.
    context.abort_with_status(status_of(error))
    raise error
