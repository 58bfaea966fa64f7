"""The asynchronous client."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable
from typing import Any, Self

import grpc.aio

from cellkin.client.base import BaseClient
from cellkin.client.transport.connection import MAX_IN_FLIGHT
from cellkin.client.transport.core import Answer, AwaitedSender, Call, First, Item, Pages, Stream


class AsyncClient(BaseClient, AwaitedSender):
    """A connection to a cellkin server; close it, or use it in an ``async with`` block.

    It has the methods of `cellkin.client.Client` as coroutines and belongs to one event loop.

    Parameters
    ----------
    server, profile, token, tls, timeout_s, attempts, pins
        As for `cellkin.client.Client`.

    Raises
    ------
    InvalidArgumentError, InputFileError
        As `cellkin.client.Client`.
    """

    _library = grpc.aio

    async def __aenter__(self) -> Self:
        """Return the client."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connection."""
        await self.close()

    async def close(self) -> None:
        """Close the connection, also for clients that `using` derived from this one."""
        self._closed.set()
        await self._channel.channel.close()

    async def _ask(self, call: Call[Answer]) -> Answer:
        self._require_open()
        rules, method = self._rules, self._channel.method(call.method)
        with rules.told():
            message = await method(call.request, timeout=rules.timeout_s, metadata=rules.metadata)
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
        self._require_open()
        blocks = _each(stream.blocks)
        ahead: list[Any] = []
        while len(ahead) < stream.n_ahead and (block := await anext(blocks, None)) is not None:
            ahead.append(stream.message(block))
        waiting: asyncio.Queue[Any] = asyncio.Queue()
        for message in (*stream.opening, *ahead):
            waiting.put_nowait(message)
        method = self._channel.method(stream.method)
        call = method(_messages(waiting), metadata=self._rules.metadata)
        answers = aiter(call)
        try:
            first = await self._first(stream, waiting, answers)
        except BaseException:
            waiting.put_nowait(None)
            call.cancel()
            raise
        exchange = self._exchange(stream, blocks, len(ahead), waiting, call, answers)
        # Once started, its `finally` ends the call even if no response is ever consumed.
        await anext(exchange)
        return first, exchange

    async def _first(self, stream: Stream[First, Any], waiting: Any, answers: Any) -> First:
        """Return the first response, or the second if the first one asks for a message."""
        first = stream.read_first(await self._next(answers))
        self._require(stream, first)
        message = stream.then(first)
        if message is not None:
            waiting.put_nowait(message)
            first = stream.read_first(await self._next(answers))
            self._require(stream, first)
        return first

    async def _next(self, answers: Any) -> Any:
        with self._rules.told():
            message = await anext(answers, None)
        if message is None:
            raise self._rules.ended()
        return message

    async def _exchange(
        self,
        stream: Stream[Any, Item],
        blocks: AsyncIterator[Any],
        in_flight: int,
        waiting: Any,
        call: Any,
        answers: Any,
    ) -> AsyncGenerator[Any]:
        """Yield None, then the responses to the blocks, in order."""
        try:
            yield None
            async for block in blocks:
                if stream.answered and in_flight >= MAX_IN_FLIGHT:
                    yield stream.read(await self._next(answers))
                    in_flight -= 1
                waiting.put_nowait(stream.message(block))
                in_flight += 1
            waiting.put_nowait(None)
            for _ in range(in_flight if stream.answered else 1):
                yield stream.read(await self._next(answers))
            # The server counts a call as canceled unless it is read to its status.
            with self._rules.told():
                await anext(answers, None)
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
