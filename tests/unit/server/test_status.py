"""Errors cross the wire whole: class, reason, metadata, the field that is wrong, the delay."""

from typing import Any

import grpc
import pytest

from cellkin.client.transport.errors import error_from_rpc
from cellkin.server.status import pushback, status_of
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


@pytest.mark.parametrize(
    ("retry_after_s", "sent_before", "left_s", "least", "most"),
    [
        pytest.param(0.25, "", None, 250, 375, id="first"),
        pytest.param(0.25, "2", None, 1000, 1500, id="third"),
        pytest.param(4.0, "1", None, 5000, 7500, id="at-most-5-s"),
        pytest.param(20.0, "3", None, 20000, 30000, id="what-is-longer-stays"),
        pytest.param(0.25, "many", None, 250, 375, id="no-number"),
        pytest.param(0.25, "", 1.0, 250, 375, id="before-the-deadline"),
        pytest.param(0.25, "2", 0.9, -1, -1, id="after-the-deadline"),
        pytest.param(None, "", None, -1, -1, id="too-large"),
    ],
)
def test_the_delay_a_retry_policy_is_told(
    retry_after_s: float | None, sent_before: str, left_s: float | None, least: int, most: int
) -> None:
    error = ResourceExhaustedError("busy", retry_after_s=retry_after_s)
    delays = [int(pushback(error, sent_before, left_s)[0][1]) for _ in range(100)]
    assert least <= min(delays) <= max(delays) <= most
    # Clients refused together do not return together.
    assert len(set(delays)) > 20 or least == -1
    assert pushback(errors.UnavailableError("drains"), sent_before, left_s) == ()
