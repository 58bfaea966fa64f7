"""Health checks: which services can answer; none while the server drains."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from grpc_health.v1 import health_pb2, health_pb2_grpc

from cellkin.server.version_cache import VersionCache
from cellkin.store.catalog import Kind
from cellkin.wire.errors import NotFoundError, UnavailableError

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
CATALOG, CELLS, GENES, GENE_SETS = SERVICES = [
    f"cellkin.v1.{name}"
    for name in ("CatalogService", "CellService", "GeneService", "GeneSetService")
]


class Readiness(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # the package has no types
    """Answers health checks of one service, or with an empty name of the server.

    Checks are answered on the event loop, however busy the threads are.

    Parameters
    ----------
    loop
        The event loop.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._said = dict.fromkeys(("", *SERVICES), False)
        self._drains = False
        self._changed = loop.create_future()

    def follow(self, version_cache: VersionCache) -> None:
        """Update the status of the services from the version cache; callable from any thread."""
        view = version_cache.view
        has_cells = version_cache.has_index()
        whole = has_cells or not view.entries(Kind.INDEX)
        has_genes = bool(view.entries(Kind.CORPUS))
        ready = {
            CATALOG: True, GENES: has_genes, GENE_SETS: has_genes, CELLS: has_cells, "": whole,
        }  # fmt: skip
        if ready != self._said:
            self._loop.call_soon_threadsafe(self._say, ready)

    def is_ready(self) -> bool:
        """Return whether the server can answer; callable from any thread."""
        return self._said[""]

    def drain(self) -> None:
        """Set every service to NOT_SERVING, and end the watches.

        A watch would otherwise delay the stop by the whole grace period. Call on the event loop.
        """
        self._drains = True
        self._say(dict.fromkeys(self._said, False))

    def _say(self, ready: dict[str, bool]) -> None:
        self._said = ready if not self._drains else dict.fromkeys(ready, False)
        changed, self._changed = self._changed, self._loop.create_future()
        changed.set_result(None)

    def _answer(self, service: str) -> Any:
        said = self._said.get(service)
        status = _UNKNOWN if said is None else _SERVING if said else _NOT_SERVING
        return health_pb2.HealthCheckResponse(status=status)

    async def Check(self, request: Any, context: Any) -> Any:  # the name of the RPC
        """Return the status of a service."""
        if request.service not in self._said:
            known = ", ".join(filter(None, self._said))
            raise NotFoundError(f"no service {request.service!r} here; there is: {known}")
        return self._answer(request.service)

    async def Watch(self, request: Any, context: Any) -> AsyncIterator[Any]:  # the name of the RPC
        """Yield the status now and at each change, until the client leaves or the server drains."""
        before = None
        while True:
            changed, answer = self._changed, self._answer(request.service)
            if answer != before:
                yield answer
                before = answer
            if self._drains:
                raise UnavailableError("the server drains and answers no more checks")
            if not changed.done():
                await asyncio.wait([changed])
