"""The interceptor: admits requests, runs their services, and sends responses and statuses.

It runs on an event loop, so no thread is held while waiting for a message or for a slow reader.
The checks of a request, in order, are the token, its role and its limits, the client's share, and
the expected wait for a thread. Only then is its message read and passed to a thread of its
executor. At the end come the status, metrics, trace, and for requests that change the catalog a
line in the audit log.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import grpc
import structlog

from cellkin.server import calls
from cellkin.server.calls import Call
from cellkin.server.exchange import Exchange, TimeoutMonitor, Timeouts
from cellkin.server.executors import BoundedExecutor, ClientLimiter
from cellkin.server.logs import log_request
from cellkin.server.methods import Method
from cellkin.server.metrics import Metrics
from cellkin.server.quotas import Quotas
from cellkin.server.security import ADMIN, READ, Access
from cellkin.server.traces import Tracer
from cellkin.wire.errors import (
    CancelledError,
    CellkinError,
    InternalError,
    InvalidArgumentError,
    PermissionDeniedError,
    UnavailableError,
)

Handler: TypeAlias = Any
"""A ``grpc.RpcMethodHandler``, which is generic only in its type stubs."""

_log = structlog.get_logger("cellkin.server")
_audit = structlog.get_logger("cellkin.audit")
_CATALOG = "/cellkin.v1.CatalogService/"
_CELLS = "/cellkin.v1.CellService/"
_ADMIN_METHODS = frozenset(
    f"{_CATALOG}{name}" for name in ("SetAlias", "RetractVersion", "Reload", "BackUpStore")
)
_HEALTH = "/grpc.health."
_REFLECTION = "/grpc.reflection."


@dataclass(frozen=True)
class Executors:
    """The threads of a server.

    Parameters
    ----------
    work
        For unary requests that compute.
    streams
        For messages of streams; a stream holds a thread only while a message is processed.
    control
        For the catalog service, which must answer under any load.
    """

    work: BoundedExecutor
    streams: BoundedExecutor
    control: BoundedExecutor

    def all(self) -> tuple[BoundedExecutor, ...]:
        """Return every executor."""
        return self.work, self.streams, self.control


@dataclass(frozen=True)
class ClientLimiters:
    """Limits on open requests and streams.

    Parameters
    ----------
    requests, streams
        Unary requests and streams of the services.
    helpers
        Requests of health and reflection, counted separately.
    """

    requests: ClientLimiter
    streams: ClientLimiter
    helpers: ClientLimiter


class RequestInterceptor(grpc.GenericRpcHandler):
    """Handles every request, and turns results and errors of services into responses.

    Create and use it on an event loop.

    Parameters
    ----------
    executors
        The threads.
    limiters
        Limits on open requests and streams.
    timeouts
        Timeouts of waits for clients.
    access
        Authentication and authorization.
    metrics, tracer
        Where requests are counted and traced.
    log_requests
        Whether each request is logged.
    """

    def __init__(
        self,
        executors: Executors,
        limiters: ClientLimiters,
        timeouts: Timeouts,
        access: Access,
        metrics: Metrics,
        tracer: Tracer,
        log_requests: bool,
    ) -> None:
        self._executors, self._limiters, self._access = executors, limiters, access
        self._metrics, self._tracer, self._log_requests = metrics, tracer, log_requests
        self._quotas = Quotas(metrics)
        self._handlers: dict[str, Handler] = {}
        self._monitor = TimeoutMonitor(timeouts, self._may_go_on)
        self._draining = False

    def add(self, name: str, handler: Handler) -> None:
        """Serve a method.

        All are registered with gRPC as request-streaming: it would read the message of a unary
        request before calling the handler.
        """
        takes, gives = bool(handler.request_streaming), bool(handler.response_streaming)
        kinds = (
            (handler.unary_unary, handler.unary_stream),
            (handler.stream_unary, handler.stream_stream),
        )
        method = Method(
            name, kinds[takes][gives], handler.request_deserializer, handler.response_serializer,
            takes, gives, self._places(name, takes), self._executor(name, takes), _role(name),
            lasts=name.startswith(_HEALTH),
        )  # fmt: skip
        make: Any = (
            grpc.stream_stream_rpc_method_handler if gives else grpc.stream_unary_rpc_method_handler
        )
        self._handlers[name] = make(partial(self._answer, method))

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Handler | None:
        """Return the handler of the called method, or None if it does not exist."""
        return self._handlers.get(handler_call_details.method)

    async def watch(self) -> None:
        """End requests that wait too long for a thread or their client; runs until cancelled."""
        await self._monitor.keep(self._turn_away)

    def drain(self) -> None:
        """Refuse new requests with UNAVAILABLE, so that clients retry.

        Without this, gRPC cancels requests that it received but did not start when it stops.
        """
        self._draining = True
        for exchange in self._monitor.open:
            if not exchange.n_read:
                exchange.end(_drains())

    def _turn_away(self) -> None:
        for executor in self._executors.all():
            executor.turn_away()

    def _places(self, name: str, takes_stream: bool) -> ClientLimiter:
        if name.startswith((_HEALTH, _REFLECTION)):
            return self._limiters.helpers
        return self._limiters.streams if takes_stream else self._limiters.requests

    def _executor(self, name: str, takes_stream: bool) -> BoundedExecutor | None:
        if name.startswith((_HEALTH, _REFLECTION)):
            return None
        if takes_stream:
            return self._executors.streams
        return self._executors.control if name.startswith(_CATALOG) else self._executors.work

    def _admit(self, exchange: Exchange) -> None:
        """Refuse a request while draining, else authenticate and authorize it."""
        call, role = exchange.call, exchange.method.role
        call.client = exchange.peer
        if not role:
            return
        if self._draining:
            raise _drains()
        try:
            found = self._access.admit(role, call.method, exchange.peer, exchange.metadata)
        except PermissionDeniedError as error:
            call.client = error.metadata.get("principal", call.client)
            raise
        if found is not None:
            exchange.principal, call.client = found, found.name
            takes_stream = exchange.method.takes_stream
            self._quotas.admit(found, takes_stream, call.method.startswith(_CELLS))

    def _may_go_on(self, exchange: Exchange) -> bool:
        """Return whether an admitted client would still be admitted."""
        return not exchange.method.role or self._access.still_admits(exchange.principal)

    async def _answer(self, method: Method, requests: Any, context: Any) -> bytes | None:
        """Handle one request; return the response if it is unary."""
        exchange = Exchange(context, method)
        call = exchange.call
        code, answer, error = "OK", None, None
        try:
            with self._tracer.span(call, exchange.metadata):
                answer = await self._attend(exchange)
        except asyncio.CancelledError:
            call.left = True
            lost = call.lost() or CancelledError("the caller gave the request up")
            code = lost.code
            raise
        except Exception as raised:  # noqa: BLE001  # answered as INTERNAL, and logged
            error = _known(raised, call)
            code = error.code
        finally:
            self._note(exchange, code)
        if error is None:
            return answer
        try:
            await exchange.close(error)
        finally:
            del error  # its traceback refers to this frame and so to all objects of the request

    async def _attend(self, exchange: Exchange) -> bytes | None:
        call, method = exchange.call, exchange.method
        self._admit(exchange)
        method.places.enter(call.client)
        # An unread response takes memory, so the request counts until it is sent.
        exchange.when_over(partial(method.places.leave, call.client))
        self._monitor.open.add(exchange)
        try:
            if method.executor is None:
                return await self._serve_here(exchange)
            if not method.takes_stream:
                return await self._reply(exchange, method.executor)
            await self._talk(exchange, method.executor)
            return None
        finally:
            self._monitor.open.discard(exchange)

    async def _reply(self, exchange: Exchange, executor: BoundedExecutor) -> bytes:
        """Answer a unary request on an executor."""
        call = exchange.call
        executor.require_room(call)
        message = await self._only(exchange)
        call.check()
        try:
            answer: bytes = await executor.run(call, partial(exchange.method.reply, message))
        finally:
            if exchange.principal is not None:
                self._quotas.charge(exchange.principal, call.n_cells)
        return answer

    async def _talk(self, exchange: Exchange, executor: BoundedExecutor) -> None:
        """Answer a stream on an executor, message by message."""
        call, method = exchange.call, exchange.method
        talk = method.begin()
        try:
            while (message := await exchange.read()) is not None:
                if exchange.principal is not None:
                    await self._quotas.wait(exchange.principal)
                call.check()
                n_before = call.n_cells
                say = partial(method.say, talk, message, self._metrics)
                if len(message) <= call.brief_bytes:
                    answer = calls.done_by(call, say)
                else:
                    answer = await executor.run(call, say)
                if exchange.principal is not None:
                    self._quotas.charge(exchange.principal, call.n_cells - n_before)
                if answer is not None:
                    await exchange.write(answer)
            method.end(talk)
        finally:
            talk.close()

    async def _serve_here(self, exchange: Exchange) -> bytes | None:
        """Answer a request on the event loop."""
        method = exchange.method
        if method.takes_stream:
            request: Any = _messages(exchange)
        else:
            request = method.parsed(await self._only(exchange))
        if not method.gives_stream:
            return method.serialize(await method.behavior(request, None))
        async with aclosing(method.behavior(request, None)) as answers:
            async for answer in answers:
                await exchange.write(method.serialize(answer))
        return None

    async def _only(self, exchange: Exchange) -> bytes:
        message = await exchange.read()
        if message is None:
            raise InvalidArgumentError(f"{exchange.call.method} takes one message, and none came")
        return message

    def _note(self, exchange: Exchange, code: str) -> None:
        call = exchange.call
        if not exchange.method.role:
            return
        whole_s = time.perf_counter() - call.arrived
        self._metrics.answered(call.method, code, whole_s, call.queue_s, call.compute_s)
        if self._log_requests:
            log_request(call, code, whole_s)
        if call.method in _ADMIN_METHODS:
            _audit.info(
                "admin request", id=call.id, method=call.method, client=call.client,
                peer=exchange.peer, code=code, **call.audit,
            )  # fmt: skip


async def _messages(exchange: Exchange) -> AsyncIterator[Any]:
    while (message := await exchange.read()) is not None:
        yield exchange.method.parsed(message)


def _drains() -> CellkinError:
    return UnavailableError("the server drains and takes no more requests; ask again")


def _role(name: str) -> str:
    """Return the role a method needs; empty for health checks."""
    if name.startswith(_HEALTH):
        return ""
    return ADMIN if name in _ADMIN_METHODS else READ


def _known(error: Exception, call: Call) -> CellkinError:
    if isinstance(error, CellkinError) and not isinstance(error, InternalError):
        _log.debug("request refused", method=call.method, reason=error.reason)
        return error
    _log.error("request failed", method=call.method, exc_info=error)
    return InternalError("the server met an unforeseen error; its log says which")
