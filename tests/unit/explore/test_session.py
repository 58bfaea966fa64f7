"""Sessions: what is shared, and what is gone when the tab is closed."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import pytest

pytest.importorskip("panel", reason="needs the extra explore")

from cellkin.explore.session import Session, Shared
from cellkin.wire.errors import CancelledError, InternalError, NotFoundError


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Shared]:
    nobody: Any = None
    found = Shared(nobody, "127.0.0.1:1", tmp_path, None, 10)
    yield found
    found.close()


def test_a_layout_is_made_once_for_all_sessions(shared: Shared) -> None:
    begun, made = Event(), []

    def make() -> str:
        made.append(1)
        begun.wait(5)
        return "layout"

    with ThreadPoolExecutor(4) as threads:
        waiting = [threads.submit(shared.kept, "layout", "a@1", make) for _ in range(4)]
        begun.set()
        assert [each.result() for each in waiting] == ["layout"] * 4
    assert made == [1]


def test_a_failure_is_told_and_not_kept(shared: Shared) -> None:
    def fail() -> str:
        raise NotFoundError("no such index")

    with pytest.raises(NotFoundError, match="no such index"):
        shared.kept("layout", "a@1", fail)
    assert shared.kept("layout", "a@1", lambda: "layout") == "layout"


def test_few_layouts_are_kept(shared: Shared) -> None:
    for at in range(20):
        shared.kept("layout", f"a@{at}", str)
    assert len(shared._kept) == 4


def test_nothing_of_a_closed_session_is_left(shared: Shared) -> None:
    session, other = Session(shared), Session(shared)
    path = session.folder / "labels.csv"
    path.write_text("cell_id")
    key = session.offer(path).removeprefix("download/")
    assert shared.downloads == {key: path}
    session.labeled = "something"
    session.close()
    assert not session.folder.exists()
    assert shared.downloads == {}
    assert session.labeled is None
    assert other.folder.exists()
    with pytest.raises(CancelledError):
        session.require_open()
    other.require_open()


def test_what_work_writes_after_the_tab_was_closed_is_removed(shared: Shared) -> None:
    session = Session(shared)

    def write() -> None:
        session.close()
        session.folder.mkdir()
        (session.folder / "late.csv").write_text("late")

    asyncio.run(session.work(write))
    assert not session.folder.exists()


def test_keys_of_downloads_cannot_be_guessed(shared: Shared) -> None:
    session = Session(shared)
    keys = {session.offer(session.folder / name) for name in "abc"}
    assert len(keys) == 3
    assert all(len(key) > 40 for key in keys)
    assert session.offer(session.folder / "a") in keys


def test_a_message_does_not_tell_the_folder(shared: Shared) -> None:
    session = Session(shared)
    said = session.shown(InternalError(f"{session.folder}/cells.h5ad is no file"))
    assert said == "cells.h5ad is no file"
