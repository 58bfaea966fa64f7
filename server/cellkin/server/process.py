"""The server process: listen, answer, stop."""

from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from cellkin.server.cells import CellService
from cellkin.server.errors import ErrorInterceptor
from cellkin.server.genes import GeneService
from cellkin.server.library import Library
from cellkin.server.settings import ServerSettings
from cellkin.store.store import Store
from cellkin.v1 import (
    cell_service_pb2,
    cell_service_pb2_grpc,
    gene_service_pb2,
    gene_service_pb2_grpc,
)
from cellkin.wire.errors import AlreadyExistsError, InvalidArgumentError

_SERVICES = (
    cell_service_pb2.DESCRIPTOR.services_by_name["CellService"].full_name,
    gene_service_pb2.DESCRIPTOR.services_by_name["GeneService"].full_name,
)


@contextmanager
def running(settings: ServerSettings) -> Iterator[str]:
    """Run a server for as long as the block lasts; yields the address it listens on.

    Raises
    ------
    NotFoundError
        If there is no store.
    InvalidArgumentError
        If the address is no ``host:port``.
    AlreadyExistsError
        If the address cannot be had, most often because another process listens there.
    """
    host, colon, port = settings.listen.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65535:
        raise InvalidArgumentError(
            f"listen address {settings.listen!r}; give HOST:PORT, such as 127.0.0.1:50051"
        )
    library = Library(Store.open(settings.store), settings.refresh_s)
    server = grpc.server(
        futures.ThreadPoolExecutor(settings.threads),
        interceptors=[ErrorInterceptor()],
        options=[
            # Two servers on one port would share its requests at random: refuse the second.
            ("grpc.so_reuseport", 0),
            ("grpc.max_send_message_length", settings.max_message_bytes),
            ("grpc.max_receive_message_length", settings.max_message_bytes),
        ],
    )
    cell_service_pb2_grpc.add_CellServiceServicer_to_server(CellService(library), server)
    gene_service_pb2_grpc.add_GeneServiceServicer_to_server(GeneService(library), server)
    checks = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    reflection.enable_server_reflection(
        (*_SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), server
    )
    try:
        bound = server.add_insecure_port(settings.listen)
    except RuntimeError as error:
        raise AlreadyExistsError(
            f"cannot listen on {settings.listen}: another process does, or the address is not of "
            "this machine; give another with --listen, port 0 for a free one"
        ) from error
    server.start()
    for service in ("", *_SERVICES):
        checks.set(service, health_pb2.HealthCheckResponse.SERVING)
    try:
        yield f"{host}:{bound}"
    finally:
        checks.enter_graceful_shutdown()
        server.stop(settings.grace_s).wait()
