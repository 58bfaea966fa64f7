"""Files that were checked are not read again, and any that was touched is."""

from pathlib import Path

import pytest

from cellkin.store import folders
from cellkin.store.catalog import Entry
from cellkin.store.checked import was_checked
from cellkin.store.digest import file_digest
from cellkin.store.store import Store
from cellkin.wire.errors import IntegrityError


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Store, Entry, Path]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    store = Store.create(str(tmp_path / "store"))
    entry = store.publish_index("x", lambda folder: _fill(folder / "a", "content"), {})
    return store, entry, store.index_folder(entry) / "a"


def _fill(path: Path, content: str) -> None:
    path.write_text(content)


def test_a_file_is_read_once(
    published: tuple[Store, Entry, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, entry, path = published
    read: list[Path] = []
    digest = file_digest

    def counted(path: Path) -> str:
        read.append(path)
        return digest(path)

    monkeypatch.setattr(folders, "file_digest", counted)
    store.index_folder(entry, again=False)
    assert read == []
    store.index_folder(entry)
    assert read == [path]


@pytest.mark.parametrize("how", ["same size", "replaced", "gone"])
def test_what_was_touched_is_found(published: tuple[Store, Entry, Path], how: str) -> None:
    store, entry, path = published
    if how == "same size":
        path.write_text("CONTENT")
    elif how == "replaced":
        (path.parent / "new").write_text("CONTENT")
        (path.parent / "new").replace(path)
    else:
        path.unlink()
    with pytest.raises(IntegrityError):
        store.index_folder(entry, again=False)


def test_a_note_is_of_one_digest_and_one_place(published: tuple[Store, Entry, Path]) -> None:
    _, entry, path = published
    assert was_checked(path.parent, entry.manifest["files"])
    assert not was_checked(path.parent, {"a": "0" * 64})
    assert not was_checked(path.parent.parent, {})


def test_where_nothing_can_be_noted_everything_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    store = Store.create(str(tmp_path / "store"))
    entry = store.publish_index("x", lambda folder: _fill(folder / "a", "content"), {})
    store.index_folder(entry, again=False)
    (store.index_folder(entry) / "a").write_text("other")
    with pytest.raises(IntegrityError):
        store.index_folder(entry, again=False)
