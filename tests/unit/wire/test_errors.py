"""The error tree: every class crosses the wire and comes back as itself."""

import pytest

from cellkin.wire import errors
from cellkin.wire.errors import CellkinError, error_from_reason

CLASSES = [
    value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, CellkinError) and value is not CellkinError
]


@pytest.mark.parametrize("error", CLASSES, ids=lambda c: c.__name__)
def test_an_error_comes_back_as_itself(error: type[CellkinError]) -> None:
    back = error_from_reason(error.reason, "what to do", {"a": "b"})
    assert type(back) is error
    assert (back.message, back.metadata, str(back)) == ("what to do", {"a": "b"}, "what to do")


def test_reasons_are_unique_and_the_tree_is_drawn() -> None:
    assert len({c.reason for c in CLASSES}) == len(CLASSES)
    for error in CLASSES:
        assert error.__name__ in (errors.__doc__ or "")


def test_a_reason_of_a_newer_server_is_still_an_error() -> None:
    assert type(error_from_reason("NEW", "m", {})) is CellkinError
