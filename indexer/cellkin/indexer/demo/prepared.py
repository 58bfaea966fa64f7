"""Start ``cellkin`` commands before their arguments are known, so that their imports take no time.

The imports are most of the time of a short command.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import IO


class Prepared:
    """A command that has made its imports, in a ``with`` block, and waits for its arguments.

    At the end of the block a command that was not started is ended; one that was, is left alone.

    Parameters
    ----------
    modules
        Names of the modules to import.
    stderr
        File for its standard error; None for that of this process.
    environment
        Variables added to the environment.
    """

    def __init__(
        self,
        modules: Sequence[str],
        stderr: IO[str] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "cellkin.cli.prepared", *modules],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True,
            env={**os.environ, **(environment or {})},
        )  # fmt: skip
        self._started = False

    def start(self, arguments: Sequence[str]) -> "subprocess.Popen[str]":
        """Start the command; a process that has ended says why by its exit code.

        Parameters
        ----------
        arguments
            Arguments of ``cellkin``.
        """
        self._started = True
        assert self._process.stdin is not None  # it is a pipe
        with suppress(BrokenPipeError), self._process.stdin as stdin:
            stdin.write(json.dumps(list(arguments)) + "\n")
        self._process.stdin = None  # `communicate` would write to it
        return self._process

    def __enter__(self) -> "Prepared":
        """Return this."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the process if it has no command."""
        if not self._started:
            with self._process:  # closes its pipes
                self._process.kill()
