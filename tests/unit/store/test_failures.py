"""What Lance, LanceDB and object stores refuse, told apart by their words."""

from pathlib import Path

import lance
import obstore.exceptions
import pyarrow as pa
import pytest

from cellkin.store.failures import reading, store_failure, writing
from cellkin.wire.errors import (
    CellkinError,
    ConflictError,
    IntegrityError,
    InvalidArgumentError,
    PermissionDeniedError,
    ResourceExhaustedError,
    UnavailableError,
)

_HTTP = (
    "LanceError(IO): Generic S3 error: Error performing GET http://h/b - Server returned non-2xx"
)

_GONE = (
    "Error performing HEAD http://h/b/s in 2.2ms - Server returned non-2xx status code: 404 Not "
    "Found: "
)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ValueError(f"{_HTTP} status code: 403 Forbidden: "), PermissionDeniedError),
        (ValueError(f"{_HTTP} status code: 404 Not Found: "), UnavailableError),
        (ValueError(f"{_HTTP} status code: 503 Service Unavailable: "), UnavailableError),
        (RuntimeError(f"{_HTTP} status code: 412 Precondition Failed"), ConflictError),
        (ValueError("LanceError(IO): HTTP error: error sending request"), UnavailableError),
        (obstore.exceptions.GenericError("Generic S3 error: words"), UnavailableError),
        (OSError("Retryable commit conflict for version 3: preempted"), ConflictError),
        (RuntimeError("lance error: Commit conflict for version 3"), ConflictError),
        (
            RuntimeError("lance error: No space left on device (os error 28)"),
            ResourceExhaustedError,
        ),
        (OSError("LanceError(IO): Read-only file system (os error 30)"), PermissionDeniedError),
        (MemoryError(), ResourceExhaustedError),
    ],
)
def test_failures_are_typed_by_their_words(error: Exception, kind: type[CellkinError]) -> None:
    assert type(store_failure(error, "store s cannot be written")) is kind
    with pytest.raises(kind, match="store s cannot be written"), writing("store s"):
        raise error


def test_what_a_clean_up_removed_meanwhile_is_a_conflict() -> None:
    error = RuntimeError("lance error: Version not found error: version main:2 does not exist")
    with pytest.raises(ConflictError, match="run it again"), writing("corpus x"):
        raise error


@pytest.mark.parametrize(
    ("name", "base"), [("RustPanic", Exception), ("PanicException", BaseException)]
)
def test_a_panic_of_the_store_library_is_a_conflict_when_writing(
    name: str, base: type[BaseException]
) -> None:
    panic = type(name, (base,), {})
    with pytest.raises(ConflictError, match="run it again"), writing("corpus x"):
        raise panic("rust future panicked: unknown error")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1)])
def test_an_interrupt_is_not_translated_when_writing(error: BaseException) -> None:
    with pytest.raises(type(error)), writing("corpus x"):
        raise error


@pytest.mark.parametrize("error", [ValueError("a wrong value"), InvalidArgumentError("typed")])
def test_a_bug_and_a_typed_error_stay_what_they_are_when_writing(error: Exception) -> None:
    with pytest.raises(type(error)) as raised, writing("store s"):
        raise error
    assert raised.value is error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ValueError("LanceError(IO): Unable to walk dir: Permission denied (os error 13)"), 0),
        (ValueError("Too many open files (os error 24)"), 0),
        (ValueError(f"{_HTTP} status code: 403 Forbidden: "), 0),
        (ValueError("LanceError(IO): file size is too small"), 1),
        (FileNotFoundError(2, "No such file or directory"), 1),
        (pa.ArrowInvalid("External error: Not found: x.lance"), 1),
        (ValueError(f"Dataset at path s/t.lance/_versions/1.manifest was not found: {_GONE}"), 1),
        (FileNotFoundError(f"Object at location s/a not found: {_GONE}\n\nDebug"), 1),
        (FileNotFoundError(f"Object at location s/a not found: {_GONE}NoSuchBucket"), 0),
        (ValueError(f"{_HTTP} status code: 404 Not Found: "), 0),
    ],
)
def test_what_cannot_be_read_now_is_not_damage(error: Exception, kind: int) -> None:
    with (
        pytest.raises((UnavailableError, IntegrityError)[kind], match="rows of x cannot be read"),
        reading("rows of x"),
    ):
        raise error


def test_of_two_commits_at_once_the_second_conflicts(tmp_path: Path) -> None:
    uri = f"{tmp_path}/t.lance"
    data = lance.write_dataset(pa.table({"a": [1, 2]}), uri)
    parts = [part.metadata for part in data.get_fragments()]
    overwrite = lance.LanceOperation.Overwrite(data.schema, parts)
    lance.LanceDataset.commit(uri, overwrite, read_version=1)
    with pytest.raises(ConflictError, match="another writer was first"), writing("table t"):
        lance.LanceDataset.commit(uri, overwrite, read_version=1)
