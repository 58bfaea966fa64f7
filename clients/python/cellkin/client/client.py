"""The client whose methods wait for their answers."""

import time
from collections.abc import AsyncIterable, Generator, Iterable, Iterator, Mapping
from dataclasses import replace
from queue import SimpleQueue
from typing import Any, Self

import grpc

from cellkin.client.connection import MAX_IN_FLIGHT, Channel, Patience, Rules
from cellkin.client.core import Answer, BlockingSender, Blocks, Call, First, Item, Pages, Stream
from cellkin.client.profile import Endpoint, find_endpoint
from cellkin.client.surface import Surface
from cellkin.client.tls import Tls
from cellkin.wire.errors import CellkinError, InvalidArgumentError


def rules_of(
    server: str | None,
    profile: str | None,
    token: str | None,
    tls: Tls | None,
    timeout_s: float,
    attempts: int,
    pins: Mapping[str, str] | None,
) -> Rules:
    """Return the rules that a client's arguments make; see `Client`."""
    if server is not None and profile is not None:
        raise InvalidArgumentError(f"server {server!r} and profile {profile!r}; give one of them")
    endpoint = find_endpoint(profile) if server is None else Endpoint(server)
    given = {"token": token, "tls": tls}
    endpoint = replace(endpoint, **{what: to for what, to in given.items() if to is not None})  # type: ignore[arg-type]
    return Rules(endpoint, timeout_s, attempts, pins or {})


class Client(Surface, BlockingSender):
    """A connection to a cellkin server; close it, or use it in a ``with`` block.

    Parameters
    ----------
    server
        ``host:port``; None for what the environment or a profile says, see
        `cellkin.client.profile`. What these say of a token and of TLS is for their own server
        alone.
    profile
        A profile of the user's file instead.
    token
        Sent with every request; only over TLS, or to this machine.
    tls
        How the connection is encrypted; None for not at all.
    timeout_s
        Seconds a single answer may take, waiting for a busy server among them; streams of cells may
        take longer. `using` sets another for some requests.
    attempts
        How often a request is sent in all while the server has too much to do or does not answer.
        A busy server says how long to wait.
    pins
        What every answer must be made from: any of ``index``, ``embedding``, ``corpus`` by full
        name ``NAME@DATE.N``, and ``space_digest``. An answer from another version is refused.

    Raises
    ------
    InvalidArgumentError
        If a token would be readable on its way, a bound is out of range, or a pin is none.
    InputFileError
        If a file of the profile or of TLS cannot be read.
    """

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
        self._rules = rules_of(server, profile, token, tls, timeout_s, attempts, pins)
        self._channel = Channel(self._rules.endpoint, grpc)

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection."""
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._channel.channel.close()

    def using(
        self, *, timeout_s: float | None = None, pins: Mapping[str, str] | None = None
    ) -> Self:
        """Return a client on the same connection with another deadline or other pins.

        Parameters
        ----------
        timeout_s, pins
            As for the client; None for the same as here.
        """
        other = type(self).__new__(type(self))
        other._rules = self._rules.changed(timeout_s=timeout_s, pins=pins)
        other._channel = self._channel
        return other

    def _ask(self, call: Call[Answer]) -> Answer:
        rules, method = self._rules, self._channel.method(call.method)
        patience = Patience(rules, again=call.again)
        while True:
            try:
                with rules.told():
                    message = method(call.request, timeout=patience.left_s, metadata=rules.metadata)
                break
            except CellkinError as error:
                time.sleep(patience.delay_s(error))
        answer = call.read(message)
        call.versions(answer).require({**rules.pins, **call.pins})
        return answer

    def _list(self, pages: Pages[Item]) -> Iterator[Item]:
        token = ""
        while True:
            items, token = self._ask(pages.page(token))
            yield from items
            if not token:
                return

    def _open(self, stream: Stream[First, Item]) -> tuple[First, Generator[Item, None, None]]:
        _blocking(stream.blocks)
        rules, method = self._rules, self._channel.method(stream.method)
        patience = Patience(rules)
        while True:
            # gRPC takes the messages from a thread of its own, which outlives a call that fails.
            # The blocks are read in the caller's thread: a file library whose lock a dying thread
            # holds would hang the process at its end.
            waiting: SimpleQueue[Any] = SimpleQueue()
            for message in stream.opening:
                waiting.put(message)
            answers = method(iter(waiting.get, None), metadata=rules.metadata)
            try:
                with rules.told():
                    first = stream.read_first(next(answers))
                stream.versions(first).require({**rules.pins, **stream.pins})
            except BaseException as error:
                waiting.put(None)
                answers.cancel()
                if not isinstance(error, CellkinError):
                    raise
                time.sleep(patience.delay_s(error))
            else:
                return first, self._exchange(stream, waiting, answers)

    def _exchange(
        self, stream: Stream[First, Item], waiting: Any, answers: Any
    ) -> Generator[Item, None, None]:
        def answer() -> Item:
            with self._rules.told():
                message = next(answers, None)
            if message is None:
                raise self._rules.ended()
            return stream.read(message)

        in_flight = 0
        try:
            for block in _blocking(stream.blocks):
                waiting.put(stream.message(block))
                in_flight += 1
                if in_flight == MAX_IN_FLIGHT:
                    yield answer()
                    in_flight -= 1
            waiting.put(None)
            for _ in range(in_flight):
                yield answer()
        finally:
            waiting.put(None)
            answers.cancel()


def _blocking(blocks: Blocks) -> Iterable[Any]:
    if isinstance(blocks, AsyncIterable):
        raise InvalidArgumentError("the blocks are asynchronous; give them to an AsyncClient")
    return blocks
