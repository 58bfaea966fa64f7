"""Limits on what one token may ask a minute: requests, cells and streams."""

import asyncio
import time
from collections.abc import Callable

from cellkin.server.metrics import Metrics
from cellkin.server.security import Principal
from cellkin.wire.errors import ResourceExhaustedError

_MINUTE_S = 60.0


class Quotas:
    """Enforces the limits of tokens, and counts what each used.

    What is left refills evenly, up to the limit of a minute. Requests and streams are refused when
    nothing is left. Cells are counted once they were read, so a request may overdraw what is left
    and later ones are refused until it is refilled; a stream waits instead. Limits apply to each
    process of a server. Use it on the event loop.

    Parameters
    ----------
    metrics
        Where the use is counted.
    now
        Returns seconds that only grow.
    """

    def __init__(self, metrics: Metrics, now: Callable[[], float] = time.monotonic) -> None:
        self._metrics, self._now = metrics, now
        self._left: dict[tuple[str, str], tuple[float, float]] = {}

    def admit(self, principal: Principal, is_stream: bool, has_cells: bool) -> None:
        """Count a request or a stream of a token.

        Parameters
        ----------
        principal
            The client.
        is_stream
            Whether it is a stream.
        has_cells
            Whether it may have cells.

        Raises
        ------
        ResourceExhaustedError
            If nothing of a limit is left; the retry delay is the time until there is.
        """
        what = "streams" if is_stream else "requests"
        self._require(principal, what, 1.0)
        if has_cells and not is_stream:
            self._require(principal, "cells", 0.0)
        self._use(principal, what, 1)

    def charge(self, principal: Principal, n_cells: int) -> None:
        """Count cells of a token that were read."""
        if n_cells:
            self._use(principal, "cells", n_cells)

    async def wait(self, principal: Principal) -> None:
        """Wait until cells may be read."""
        while (wait_s := self._wait_s(principal, "cells", 0.0)) > 0:
            # Shortly, for the limit may be changed meanwhile.
            await asyncio.sleep(min(wait_s, 1.0))

    def _require(self, principal: Principal, what: str, least: float) -> None:
        wait_s = self._wait_s(principal, what, least)
        if wait_s <= 0:
            return
        self._metrics.token_refused(principal.name, what)
        limit = principal.limits[what]
        raise ResourceExhaustedError(
            f"{principal.name} may ask for {limit:,} {what} a minute and has; ask again in "
            f"{wait_s:.2g} s, or ask the server's operator for more",
            {"limit": f"token-{what}", "value": str(limit)},
            retry_after_s=wait_s,
        )

    def _wait_s(self, principal: Principal, what: str, least: float) -> float:
        """Return the seconds until something is left: ``least``, or more than nothing if 0."""
        limit = principal.limits.get(what)
        if limit is None:
            return 0.0
        lacks = least - self._balance(principal.name, what, limit)
        if lacks < 0 or (lacks == 0 and least):
            return 0.0
        return max(lacks, min(1.0, limit / _MINUTE_S)) * _MINUTE_S / limit

    def _use(self, principal: Principal, what: str, n: int) -> None:
        self._metrics.token_used(principal.name, what, n)
        limit = principal.limits.get(what)
        if limit is not None:
            left = self._balance(principal.name, what, limit)
            self._left[principal.name, what] = left - n, self._now()

    def _balance(self, name: str, what: str, limit: int) -> float:
        now = self._now()
        left, since = self._left.get((name, what), (float(limit), now))
        return min(float(limit), left + (now - since) * limit / _MINUTE_S)
