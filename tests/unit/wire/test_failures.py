"""What the machine refuses, told apart by number or by text."""

import errno

import pytest

from cellkin.wire.errors import (
    CellkinError,
    FailedPreconditionError,
    InputFileError,
    PermissionDeniedError,
    ResourceExhaustedError,
    UnavailableError,
)
from cellkin.wire.failures import machine_failure, os_errno, plain_text


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, ResourceExhaustedError),
        (errno.EDQUOT, ResourceExhaustedError),
        (errno.EMFILE, ResourceExhaustedError),
        (errno.EACCES, PermissionDeniedError),
        (errno.EROFS, PermissionDeniedError),
        (errno.ENOTDIR, FailedPreconditionError),
        (errno.ENAMETOOLONG, InputFileError),
        (errno.EIO, UnavailableError),
        (errno.ENOTCONN, UnavailableError),
    ],
)
def test_a_number_of_the_system_is_typed(number: int, kind: type[CellkinError]) -> None:
    failure = machine_failure(OSError(number, "words"), "file f cannot be written")
    assert type(failure) is kind
    assert failure.message.startswith("file f cannot be written: ")
    assert failure.metadata == {"errno": errno.errorcode[number]}


@pytest.mark.parametrize(
    "error",
    [
        OSError("Can't write data (file write failed: time = now, errno = 28, error message = x)"),
        RuntimeError("lance error: LanceError(IO): No space left on device (os error 28)"),
        RuntimeError("Error in faiss: write error in x: 3 != 9 (No space left on device)"),
        BaseException("Creating runtime: Os { code: 28, kind: StorageFull, message: x }"),
    ],
)
def test_the_number_is_found_in_the_text_of_any_exception(error: BaseException) -> None:
    assert os_errno(error) == errno.ENOSPC
    assert isinstance(machine_failure(error, "f cannot be written"), ResourceExhaustedError)


def test_memory_and_threads_that_there_are_not_are_typed() -> None:
    for error in (
        MemoryError(),
        RuntimeError("can't start new thread"),
        RuntimeError("std::bad_alloc"),
    ):
        assert isinstance(machine_failure(error, "f cannot be read"), ResourceExhaustedError)


def test_what_is_not_of_the_machine_is_left_alone() -> None:
    for error in (ValueError("a wrong value"), OSError("no number"), InputFileError("typed")):
        assert machine_failure(error, "f cannot be read") is None


def test_the_text_has_one_line_and_no_places_in_sources() -> None:
    error = RuntimeError(
        "No space left (os error 28), /home/me/.cargo/a-13.0.0/src/b.rs:258:9\nmore"
    )
    assert plain_text(error) == "No space left (os error 28)"
    assert plain_text(MemoryError()) == "MemoryError"
