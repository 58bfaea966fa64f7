"""Errors cross the wire whole: class, reason, metadata, the field that is wrong, the delay."""

from typing import Any

import grpc
import pytest

from cellkin.client.transport.errors import error_from_rpc
from cellkin.server.status import status_of
from cellkin.wire import errors
from cellkin.wire.errors import CellkinError, InvalidArgumentError, ResourceExhaustedError


class Failed(grpc.RpcError):
    """A call as it failed on the client's side."""

    def __init__(self, status: Any) -> None:
        self._status = status

    def code(self) -> grpc.StatusCode:
        code: grpc.StatusCode = self._status.code
        return code

    def details(self) -> str:
        return str(self._status.details)

    def trailing_metadata(self) -> Any:
        return self._status.trailing_metadata


def crossed(error: CellkinError) -> CellkinError:
    return error_from_rpc(Failed(status_of(error)), "here")


@pytest.mark.parametrize("kind", errors._tree(CellkinError)[1:])
def test_every_error_comes_back_as_it_was_raised(kind: type[CellkinError]) -> None:
    back = crossed(kind("what to do", {"a": "b"}))
    assert (type(back), back.message, back.metadata) == (kind, "what to do", {"a": "b"})


def test_the_wrong_field_and_the_delay_come_along() -> None:
    back = crossed(InvalidArgumentError("k is 0", field="header.k"))
    assert isinstance(back, InvalidArgumentError)
    assert back.field == "header.k"
    busy = crossed(ResourceExhaustedError("busy", retry_after_s=1.25))
    assert isinstance(busy, ResourceExhaustedError)
    assert busy.retry_after_s == 1.25
    large = crossed(ResourceExhaustedError("too large"))
    assert isinstance(large, ResourceExhaustedError)
    assert large.retry_after_s is None


def test_a_status_fits_what_clients_take() -> None:
    long = InvalidArgumentError(
        "é" * 50_000, {f"key{i}": "v" * 500 for i in range(50)}, field="f" * 9000
    )
    (pair,) = status_of(long).trailing_metadata
    assert len(pair[1]) < 8000
    assert crossed(long).message.endswith("...")
