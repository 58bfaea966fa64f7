"""Convert errors to gRPC statuses with their reason, field and retry delay."""

import random
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
_ATTEMPTS = ("1", "2", "3", "4")
_MOST_DELAY_S = 5.0


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


def pushback(error: CellkinError, sent_before: str, left_s: float | None) -> tuple[Any, ...]:
    """Return trailing metadata telling a client's retry policy when to send a request again.

    The delay is randomized, so that clients refused together do not retry together, and doubles
    with each attempt up to `_MOST_DELAY_S`.

    Parameters
    ----------
    error
        The error of the request; only overload has a delay of its own.
    sent_before
        How often the client sent it before, from its metadata.
    left_s
        Seconds until its deadline, None if there is none. A delay that would exceed it means never,
        so that the client raises this error instead of waiting for nothing.
    """
    if not isinstance(error, ResourceExhaustedError):
        return ()
    pushback_ms = -1  # never
    if error.retry_after_s is not None:
        grown_s = error.retry_after_s * 2 ** (int(sent_before) if sent_before in _ATTEMPTS else 0)
        least_s = min(grown_s, max(error.retry_after_s, _MOST_DELAY_S))
        delay_s = least_s * random.uniform(1.0, 1.5)
        if left_s is None or delay_s < left_s:
            pushback_ms = round(1000 * delay_s)
    return (("grpc-retry-pushback-ms", str(pushback_ms)),)


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
