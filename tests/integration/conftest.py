"""A real server in its own process, on a free port of this machine."""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.integration.commands import CELLKIN, Commands
from tests.integration.live import Live, live_server

from cellkin.store.catalog import Kind
from cellkin.store.store import Store
from cellkin.wire.names import VersionName


@contextmanager
def running_server(
    store: Path, listen: str = "127.0.0.1:0"
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Start `cellkin serve`, wait until it says where it listens, stop it."""
    process = subprocess.Popen(
        [CELLKIN, "serve", "--store", str(store), "--listen", listen],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "CELLKIN_SERVER__GRACE_S": "1"},
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("serving on "), line
        yield line.removeprefix("serving on ").strip(), process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=20)
        if process.stdout is not None:
            process.stdout.close()


@pytest.fixture(scope="session")
def serve() -> Callable[..., object]:
    """Starts a server of a store: a context manager of its address and process."""
    return running_server


@pytest.fixture(scope="session")
def server(store_path: Path) -> Iterator[str]:
    """The address of a server of the shared store."""
    with running_server(store_path) as (address, _):
        yield address


@pytest.fixture(scope="session")
def run_cellkin(
    cache: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """Runs the command with arguments, as a user does."""
    commands = Commands(tmp_path_factory.mktemp("commands"))
    yield commands.run
    commands.close()


@pytest.fixture(scope="session")
def live(store_path: Path) -> Iterator[Live]:
    """A server of the shared store in this process, and its stubs. Only for reading."""
    with live_server(store_path) as running:
        yield running


@pytest.fixture
def own_store(tmp_path: Path, store_path: Path) -> Path:
    """A copy of the shared store, to change."""
    return Path(shutil.copytree(store_path, tmp_path / "own"))


@pytest.fixture(scope="session")
def laid_out(tmp_path_factory: pytest.TempPathFactory, store_path: Path) -> Path:
    """The shared store with a layout of `trio`, fitted to 99 of its cells. Only for reading.

    By principal components: UMAP is compiled anew in every process, for ten seconds.
    """
    from cellkin.indexer.cells.layout import add_layout
    from cellkin.indexer.spaces import layout

    path = Path(shutil.copytree(store_path, tmp_path_factory.mktemp("layout") / "store"))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(layout, "_embedded", layout._principal)
        patched.setattr(layout, "FITTED_CELLS", 99)
        store = Store.open(str(path))
        base = store.catalog.resolve(Kind.INDEX, VersionName("trio"))
        add_layout(store, base, lambda what: silent())
    return path


@contextmanager
def silent() -> Iterator[Callable[[int, int], None]]:
    """Show no progress."""
    yield lambda done, total: None
