"""Everything cellkin raises on purpose.

::

    CellkinError
    +-- InvalidArgumentError (ValueError)       the request itself is wrong
    |   +-- InputFileError                      a file is missing, cut short or of another format
    |   +-- DimensionMismatchError              vectors of different widths
    +-- NotFoundError (LookupError)             no such version, index, gene, label column
    +-- AlreadyExistsError                      the name is taken
    +-- FailedPreconditionError                 right request, wrong state of the world
    |   +-- GenesUnmatchedError                 too few genes match for any answer to mean something
    |   +-- RetractedError                      the version was withdrawn
    |   +-- VersionMismatchError                the answer is of another version than is pinned
    |   +-- CheckpointError                     what was done before is of another query
    |   +-- MissingDependencyError              an optional package is not installed
    |   +-- ModelNotLoadedError                 the server has no language model for a free text
    +-- ConflictError                           another writer was first
    +-- IntegrityError                          a digest differs: the data was changed or damaged
    +-- UnauthenticatedError                    no token, or one the server does not know
    +-- PermissionDeniedError                   the token lacks the role, or the user the file
    +-- ResourceExhaustedError                  too much at once, or no room on the disk
    +-- DeadlineExceededError                   the answer would have come too late
    +-- CancelledError                          the caller gave up
    +-- UnimplementedError                      the server does not know the request
    +-- UnavailableError                        the server cannot be reached now
    +-- InternalError                           a bug of cellkin

Every class has a ``code`` (the gRPC status name) and a ``reason`` (stable, for programs); every
instance a message that says what was given, what was expected and what to do, and ``metadata``
with the details as strings.
"""

from collections.abc import Mapping
from typing import ClassVar

ERROR_DOMAIN = "cellkin"


class CellkinError(Exception):
    """Base of all errors cellkin raises on purpose.

    Parameters
    ----------
    message
        What was given, what was expected, what to do.
    metadata
        Details for programs.
    """

    code: ClassVar[str] = "UNKNOWN"
    reason: ClassVar[str] = "UNKNOWN"

    def __init__(self, message: str, metadata: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.metadata: dict[str, str] = dict(metadata or {})


class InvalidArgumentError(CellkinError, ValueError):
    """The request itself is wrong, whatever the state of the store.

    Parameters
    ----------
    message, metadata
        As for every error.
    field
        The field of the request that is wrong, such as ``header.k``; empty where it is none of a
        request's.
    """

    code = "INVALID_ARGUMENT"
    reason = "INVALID_ARGUMENT"

    def __init__(
        self, message: str, metadata: Mapping[str, str] | None = None, *, field: str = ""
    ) -> None:
        super().__init__(message, metadata)
        self.field = field


class InputFileError(InvalidArgumentError):
    """A file is missing, cut short, or not of the format it should be."""

    reason = "INPUT_FILE"


class DimensionMismatchError(InvalidArgumentError):
    """Vectors of one width met vectors of another."""

    reason = "DIMENSION_MISMATCH"


class NotFoundError(CellkinError, LookupError):
    """What was named does not exist."""

    code = "NOT_FOUND"
    reason = "NOT_FOUND"


class AlreadyExistsError(CellkinError):
    """The name is taken, or the address is in use."""

    code = "ALREADY_EXISTS"
    reason = "ALREADY_EXISTS"


class FailedPreconditionError(CellkinError):
    """The request is right but the state of the world is not."""

    code = "FAILED_PRECONDITION"
    reason = "FAILED_PRECONDITION"


class GenesUnmatchedError(FailedPreconditionError):
    """Too few genes match for any answer to mean something; ``metadata`` is the match report."""

    reason = "GENES_UNMATCHED"


class RetractedError(FailedPreconditionError):
    """The version was withdrawn; ``metadata`` carries the reason and the replacement."""

    reason = "RETRACTED"


class VersionMismatchError(FailedPreconditionError):
    """The answer was made from another version than the one pinned; ``metadata`` has both."""

    reason = "VERSION_MISMATCH"


class CheckpointError(FailedPreconditionError):
    """What an interrupted run left is of another query, of other versions or settings."""

    reason = "CHECKPOINT"


class MissingDependencyError(FailedPreconditionError, ImportError):
    """An optional package is not installed; the message names the extra that brings it."""

    reason = "MISSING_DEPENDENCY"


class ModelNotLoadedError(FailedPreconditionError):
    """A free text was asked about and the server has not loaded the language model."""

    reason = "MODEL_NOT_LOADED"


class ConflictError(CellkinError):
    """Another writer was first; nothing of this write is visible."""

    code = "ABORTED"
    reason = "CONFLICT"


class IntegrityError(CellkinError):
    """Stored data does not have the digest its manifest states."""

    code = "DATA_LOSS"
    reason = "INTEGRITY"


class UnauthenticatedError(CellkinError):
    """The request bears no token, or one that the server does not know."""

    code = "UNAUTHENTICATED"
    reason = "UNAUTHENTICATED"


class PermissionDeniedError(CellkinError):
    """The token has not the role that a request needs, or a file may not be written."""

    code = "PERMISSION_DENIED"
    reason = "PERMISSION_DENIED"


class ResourceExhaustedError(CellkinError):
    """The server has too much to do, a message is larger than it takes, or a disk is full.

    Parameters
    ----------
    message, metadata
        As for every error.
    retry_after_s
        Seconds after which asking again makes sense; None where it never does, as for a message
        over the limit.
    """

    code = "RESOURCE_EXHAUSTED"
    reason = "RESOURCE_EXHAUSTED"

    def __init__(
        self,
        message: str,
        metadata: Mapping[str, str] | None = None,
        *,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message, metadata)
        self.retry_after_s = retry_after_s


class DeadlineExceededError(CellkinError):
    """The answer did not come within the time that was given."""

    code = "DEADLINE_EXCEEDED"
    reason = "DEADLINE_EXCEEDED"


class CancelledError(CellkinError):
    """The caller gave the request up."""

    code = "CANCELLED"
    reason = "CANCELLED"


class UnimplementedError(CellkinError):
    """The server does not know the request: it is of another release, or no cellkin server."""

    code = "UNIMPLEMENTED"
    reason = "UNIMPLEMENTED"


class UnavailableError(CellkinError):
    """The server cannot be reached now; trying again may help."""

    code = "UNAVAILABLE"
    reason = "UNAVAILABLE"


class InternalError(CellkinError):
    """A bug of cellkin: please report it."""

    code = "INTERNAL"
    reason = "INTERNAL"


def _tree(base: type[CellkinError]) -> list[type[CellkinError]]:
    return [base, *(found for sub in base.__subclasses__() for found in _tree(sub))]


_BY_REASON = {error.reason: error for error in _tree(CellkinError)}


def error_from_reason(reason: str, message: str, metadata: Mapping[str, str]) -> CellkinError:
    """Rebuild an error from its ``reason``, as it crossed the wire.

    An unknown reason, from a newer server, becomes a plain `CellkinError`.
    """
    return _BY_REASON.get(reason, CellkinError)(message, metadata)
