"""Helpers for a user's session: a client, progress bars, and a line for each result."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import NoneType

from cellkin.client.arguments import require
from cellkin.client.client import Client
from cellkin.client.labels.labeling import Progress
from cellkin.terminal.notebook import in_notebook, notebook_bar

LOGGER = logging.getLogger("cellkin.client")
"""Its level INFO is one line for each result."""


@contextmanager
def connected(client: Client | None) -> Iterator[Client]:
    """Yield the given client, which stays open, or one from the environment.

    Raises
    ------
    InvalidArgumentError
        If another type is given.
    """
    require("client", client, Client, NoneType)
    if client is not None:
        yield client
        return
    with Client() as own:
        yield own


@contextmanager
def shown_progress(what: str) -> Iterator[Progress]:
    """Show a progress bar in a notebook, or if standard error is a terminal."""
    if in_notebook():
        with notebook_bar(what) as progress:
            yield progress
        return
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from cellkin.terminal.console import progress_bar

    with progress_bar(what) as progress:
        yield progress


def tell(line: str) -> None:
    """Log a line on a result, at the level INFO.

    If no handler takes it, it is printed where a progress bar would be shown: to the output of a
    notebook's cell, or to standard error if that is a terminal. A level above INFO of the logger
    ``cellkin.client`` or ``cellkin`` silences it.
    """
    if LOGGER.isEnabledFor(logging.INFO) and LOGGER.hasHandlers():
        LOGGER.info(line)
        return
    levels = (logging.getLogger(name).level for name in ("cellkin.client", "cellkin"))
    level = next(filter(None, levels), logging.INFO)
    if max(level, logging.root.manager.disable + 1) > logging.INFO:
        return
    if in_notebook():
        sys.stdout.write(f"{line}\n")
    elif sys.stderr.isatty():
        sys.stderr.write(f"{line}\n")
