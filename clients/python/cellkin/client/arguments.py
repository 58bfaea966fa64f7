"""Type checks of arguments, before anything is read or sent."""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import IntEnum
from functools import lru_cache, wraps
from itertools import islice
from numbers import Integral, Real
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, ParamSpec, TypeVar, get_args, get_origin

import numpy as np

from cellkin.wire.errors import InvalidArgumentError

Given = ParamSpec("Given")
Answer = TypeVar("Answer")

_ACCEPTED: dict[Any, tuple[type, ...]] = {
    str: (str,),
    bool: (bool, np.bool_),
    int: (Integral,),  # numpy's integers, too
    float: (Real,),
    Path: (Path,),
    NoneType: (NoneType,),
}
_NAMES = {
    str: "a string", bool: "True or False", int: "an integer", float: "a number", Path: "a path",
    NoneType: "None",
}  # fmt: skip
_LARGEST = 2**31 - 1
"""Integers in messages have 32 bits."""


def typed(function: Callable[Given, Answer]) -> Callable[Given, Answer]:
    """Decorate a function to check its arguments by `require_types`."""

    @wraps(function)
    def checked(*given: Given.args, **named: Given.kwargs) -> Answer:
        require_types(function, given, named)
        return function(*given, **named)

    return checked


def require_types(
    function: Callable[..., Any], given: Sequence[Any], named: Mapping[str, Any]
) -> None:
    """Raise if arguments do not have the types of a function's annotations.

    Checked are strings, numbers, booleans, paths, enumerations and sequences of these or of other
    classes; other annotations are left to the function.

    Parameters
    ----------
    function
        The function to call.
    given, named
        Its positional and keyword arguments.

    Raises
    ------
    InvalidArgumentError
        If an argument has another type, or is an integer of more than 32 bits.
    """
    signature, checked = _checked(function)
    try:
        arguments = signature.bind(*given, **named).arguments
    except TypeError:
        return  # The call itself raises for missing or unexpected arguments.
    for name, kinds in checked.items():
        if name in arguments:
            require(name, arguments[name], *kinds)


def require(name: str, value: Any, *kinds: Any) -> None:
    """Raise if an argument has none of the given types.

    Parameters
    ----------
    name
        Name of the argument.
    value
        Its value.
    kinds
        The types, as in annotations. A single string is not a ``Sequence[str]``, as it would be
        read as its letters; a boolean is not an integer.

    Raises
    ------
    InvalidArgumentError
        If it has another type, or is an integer of more than 32 bits.
    """
    if not any(_is(value, kind) for kind in kinds):
        shown = f"{value!r} ({type(value).__name__})"
        raise InvalidArgumentError(
            f"{name} is {shown if len(shown) <= 80 else type(value).__name__}; give "
            + " or ".join(map(_called, kinds)),
            field=name,
        )
    if isinstance(value, Integral) and abs(int(value)) > _LARGEST:
        raise InvalidArgumentError(
            f"{name} is {value}; give an integer of up to {_LARGEST}", field=name
        )


@lru_cache(maxsize=256)
def _checked(
    function: Callable[..., Any],
) -> tuple[inspect.Signature, dict[str, tuple[Any, ...]]]:
    """Return the signature of a function, and the types of the parameters that can be checked."""
    signature = inspect.signature(function)
    kinds = {name: _kinds(each.annotation) for name, each in signature.parameters.items()}
    return signature, {name: of for name, of in kinds.items() if all(map(_is_known, of))}


def _kinds(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) is UnionType else (annotation,)


def _is_known(kind: Any) -> bool:
    item = _item(kind)
    return kind in _ACCEPTED or _is_term(kind) or isinstance(item, type)


def _item(kind: Any) -> Any:
    """Return the item type of a ``Sequence``; None for other types."""
    return get_args(kind)[0] if get_origin(kind) is Sequence else None


def _is_term(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, IntEnum)


def _called(kind: Any) -> str:
    if kind in _NAMES:
        return _NAMES[kind]
    if _is_term(kind):
        return f"one of {', '.join(str(term) for term in kind)}"
    if (item := _item(kind)) is None:
        return f"a {kind.__module__}.{kind.__name__}"
    return f"a list of {'strings' if item is str else item.__name__}"


def _is(value: Any, kind: Any) -> bool:
    if kind in _ACCEPTED:
        # A boolean is an integer in Python, but not in messages.
        return isinstance(value, _ACCEPTED[kind]) and (kind is bool or not isinstance(value, bool))
    if _is_term(kind):
        return isinstance(value, Integral) and int(value) in list(kind)
    if _item(kind) is None:
        return isinstance(value, kind)
    return (
        hasattr(value, "__len__")
        and hasattr(value, "__iter__")
        and not isinstance(value, str | bytes)
        and all(_is(item, _item(kind)) for item in _examples(value, _item(kind)))
    )


def _examples(value: Iterable[Any], kind: Any) -> Iterable[Any]:
    """Return the items to check: one of each class, unless their values count, as of a term."""
    if _is_term(kind):
        return value
    if len(set(map(type, value))) < 2:
        return islice(value, 1)
    return dict(zip(map(type, value), value, strict=True)).values()
