"""What health checks answer: whether each service can, and not while the server drains."""

import threading
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2

from cellkin.server.lanes import Lane
from cellkin.server.library import Library
from cellkin.store.catalog import Kind

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
CATALOG, CELLS, GENES = (
    f"cellkin.v1.{name}" for name in ("CatalogService", "CellService", "GeneService")
)


class Readiness(health.HealthServicer):  # type: ignore[misc]  # the package has no types
    """Answers health checks; the name of a service asks for it alone, no name for the server.

    Parameters
    ----------
    lane
        Threads of the checks.
    """

    def __init__(self, lane: Lane) -> None:
        super().__init__(experimental_non_blocking=True, experimental_thread_pool=lane)
        self._watching: set[Any] = set()
        self._guard = threading.Lock()
        self._said: dict[str, bool] = {}
        for service in ("", CATALOG, CELLS, GENES):
            self.set(service, _NOT_SERVING)

    def follow(self, library: Library) -> None:
        """Say which services can answer, as the library is now."""
        view = library.view
        has_cells = library.has_index()
        whole = has_cells or not view.entries(Kind.INDEX)
        for service, ready in (
            (CATALOG, True),
            (GENES, bool(view.entries(Kind.CORPUS))),
            (CELLS, has_cells),
            ("", whole),
        ):
            if self._said.get(service) != ready:
                # Whoever watches is told of changes alone.
                self._said[service] = ready
                self.set(service, _SERVING if ready else _NOT_SERVING)

    def drain(self) -> None:
        """Say that nothing is served any more, and end the checks that wait for changes."""
        self.enter_graceful_shutdown()
        with self._guard:
            watching, self._watching = self._watching, set()
        for context in watching:
            context.cancel()

    def Watch(  # the name of the RPC
        self, request: Any, context: grpc.ServicerContext, send_response_callback: Any = None
    ) -> Any:
        """Answer now and whenever the answer changes, until the caller leaves or the server drains.

        Without `drain` ending it, this stream would hold up a stop for as long as may be.
        """
        with self._guard:
            self._watching.add(context)
        context.add_callback(lambda: self._forget(context))
        return super().Watch(request, context, send_response_callback)

    Watch.experimental_non_blocking = True  # type: ignore[attr-defined]  # grpc reads these there

    def _forget(self, context: Any) -> None:
        with self._guard:
            self._watching.discard(context)
