"""Several server processes on one port, among which the kernel distributes connections.

Each maps the same index files, so these are in memory once. The parent reserves the port, starts
the processes, restarts those that die, and stops them when it stops; they also stop if it dies.
"""

import multiprocessing
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from typing import Any

import structlog

from cellkin.server.logs import configure_logs
from cellkin.server.settings import ServerSettings, parse_address
from cellkin.wire.errors import AlreadyExistsError, CellkinError, InternalError, error_from_reason

_log = structlog.get_logger("cellkin.server")
_AGAIN_S = 1.0


@contextmanager
def running_processes(settings: ServerSettings) -> Iterator[str]:
    """Run several processes in a ``with`` block; yields the address once all are ready.

    Parameters
    ----------
    settings
        Settings of each process.

    Raises
    ------
    AlreadyExistsError
        If the address cannot be bound.
    CellkinError
        The error of a process that cannot start.
    """
    with _reserved(settings.listen) as listen:
        shared = settings.model_copy(update={"listen": listen})
        workers = [_Worker(shared, number) for number in range(settings.processes)]
        stopping = threading.Event()
        keeper = threading.Thread(target=_keep, args=(workers, stopping), daemon=True)
        try:
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.wait_ready()
            keeper.start()
            yield listen
        finally:
            stopping.set()
            for worker in workers:
                worker.stop()
            for worker in workers:
                worker.join()


class _Worker:
    """A worker process, as its parent sees it."""

    def __init__(self, settings: ServerSettings, number: int) -> None:
        self._given = settings, number
        self.number = number
        self.process: Any = None
        self._pipe: Connection | None = None

    def start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(*self._given, theirs))
        self.process.start()
        theirs.close()

    def wait_ready(self) -> None:
        assert self._pipe is not None
        try:
            failed = self._pipe.recv()
        except EOFError as error:
            raise InternalError(
                f"server process {self.number} ended before it was ready; its log says why"
            ) from error
        if failed is not None:
            raise error_from_reason(*failed)

    def stop(self) -> None:
        if self.process is not None and self.process.is_alive():
            self.process.terminate()

    def join(self) -> None:
        if self.process is not None:
            self.process.join()


def _work(settings: ServerSettings, number: int, pipe: Connection) -> None:
    """Run one worker process."""
    from cellkin.server.process import running

    configure_logs(settings.json_logs)
    stop = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: stop.set())
    try:
        with running(settings, number):
            pipe.send(None)
            threading.Thread(target=_until_orphaned, args=(pipe, stop), daemon=True).start()
            stop.wait()
    except CellkinError as error:
        pipe.send((error.reason, error.message, error.metadata))


def _until_orphaned(pipe: Connection, stop: threading.Event) -> None:
    try:
        pipe.recv()
    except (EOFError, OSError):
        stop.set()


def _keep(workers: list[_Worker], stopping: threading.Event) -> None:
    """Restart processes that die."""
    while not stopping.is_set():
        wait([worker.process.sentinel for worker in workers], timeout=0.2)
        for worker in workers:
            if worker.process.is_alive() or stopping.is_set():
                continue
            _log.error("process died", number=worker.number, exit_code=worker.process.exitcode)
            time.sleep(_AGAIN_S)
            if not stopping.is_set():
                worker.start()


@contextmanager
def _reserved(listen: str) -> Iterator[str]:
    """Reserve an address, choosing a free port for port 0."""
    host, port = parse_address(listen, "listen")
    family, *_, address = socket.getaddrinfo(
        host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    try:
        with socket.socket(family, socket.SOCK_STREAM) as alone:
            # Binding without SO_REUSEPORT fails if any process listens there, sharing or not.
            alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            alone.bind(address)
            found = alone.getsockname()[1]
        with socket.socket(family, socket.SOCK_STREAM) as held:
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            held.bind((address[0], found, *address[2:]))
            yield f"{host}:{found}"
    except OSError as error:
        raise AlreadyExistsError(
            f"cannot listen on {listen}: another process does, or the address is not of "
            "this machine; give another with --listen, port 0 for a free one"
        ) from error
