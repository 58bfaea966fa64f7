"""What both clients share: arguments, the connection, and clients derived from another."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from threading import Event
from typing import Any, Self

import grpc

from cellkin.client.arguments import typed
from cellkin.client.surface import Surface
from cellkin.client.transport.connection import Channel, Rules
from cellkin.client.transport.core import First, Stream
from cellkin.client.transport.profile import Endpoint, find_endpoint
from cellkin.client.transport.tls import Tls
from cellkin.wire.errors import FailedPreconditionError, InvalidArgumentError


class BaseClient(Surface):
    """A connection to a server; see `cellkin.client.Client` for the parameters."""

    _library: Any
    """``grpc`` or ``grpc.aio``."""

    @typed
    def __init__(
        self,
        server: str | None = None,
        *,
        profile: str | None = None,
        token: str | None = None,
        tls: Tls | None = None,
        timeout_s: float = 60.0,
        attempts: int = 4,
        pins: Mapping[str, str] | None = None,
    ) -> None:
        if server is not None and profile is not None:
            raise InvalidArgumentError(
                f"server {server!r} and profile {profile!r}; give one of them"
            )
        endpoint = find_endpoint(profile) if server is None else Endpoint(server)
        given = {"token": token, "tls": tls}
        endpoint = replace(endpoint, **{what: to for what, to in given.items() if to is not None})  # type: ignore[arg-type]
        self._rules = Rules(endpoint, timeout_s, attempts, pins or {})
        self._parent: Self | None = None
        self._closed = Event()
        if self._library is grpc:  # a channel of grpc.aio belongs to the loop of its first request
            _ = self._channel

    @typed
    def using(
        self, *, timeout_s: float | None = None, pins: Mapping[str, str] | None = None
    ) -> Self:
        """Return a client on the same connection with another deadline or other pins.

        Parameters
        ----------
        timeout_s, pins
            As for the client; None keeps the current value.
        """
        other = type(self).__new__(type(self))
        other._rules = self._rules.changed(timeout_s=timeout_s, pins=pins)
        other._parent, other._closed = self, self._closed
        return other

    @cached_property
    def _channel(self) -> Channel:
        if self._parent is not None:
            return self._parent._channel
        return Channel(self._rules.endpoint, self._library, self._rules.attempts)

    def _require_open(self) -> None:
        if self._closed.is_set():
            raise FailedPreconditionError("the client was closed; make a new one")

    def _require(self, stream: Stream[First, Any], first: First) -> None:
        stream.versions(first).require({**self._rules.pins, **stream.pins})
