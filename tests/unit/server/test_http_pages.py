"""Metrics, life and readiness over HTTP, and nothing else."""

import random
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any

import pytest

from cellkin.server import http_pages
from cellkin.server.http_pages import serve_pages
from cellkin.server.metrics import Metrics
from cellkin.server.settings import ServerSettings
from cellkin.wire.errors import AlreadyExistsError


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def served(port: int, ready: Callable[[], bool], worker: int | None = None) -> Iterator[None]:
    settings = ServerSettings(store="s", metrics=f"127.0.0.1:{port}")
    metrics = Metrics()
    metrics.switched("index")
    stop = serve_pages(settings, worker, metrics.registry, ready)
    try:
        yield
    finally:
        stop()


def get(port: int, path: str) -> tuple[int, str]:
    request: Any = f"http://127.0.0.1:{port}{path}"
    try:
        with urllib.request.urlopen(request, timeout=10) as page:
            return page.status, page.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_pages() -> None:
    port, ready = free_port(), [False]
    with served(port, lambda: ready[0]):
        code, text = get(port, "/metrics")
        assert (code, 'cellkin_version_switches_total{kind="index"} 1.0' in text) == (200, True)
        assert get(port, "/healthz") == (200, "ok\n")
        assert get(port, "/readyz")[0] == 503
        ready[0] = True
        assert get(port, "/readyz?verbose") == (200, "ok\n")
        for path in ("/", "/metrics/", "/healthz/x", "/../metrics", "/favicon.ico"):
            assert get(port, path) == (404, "not found\n"), path


def two_free_ports() -> int:
    """Return a port that is free, as is the next, below those that connections are given."""
    for port in random.Random().sample(range(20_000, 32_000), 100):
        with closing(socket.socket()) as one, closing(socket.socket()) as other, suppress(OSError):
            one.bind(("127.0.0.1", port))
            other.bind(("127.0.0.1", port + 1))
            return port
    raise AssertionError("no two ports in a row are free")


def test_each_process_has_a_port_of_its_own_and_one_that_is_taken_is_refused() -> None:
    port = two_free_ports()
    with served(port, lambda: True), served(port, lambda: False, worker=1):
        assert (get(port, "/readyz")[0], get(port + 1, "/readyz")[0]) == (200, 503)
        with pytest.raises(AlreadyExistsError, match="--metrics"), served(port, lambda: True):
            pass


def test_silent_connections_do_not_keep_others_from_the_pages() -> None:
    port = free_port()
    with served(port, lambda: True):
        silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
        assert get(port, "/healthz")[0] == 200
        for connection in silent:
            connection.close()


def test_port_0_is_a_free_one_for_every_process(monkeypatch: pytest.MonkeyPatch) -> None:
    ports = []

    def bound(host: str, port: int, contexts: Any) -> Any:
        ports.append(port)
        raise OSError(98, "in use")

    monkeypatch.setattr(http_pages, "_Server", bound)
    for worker in (None, 0, 1):
        with pytest.raises(AlreadyExistsError), served(0, lambda: True, worker):
            pass
    assert ports == [0, 0, 0]


def test_connections_for_which_no_thread_could_be_started_do_not_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http_pages, "_CONNECTIONS", 1)
    port = free_port()
    with served(port, lambda: True):
        with monkeypatch.context() as patch:

            def refuse(thread: threading.Thread) -> None:
                raise RuntimeError("can't start new thread")

            patch.setattr(threading.Thread, "start", refuse)
            with pytest.raises(OSError, match=r"closed|reset"):
                get(port, "/healthz")
        assert get(port, "/healthz")[0] == 200
