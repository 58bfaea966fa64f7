"""The transport of one request: reading and writing messages, and their timeouts."""

import asyncio
import random
import re
import time
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import grpc
import structlog

from cellkin.server.calls import Call
from cellkin.server.methods import Method
from cellkin.server.security import Principal
from cellkin.server.status import pushback, status_of
from cellkin.wire.errors import (
    CancelledError,
    CellkinError,
    DeadlineExceededError,
    UnauthenticatedError,
    UnavailableError,
)

_log = structlog.get_logger("cellkin.server")
_ID = "x-request-id"
_IDS = re.compile(r"[\x21-\x7e]{1,128}")
_LEFT_S = 0.05
_ENDED_S = 0.005
"""After the end of the messages, a cancellation by the client arrives within this time."""


class Exchange:
    """The transport of one request, used by the task that answers it.

    Parameters
    ----------
    context
        The gRPC servicer context.
    method
        The called method.
    """

    __slots__ = (
        "_context", "_task", "call", "metadata", "method", "n_read", "peer", "principal",
        "waits_since", "why",
    )  # fmt: skip

    def __init__(self, context: Any, method: Method) -> None:
        now, left_s = time.perf_counter(), context.time_remaining()
        self._context, self.method = context, method
        self._task: Any = asyncio.current_task()
        self.call = Call(method.name, now, None if left_s is None else now + left_s)
        self.metadata: dict[str, str | bytes] = dict(context.invocation_metadata())
        self.call.id = _request_id(self.metadata)
        self.peer: str = context.peer()
        self.principal: Principal | None = None
        self.n_read = 0
        self.waits_since: float | None = None
        self.why: CellkinError | None = None

    async def read(self) -> bytes | None:
        """Return the next message of the client, or None at the end.

        Raises
        ------
        CellkinError
            The error passed to `end`, or that the client cancelled.
        """
        message = await self._waiting(self._context.read())
        if message is grpc.aio.EOF:
            # Both a half-close and a cancellation end in EOF; wait for the cancellation to arrive.
            await asyncio.sleep(_ENDED_S if self.n_read else _LEFT_S)
            return None
        self.n_read += 1
        return message  # type: ignore[no-any-return]  # bytes, as nothing parses them

    async def write(self, message: bytes) -> None:
        """Send a message, waiting while the client does not read; raises as `read`."""
        await self._waiting(self._context.write(message))

    async def _waiting(self, step: Any) -> Any:
        if self.why is not None:
            step.close()
            raise self.why
        self.waits_since = time.perf_counter()
        try:
            return await step
        except asyncio.CancelledError:
            if self.why is None:
                raise
            self._task.uncancel()
            raise self.why from None
        except grpc.aio.InternalError:
            # Raised if the client left; gRPC cancels this task a moment later.
            await asyncio.sleep(_LEFT_S)
            raise CancelledError("the caller left") from None
        finally:
            self.waits_since = None

    def end(self, why: CellkinError) -> None:
        """End the exchange with an error, at its current or next wait for the client."""
        if self.why is None:
            self.why = why
            if self.waits_since is not None:
                self._task.cancel()

    def when_over(self, then: Callable[[], None]) -> None:
        """Call a function when the RPC is over: everything was sent, or the client left."""
        self._context.add_done_callback(lambda _: then())

    async def close(self, error: CellkinError) -> NoReturn:
        """Abort the RPC with the status of an error; always raises."""
        status = status_of(error)
        sent_before = str(self.metadata.get("grpc-previous-rpc-attempts", ""))
        trailing = status.trailing_metadata + pushback(error, sent_before, self.call.time_left_s())
        trailing += ((_ID, self.call.id),)
        await self._context.abort(status.code, status.details, trailing)
        raise error


def _request_id(metadata: Mapping[str, str | bytes]) -> str:
    """Return the id that the client gave a request, else a random one."""
    given = metadata.get(_ID)
    if isinstance(given, str) and _IDS.fullmatch(given):
        return given
    # Not `uuid4`: reading the system's random numbers releases the GIL, and the event loop would
    # wait for it. Nobody need be unable to guess an id.
    return f"{random.getrandbits(128):032x}"


class Timeouts:
    """Timeouts of waits for clients.

    Parameters
    ----------
    message_s
        Seconds from arrival to the first message.
    idle_s
        Seconds to wait for another message, or for a response to be read.
    age_s
        Seconds from arrival to the end of a stream.
    """

    def __init__(self, message_s: float, idle_s: float, age_s: float) -> None:
        self._message_s, self._idle_s, self._age_s = message_s, idle_s, age_s

    def over(self, exchange: Exchange, now: float) -> CellkinError | None:
        """Return an error if a timeout of a request has passed, else None."""
        since, call = exchange.waits_since, exchange.call
        if now - call.arrived > self._age_s and not exchange.method.lasts:
            return UnavailableError(
                f"a stream is open for at most {self._age_s:g} s; open another for what is left"
            )
        if since is None:
            return None
        if not exchange.n_read and now - call.arrived > self._message_s:
            return DeadlineExceededError(
                f"no whole message came for {self._message_s:g} s, the longest that the server "
                "waits for one; send it right after the request begins, and less at a time on a "
                "slow line"
            )
        if now - since > self._idle_s:
            return DeadlineExceededError(
                f"no message came and no answer was taken for {self._idle_s:g} s, the longest that "
                "the server waits; open another stream for what is left"
            )
        return None


class TimeoutMonitor:
    """Periodically ends open requests that timed out or lost their authorization.

    Parameters
    ----------
    timeouts
        Timeouts of waits for clients.
    may_go_on
        Returns whether the client of a request is still admitted.
    """

    LOOKS_S = 0.25
    """Seconds between checks of timeouts."""
    CALLERS_S = 1.0
    """Seconds between checks of authorization."""

    def __init__(self, timeouts: Timeouts, may_go_on: Callable[[Exchange], bool]) -> None:
        self._timeouts, self._may_go_on = timeouts, may_go_on
        self.open: set[Exchange] = set()

    async def keep(self, beside: Callable[[], None]) -> None:
        """Check until cancelled, calling ``beside`` after each check."""
        looked_s = 0.0
        while True:
            await asyncio.sleep(self.LOOKS_S)
            looked_s += self.LOOKS_S
            try:
                self.look(callers=looked_s >= self.CALLERS_S)
                beside()
            except Exception:  # noqa: BLE001  # the checks must go on
                _log.exception("open requests not checked")
            looked_s %= self.CALLERS_S

    def look(self, callers: bool) -> None:
        """Check every open request once, with ``callers`` also its authorization."""
        now = time.perf_counter()
        for exchange in list(self.open):
            why = self._timeouts.over(exchange, now)
            if why is None and callers and not self._may_go_on(exchange):
                why = UnauthenticatedError(
                    "the server does not know the token any more, or it means another role; ask "
                    "its operator for one"
                )
            if why is not None:
                exchange.end(why)
