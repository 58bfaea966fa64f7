"""Translate errors of Lance, LanceDB, Arrow and object stores into cellkin errors.

The same failure may be a ``ValueError``, ``RuntimeError``, ``OSError`` or a custom class, so
failures are recognized by their messages.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import obstore.exceptions
import pyarrow as pa

from cellkin.wire.errors import (
    CellkinError,
    ConflictError,
    FailedPreconditionError,
    InputFileError,
    IntegrityError,
    PermissionDeniedError,
    ResourceExhaustedError,
    UnavailableError,
)
from cellkin.wire.failures import machine_failure, plain_text

RAISED = (
    *(OSError, ValueError, RuntimeError, MemoryError),
    *(pa.ArrowException, obstore.exceptions.BaseError),
)
"""What the libraries raise. Handle `CellkinError` first: it may be a ``ValueError`` too."""

_CONFLICT = re.compile(
    r"commit conflict|preempted by concurrent|concurrent writers|write contention"
    r"|dataset already exists",
    re.IGNORECASE,
)
_GONE = re.compile(r"version not found error", re.IGNORECASE)
_STATUS = re.compile(r"status code: (\d{3})")
_NETWORK = re.compile(
    r"error sending request|timed? ?out|connection (?:refused|reset|closed)|dns error"
    r"|error performing (?:get|put|head|list|delete|post)",
    re.IGNORECASE,
)
# A missing bucket is not damage: its name or the keys are wrong, or it is away.
_MISSING = re.compile(
    r"(?:Dataset at path \S.* was|Object at location \S.*) not found"
    r"(?!.*(?:NoSuchBucket|ContainerNotFound))",
    re.DOTALL,
)


def store_failure(error: BaseException, what: str) -> CellkinError | None:
    """Return the error to raise if the machine, the network or another writer is the cause.

    Parameters
    ----------
    error
        Exception from a library or Python.
    what
        What failed and where, such as ``store s3://b/s cannot be written``.

    Returns
    -------
    failure
        None for any other error: damaged data or a bug.
    """
    text = plain_text(error)
    if isinstance(error, CellkinError):
        return None
    if _CONFLICT.search(str(error)):
        return ConflictError(f"{what}: another writer was first ({text}); run it again")
    if found := _STATUS.search(str(error)):
        return _of_status(int(found[1]), what, text)
    failure = machine_failure(error, what)
    if failure is None and (
        isinstance(error, obstore.exceptions.BaseError) or _NETWORK.search(str(error))
    ):
        return UnavailableError(f"{what}: the object store does not answer ({text}); try again")
    return failure


def _of_status(status: int, what: str, text: str) -> CellkinError:
    if status in (401, 403):
        return PermissionDeniedError(
            f"{what}: not permitted ({text}); check the keys in the environment",
            {"status": str(status)},
        )
    if status in (409, 412):
        return ConflictError(f"{what}: another writer was first ({text}); run it again")
    return UnavailableError(
        f"{what}: the object store refuses ({text}); try again", {"status": str(status)}
    )


@contextmanager
def reading(what: str, instead: str = "publish it again") -> Iterator[None]:
    """Translate read failures into cellkin errors.

    Parameters
    ----------
    what
        What is read, such as ``cell index x@2026-01-01.1: its cells``.
    instead
        What to do if it is damaged.

    Raises
    ------
    UnavailableError
        If the machine or the network prevents reading now: permission, descriptors, 403.
    ResourceExhaustedError
        If there is not enough memory.
    IntegrityError
        If it is missing, truncated or damaged.
    """
    try:
        yield
    except CellkinError:
        raise
    except RAISED as error:
        is_missing = _MISSING.match(str(error)) is not None
        failure = None if is_missing else store_failure(error, f"{what} cannot be read")
        if isinstance(failure, ResourceExhaustedError) and "errno" not in failure.metadata:
            raise failure from error
        if failure is None or isinstance(failure, InputFileError | FailedPreconditionError):
            raise IntegrityError(
                f"{what} cannot be read ({plain_text(error)}); {instead}"
            ) from error
        raise UnavailableError(failure.message, failure.metadata) from error
    except BaseException as error:
        # Lance panics on data it cannot interpret.
        if not _is_panic(error):
            raise
        raise IntegrityError(f"{what} cannot be read ({plain_text(error)}); {instead}") from error


@contextmanager
def writing(what: str) -> Iterator[None]:
    """Translate write failures into cellkin errors; other exceptions pass unchanged.

    Parameters
    ----------
    what
        What is written, such as ``store /data/s``.

    Raises
    ------
    ResourceExhaustedError
        If the disk is full, too many files are open or there is not enough memory.
    PermissionDeniedError
        If it is read-only or not permitted.
    ConflictError
        If another writer was first, or garbage collection removed an unfinished version.
    UnavailableError
        If the disk fails or the object store does not answer.
    """
    try:
        yield
    except CellkinError:
        raise
    except RAISED as error:
        failure = store_failure(error, f"{what} cannot be written")
        if failure is None and _GONE.search(str(error)):
            failure = ConflictError(
                f"{what} cannot be written: another process removed what this one had begun "
                f"({plain_text(error)}); run it again"
            )
        if failure is None:
            raise
        raise failure from error
    except BaseException as error:
        # LanceDB panics if a table is removed between its own look for it and its creation.
        if not _is_panic(error):
            raise
        raise ConflictError(
            f"{what} cannot be written: another process created or removed it at the same time "
            f"({plain_text(error)}); run it again"
        ) from error


def _is_panic(error: BaseException) -> bool:
    """Return whether an error is a panic of Rust code, whose classes cannot be imported."""
    return type(error).__name__ in ("PanicException", "RustPanic")
