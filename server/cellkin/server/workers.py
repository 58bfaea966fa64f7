"""Several server processes on one port, among which the kernel distributes connections.

Each maps the same index files, so these are in memory once. The parent reserves the port, starts
the processes, restarts those that die, and stops them when it stops; they also stop if it dies.
"""

import multiprocessing
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from typing import Any

import structlog

from cellkin.server.logs import configure_logs
from cellkin.server.settings import ServerSettings, parse_address
from cellkin.server.stopping import StopRequest
from cellkin.wire.errors import AlreadyExistsError, CellkinError, InternalError, error_from_reason

_log = structlog.get_logger("cellkin.server")
_LOOKS_S = 0.2
_AGAIN_S, _MOST_AGAIN_S = 1.0, 30.0
"""Pause before a process that died is started again; doubled while it does not become ready."""


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
            if keeper.ident is not None:
                keeper.join()  # else it could start a process that nobody stops
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
        self._was_ready = False
        self._again_s = _AGAIN_S
        self._again_at: float | None = None

    def start(self) -> None:
        context = multiprocessing.get_context("spawn")
        pipe, theirs = context.Pipe()
        with theirs:
            process = context.Process(target=_work, args=(*self._given, theirs))
            process.start()
        self._pipe, self._was_ready, self.process = pipe, False, process

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
        self._was_ready = True

    def keep(self) -> None:
        """Start the process again if it died, after a pause."""
        now = time.monotonic()
        if self._again_at is None and not self.process.is_alive():
            ready, failed = self._said()
            self._again_s = _AGAIN_S if ready else min(2 * self._again_s, _MOST_AGAIN_S)
            self._again_at = now + self._again_s
            _log.error(
                "process died", number=self.number, exit_code=self.process.exitcode,
                again_in_s=self._again_s, **failed,
            )  # fmt: skip
        if self._again_at is not None and now >= self._again_at:
            self._again_at = now + self._again_s  # if it cannot be started
            self.start()
            self._again_at = None

    def _said(self) -> tuple[bool, dict[str, str]]:
        """Return whether a process that died was ready, and its error as fields for the log."""
        assert self._pipe is not None
        ready, failed = self._was_ready, {}
        with suppress(EOFError, OSError):
            while self._pipe.poll():
                said = self._pipe.recv()
                ready = ready or said is None
                if said is not None:
                    failed = {"reason": said[0], "message": said[1]}
        return ready, failed

    def stop(self) -> None:
        if self.process is not None and self.process.is_alive():
            self.process.terminate()

    def join(self) -> None:
        if self.process is not None:
            self.process.join()


def _work(settings: ServerSettings, number: int, pipe: Connection) -> None:
    """Run one worker process."""
    from cellkin.server.process import running

    configure_logs(settings.json_logs, settings.audit_log)
    try:
        with StopRequest() as stop, running(settings, number):
            pipe.send(None)
            threading.Thread(target=_until_orphaned, args=(pipe, stop), daemon=True).start()
            stop.wait()
    except CellkinError as error:
        pipe.send((error.reason, error.message, error.metadata))
        sys.exit(1)


def _until_orphaned(pipe: Connection, stop: StopRequest) -> None:
    try:
        pipe.recv()
    except (EOFError, OSError):
        stop.set()


def _keep(workers: list[_Worker], stopping: threading.Event) -> None:
    """Restart processes that die."""
    while not stopping.wait(_LOOKS_S):
        for worker in workers:
            try:
                worker.keep()
            except Exception:  # noqa: BLE001  # the others must be kept, and this one tried again
                _log.exception("process not started", number=worker.number)


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
