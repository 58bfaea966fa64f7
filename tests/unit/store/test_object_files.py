"""Files in an object store that does not answer, or refuses: typed errors, and not absence."""

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import obstore
import obstore.exceptions
import pytest
from obstore.store import MemoryStore

from cellkin.store import object_files
from cellkin.store.object_files import ObjectFiles
from cellkin.wire.errors import (
    CellkinError,
    IntegrityError,
    PermissionDeniedError,
    ResourceExhaustedError,
    UnavailableError,
)

_AWAY = obstore.exceptions.GenericError(
    "Generic S3 error: Error performing GET http://h/b - Server returned non-2xx status code: 503"
)
_FORBIDDEN = obstore.exceptions.PermissionDeniedError(
    "lacked the necessary privileges - Server returned non-2xx status code: 403: \n\nDebug"
)
_FILES = {"a": "0" * 64}


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ObjectFiles:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    return ObjectFiles("s3://bucket/store")


def refuse(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def refusing(*_: Any, **__: Any) -> Any:
        raise error

    for name in ("get", "put", "head", "list", "list_with_delimiter", "delete"):
        monkeypatch.setattr(obstore, name, refusing)


@pytest.mark.parametrize("error", [_AWAY, _FORBIDDEN])
@pytest.mark.parametrize(
    "read",
    [
        lambda files: files.folders(),
        lambda files: list(files.walk("indexes")),
        lambda files: list(files.found("indexes")),
        lambda files: list(files.read("indexes/x/a")),
        lambda files: files.touch("x"),
        lambda files: files.check("indexes/x/0", _FILES, "x"),
        lambda files: files.folder("indexes/x/0", _FILES, "x"),
    ],
)
def test_what_cannot_be_read_now_is_unavailable(
    read: Callable[[ObjectFiles], Any],
    error: Exception,
    files: ObjectFiles,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refuse(monkeypatch, error)
    with pytest.raises(UnavailableError, match="s3://bucket/store cannot be read"):
        read(files)


@pytest.mark.parametrize(
    ("error", "kind"), [(_AWAY, UnavailableError), (_FORBIDDEN, PermissionDeniedError)]
)
def test_what_cannot_be_written_is_refused(
    error: Exception,
    kind: type[CellkinError],
    files: ObjectFiles,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refuse(monkeypatch, error)
    with pytest.raises(kind, match="s3://bucket/store cannot be written") as raised:
        files.require_safe_writers()
    assert "Debug" not in raised.value.message


def test_a_file_that_is_missing_is_damage(
    files: ObjectFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch, FileNotFoundError("Object at location x not found"))
    with pytest.raises(IntegrityError, match="file a is missing"):
        files.folder("indexes/x/0", _FILES, "x")


def test_a_cache_without_room_is_no_bug(
    files: ObjectFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch, OSError(28, "No space left on device"))
    with pytest.raises(ResourceExhaustedError, match=r"cache .* cannot be written"):
        files.folder("indexes/x/0", _FILES, "x")


_CONTENT = b"abc" * 1000
_GOOD = {"a": hashlib.sha256(_CONTENT).hexdigest()}
_PLACE = "indexes/x/0"


@pytest.fixture
def stored(files: ObjectFiles) -> ObjectFiles:
    """A store in memory with one folder of one file."""
    files._store = MemoryStore()
    obstore.put(files._store, f"{_PLACE}/a", _CONTENT)
    return files


def test_processes_that_load_a_new_version_at_once_all_get_it(
    stored: ObjectFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    def checked(*args: Any) -> None:
        # Another process is done after this one has looked, and looks at what it has.
        monkeypatch.undo()
        place = stored.folder(_PLACE, _GOOD, "x")
        in_use.append((place / "a").stat().st_ino)
        raise IntegrityError("file a is missing")

    in_use: list[int] = []
    monkeypatch.setenv("XDG_CACHE_HOME", str(stored._cache.parent))
    monkeypatch.setattr(object_files, "check_files", checked)
    folder = stored.folder(_PLACE, _GOOD, "x")
    assert (folder / "a").read_bytes() == _CONTENT
    assert [(folder / "a").stat().st_ino] == in_use, "what another process may read is replaced"


def test_many_load_a_version_over_a_damaged_one(stored: ObjectFiles) -> None:
    folder = stored.folder(_PLACE, _GOOD, "x")
    (folder / "a").write_bytes(b"abd" * 1000)
    with ThreadPoolExecutor(8) as workers:
        got = list(workers.map(lambda _: stored.folder(_PLACE, _GOOD, "x"), range(8)))
    assert set(got) == {folder}
    assert (folder / "a").read_bytes() == _CONTENT
    assert {path.name for path in stored._cache.iterdir()} == {"0", "checked"}


def test_what_is_damaged_in_the_store_is_not_kept(stored: ObjectFiles) -> None:
    with pytest.raises(IntegrityError, match="does not have the digest"):
        stored.folder(_PLACE, _FILES, "x")
    assert not (stored._cache / "0").exists()


def test_a_probe_that_is_sent_twice_is_removed(
    stored: ObjectFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = obstore.put

    def retried(*args: Any, **options: Any) -> Any:
        put(*args, **options)  # the answer of which is lost
        return put(*args, **options)

    monkeypatch.setattr(obstore, "put", retried)
    stored.require_safe_writers()
    assert [item["path"] for page in obstore.list(stored._store) for item in page] == [
        f"{_PLACE}/a"
    ]
