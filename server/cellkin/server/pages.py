"""Pagination that stays stable if items are added or removed between two requests."""

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import TypeVar

from cellkin.wire.errors import InvalidArgumentError

Item = TypeVar("Item")

DEFAULT_SIZE = 100
MOST = 1000


def page_of(
    items: Sequence[Item],
    key: Callable[[Item], tuple[str, ...]],
    size: int,
    token: str,
    of: str = "",
) -> tuple[list[Item], str]:
    """Return one page of a list, and the token of the next page, empty on the last.

    The token encodes the key of the page's last item, so added or removed items do not shift pages.

    Parameters
    ----------
    items
        The whole list, ascending by key.
    key
        Returns the key of an item. Keys are unique, and their parts contain no NUL.
    size
        Page size; 0 means 100, and more than 1000 means 1000.
    token
        Token returned with the previous page; empty for the first page.
    of
        Identifies the list, if there are several.

    Raises
    ------
    InvalidArgumentError
        If the size is negative, or the token is invalid or of another list.
    """
    if size < 0:
        raise InvalidArgumentError(f"page_size is {size}; give 0 or more", field="page_size")
    wanted = min(size or DEFAULT_SIZE, MOST)
    after = read_token(token, of) if token else None
    left = [item for item in items if after is None or key(item) > after]
    page = left[:wanted]
    return page, make_token((*([of] if of else []), *key(page[-1]))) if len(left) > wanted else ""


def make_token(key: tuple[str, ...]) -> str:
    """Return the token of a key, whose parts contain no NUL."""
    return base64.urlsafe_b64encode("\0".join(key).encode()).decode()


def read_token(token: str, of: str = "") -> tuple[str, ...]:
    """Return the key of a token, without its first part if that is to be ``of``.

    Raises
    ------
    InvalidArgumentError
        If it was not made by `make_token`, or is of another list.
    """
    try:
        text = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeError) as error:
        raise InvalidArgumentError(
            f"page_token {token[:40]!r} was given out by no answer; "
            "send back next_page_token, or nothing for the first page",
            field="page_token",
        ) from error
    key = text.split("\0")
    if of and key.pop(0) != of:
        raise InvalidArgumentError(
            "page_token is of another request, or of another version by now; begin with the first "
            "page",
            field="page_token",
        )
    return tuple(key)
