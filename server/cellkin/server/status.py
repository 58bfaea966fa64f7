"""Convert errors to gRPC statuses with their reason, field and retry delay."""

from typing import Any

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from cellkin.wire.errors import (
    ERROR_DOMAIN,
    CellkinError,
    InvalidArgumentError,
    ResourceExhaustedError,
)

# The whole status travels in trailing metadata, of which clients accept 8 KiB.
_MOST_TEXT = 2000
_MOST_METADATA = 2000


def status_of(error: CellkinError) -> Any:
    """Return the status of an error, for ``context.abort_with_status``."""
    message = _short(error.message, _MOST_TEXT)
    details: list[Message] = [
        error_details_pb2.ErrorInfo(
            reason=error.reason, domain=ERROR_DOMAIN, metadata=_short_metadata(error.metadata)
        )
    ]
    if isinstance(error, InvalidArgumentError) and error.field:
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=_short(error.field, 200), description=_short(message, 500)
        )
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    if isinstance(error, ResourceExhaustedError) and error.retry_after_s is not None:
        delay = duration_pb2.Duration()
        delay.FromMilliseconds(round(1000 * error.retry_after_s))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    code: int = getattr(grpc.StatusCode, error.code).value[0]
    packed = [_packed(detail) for detail in details]
    return rpc_status.to_status(status_pb2.Status(code=code, message=message, details=packed))


def _packed(detail: Message) -> any_pb2.Any:
    found = any_pb2.Any()
    found.Pack(detail)
    return found


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _short_metadata(metadata: dict[str, str]) -> dict[str, str]:
    kept: dict[str, str] = {}
    left = _MOST_METADATA
    for key, value in metadata.items():
        left -= len(key) + len(value)
        if left < 0:
            break
        kept[key] = value
    return kept
