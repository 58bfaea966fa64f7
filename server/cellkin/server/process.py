"""The server process: listen, load, answer, drain, stop.

Requests arrive on an event loop in its own thread. gRPC keeps a reference to every loop it has
used, so a process has one loop for all its servers and never closes it.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from functools import cache, partial
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
import structlog
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from cellkin.server.catalog import CatalogService
from cellkin.server.cells import CellService
from cellkin.server.exchange import Timeouts
from cellkin.server.executors import BoundedExecutor, ClientLimiter
from cellkin.server.gene_sets import GeneSetService
from cellkin.server.genes import GeneService
from cellkin.server.http_pages import serve_pages
from cellkin.server.interceptor import ClientLimiters, Executors, RequestInterceptor
from cellkin.server.methods import Handlers
from cellkin.server.metrics import Metrics
from cellkin.server.readiness import SERVICES, Readiness
from cellkin.server.security import Access, Tokens, tls_credentials
from cellkin.server.settings import ServerSettings, parse_address
from cellkin.server.text_models import TextModels
from cellkin.server.traces import Tracer, tracer_to
from cellkin.server.version_cache import VersionCache
from cellkin.store.catalog import Kind
from cellkin.store.store import Store
from cellkin.v1 import (
    catalog_service_pb2_grpc,
    cell_service_pb2_grpc,
    gene_service_pb2_grpc,
    gene_set_service_pb2_grpc,
)
from cellkin.wire.errors import AlreadyExistsError, NotFoundError

if TYPE_CHECKING:
    from cellkin.store.neighbors_device import Device

Result = TypeVar("Result")

_log = structlog.get_logger("cellkin.server")
_CONTROL_THREADS = 8
_CONTROL_WAITING = 512
_CLIENT_HELPERS = 64
"""Open health checks and reflection requests per client."""
_TURNED_AWAY_S = 0.5
"""Most seconds during which new requests get UNAVAILABLE before the server stops."""


@contextmanager
def running(settings: ServerSettings, worker: int | None = None) -> Iterator[str]:
    """Run a server in a ``with`` block; yields its address once it is ready.

    Parameters
    ----------
    settings
        Settings of the server.
    worker
        Number of this process among several on one port; None for a single process.

    Raises
    ------
    NotFoundError
        If the store, or an index named in the settings, does not exist.
    InputFileError
        If a certificate or the file of tokens cannot be read.
    AlreadyExistsError
        If an address cannot be bound, usually because another process listens there.
    """
    with ExitStack() as stack:
        metrics = Metrics()
        tokens = Tokens(settings.tokens) if settings.tokens else None
        if tokens is not None:
            metrics.watch_tokens(tokens.expiries)
        version_cache = VersionCache(
            Store.open(settings.store), settings.refresh_s, settings.max_loaded, metrics,
            settings.cores, _device(settings.device),
        )  # fmt: skip
        models = TextModels(settings.text_models)
        tracer, end_traces = tracer_to(settings.traces)
        stack.callback(end_traces)
        cells, genes = (
            CellService(version_cache, settings.max_k),
            GeneService(version_cache, models, settings.max_k),
        )
        handlers: Any = Handlers()  # takes the place of a server
        cell_service_pb2_grpc.add_CellServiceServicer_to_server(cells, handlers)
        gene_service_pb2_grpc.add_GeneServiceServicer_to_server(genes, handlers)
        gene_set_service_pb2_grpc.add_GeneSetServiceServicer_to_server(
            GeneSetService(version_cache, models, settings.max_k), handlers
        )
        catalog_service_pb2_grpc.add_CatalogServiceServicer_to_server(
            CatalogService(version_cache, settings.backups), handlers
        )
        access = Access(tokens, settings.administered_by)
        make_interceptor = partial(_interceptor, settings, metrics, access, tracer)
        readiness = Readiness(_loop())
        # Before the door, as gRPC releases the port of a server only once that was started.
        if settings.metrics:
            stack.callback(serve_pages(settings, worker, metrics.registry, readiness.is_ready))
        shared = worker is not None
        door = _on_loop(_Endpoint.opened(settings, make_interceptor, handlers, readiness, shared))
        stack.callback(lambda: _on_loop(door.close()))
        stack.callback(version_cache.stop)
        _on_loop(door.start())
        stack.callback(_drain, door, metrics, settings.grace_s)
        _load(version_cache, settings.indexes)
        readiness.follow(version_cache)
        version_cache.start(lambda: _follow(version_cache, readiness, settings.indexes))
        yield f"{parse_address(settings.listen, 'listen')[0]}:{door.port}"


class _Endpoint:
    """The gRPC server and its interceptor, on the event loop."""

    def __init__(
        self,
        server: "grpc.aio.Server",
        port: int,
        interceptor: RequestInterceptor,
        executors: Executors,
        readiness: Readiness,
    ) -> None:
        self._server, self._interceptor, self._executors = server, interceptor, executors
        self.port, self._readiness = port, readiness
        self._watch: asyncio.Task[None] | None = None

    @classmethod
    async def opened(
        cls,
        settings: ServerSettings,
        make_interceptor: Callable[[], tuple[RequestInterceptor, Executors]],
        handlers: Handlers,
        readiness: Readiness,
        shared: bool,
    ) -> "_Endpoint":
        """Bind the address; requests are answered only after `start`."""
        interceptor, executors = make_interceptor()
        health_pb2_grpc.add_HealthServicer_to_server(readiness, handlers)
        reflected = (*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(
            reflection.aio.ReflectionServicer(reflected), handlers
        )
        for name, handler in handlers.found.items():
            interceptor.add(name, handler)
        server = grpc.aio.server(
            handlers=[interceptor],
            # No maximum_concurrent_rpcs, which also counts unauthenticated clients: the interceptor
            # limits requests per client.
            options=[
                # Servers that share a port split its connections at random, so only workers may.
                ("grpc.so_reuseport", int(shared)),
                ("grpc.max_send_message_length", settings.max_message_bytes),
                ("grpc.max_receive_message_length", settings.max_message_bytes),
                # Without pings, a client whose machine is gone holds a stream for hours.
                ("grpc.keepalive_time_ms", 60_000),
                ("grpc.keepalive_timeout_ms", 20_000),
                ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
            ],
        )
        return cls(server, _bind(settings, server), interceptor, executors, readiness)

    async def start(self) -> None:
        """Start answering requests."""
        await self._server.start()
        self._watch = asyncio.create_task(self._interceptor.watch())

    async def drain(self, grace_s: float) -> None:
        """Refuse new requests, and finish the running ones."""
        self._readiness.drain()
        self._interceptor.drain()
        await asyncio.sleep(min(_TURNED_AWAY_S, grace_s))
        await self._server.stop(grace_s)

    async def close(self) -> None:
        """Stop the server, and end its threads."""
        await self._server.stop(None)
        if self._watch is not None:
            self._watch.cancel()
        for executor in self._executors.all():
            executor.close()


@cache
def _loop() -> asyncio.AbstractEventLoop:
    """Return the event loop of this process's servers."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="interceptor", daemon=True).start()
    return loop


