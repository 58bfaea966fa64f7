"""Helpers for long work in a user's session: a client, and a progress bar on a terminal."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import NoneType

from cellkin.client.arguments import require
from cellkin.client.client import Client
from cellkin.client.labels.labelling import Progress


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
    """Show a progress bar if standard error is a terminal."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from cellkin.terminal.console import progress_bar

    with progress_bar(what) as progress:
        yield progress
