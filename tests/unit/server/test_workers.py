"""Processes that die are started again, less and less often if they fail, and all are stopped."""

import multiprocessing
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from types import SimpleNamespace
from typing import Any

import pytest
import structlog

from cellkin.server import workers
from cellkin.server.settings import ServerSettings
from cellkin.server.workers import _Worker, running_processes

SETTINGS = ServerSettings(store="s", listen="127.0.0.1:0", processes=2)
FAILED: tuple[str, str, dict[str, str]] = ("NOT_FOUND", "no store", {})


class Process:
    """A process that says that it is ready, and lives until it is told otherwise."""

    made: "list[Process]" = []  # noqa: RUF012  # replaced for each test
    says: tuple[Any, ...] = (None,)
    start_s = 0.0
    exitcode = 1

    def __init__(self, target: Any, args: tuple[Any, ...]) -> None:
        self.alive, self.pipe = False, args[-1]

    def start(self) -> None:
        time.sleep(self.start_s)
        self.alive = True
        for said in self.says:
            self.pipe.send(said)
        self.made.append(self)

    def is_alive(self) -> bool:
        return self.alive

    def terminate(self) -> None:
        self.alive = False

    def join(self) -> None:
        assert not self.alive, "a process that nobody stopped"


class Context:
    """Makes such processes."""

    Process = Process

    @staticmethod
    def Pipe() -> tuple[Connection, Connection]:  # the name in multiprocessing
        return multiprocessing.Pipe()


@pytest.fixture(autouse=True)
def made(monkeypatch: pytest.MonkeyPatch) -> list[Process]:
    made: list[Process] = []
    monkeypatch.setattr(Process, "made", made)
    monkeypatch.setattr(multiprocessing, "get_context", lambda _: Context)
    return made


@pytest.fixture
def log() -> Iterator[list[structlog.typing.EventDict]]:
    with structlog.testing.capture_logs() as log:
        yield log


def test_the_error_of_a_process_that_is_started_again_is_logged_and_pauses_grow(
    made: list[Process], log: list[structlog.typing.EventDict], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(workers, "time", SimpleNamespace(monotonic=lambda: now))
    worker = _Worker(SETTINGS, 1)
    worker.start()
    worker.wait_ready()
    monkeypatch.setattr(Process, "says", (FAILED,))
    for pause_s in (1, 2, 4, 8, 16, 30, 30):
        made[-1].terminate()
        n = len(made)
        worker.keep()
        now += pause_s - 0.5
        worker.keep()
        assert len(made) == n
        now += 0.5
        worker.keep()
        assert len(made) == n + 1
    assert [(line["event"], line.get("message")) for line in log] == [
        ("process died", None), *[("process died", "no store")] * 6,
    ]  # fmt: skip
    # One that was ready again is started soon.
    monkeypatch.setattr(Process, "says", (None,))
    for pause_s in (30, 1):
        made[-1].terminate()
        worker.keep()
        assert log[-1]["again_in_s"] == pause_s
        now += pause_s
        worker.keep()


def test_a_process_that_cannot_be_started_is_tried_again(
    made: list[Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(workers, "time", SimpleNamespace(monotonic=lambda: now))
    worker = _Worker(SETTINGS, 1)
    worker.start()
    worker.wait_ready()
    made[0].terminate()
    worker.keep()
    now += 1
    start = Process.start

    def refuse(process: Process) -> None:
        raise OSError("no memory")

    monkeypatch.setattr(Process, "start", refuse)
    with pytest.raises(OSError, match="no memory"):
        worker.keep()
    worker.keep()
    monkeypatch.setattr(Process, "start", start)
    now += 1
    worker.keep()
    assert len(made) == 2
    worker.stop()
    worker.join()


def test_a_process_that_is_being_started_again_is_stopped_too(
    made: list[Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "_AGAIN_S", 0.0)
    monkeypatch.setattr(workers, "_LOOKS_S", 0.01, raising=False)
    with running_processes(SETTINGS):
        monkeypatch.setattr(Process, "start_s", 0.1)
        made[0].terminate()
        time.sleep(0.06)
    time.sleep(0.1)
    assert len(made) == 3
    assert not any(process.alive for process in made)
