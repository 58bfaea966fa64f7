"""Optional OpenTelemetry traces of requests."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any, Protocol

from cellkin.server.calls import Call
from cellkin.wire.errors import CellkinError, InternalError, MissingDependencyError


class Tracer(Protocol):
    """Makes a span of every request."""

    def span(self, call: Call, metadata: Mapping[str, str | bytes]) -> Any:
        """Return a context manager that wraps the handling of the request."""


class NoTracer:
    """Traces nothing."""

    def span(self, call: Call, metadata: Mapping[str, str | bytes]) -> Any:
        """Do nothing."""
        return _NOTHING


_NOTHING = nullcontext()


class SpanTracer:
    """Makes spans that continue the client's trace (``traceparent``).

    A span records timings and versions, never expression, vectors or tokens.

    Parameters
    ----------
    provider
        An ``opentelemetry.sdk.trace.TracerProvider``.
    """

    def __init__(self, provider: Any) -> None:
        self._tracer = provider.get_tracer("cellkin.server")

    @contextmanager
    def span(self, call: Call, metadata: Mapping[str, str | bytes]) -> Iterator[None]:
        """Make a span of a request."""
        from opentelemetry.trace import SpanKind, Status, StatusCode
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        carrier = {k: v for k, v in metadata.items() if isinstance(v, str)}
        service, _, method = call.method.lstrip("/").partition("/")
        with self._tracer.start_as_current_span(
            call.method.lstrip("/"),
            context=TraceContextTextMapPropagator().extract(carrier),
            kind=SpanKind.SERVER,
            attributes={"rpc.system": "grpc", "rpc.service": service, "rpc.method": method},
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield
            except Exception as error:
                known = error if isinstance(error, CellkinError) else InternalError
                span.set_status(Status(StatusCode.ERROR, known.reason))
                raise
            finally:
                span.set_attribute("cellkin.queue_s", call.queue_s)
                span.set_attribute("cellkin.compute_s", call.compute_s)
                span.set_attribute("cellkin.versions", call.versions)


def tracer_to(url: str) -> tuple[Tracer, Callable[[], None]]:
    """Return a tracer that exports by OTLP over HTTP, and a function that shuts it down.

    Parameters
    ----------
    url
        URL of the collector, such as ``http://127.0.0.1:4318/v1/traces``; empty for no tracing.

    Raises
    ------
    MissingDependencyError
        If OpenTelemetry is not installed.
    """
    if not url:
        return NoTracer(), lambda: None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise MissingDependencyError(
            "OpenTelemetry is not installed; pip install 'cellkin[traces]'"
        ) from error
    provider = TracerProvider(resource=Resource.create({"service.name": "cellkin"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=url)))
    return SpanTracer(provider), provider.shutdown
