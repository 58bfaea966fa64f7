"""Errors of gRPC calls, as the client raises them."""

from typing import Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as Packed
from google.rpc import code_pb2, error_details_pb2, status_pb2

from cellkin.client.transport.errors import error_from_rpc
from cellkin.wire.errors import ERROR_DOMAIN, InvalidArgumentError, ResourceExhaustedError


class Failed(grpc.RpcError):
    """A call that ended with a status."""

    def __init__(self, code: grpc.StatusCode, details: str, metadata: Any = ()) -> None:
        self._code, self._details, self._metadata = code, details, metadata

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._details

    def trailing_metadata(self) -> Any:
        return self._metadata


@pytest.mark.parametrize("fields", [[], ["header.k"], ["header.k", "header.index"]])
def test_the_field_of_a_wrong_request_is_the_first_that_is_named(fields: list[str]) -> None:
    violation = error_details_pb2.BadRequest.FieldViolation
    details = [
        error_details_pb2.ErrorInfo(reason="INVALID_ARGUMENT", domain=ERROR_DOMAIN),
        error_details_pb2.BadRequest(field_violations=[violation(field=name) for name in fields]),
    ]
    status = status_pb2.Status(code=code_pb2.INVALID_ARGUMENT, message="wrong")
    for detail in details:
        packed = Packed()
        packed.Pack(detail)
        status.details.append(packed)
    metadata = (("grpc-status-details-bin", status.SerializeToString()),)
    found = error_from_rpc(Failed(grpc.StatusCode.INVALID_ARGUMENT, "wrong", metadata), "here:1")
    assert isinstance(found, InvalidArgumentError)
    assert found.field == (fields[0] if fields else "")


def test_a_refusal_by_grpc_itself_is_not_retried() -> None:
    failed = Failed(grpc.StatusCode.RESOURCE_EXHAUSTED, "Sent message larger than max")
    found = error_from_rpc(failed, "here:1")
    assert isinstance(found, ResourceExhaustedError)
    assert found.retry_after_s is None