def _on_loop(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine on the event loop, and wait for its result."""
    future: Future[Result] = asyncio.run_coroutine_threadsafe(work, _loop())
    return future.result()


def _interceptor(
    settings: ServerSettings, metrics: Metrics, access: Access, tracer: Tracer
) -> tuple[RequestInterceptor, Executors]:
    n_least = 2 * settings.cores
    executors = Executors(
        BoundedExecutor("requests", settings.threads, settings.queue, settings.max_wait_s, n_least),
        BoundedExecutor("streams", settings.threads, settings.streams, None, n_least),
        BoundedExecutor(
            "control", _CONTROL_THREADS, _CONTROL_WAITING, settings.max_wait_s, _CONTROL_THREADS
        ),
    )
    client_streams = settings.client_streams or max(1, settings.streams // 4)
    limiters = ClientLimiters(
        ClientLimiter("requests", None, settings.client_requests),
        ClientLimiter("streams", settings.streams, client_streams),
        ClientLimiter("checks", None, _CLIENT_HELPERS),
    )
    metrics.watch_executor("requests", lambda: executors.work.n_pending)
    metrics.watch_executor("streams", lambda: limiters.streams.n_open)
    metrics.watch_executor("control", lambda: executors.control.n_pending)
    timeouts = Timeouts(settings.message_wait_s, settings.stream_idle_s, settings.stream_age_s)
    interceptor = RequestInterceptor(
        executors, limiters, timeouts, access, metrics, tracer, settings.request_log
    )
    return interceptor, executors


def _bind(settings: ServerSettings, server: "grpc.aio.Server") -> int:
    try:
        if settings.tls_cert is None or settings.tls_key is None:
            return server.add_insecure_port(settings.listen)
        credentials = tls_credentials(settings.tls_cert, settings.tls_key, settings.tls_client_ca)
        return server.add_secure_port(settings.listen, credentials)
    except RuntimeError as error:
        raise AlreadyExistsError(
            f"cannot listen on {settings.listen}: another process does, or the address is not of "
            "this machine; give another with --listen, port 0 for a free one"
        ) from error


def _device(name: str) -> "Device | None":
    if name == "cpu":
        return None
    from cellkin.store.neighbors_device import find_device

    return find_device(name)


def _load(version_cache: VersionCache, names: tuple[str, ...]) -> None:
    """Load indexes; raises for a missing named one, but not for a damaged one."""
    failed = version_cache.load(
        names or {entry.name for entry in version_cache.view.entries(Kind.INDEX)}
    )
    for error in failed.values():
        if names and isinstance(error, NotFoundError):
            raise error


def _follow(version_cache: VersionCache, readiness: Readiness, names: tuple[str, ...]) -> None:
    if not names:
        known = {entry.name for entry in version_cache.view.entries(Kind.INDEX)}
        version_cache.load(known - version_cache.index_names())
    readiness.follow(version_cache)


def _drain(door: _Endpoint, metrics: Metrics, grace_s: float) -> None:
    _log.info("draining", grace_s=grace_s)
    _on_loop(door.drain(grace_s))
    _log.info("stopped", n_answered=metrics.n_answered)
