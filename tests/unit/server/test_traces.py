"""Spans say whether a request failed, foreseen or not."""

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from cellkin.server.calls import Call
from cellkin.server.traces import SpanTracer
from cellkin.wire.errors import NotFoundError


@pytest.mark.parametrize(
    ("error", "reason"), [(NotFoundError("none"), "NOT_FOUND"), (KeyError("x"), "INTERNAL")]
)
def test_the_status_of_a_request_that_failed(error: Exception, reason: str) -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with pytest.raises(type(error)), SpanTracer(provider).span(Call("/s/m", 0.0), {}):
        raise error
    (span,) = exporter.get_finished_spans()
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, reason)
