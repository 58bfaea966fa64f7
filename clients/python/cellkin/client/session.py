"""What long work in a user's own session needs: a client, and a bar where there is a terminal."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import NoneType

from cellkin.client.arguments import require
from cellkin.client.client import Client
from cellkin.client.labelling import Progress


@contextmanager
def connected(client: Client | None) -> Iterator[Client]:
    """Yield a client: the one given, which stays open, or one by the environment.

    Raises
    ------
    InvalidArgumentError
        If something else is given.
    """
    require("client", client, Client, NoneType)
    if client is not None:
        yield client
        return
    with Client() as own:
        yield own


@contextmanager
def shown_progress(what: str) -> Iterator[Progress]:
    """Show a bar where there is a terminal to show it on."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from cellkin.terminal.console import progress_bar

    with progress_bar(what) as progress:
        yield progress
