"""Requests as data, and descriptors that turn them into methods of a client.

A function of `cellkin.client.calls` returns a `Call`, `Pages`, `Joined`, `Stream` or `Exchange`:
messages, how to read the responses, and the versions they must be from. Clients implement
`BlockingSender` or `AwaitedSender`. The descriptors turn such a function into a method of either
client, with the function's own parameters and documentation.
"""

from abc import ABC, abstractmethod
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import dataclass, field
from functools import update_wrapper
from operator import attrgetter
from typing import Any, Generic, ParamSpec, Self, TypeAlias, TypeVar, overload

from cellkin.client.arguments import require_types
from cellkin.client.results.versions import Versions

Given = ParamSpec("Given")
Answer = TypeVar("Answer")
Item = TypeVar("Item")
First = TypeVar("First")
Blocking = TypeVar("Blocking")
Awaited = TypeVar("Awaited")
Blocks: TypeAlias = Iterable[Any] | AsyncIterable[Any]


def nothing_then(answer: object) -> None:
    """Default of ``then``: the first response asks for no message, so blocks follow."""


def no_versions(answer: object) -> Versions:
    """Default of ``versions``: the response carries no versions."""
    return Versions()


of_answer: Callable[[Any], Versions] = attrgetter("versions")
"""Returns the versions in a response."""


@dataclass(frozen=True)
class Call(Generic[Answer]):
    """One request with one response.

    Parameters
    ----------
    method
        ``Service/Method``.
    request
        The request message.
    read
        Converts the response message.
    versions
        Returns the versions of the response.
    pins
        Required versions; see `Versions.require`.
    """

    method: str
    request: Any
    read: Callable[[Any], Answer]
    versions: Callable[[Answer], Versions] = no_versions
    pins: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Pages(Generic[Item]):
    """A paginated list.

    Parameters
    ----------
    page
        Returns the call for the page of a token; its result is the items and the next token, empty
        on the last page.
    """

    page: Callable[[str], Call[tuple[list[Item], str]]]


@dataclass(frozen=True)
class Stream(Generic[First, Item]):
    """A bidirectional stream of blocks and their responses.

    Parameters
    ----------
    method
        ``Service/Method``.
    opening
        Messages to send before the first response.
    blocks
        The blocks to send.
    message
        Returns the message for a block.
    read_first, read
        Convert the first response, and each of the others: one per block.
    versions
        Returns the versions of the first response.
    pins
        Required versions; see `Versions.require`.
    then
        Returns the message that the first response asks for, or None. If one is sent, another first
        response follows and replaces the first.
    n_ahead
        Blocks sent with the opening, without waiting for the first response; up to
        `cellkin.client.transport.connection.MAX_IN_FLIGHT`.
    answered
        Whether each block has a response; otherwise one response follows the last block.
    """

    method: str
    opening: Sequence[Any]
    blocks: Blocks
    message: Callable[[Any], Any]
    read_first: Callable[[Any], First]
    read: Callable[[Any], Item]
    versions: Callable[[First], Versions] = of_answer
    pins: Mapping[str, str] = field(default_factory=dict)
    then: Callable[[First], Any | None] = nothing_then
    n_ahead: int = 0
    answered: bool = True


@dataclass(frozen=True)
class Exchange(Generic[First, Item, Answer]):
    """A stream whose blocks have one response in all.

    Parameters
    ----------
    stream
        The stream.
    join
        Returns the result for the first response and the last.
    """

    stream: Stream[First, Item]
    join: Callable[[First, Item], Answer]


@dataclass(frozen=True)
class Joined(Generic[Item, Answer]):
    """A paginated list that is one result.

    Parameters
    ----------
    pages
        The list.
    join
        Returns the result for all its items.
    """

    pages: Pages[Item]
    join: Callable[[list[Item]], Answer]


