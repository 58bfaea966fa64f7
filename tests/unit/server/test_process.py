"""A server that cannot start leaves nothing behind."""

import socket
from pathlib import Path

import pytest

from cellkin.server import process
from cellkin.server.process import running
from cellkin.server.settings import ServerSettings
from cellkin.store.neighbors_faiss import faiss
from cellkin.store.store import Store
from cellkin.wire.errors import AlreadyExistsError, FailedPreconditionError


def test_a_server_whose_pages_cannot_be_served_leaves_its_port(tmp_path: Path) -> None:
    store = Store.create(str(tmp_path / "s"))
    with socket.socket() as taken, socket.socket() as probe:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
        probe.close()
        metrics = f"127.0.0.1:{taken.getsockname()[1]}"
        settings = ServerSettings(store=store.uri, listen=address, metrics=metrics)
        with pytest.raises(AlreadyExistsError, match="--metrics"), running(settings):
            pass
        settings = ServerSettings(store=store.uri, listen=address, grace_s=0)
        with running(settings) as serving:
            assert serving == address


def test_a_server_for_which_no_thread_can_be_started_only_raises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.create(str(tmp_path / "s"))

    def no_loop() -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(process, "_loop", no_loop)
    with (
        pytest.raises(RuntimeError, match="new thread"),
        running(ServerSettings(store=store.uri, listen="127.0.0.1:0")),
    ):
        pass


def test_a_device_that_is_not_there_is_refused_before_the_port_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 0)
    store = Store.create(str(tmp_path / "s"))
    settings = ServerSettings(store=store.uri, listen="127.0.0.1:0", device="cuda:99")
    with (
        pytest.raises(FailedPreconditionError, match=r"'cuda:99'.*--device cpu"),
        running(settings),
    ):
        pass
    with pytest.raises(ValueError, match="string_pattern_mismatch"):
        ServerSettings(store=store.uri, device="moon")
