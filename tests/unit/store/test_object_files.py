"""Files in an object store that does not answer, or refuses: typed errors, and not absence."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import obstore
import obstore.exceptions
import pytest

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
