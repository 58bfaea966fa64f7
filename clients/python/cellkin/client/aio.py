"""The client whose methods are awaited."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Mapping
from functools import cached_property
from typing import Any, Self

import grpc.aio

from cellkin.client.client import rules_of
from cellkin.client.connection import MAX_IN_FLIGHT, Channel, Patience
from cellkin.client.core import Answer, AwaitedSender, Call, First, Item, Pages, Stream
from cellkin.client.surface import Surface
from cellkin.client.tls import Tls
from cellkin.wire.errors import CellkinError


class AsyncClient(Surface, AwaitedSender):
    """A connection to a cellkin server; close it, or use it in an ``async with`` block.

    It has the methods of `cellkin.client.Client`, awaited, and serves one event loop.

    Parameters
    ----------
    server, profile, token, tls, timeout_s, attempts, pins
        As for `cellkin.client.Client`.

    Raises
    ------
    InvalidArgumentError, InputFileError
        As `cellkin.client.Client`.
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

    async def __aenter__(self) -> Self:
        """Return the client."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connection."""
        await self.close()

    async def close(self) -> None:
        """Close the connection."""
        await self._channel.channel.close()

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

    @cached_property
    def _channel(self) -> Channel:
        # Made at the first request: a channel belongs to the event loop that runs then.
        return Channel(self._rules.endpoint, grpc.aio)

    async def _ask(self, call: Call[Answer]) -> Answer:
        rules, method = self._rules, self._channel.method(call.method)
        patience = Patience(rules, again=call.again)
        while True:
            try:
                with rules.told():
                    message = await method(
                        call.request, timeout=patience.left_s, metadata=rules.metadata
                    )
                break
            except CellkinError as error:
                await asyncio.sleep(patience.delay_s(error))
        answer = call.read(message)
        call.versions(answer).require({**rules.pins, **call.pins})
        return answer

    async def _list(self, pages: Pages[Item]) -> AsyncIterator[Item]:
        token = ""
        while True:
            items, token = await self._ask(pages.page(token))
            for item in items:
                yield item
            if not token:
                return

    async def _open(self, stream: Stream[First, Item]) -> tuple[First, AsyncGenerator[Item]]:
        rules, method = self._rules, self._channel.method(stream.method)
        patience = Patience(rules)
        while True:
            waiting: asyncio.Queue[Any] = asyncio.Queue()
            for message in stream.opening:
                waiting.put_nowait(message)
            call = method(_messages(waiting), metadata=rules.metadata)
            answers = aiter(call)
            try:
                with rules.told():
                    first = stream.read_first(await anext(answers))
                stream.versions(first).require({**rules.pins, **stream.pins})
            except BaseException as error:
                waiting.put_nowait(None)
                call.cancel()
                if not isinstance(error, CellkinError):
                    raise
                await asyncio.sleep(patience.delay_s(error))
            else:
                return first, self._exchange(stream, waiting, call, answers)

    async def _exchange(
        self, stream: Stream[First, Item], waiting: Any, call: Any, answers: Any
    ) -> AsyncGenerator[Item]:
        async def answer() -> Item:
            with self._rules.told():
                message = await anext(answers, None)
            if message is None:
                raise self._rules.ended()
            return stream.read(message)

        in_flight = 0
        try:
            async for block in _each(stream.blocks):
                waiting.put_nowait(stream.message(block))
                in_flight += 1
                if in_flight == MAX_IN_FLIGHT:
                    yield await answer()
                    in_flight -= 1
            waiting.put_nowait(None)
            for _ in range(in_flight):
                yield await answer()
        finally:
            waiting.put_nowait(None)
            call.cancel()


async def _messages(waiting: "asyncio.Queue[Any]") -> AsyncIterator[Any]:
    while (message := await waiting.get()) is not None:
        yield message


async def _each(blocks: Iterable[Any] | AsyncIterable[Any]) -> AsyncIterator[Any]:
    if isinstance(blocks, AsyncIterable):
        async for block in blocks:
            yield block
    else:
        for block in blocks:
            yield block
