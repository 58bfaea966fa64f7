"""Prometheus metrics of the server."""

import threading
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

_SECONDS = (
    0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0,
)  # fmt: skip
_MOST_UNCOUNTED = 4096
_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096)


class _Registry(CollectorRegistry):
    """Registry that flushes deferred samples before each scrape."""

    def __init__(self, before: Callable[[], None]) -> None:
        super().__init__()
        self._before = before

    def collect(self) -> Any:
        """Flush, then collect all metrics."""
        self._before()
        return super().collect()

    def restricted_registry(self, names: Any) -> Any:
        """Flush, then return a registry of some metrics."""
        self._before()
        return super().restricted_registry(names)


class Metrics:
    """Metrics of one process; they never contain expression, texts or tokens.

    Samples are queued, which takes a fraction of the time of counting, and counted at the next
    scrape or when many are queued.
    """

    def __init__(self) -> None:
        self._n_answered = 0
        self._uncounted: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        # Cached, since finding a metric by its labels takes longer than counting.
        self._of_index: dict[str, tuple[Counter, Counter, Counter, Histogram]] = {}
        self._of_method: dict[str, tuple[Histogram, Histogram, Histogram]] = {}
        self._lock = threading.Lock()
        self.registry = registry = _Registry(self._before_scrape)
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        counter, gauge = partial(Counter, registry=registry), partial(Gauge, registry=registry)
        self._requests = counter("cellkin_requests", "Requests answered.", ["method", "code"])
        self._whole = self._seconds("cellkin_request_seconds", "From arrival to answer.")
        self._queue = self._seconds(
            "cellkin_queue_seconds", "Waiting for a thread or a turn to search."
        )
        self._compute = self._seconds("cellkin_compute_seconds", "Searching.")
        self._messages = counter(
            "cellkin_stream_messages", "Messages of streams answered.", ["method"]
        )
        index = ["index"]
        self._queries = counter("cellkin_index_queries", "Queries searched.", index)
        self._search = counter("cellkin_index_search_seconds", "Time of searches.", index)
        self._batch = Histogram(
            "cellkin_index_batch_queries", "Queries of one search.", index,
            buckets=_BATCHES, registry=registry,
        )  # fmt: skip
        self._joined = counter(
            "cellkin_index_joined_requests", "Requests searched in the batch of another.", index
        )
        self._bytes = gauge("cellkin_index_bytes", "Bytes of the files of a loaded index.", index)
        self._cells = gauge("cellkin_index_cells", "Cells of a loaded index.", index)
        self._switches = counter(
            "cellkin_version_switches", "Times a name came to mean another version.", ["kind"]
        )
        self._refused = counter(
            "cellkin_versions_refused", "Times a version failed to load or its test.", ["kind"]
        )
        self._readable = gauge(
            "cellkin_catalog_readable", "Whether the catalog could be read when last tried."
        )
        self._readable.set(1)
        self._token_uses = {
            what: counter(f"cellkin_token_{what}", f"{what.capitalize()} of a token.", ["token"])
            for what in ("requests", "cells", "streams")
        }
        self._token_refused = counter(
            "cellkin_token_refused", "Requests and streams refused by the limits of a token.",
            ["token", "quota"],
        )  # fmt: skip
        self._token_expires = gauge(
            "cellkin_token_expires_timestamp_seconds",
            "When the first token of a name expires.",
            ["token"],
        )
        self._expiries: Callable[[], Mapping[str, float]] = dict
        self._pending = gauge(
            "cellkin_pending_requests", "Requests worked on or waiting.", ["executor"]
        )

    def _seconds(self, name: str, what: str) -> Histogram:
        return Histogram(name, what, ["method"], buckets=_SECONDS, registry=self.registry)

    @property
    def n_answered(self) -> int:
        """Number of finished requests, including failed ones."""
        self._count()
        return self._n_answered

    def answered(
        self, method: str, code: str, whole_s: float, queue_s: float, compute_s: float
    ) -> None:
        """Count one request."""
        self._later(self._count_answer, method, code, whole_s, queue_s, compute_s)

    def message_answered(self, method: str) -> None:
        """Count one response of a stream."""
        self._later(self._count_message, method)

    def searched(self, index: str, n_queries: int, n_requests: int, search_s: float) -> None:
        """Count one search of an index."""
        self._later(self._count_search, index, n_queries, n_requests, search_s)

    def _later(self, count: Callable[..., None], *what: Any) -> None:
        self._uncounted.append((count, what))
        if len(self._uncounted) >= _MOST_UNCOUNTED:
            self._count()

    def _before_scrape(self) -> None:
        self._count()
        self._token_expires.clear()
        for token, when in self._expiries().items():
            self._token_expires.labels(token).set(when)

    def _count(self) -> None:
        """Count the queued samples."""
        with self._lock:
            while self._uncounted:
                count, what = self._uncounted.popleft()
                count(*what)

    def _count_answer(
        self, method: str, code: str, whole_s: float, queue_s: float, compute_s: float
    ) -> None:
        self._n_answered += 1
        self._requests.labels(method, code).inc()
        known = self._of_method.get(method)
        if known is None:
            times = self._whole, self._queue, self._compute
            whole, queue, compute = (histogram.labels(method) for histogram in times)
            known = self._of_method[method] = whole, queue, compute
        for histogram, seconds in zip(known, (whole_s, queue_s, compute_s), strict=True):
            histogram.observe(seconds)

    def _count_message(self, method: str) -> None:
        self._messages.labels(method).inc()

    def _count_search(self, index: str, n_queries: int, n_requests: int, search_s: float) -> None:
        known = self._of_index.get(index)
        if known is None:
            queries, search, joined = (
                counter.labels(index) for counter in (self._queries, self._search, self._joined)
            )
            known = self._of_index[index] = queries, search, joined, self._batch.labels(index)
        queries, search, joined, batch = known
        queries.inc(n_queries)
        search.inc(search_s)
        if n_requests > 1:
            joined.inc(n_requests - 1)
        batch.observe(n_queries)

    def index_loaded(self, index: str, n_bytes: int, n_cells: int) -> None:
        """Set the gauges of a loaded index."""
        self._bytes.labels(index).set(n_bytes)
        self._cells.labels(index).set(n_cells)

    def index_unloaded(self, index: str) -> None:
        """Remove the metrics of an index that is no longer in memory."""
        self._count()
        self._of_index.pop(index, None)
        for metric in (
            self._bytes, self._cells, self._queries, self._search, self._batch, self._joined,
        ):  # fmt: skip
            metric.remove(index)

    def switched(self, kind: str) -> None:
        """Count a switch of a name to another version."""
        self._switches.labels(kind).inc()

    def refused(self, kind: str) -> None:
        """Count a version that failed to load or failed its test."""
        self._refused.labels(kind).inc()

    def catalog_read(self, readable: bool) -> None:
        """Set whether the catalog could be read."""
        self._readable.set(readable)

    def token_used(self, token: str, what: str, n: int) -> None:
        """Count ``requests``, ``cells`` or ``streams`` of a token."""
        self._later(lambda: self._token_uses[what].labels(token).inc(n))

    def token_refused(self, token: str, quota: str) -> None:
        """Count a request refused by a limit of its token."""
        self._later(lambda: self._token_refused.labels(token, quota).inc())

    def watch_tokens(self, expiries: Callable[[], Mapping[str, float]]) -> None:
        """Report when tokens expire at each scrape."""
        self._expiries = expiries

    def watch_executor(self, executor: str, n_pending: Callable[[], int]) -> None:
        """Report the pending requests of an executor at each scrape."""
        self._pending.labels(executor).set_function(n_pending)
