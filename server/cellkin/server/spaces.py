"""Conversion between spaces and their wire enum."""

from typing import Any

from cellkin.v1 import cell_service_pb2 as wire
from cellkin.wire.errors import InvalidArgumentError

_NAMES = {wire.SPACE_KIND_TEXT: "text", wire.SPACE_KIND_EXPRESSION: "expression"}
_KINDS = {name: kind for kind, name in _NAMES.items()}


def space_name(kind: int) -> str | None:
    """Return ``text`` or ``expression``; None if the server chooses.

    Raises
    ------
    InvalidArgumentError
        If there is no such space.
    """
    require_known(wire.SpaceKind, kind, "space")
    return _NAMES.get(wire.SpaceKind.ValueType(kind))


def space_kind(name: str) -> "wire.SpaceKind.ValueType":
    """Return the enum value of a space."""
    return _KINDS[name]


def require_known(kind: Any, number: int, field: str) -> None:
    """Raise for an unknown enum value, which may come from a later release."""
    if number not in kind.values():
        raise InvalidArgumentError(
            f"{field} is {number}; give one of {', '.join(kind.keys())}", field=f"header.{field}"
        )
