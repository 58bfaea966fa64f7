"""Pages of lists: stable when what is listed comes and goes between two requests."""

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import TypeVar

from cellkin.wire.errors import InvalidArgumentError

Item = TypeVar("Item")

DEFAULT_SIZE = 100
MOST = 1000


def page_of(
    items: Sequence[Item], key: Callable[[Item], tuple[str, ...]], size: int, token: str
) -> tuple[list[Item], str]:
    """Return one page of a list, and the token of the next, empty on the last.

    The token is the key of the last item given, so what was added or removed since moves nothing.

    Parameters
    ----------
    items
        The whole list, ascending by key.
    key
        Of an item; no two have the same, and no part holds a NUL.
    size
        Items wanted; 0 for 100, and never more than 1000.
    token
        Of the page before; empty for the first.

    Raises
    ------
    InvalidArgumentError
        If the size is negative or the token none that was given out.
    """
    if size < 0:
        raise InvalidArgumentError(f"page_size is {size}; give 0 or more", field="page_size")
    wanted = min(size or DEFAULT_SIZE, MOST)
    after = _read(token) if token else None
    left = [item for item in items if after is None or key(item) > after]
    page = left[:wanted]
    return page, _token(key(page[-1])) if len(left) > wanted else ""


def _token(key: tuple[str, ...]) -> str:
    return base64.urlsafe_b64encode("\0".join(key).encode()).decode()


def _read(token: str) -> tuple[str, ...]:
    try:
        text = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeError) as error:
        raise InvalidArgumentError(
            f"page_token {token[:40]!r} was given out by no answer; "
            "send back next_page_token, or nothing for the first page",
            field="page_token",
        ) from error
    return tuple(text.split("\0"))
