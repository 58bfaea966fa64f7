"""Spaces as requests name them."""

from typing import Any

from cellkin.v1 import cell_service_pb2 as wire
from cellkin.wire.errors import InvalidArgumentError

_NAMES = {wire.SPACE_KIND_TEXT: "text", wire.SPACE_KIND_EXPRESSION: "expression"}
_KINDS = {name: kind for kind, name in _NAMES.items()}


def space_name(kind: int) -> str | None:
    """Return ``text`` or ``expression``; None where the server is to choose.

    Raises
    ------
    InvalidArgumentError
        If there is no such space.
    """
    require_known(wire.SpaceKind, kind, "space")
    return _NAMES.get(wire.SpaceKind.ValueType(kind))


def space_kind(name: str) -> "wire.SpaceKind.ValueType":
    """Return the number of a space."""
    return _KINDS[name]


def require_known(kind: Any, number: int, field: str) -> None:
    """Refuse a number that has no name: another release may mean anything by it."""
    if number not in kind.values():
        raise InvalidArgumentError(
            f"{field} is {number}; give one of {', '.join(kind.keys())}", field=f"header.{field}"
        )
