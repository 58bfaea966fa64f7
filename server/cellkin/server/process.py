"""The server process: listen, load, answer, drain, stop."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import grpc
import structlog
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from cellkin.server.catalog import CatalogService
from cellkin.server.cells import CellService
from cellkin.server.edge import Edge, Lanes
from cellkin.server.genes import GeneService
from cellkin.server.lanes import Lane, Turnstile
from cellkin.server.library import Library
from cellkin.server.metrics import Metrics
from cellkin.server.readiness import CATALOG, CELLS, GENES, Readiness
from cellkin.server.security import Tokens, tls_credentials
from cellkin.server.settings import ServerSettings, parse_address
from cellkin.server.text_models import TextModels
from cellkin.server.traces import tracer_to
from cellkin.store.catalog import Kind
from cellkin.store.store import Store
from cellkin.v1 import (
    catalog_service_pb2_grpc,
    cell_service_pb2_grpc,
    gene_service_pb2_grpc,
)
from cellkin.wire.errors import AlreadyExistsError, NotFoundError

_log = structlog.get_logger("cellkin.server")
_CONTROL_THREADS = 8
_REFUSALS = 512
# So long who comes is told to ask again, before the door is shut.
_TURNED_AWAY_S = 0.5
"""Requests beyond all lanes that are still told when to ask again; more are told only no."""


@contextmanager
def running(settings: ServerSettings, worker: int | None = None) -> Iterator[str]:
    """Run a server for as long as the block lasts; yields the address it listens on, once ready.

    Parameters
    ----------
    settings
        What it runs with.
    worker
        Which of several processes on one port this is; None for one that has it alone.

    Raises
    ------
    NotFoundError
        If there is no store, or it lacks an index that is named.
    InputFileError
        If a certificate or the file of tokens cannot be read.
    AlreadyExistsError
        If an address cannot be had, most often because another process listens there.
    """
    with ExitStack() as stack:
        metrics = Metrics()
        tokens = Tokens(settings.tokens) if settings.tokens else None
        library = Library(
            Store.open(settings.store), settings.refresh_s, settings.max_loaded, metrics,
            settings.cores,
        )  # fmt: skip
        models = TextModels(settings.text_models)
        tracer, end_traces = tracer_to(settings.traces)
        stack.callback(end_traces)
        lanes = _lanes(settings, metrics)
        edge = Edge(lanes, Turnstile(settings.client_requests), tokens, metrics, tracer)
        readiness = Readiness(lanes.control)
        server = _server(settings, lanes, edge, shared=worker is not None)
        cells, genes = (
            CellService(library, settings.max_k),
            GeneService(library, models, settings.max_k),
        )
        cell_service_pb2_grpc.add_CellServiceServicer_to_server(cells, server)
        gene_service_pb2_grpc.add_GeneServiceServicer_to_server(genes, server)
        catalog_service_pb2_grpc.add_CatalogServiceServicer_to_server(
            CatalogService(library), server
        )
        health_pb2_grpc.add_HealthServicer_to_server(readiness, server)
        reflection.enable_server_reflection(
            (CATALOG, CELLS, GENES, health.SERVICE_NAME, reflection.SERVICE_NAME), server
        )
        port = _bind(settings, server)
        if settings.metrics:
            host, metrics_port = parse_address(settings.metrics, "metrics")
            stack.callback(metrics.serve(host, metrics_port + (worker or 0)))
        stack.callback(library.stop)
        server.start()
        stack.callback(_drain, server, edge, readiness, metrics, settings.grace_s)
        _load(library, settings.indexes)
        readiness.follow(library)
        library.start(lambda: _follow(library, readiness, settings.indexes))
        yield f"{parse_address(settings.listen, 'listen')[0]}:{port}"


def _lanes(settings: ServerSettings, metrics: Metrics) -> Lanes:
    lanes = Lanes(
        Lane("requests", settings.threads, settings.queue),
        Lane("streams", settings.streams, 0),
        Lane("control", _CONTROL_THREADS, _REFUSALS),
    )
    for lane in lanes.all():
        metrics.watch_lane(lane.name, lambda lane=lane: lane.n_pending)  # type: ignore[misc]
    return lanes


def _server(settings: ServerSettings, lanes: Lanes, edge: Edge, shared: bool) -> grpc.Server:
    return grpc.server(
        lanes.control,
        interceptors=[edge],
        maximum_concurrent_rpcs=settings.threads + settings.queue + settings.streams + _REFUSALS,
        options=[
            # Two servers on one port share its requests at random: only those that mean to may.
            ("grpc.so_reuseport", int(shared)),
            ("grpc.max_send_message_length", settings.max_message_bytes),
            ("grpc.max_receive_message_length", settings.max_message_bytes),
            # A caller whose machine is gone would hold a stream's thread for hours.
            ("grpc.keepalive_time_ms", 60_000),
            ("grpc.keepalive_timeout_ms", 20_000),
            ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ],
    )


def _bind(settings: ServerSettings, server: grpc.Server) -> int:
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


def _load(library: Library, names: tuple[str, ...]) -> None:
    """Load indexes; one that is named must be there, one that is damaged must not stop the rest."""
    failed = library.load(names or {entry.name for entry in library.view.entries(Kind.INDEX)})
    for error in failed.values():
        if names and isinstance(error, NotFoundError):
            raise error


def _follow(library: Library, readiness: Readiness, names: tuple[str, ...]) -> None:
    if not names:
        known = {entry.name for entry in library.view.entries(Kind.INDEX)}
        library.load(known - library.index_names())
    readiness.follow(library)


def _drain(
    server: grpc.Server, edge: Edge, readiness: Readiness, metrics: Metrics, grace_s: float
) -> None:
    """Take no more requests, and finish those that were taken."""
    _log.info("draining", grace_s=grace_s)
    readiness.drain()
    edge.drain()
    time.sleep(_TURNED_AWAY_S)
    server.stop(grace_s).wait()
    _log.info("stopped", n_answered=metrics.n_answered)
