"""Run ``cellkin`` commands step by step, with timing, until one fails."""

import select
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click

from cellkin.indexer.demo.prepared import Prepared

WORK = Path(".demo")
"""Folder of the demo, relative to the working directory."""
CELLKIN = Path(sys.executable).with_name("cellkin")
STORE = ["--store", str(WORK / "store")]
SERVER_START_S = 120.0
SERVER_END_S = 20.0


class Steps:
    """Prints one line for each step, and records its seconds.

    Steps may overlap; see `together`.

    Parameters
    ----------
    quiet
        Whether to print nothing.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.seconds: dict[str, float] = {}
        self._quiet = quiet
        self._overlap = self._ended = False
        self._running: set[subprocess.Popen[str]] = set()

    def together(self, *branches: Callable[[], object]) -> None:
        """Run functions at the same time, each of which runs steps; these print when they end.

        If one fails, the commands of the others are ended, and its error is raised.
        """
        self._overlap = True
        with ThreadPoolExecutor(len(branches)) as pool:
            try:
                for done in as_completed([pool.submit(branch) for branch in branches]):
                    done.result()
            except BaseException:
                self._ended = True
                for command in [*self._running]:
                    command.terminate()
                raise
            finally:
                self._overlap = False

    @contextmanager
    def step(self, title: str, detail: str) -> Iterator[None]:
        """Time the block.

        Parameters
        ----------
        title
            Printed at its start.
        detail
            Printed after the seconds when it is done.
        """
        before = f"{title:<15}"
        if not self._overlap:
            self._echo(before, nl=False)
            before = ""
        start = time.monotonic()
        try:
            yield
        except BaseException:
            self._echo(before + "failed")
            raise
        self.seconds[title] = round(time.monotonic() - start, 2)
        self._echo(f"{before}{self.seconds[title]:6.1f} s  {detail}")

    def _echo(self, text: str, nl: bool = True) -> None:
        if not self._quiet:
            click.echo(text, nl=nl)

    def run(self, title: str, *arguments: str) -> str:
        """Run a ``cellkin`` command as a step.

        Parameters
        ----------
        title
            Name of the step.
        arguments
            Arguments of ``cellkin``.

        Returns
        -------
        str
            Its standard output.

        Raises
        ------
        SystemExit
            If the command failed, with its exit code; its standard error is printed before.
        """
        with self.step(title, shlex.join(["cellkin", *arguments])):
            command = subprocess.Popen(
                [str(CELLKIN), *arguments],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )  # fmt: skip
            with command:
                self._running.add(command)
                try:
                    stdout, stderr = command.communicate()
                except BaseException:
                    command.kill()
                    raise
                finally:
                    self._running.discard(command)
        if self._ended:  # by the failure of another
            raise SystemExit(1)
        if command.returncode:
            stop(arguments, command.returncode, stderr)
        return stdout


def stop(arguments: tuple[str, ...], code: int, stderr: str) -> NoReturn:
    """Print the standard error of a ``cellkin`` command, and exit with its code.

    Parameters
    ----------
    arguments
        Arguments of ``cellkin``.
    code
        Its exit code as in `subprocess`: negative if it was ended by a signal.
    stderr
        Its standard error.

    Raises
    ------
    SystemExit
        Always.
    """
    click.echo(f"{shlex.join(['cellkin', *arguments])}\nfailed (exit code {code}):", err=True)
    click.echo(stderr.strip() or "(nothing on standard error)", err=True)
    raise SystemExit(code if code > 0 else 128 - code)


@contextmanager
def serving(
    steps: Steps,
    store: Path = WORK / "store",
    log: Path = WORK / "server.log",
    prepared: Prepared | None = None,
) -> Iterator[str]:
    """Run the server during the block.

    Parameters
    ----------
    steps
        Prints and times the start of the server.
    store
        The store to serve.
    log
        File for its standard error.
    prepared
        The process to run it in, whose standard error is ``log``; None for a new one.

    Yields
    ------
    str
        The address it listens on, ``127.0.0.1:PORT``.

    Raises
    ------
    SystemExit
        If it did not start.
    """
    arguments = ("serve", "--store", str(store), "--listen", "127.0.0.1:0")
    if prepared is None:
        with log.open("w") as stderr:
            server = subprocess.Popen(
                [str(CELLKIN), *arguments], stdout=subprocess.PIPE, stderr=stderr, text=True
            )
    else:
        server = prepared.start(arguments)
    with server:
        try:
            with steps.step("serve", shlex.join(["cellkin", *arguments])):
                address = _wait_for_address(server, arguments, log)
            yield address
        finally:
            server.terminate()
            try:
                server.wait(timeout=SERVER_END_S)
            except subprocess.TimeoutExpired:
                server.kill()


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into `SystemExit`, so that the block can clean up."""

    def end(number: int, _frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait_for_address(server: subprocess.Popen[str], arguments: tuple[str, ...], log: Path) -> str:
    assert server.stdout is not None  # it is a pipe
    # select() rather than a plain read: a server that hangs must not hang the demo.
    ready, _, _ = select.select([server.stdout], [], [], SERVER_START_S)
    line = server.stdout.readline() if ready else ""
    _, announced, address = line.strip().partition("serving on ")
    if not announced:
        if not ready:
            stop(arguments, 1, f"it did not say where it serves within {SERVER_START_S:g} s")
        with suppress(subprocess.TimeoutExpired):
            server.wait(timeout=SERVER_END_S)
        stop(arguments, server.returncode or 1, log.read_text())
    return address
