"""Processes to be killed, which begin at once: forks of one that has imported what they need."""

import multiprocessing
import os
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

_IMPORTED = (
    "__main__", "anndata", "faiss", "lancedb", "sklearn.linear_model",
    "cellkin.cli.main", "cellkin.indexer.cells.job", "cellkin.indexer.commands.cells",
    "cellkin.indexer.commands.genes", "cellkin.indexer.commands.store",
    "cellkin.matrices.annotated",
)  # fmt: skip
_FORKED = "ignore:lancedb fork support is:RuntimeWarning,ignore:lance is not fork-safe:UserWarning"
_PART = 65536


class Fork:
    """A function in a process of its own.

    Parameters
    ----------
    target
        A function of a script, which returns an exit code.
    given
        Its arguments.
    """

    def __init__(self, target: Callable[..., int], *given: Any) -> None:
        # Nothing but imports was done by what is forked.
        os.environ["PYTHONWARNINGS"] = _FORKED
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(list(_IMPORTED))
        self._said, theirs = context.Pipe(duplex=False)
        self._process: BaseProcess = context.Process(target=_run, args=(theirs, target, given))
        self._process.start()
        theirs.close()
        self._said.recv_bytes()  # once it has begun

    def kill(self, after_s: float) -> None:
        """Kill it after some seconds, if it has not ended before."""
        self._process.join(after_s)
        self._process.kill()

    def end(self) -> tuple[int, str]:
        """Wait for its end; return its exit code, negative if killed, and what it printed."""
        parts = list[bytes]()
        while part := os.read(self._said.fileno(), _PART):
            parts.append(part)
        self._process.join()
        self._said.close()
        assert self._process.exitcode is not None
        return self._process.exitcode, b"".join(parts).decode(errors="replace")


def _run(theirs: Connection, target: Callable[..., int], given: tuple[Any, ...]) -> None:
    """Send what is printed to the other process, and run the function."""
    theirs.send_bytes(b"begun")
    for descriptor in (1, 2):
        os.dup2(theirs.fileno(), descriptor)
    theirs.close()
    sys.exit(target(*given))
