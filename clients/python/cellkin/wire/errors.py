"""The errors that cellkin raises.

::

    CellkinError
    +-- InvalidArgumentError (ValueError)       the request itself is wrong
    |   +-- InputFileError                      a file is missing, truncated or of another format
    |   +-- DimensionMismatchError              vectors of different widths
    +-- NotFoundError (LookupError)             no such version, index, gene, label column
    +-- AlreadyExistsError                      the name is taken
    +-- FailedPreconditionError                 valid request, wrong state
    |   +-- GenesUnmatchedError                 too few genes match for a meaningful result
    |   +-- RetractedError                      the version was retracted
    |   +-- VersionMismatchError                the response is from another version than pinned
    |   +-- CheckpointError                     the checkpoint is from another query
    |   +-- MissingDependencyError              an optional package is not installed
    |   +-- ModelNotLoadedError                 the server has no language model for a free text
    +-- ConflictError                           another writer was first
    +-- IntegrityError                          a digest differs: the data was changed or damaged
    +-- UnauthenticatedError                    no token, or one the server does not know
    +-- PermissionDeniedError                   the token lacks the role, or the user the file
    +-- ResourceExhaustedError                  too much at once, or no room on the disk
    +-- DeadlineExceededError                   no response within the timeout
    +-- CancelledError                          the caller canceled the request
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
    """Base class of all cellkin errors.

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
        The field of the request that is wrong, such as ``header.k``; empty if it is not a
        request field.
    """

    code = "INVALID_ARGUMENT"
    reason = "INVALID_ARGUMENT"

    def __init__(
        self, message: str, metadata: Mapping[str, str] | None = None, *, field: str = ""
    ) -> None:
        super().__init__(message, metadata)
        self.field = field


class InputFileError(InvalidArgumentError):
    """A file is missing, truncated, or not in the expected format."""

    reason = "INPUT_FILE"


class DimensionMismatchError(InvalidArgumentError):
    """Vectors have different widths."""

    reason = "DIMENSION_MISMATCH"


class NotFoundError(CellkinError, LookupError):
    """The named resource does not exist."""

    code = "NOT_FOUND"
    reason = "NOT_FOUND"


class AlreadyExistsError(CellkinError):
    """The name is taken, or the address is in use."""

    code = "ALREADY_EXISTS"
    reason = "ALREADY_EXISTS"


class FailedPreconditionError(CellkinError):
    """The request is valid, but the current state does not allow it."""

    code = "FAILED_PRECONDITION"
    reason = "FAILED_PRECONDITION"


class GenesUnmatchedError(FailedPreconditionError):
    """Too few genes match for a meaningful result; ``metadata`` is the match report."""

    reason = "GENES_UNMATCHED"


class RetractedError(FailedPreconditionError):
    """The version was retracted; ``metadata`` has the reason and the replacement."""

    reason = "RETRACTED"


class VersionMismatchError(FailedPreconditionError):
    """The response is from another version than the one pinned; ``metadata`` has both."""

    reason = "VERSION_MISMATCH"


class CheckpointError(FailedPreconditionError):
    """The checkpoint is from another query, other versions or other settings."""

    reason = "CHECKPOINT"


class MissingDependencyError(FailedPreconditionError, ImportError):
    """An optional package is not installed; the message names the extra that brings it."""

    reason = "MISSING_DEPENDENCY"


class ModelNotLoadedError(FailedPreconditionError):
    """A free-text query needs a language model that the server has not loaded."""

    reason = "MODEL_NOT_LOADED"


class ConflictError(CellkinError):
    """Another writer was first; nothing of this write is visible."""

    code = "ABORTED"
    reason = "CONFLICT"


class IntegrityError(CellkinError):
    """Stored data does not match the digest in its manifest."""

    code = "DATA_LOSS"
    reason = "INTEGRITY"


class UnauthenticatedError(CellkinError):
    """The request has no token, or one that the server does not know."""

    code = "UNAUTHENTICATED"
    reason = "UNAUTHENTICATED"


class PermissionDeniedError(CellkinError):
    """The token lacks the role that a request needs, or a file may not be written."""

    code = "PERMISSION_DENIED"
    reason = "PERMISSION_DENIED"


class ResourceExhaustedError(CellkinError):
    """The server is overloaded, a message exceeds its limit, or a disk is full.

    Parameters
    ----------
    message, metadata
        As for every error.
    retry_after_s
        Seconds to wait before retrying; None if retrying cannot help, as for a message over the
        limit.
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
    """The response did not arrive within the timeout."""

    code = "DEADLINE_EXCEEDED"
    reason = "DEADLINE_EXCEEDED"


class CancelledError(CellkinError):
    """The caller canceled the request."""

    code = "CANCELLED"
    reason = "CANCELLED"


class UnimplementedError(CellkinError):
    """The server does not know the request: it runs another release, or is not a cellkin server."""

    code = "UNIMPLEMENTED"
    reason = "UNIMPLEMENTED"


class UnavailableError(CellkinError):
    """The server cannot be reached now; retrying may help."""

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
    """Rebuild an error from the ``reason`` received on the wire.

    Parameters
    ----------
    reason
        The reason; an unknown one, from a newer server, becomes a plain `CellkinError`.
    message, metadata
        As for every error.
    """
    return _BY_REASON.get(reason, CellkinError)(message, metadata)
