"""Uploads arrive in parts, and are written to disk."""

from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("panel", reason="needs the extra explore")

from cellkin.explore.uploads import Upload, safe_name


class Session:
    """Remembers what an upload told."""

    def __init__(self, folder: Path, max_mb: int = 1) -> None:
        self.taken: list[Path | None] = []
        self.refused: list[str] = []
        self.upload = Upload(folder, max_mb, self.taken.append, self.refused.append)

    def send(self, name: str, chunk: int, total: int, data: bytes) -> None:
        told = {"name": name, "chunk": chunk, "total_chunks": total, "data": data, "type": ""}
        self.upload._process_event(SimpleNamespace(event_name="upload_event", data=told))

    def delete(self, name: str) -> None:
        event = SimpleNamespace(event_name="delete_event", data={"name": name})
        self.upload._process_event(event)


def test_parts_are_joined_on_disk(tmp_path: Path) -> None:
    session = Session(tmp_path)
    session.send("cells.h5ad", 1, 2, b"one ")
    assert session.taken == []
    session.send("cells.h5ad", 2, 2, b"two")
    (path,) = session.taken
    assert path is not None
    assert path.read_bytes() == b"one two"
    assert path.name == "cells.h5ad"


def test_a_second_file_replaces_the_first(tmp_path: Path) -> None:
    session = Session(tmp_path)
    session.send("a.h5ad", 1, 1, b"a")
    session.send("b.h5ad", 1, 1, b"b")
    assert [path.name for path in tmp_path.iterdir()] == ["b.h5ad"]


def test_a_file_beyond_the_limit_is_refused_and_removed(tmp_path: Path) -> None:
    session = Session(tmp_path)
    session.send("a.h5ad", 1, 2, bytes(900_000))
    session.send("a.h5ad", 2, 2, bytes(200_000))
    assert session.taken == []
    assert "1 MB" in session.refused[0]
    assert list(tmp_path.iterdir()) == []


def test_a_part_out_of_turn_is_not_written(tmp_path: Path) -> None:
    session = Session(tmp_path)
    session.send("a.h5ad", 2, 2, b"late")
    session.send("a.h5ad", 1, 3, b"first")
    session.send("a.h5ad", 3, 3, b"third")
    assert session.taken == []


def test_a_file_that_is_taken_away_is_removed(tmp_path: Path) -> None:
    session = Session(tmp_path)
    session.send("a.h5ad", 1, 1, b"a")
    session.delete("a.h5ad")
    assert session.taken[-1] is None
    assert list(tmp_path.iterdir()) == []


def test_the_browser_is_told_the_limit(tmp_path: Path) -> None:
    assert Session(tmp_path, 2000).upload.max_file_size == "2000MB"


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("cells.h5ad", "cells.h5ad"),
        ("../../etc/passwd", "passwd"),
        ("C:\\data\\my cells.h5ad", "my cells.h5ad"),
        ("..", "file"),
        ("", "file"),
        ("a\0b<c>.h5ad", "a_b_c_.h5ad"),
        ("x" * 300 + ".h5ad", "x" * 115 + ".h5ad"),
    ],
    ids=["plain", "parents", "windows", "dots", "empty", "odd", "long"],
)
def test_a_name_stays_in_its_folder(name: str, kept: str) -> None:
    assert safe_name(name) == kept
