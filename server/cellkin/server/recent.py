"""What queries need of their headers, kept for the next query with the same header.

Clients that ask cell by cell send thousands of gene names with each, the same ones. Matching them
takes several times as long as labeling the cell.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar

_MOST = 8
"""Headers that are kept of an index; with a filter each takes one byte per cell of the index."""
_MOST_BYTES = 1 << 20
"""Longer headers are not kept."""

Prepared = TypeVar("Prepared")


class RecentHeaders:
    """The results of a function for the most recent headers of queries.

    Many threads may use it; those that ask for the same header at once may each compute it.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[Callable[..., Any], bytes], Any] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, prepare: Callable[[Any, Any], Prepared], of: Any, header: Any) -> Prepared:
        """Return ``prepare(of, header)``, computed now or for an equal header before.

        Parameters
        ----------
        prepare
            A function whose results are not changed by their users.
        of
            Its first argument, the same one in all calls.
        header
            The message.
        """
        key = prepare, header.SerializeToString(deterministic=True)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]  # type: ignore[no-any-return]
        found = prepare(of, header)
        if len(key[1]) <= _MOST_BYTES:
            with self._lock:
                self._kept[key] = found
                while len(self._kept) > _MOST:
                    self._kept.popitem(last=False)
        return found
