"""What sessions of browsers share, and what each has for itself."""

import asyncio
import os
import secrets
import shutil
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from tempfile import mkdtemp
from threading import Event, Lock
from typing import Any, ParamSpec, TypeVar

import panel as pn
import param
from panel.io.state import set_curdoc

from cellkin.cli.folder import Files
from cellkin.client import Client
from cellkin.client.results.layouts import Layout
from cellkin.wire.errors import (
    CancelledError,
    CellkinError,
    FailedPreconditionError,
    UnimplementedError,
)

P = ParamSpec("P")
Result = TypeVar("Result")
_QUICK = 8
"""Requests at once of all sessions that take seconds at most."""
_KEPT = 4
"""References whose layouts are kept in memory."""


class Shared:
    """What all sessions share: the connection, threads, and layouts of references.

    Parameters
    ----------
    client
        The client.
    address
        Address of the cellkin server.
    folder
        Folder for the files of sessions.
    files
        Files that users may label without an upload; None for none.
    max_upload_mb
        Largest file that may be uploaded, in megabytes.
    """

    def __init__(
        self, client: Client, address: str, folder: Path, files: Files | None, max_upload_mb: int
    ) -> None:
        self.client, self.address, self.folder = client, address, folder
        self.files, self.max_upload_mb = files, max_upload_mb
        self.downloads: dict[str, Path] = {}
        self.quick = ThreadPoolExecutor(_QUICK, "quick")
        # A file of many cells takes minutes of a core.
        self.long = ThreadPoolExecutor(max(2, os.cpu_count() or 1), "long")
        self._kept: dict[tuple[str, str], Future[Any]] = {}
        self._lock = Lock()

    def kept(self, what: str, version: str, make: Callable[[], Result]) -> Result:
        """Return what was made of a version before, or make it; the last few are kept.

        Parameters
        ----------
        what
            Kind of the result.
        version
            The exact version that it is made of.
        make
            Makes it; called once even if several sessions wait for it.
        """
        with self._lock:
            key = (what, version)
            found = self._kept.pop(key, None)
            mine = found is None
            found = found or Future()
            self._kept[key] = found
            while len(self._kept) > _KEPT:
                del self._kept[next(iter(self._kept))]
        if mine:
            try:
                found.set_result(make())
            except BaseException as error:  # noqa: BLE001 - those who wait get it
                with self._lock:
                    self._kept.pop(key, None)
                found.set_exception(error)
        result: Result = found.result()
        return result

    def close(self) -> None:
        """Stop the threads."""
        for threads in (self.quick, self.long):
            threads.shutdown(wait=False, cancel_futures=True)


class Session(param.Parameterized):  # type: ignore[misc]
    """What one browser tab chose and has; nothing of it is kept when the tab is closed.

    Parameters
    ----------
    shared
        What all sessions share.
    """

    index = param.Parameter(default=None, doc="The chosen `CellIndex`; None if there is none.")
    labeled = param.Parameter(default=None, doc="The labeled file, `Labeled`; None if none.")

    def __init__(self, shared: Shared) -> None:
        super().__init__()
        self.shared, self.client = shared, shared.client
        self.folder = Path(mkdtemp(dir=shared.folder))
        self._document = pn.state.curdoc
        self._keys: dict[str, str] = {}
        self._closed = Event()

    async def ask(
        self, function: Callable[P, Result], /, *args: P.args, **given: P.kwargs
    ) -> Result:
        """Call a function that takes seconds at most, in a thread."""
        return await _in(self.shared.quick, partial(function, *args, **given))

    async def work(
        self, function: Callable[P, Result], /, *args: P.args, **given: P.kwargs
    ) -> Result:
        """Call a function that may take minutes, in a thread; it may wait for its turn."""
        try:
            return await _in(self.shared.long, partial(function, *args, **given))
        finally:
            if self._closed.is_set():  # it may have written since
                shutil.rmtree(self.folder, ignore_errors=True)

    async def layout(self, version: str) -> Layout:
        """Return the layout of an index, which all sessions share.

        Parameters
        ----------
        version
            The exact version.

        Raises
        ------
        FailedPreconditionError, UnimplementedError
            If it has none, or the server is of an earlier release.
        """
        return await self.ask(
            self.shared.kept, "layout", version, partial(self.client.get_layout, version)
        )

    async def has_layout(self, version: str) -> bool:
        """Return whether an index has a layout."""
        try:
            await self.layout(version)
        except (FailedPreconditionError, UnimplementedError):
            return False
        return True

    def offer(self, path: Path) -> str:
        """Return the address, relative to the page, at which a file can be downloaded."""
        key = self._keys.get(str(path)) or secrets.token_urlsafe(32)
        self._keys[str(path)] = key
        self.shared.downloads[key] = path
        return f"download/{key}"

    def change(self, models: Callable[[], None]) -> None:
        """Change models of Bokeh, which needs the document's lock; done soon, in order.

        Parameters
        ----------
        models
            Changes them.
        """
        if self._document is not None and not self._closed.is_set():
            self._document.add_next_tick_callback(models)

    def start(self, work: Callable[[], Awaitable[None]]) -> None:
        """Begin work that shows something, for a caller that cannot wait for it.

        Parameters
        ----------
        work
            An asynchronous function.
        """
        # Parts of a page that are made without a document have their styles from elsewhere.
        with set_curdoc(self._document):
            pn.state.execute(work)

    def require_open(self) -> None:
        """Raise if the tab was closed.

        Raises
        ------
        CancelledError
            If it was.
        """
        if self._closed.is_set():
            raise CancelledError("the tab was closed")

    def close(self) -> None:
        """Remove all files of the session and stop its work."""
        self._closed.set()
        for key in self._keys.values():
            self.shared.downloads.pop(key, None)
        shutil.rmtree(self.folder, ignore_errors=True)
        with param.parameterized.discard_events(self):  # the page is gone
            self.labeled = None

    def shown(self, error: CellkinError) -> str:
        """Return a message for the user, without the server's folders."""
        return error.message.replace(f"{self.folder}{os.sep}", "")


async def _in(threads: ThreadPoolExecutor, call: Callable[[], Result]) -> Result:
    return await asyncio.get_running_loop().run_in_executor(threads, call)
