"""What a request is, whoever sends it, and how requests become methods of a client.

A function of `cellkin.client.calls` makes a `Call`, `Pages` or `Stream`: messages, how the answers
are read, and which versions they must be made from. `Sender` says what a client can do with them;
there is one that blocks and one that is awaited. The descriptors here turn such a function into a
method of either, with the function's own parameters and documentation.
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
Blocks: TypeAlias = Iterable[Any] | AsyncIterable[Any]


def nothing_then(answer: object) -> None:
    """Return None: the first answer asks for no message, so blocks follow it."""


def no_versions(answer: object) -> Versions:
    """Say of an answer that it names no versions it was made from."""
    return Versions()


of_answer: Callable[[Any], Versions] = attrgetter("versions")
"""Returns the versions that an answer names."""


@dataclass(frozen=True)
class Call(Generic[Answer]):
    """One request that has one answer.

    Parameters
    ----------
    method
        ``Service/Method``.
    request
        The message.
    read
        Reads the answer.
    versions
        Returns what the answer was made from.
    pins
        What that must be; see `Versions.require`.
    again
        Whether it may be sent again when nobody knows whether it was done.
    """

    method: str
    request: Any
    read: Callable[[Any], Answer]
    versions: Callable[[Answer], Versions] = no_versions
    pins: Mapping[str, str] = field(default_factory=dict)
    again: bool = True


@dataclass(frozen=True)
class Pages(Generic[Item]):
    """A list that comes in pages.

    Parameters
    ----------
    page
        Returns the call for the page of a token; its answer is the items and the next token, empty
        on the last page.
    """

    page: Callable[[str], Call[tuple[list[Item], str]]]


@dataclass(frozen=True)
class Stream(Generic[First, Item]):
    """Blocks that go one way while their answers come the other.

    Parameters
    ----------
    method
        ``Service/Method``.
    opening
        Messages before the first answer.
    blocks
        What is asked, one by one.
    message
        Returns the message of a block.
    read_first, read
        Read the first answer, and each of the others: one a block.
    versions
        Returns what the first answer was made from.
    pins
        What that must be; see `Versions.require`.
    then
        Returns the message that the first answer asks for, None for none. Where one is sent another
        first answer follows, and counts.
    n_ahead
        Blocks sent with the opening, without waiting for the first answer; up to
        `cellkin.client.connection.MAX_IN_FLIGHT`. They are read once, however often the stream is
        opened.
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


class BlockingSender(ABC):
    """Sends requests and waits for their answers."""

    @abstractmethod
    def _ask(self, call: Call[Answer]) -> Answer: ...

    @abstractmethod
    def _list(self, pages: Pages[Item]) -> Iterator[Item]: ...

    @abstractmethod
    def _open(self, stream: Stream[First, Item]) -> tuple[First, Generator[Item, None, None]]: ...


class AwaitedSender(ABC):
    """Sends requests; their answers are awaited."""

    @abstractmethod
    async def _ask(self, call: Call[Answer]) -> Answer: ...

    @abstractmethod
    def _list(self, pages: Pages[Item]) -> AsyncIterator[Item]: ...

    @abstractmethod
    async def _open(self, stream: Stream[First, Item]) -> tuple[First, AsyncGenerator[Item]]: ...


class _Method(ABC, Generic[Given]):
    """What all methods share: the parameters and the documentation of a function."""

    def __init__(self, make: Callable[Given, Any]) -> None:
        self._make = make
        update_wrapper(self, make)

    def _bound(self, send: Callable[[Any], Any]) -> Any:
        def method(*given: Given.args, **named: Given.kwargs) -> Any:
            require_types(self._make, given, named)
            return send(self._make(*given, **named))

        return update_wrapper(method, self._make)

    def __call__(self, client: Any, *given: Given.args, **named: Given.kwargs) -> Any:
        """Call the method of a client, as functions of a class can be."""
        return self.__get__(client, type(client))(*given, **named)

    @abstractmethod
    def __get__(self, client: Any, owner: type) -> Any: ...


class asks(_Method[Given], Generic[Given, Answer]):
    """Make a method of a function that returns a `Call`."""

    def __init__(self, make: Callable[Given, Call[Answer]]) -> None:
        super().__init__(make)

    @overload
    def __get__(self, client: None, owner: type) -> Self: ...
    @overload
    def __get__(self, client: BlockingSender, owner: type) -> Callable[Given, Answer]: ...
    @overload
    def __get__(self, client: AwaitedSender, owner: type) -> Callable[Given, Awaitable[Answer]]: ...
    def __get__(self, client: Any, owner: type) -> Any:
        return self if client is None else self._bound(client._ask)


class lists(_Method[Given], Generic[Given, Item]):
    """Make a method of a function that returns `Pages`."""

    def __init__(self, make: Callable[Given, Pages[Item]]) -> None:
        super().__init__(make)

    @overload
    def __get__(self, client: None, owner: type) -> Self: ...
    @overload
    def __get__(self, client: BlockingSender, owner: type) -> Callable[Given, Iterator[Item]]: ...
    @overload
    def __get__(
        self, client: AwaitedSender, owner: type
    ) -> Callable[Given, AsyncIterator[Item]]: ...
    def __get__(self, client: Any, owner: type) -> Any:
        return self if client is None else self._bound(client._list)


class streams(_Method[Given], Generic[Given, First, Item]):
    """Make a method of a function that returns a `Stream`."""

    def __init__(self, make: Callable[Given, Stream[First, Item]]) -> None:
        super().__init__(make)

    @overload
    def __get__(self, client: None, owner: type) -> Self: ...
    @overload
    def __get__(
        self, client: BlockingSender, owner: type
    ) -> Callable[Given, tuple[First, Generator[Item, None, None]]]: ...
    @overload
    def __get__(
        self, client: AwaitedSender, owner: type
    ) -> Callable[Given, Awaitable[tuple[First, AsyncGenerator[Item]]]]: ...
    def __get__(self, client: Any, owner: type) -> Any:
        return self if client is None else self._bound(client._open)