class BlockingSender(ABC):
    """Sends requests and waits for the responses."""

    @abstractmethod
    def _ask(self, call: Call[Answer]) -> Answer: ...

    @abstractmethod
    def _list(self, pages: Pages[Item]) -> Iterator[Item]: ...

    @abstractmethod
    def _open(self, stream: Stream[First, Item]) -> tuple[First, Generator[Item, None, None]]: ...

    def _finish(self, exchange: Exchange[First, Item, Answer]) -> Answer:
        first, answers = self._open(exchange.stream)
        (last,) = answers
        return exchange.join(first, last)

    def _collect(self, joined: Joined[Item, Answer]) -> Answer:
        return joined.join(list(self._list(joined.pages)))


class AwaitedSender(ABC):
    """Sends requests asynchronously."""

    @abstractmethod
    async def _ask(self, call: Call[Answer]) -> Answer: ...

    @abstractmethod
    def _list(self, pages: Pages[Item]) -> AsyncIterator[Item]: ...

    @abstractmethod
    async def _open(self, stream: Stream[First, Item]) -> tuple[First, AsyncGenerator[Item]]: ...

    async def _finish(self, exchange: Exchange[First, Item, Answer]) -> Answer:
        first, answers = await self._open(exchange.stream)
        (last,) = [answer async for answer in answers]
        return exchange.join(first, last)

    async def _collect(self, joined: Joined[Item, Answer]) -> Answer:
        return joined.join([item async for item in self._list(joined.pages)])


class Method(Generic[Given, Blocking, Awaited]):
    """A function that makes a request, as a method of both clients.

    Use `asks`, `lists`, `streams`, `exchanges` or `collects` to make one.

    Parameters
    ----------
    make
        The function; the method has its parameters and documentation.
    sender
        Name of the method of `BlockingSender` and `AwaitedSender` that sends what it returns.
    """

    def __init__(self, make: Callable[Given, Any], sender: str) -> None:
        self._make, self._sender = make, sender
        update_wrapper(self, make)

    def __call__(self, client: Any, *given: Given.args, **named: Given.kwargs) -> Any:
        """Call as an unbound method, with the client as first argument."""
        require_types(self._make, given, named)
        return getattr(client, self._sender)(self._make(*given, **named))

    @overload
    def __get__(self, client: None, owner: type) -> Self: ...
    @overload
    def __get__(self, client: BlockingSender, owner: type) -> Callable[Given, Blocking]: ...
    @overload
    def __get__(self, client: AwaitedSender, owner: type) -> Callable[Given, Awaited]: ...
    def __get__(self, client: Any, owner: type) -> Any:
        if client is None:
            return self

        def method(*given: Given.args, **named: Given.kwargs) -> Any:
            return self(client, *given, **named)

        return update_wrapper(method, self._make)


def asks(make: Callable[Given, Call[Answer]]) -> Method[Given, Answer, Awaitable[Answer]]:
    """Make a method of a function that returns a `Call`."""
    return Method(make, "_ask")


def lists(make: Callable[Given, Pages[Item]]) -> Method[Given, Iterator[Item], AsyncIterator[Item]]:
    """Make a method of a function that returns `Pages`."""
    return Method(make, "_list")


def streams(
    make: Callable[Given, Stream[First, Item]],
) -> Method[
    Given,
    tuple[First, Generator[Item, None, None]],
    Awaitable[tuple[First, AsyncGenerator[Item]]],
]:
    """Make a method of a function that returns a `Stream`."""
    return Method(make, "_open")


def exchanges(
    make: Callable[Given, Exchange[Any, Any, Answer]],
) -> Method[Given, Answer, Awaitable[Answer]]:
    """Make a method of a function that returns an `Exchange`."""
    return Method(make, "_finish")


def collects(
    make: Callable[Given, Joined[Any, Answer]],
) -> Method[Given, Answer, Awaitable[Answer]]:
    """Make a method of a function that returns `Joined`."""
    return Method(make, "_collect")
