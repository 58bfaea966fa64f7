"""HTTP pages for operators: metrics and health.

``/metrics`` is for Prometheus. ``/healthz`` returns 200 while the process lives, ``/readyz`` 200 if
the server can answer queries, else 503. Other paths return 404.
"""

import socket
import ssl
import threading
from collections.abc import Callable, Iterable
from socketserver import BaseServer, TCPServer, ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app

from cellkin.server.security import tls_contexts
from cellkin.server.settings import ServerSettings, is_this_machine, parse_address
from cellkin.wire.errors import AlreadyExistsError

_CONNECTIONS = 64
_SILENT_S = 5.0
_OK, _NOT_READY, _NOT_FOUND = "200 OK", "503 Service Unavailable", "404 Not Found"

Contexts = Callable[[], ssl.SSLContext]
App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def serve_pages(
    settings: ServerSettings, worker: int | None, registry: CollectorRegistry,
    ready: Callable[[], bool],
) -> Callable[[], None]:  # fmt: skip
    """Serve the pages, and return a function that stops serving them.

    TLS is used if the server has it and the address is not a loopback address.

    Parameters
    ----------
    settings
        Settings of the server; ``metrics`` is the address.
    worker
        Number of this process among several, added to the port; None for a single process.
    registry
        The metrics.
    ready
        Returns whether queries can be answered.

    Raises
    ------
    AlreadyExistsError
        If the address cannot be bound.
    InputFileError
        If a certificate cannot be read.
    """
    host, port = parse_address(settings.metrics, "metrics")
    if port:  # port 0 takes a free one for each process
        port += worker or 0
    contexts = None
    if settings.tls_cert and settings.tls_key and not is_this_machine(host):
        contexts = tls_contexts(settings.tls_cert, settings.tls_key, settings.tls_client_ca)
    try:
        server = _Server(host.strip("[]"), port, contexts)
    except OSError as error:
        raise AlreadyExistsError(
            f"cannot serve metrics on {host}:{port}: {error.strerror}; "
            "give another address with --metrics"
        ) from error
    server.set_app(_app(make_wsgi_app(registry), ready))
    thread = threading.Thread(target=server.serve_forever, args=(0.1,), name="pages", daemon=True)
    thread.start()

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return stop


def _app(metrics: App, ready: Callable[[], bool]) -> App:
    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path == "/metrics":
            return metrics(environ, start_response)
        status = _NOT_FOUND
        if path == "/healthz":
            status = _OK
        elif path == "/readyz":
            status = _OK if ready() else _NOT_READY
        start_response(status, [("Content-Type", "text/plain")])
        return [f"{status[4:].lower()}\n".encode()]

    return answer


class _Quiet(WSGIRequestHandler):
    """Request handler that does not log."""

    timeout = _SILENT_S

    def log_message(self, format: str, *args: Any) -> None:
        """Do nothing: these pages are requested every few seconds."""


class _Server(ThreadingMixIn, WSGIServer):
    """Server with a thread per connection and a limit on connections."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = _CONNECTIONS

    def __init__(self, host: str, port: int, contexts: Contexts | None) -> None:
        if ":" in host:
            self.address_family = socket.AF_INET6
        self._contexts = contexts
        self._free = threading.Semaphore(_CONNECTIONS)
        super().__init__((host, port), _Quiet)

    def server_bind(self) -> None:
        """Bind without the reverse DNS lookup of the base class, which can block."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer on a thread, or close the connection if there are too many."""
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no thread could be started
            self._free.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer one connection."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Do the TLS handshake, if any, and answer."""
        request.settimeout(_SILENT_S)
        if self._contexts is None:
            BaseServer.finish_request(self, request, client_address)
            return
        with self._contexts().wrap_socket(request, server_side=True) as encrypted:
            BaseServer.finish_request(self, encrypted, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Do nothing: clients may disconnect, time out, or not speak HTTP."""
