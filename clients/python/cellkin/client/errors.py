"""Errors of the server, as they were raised there."""

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from cellkin.wire.errors import (
    ERROR_DOMAIN,
    CellkinError,
    InternalError,
    UnavailableError,
    error_from_reason,
)


def error_from_rpc(error: grpc.RpcError, server: str) -> CellkinError:
    """Return the error a call failed with.

    Parameters
    ----------
    error
        What grpc raised.
    server
        Address of the server, for the message.

    Returns
    -------
    CellkinError
        The class the server raised, by its reason; `UnavailableError` where no server answered,
        `InternalError` for a failure that is no error of cellkin's.
    """
    status = rpc_status.from_call(error)
    for detail in status.details if status is not None else ():
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info) and info.domain == ERROR_DOMAIN:
            return error_from_reason(info.reason, status.message, info.metadata)
    if error.code() is grpc.StatusCode.UNAVAILABLE:
        return UnavailableError(
            f"no cellkin server answers at {server}; start one with "
            f"`cellkin serve --store URI --listen {server}`, or name another with --server"
        )
    return InternalError(f"the server at {server} failed: {error.code().name}: {error.details()}")
