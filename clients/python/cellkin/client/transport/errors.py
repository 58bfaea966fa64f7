"""Translation of gRPC errors into cellkin errors, and the warning category."""

from typing import Any

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from cellkin.wire.errors import (
    ERROR_DOMAIN,
    CancelledError,
    CellkinError,
    DeadlineExceededError,
    InternalError,
    InvalidArgumentError,
    ResourceExhaustedError,
    UnavailableError,
    UnimplementedError,
    error_from_reason,
)


class AnswerWarning(UserWarning):
    """Warning about labels that are less reliable than usual."""


def error_from_rpc(error: grpc.RpcError, server: str) -> CellkinError:
    """Return the cellkin error for a failed call.

    Parameters
    ----------
    error
        The error raised by gRPC.
    server
        Address of the server, for the message.

    Returns
    -------
    CellkinError
        The class that the server raised, by its reason; otherwise by the gRPC status, such as
        `UnavailableError` if no server answered, and `InternalError` for any other.
    """
    status = rpc_status.from_call(error)
    details = list(status.details) if status is not None else []
    info = _detail(details, error_details_pb2.ErrorInfo())
    if status is not None and info is not None and info.domain == ERROR_DOMAIN:
        return _with_details(error_from_reason(info.reason, status.message, info.metadata), details)
    return _of_the_transport(error, server)


def _with_details(error: CellkinError, details: list[Any]) -> CellkinError:
    wrong = _detail(details, error_details_pb2.BadRequest())
    if isinstance(error, InvalidArgumentError) and wrong is not None and wrong.field_violations:
        error.field = wrong.field_violations[0].field
    retry = _detail(details, error_details_pb2.RetryInfo())
    if isinstance(error, ResourceExhaustedError) and retry is not None:
        error.retry_after_s = retry.retry_delay.ToMilliseconds() / 1000
    return error


def _detail(details: list[Any], empty: Any) -> Any | None:
    return next((empty for detail in details if detail.Unpack(empty)), None)


def _of_the_transport(error: grpc.RpcError, server: str) -> CellkinError:
    """Return the error for a status set by gRPC itself, on either side."""
    code, said = error.code(), error.details() or ""
    if code is grpc.StatusCode.UNAVAILABLE:
        return UnavailableError(
            f"no cellkin server answers at {server}; start one with "
            f"`cellkin serve --store URI --listen {server}`, or name another by "
            "CELLKIN_ADDRESS or --server",
            {"transport": said},
        )
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlineExceededError(
            f"the server at {server} did not answer in time; give it longer, or ask for less"
        )
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return ResourceExhaustedError(f"the server at {server} refused: {said}")
    if code is grpc.StatusCode.CANCELLED:
        return CancelledError(f"the request to {server} was given up")
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return UnimplementedError(
            f"the server at {server} does not know the request ({said}); "
            "use a client of its release"
        )
    return InternalError(f"the server at {server} failed: {code.name}: {said}")
