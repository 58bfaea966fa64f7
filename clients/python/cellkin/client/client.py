"""The blocking client."""

from collections.abc import AsyncIterable, Generator, Iterable, Iterator
from itertools import islice
from queue import SimpleQueue
from typing import Any, Self

import grpc

from cellkin.client.base import BaseClient
from cellkin.client.transport.connection import MAX_IN_FLIGHT
from cellkin.client.transport.core import (
    Answer,
    BlockingSender,
    Blocks,
    Call,
    First,
    Item,
    Pages,
    Stream,
)
from cellkin.wire.errors import InvalidArgumentError


class Client(BaseClient, BlockingSender):
    """A connection to a cellkin server; close it, or use it in a ``with`` block.

    Parameters
    ----------
    server
        ``host:port``; None to take it from the environment or a profile, see
        ``cellkin.client.transport.profile``. Their token and TLS settings apply to their own server
        only.
    profile
        Name of a profile in the user's file, instead of a server.
    token
        Token sent with every request; only over TLS, or to this machine.
    tls
        TLS settings; None for an unencrypted connection.
    timeout_s
        Timeout of a single request in seconds, including waits for a busy server; streams of cells
        may take longer. `using` sets another for some requests.
    attempts
        Maximum number of times a request is sent if the server is busy or does not respond, 1 to 5.
        A busy server states how long to wait. A stream is not sent again after its first response,
        nor a change of the catalog if it is unknown whether it was made.
    pins
        Required versions of every response: any of ``index``, ``embedding``, ``corpus`` by full
        name ``NAME@DATE.N``, and ``space_digest``. A response from another version is refused.

    Raises
    ------
    InvalidArgumentError
        If a token would be sent unencrypted, an argument is out of range, or a pin is invalid.
    InputFileError
        If a profile or TLS file cannot be read.
    """

    _library = grpc

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection."""
        self.close()

    def close(self) -> None:
        """Close the connection, also for clients that `using` derived from this one."""
        self._closed.set()
        self._channel.channel.close()

    def _ask(self, call: Call[Answer]) -> Answer:
        self._require_open()
        rules, method = self._rules, self._channel.method(call.method)
        with rules.told():
            message = method(call.request, timeout=rules.timeout_s, metadata=rules.metadata)
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
        blocks = iter(_blocking(stream.blocks))
        self._require_open()
        ahead = [stream.message(block) for block in islice(blocks, stream.n_ahead)]
        # gRPC takes messages from its own thread, which outlives a failed call. Blocks are read in
        # the caller's thread: a file library whose lock is held by a dying thread would hang the
        # process at exit.
        waiting: SimpleQueue[Any] = SimpleQueue()
        for message in (*stream.opening, *ahead):
            waiting.put(message)
        method = self._channel.method(stream.method)
        answers = method(iter(waiting.get, None), metadata=self._rules.metadata)
        try:
            first = self._first(stream, waiting, answers)
        except BaseException:
            waiting.put(None)
            answers.cancel()
            raise
        exchange = self._exchange(stream, blocks, len(ahead), waiting, answers)
        # Once started, its `finally` ends the call even if no response is ever consumed.
        next(exchange)
        return first, exchange

    def _first(self, stream: Stream[First, Any], waiting: Any, answers: Any) -> First:
        """Return the first response, or the second if the first one asks for a message."""
        first = stream.read_first(self._next(answers))
        self._require(stream, first)
        message = stream.then(first)
        if message is not None:
            waiting.put(message)
            first = stream.read_first(self._next(answers))
            self._require(stream, first)
        return first

    def _next(self, answers: Any) -> Any:
        with self._rules.told():
            message = next(answers, None)
        if message is None:
            raise self._rules.ended()
        return message

    def _exchange(
        self,
        stream: Stream[Any, Item],
        blocks: Iterator[Any],
        in_flight: int,
        waiting: Any,
        answers: Any,
    ) -> Generator[Any, None, None]:
        """Yield None, then the responses to the blocks, in order."""
        try:
            yield None
            for block in blocks:
                if stream.answered and in_flight >= MAX_IN_FLIGHT:
                    yield stream.read(self._next(answers))
                    in_flight -= 1
                waiting.put(stream.message(block))
                in_flight += 1
            waiting.put(None)
            for _ in range(in_flight if stream.answered else 1):
                yield stream.read(self._next(answers))
            # The server counts a call as canceled unless it is read to its status.
            with self._rules.told():
                next(answers, None)
        finally:
            waiting.put(None)
            answers.cancel()


def _blocking(blocks: Blocks) -> Iterable[Any]:
    if isinstance(blocks, AsyncIterable):
        raise InvalidArgumentError("the blocks are asynchronous; give them to an AsyncClient")
    return blocks
