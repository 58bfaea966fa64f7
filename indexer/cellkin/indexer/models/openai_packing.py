"""Divide texts between requests within a server's limits."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TypeAlias

TokenCounter: TypeAlias = Callable[[Sequence[str]], list[int]]


@dataclass(frozen=True)
class Limits:
    """What a server takes; the defaults are those of OpenAI.

    Parameters
    ----------
    inputs
        Texts of a request.
    input_tokens
        Tokens of a text. It is held in bytes of UTF-8, which are never fewer: how a text is cut
        must not depend on a tokenizer that is installed on one machine and not on another.
    request_tokens
        Tokens of a request.
    """

    inputs: int = 2048
    input_tokens: int = 8191
    request_tokens: int = 300_000


@dataclass(frozen=True)
class Request:
    """Texts to be sent at once.

    Parameters
    ----------
    rows
        Positions of the texts among those given.
    windows
        For each its windows: one, but for texts longer than the server's window.
    tokens
        For each the tokens of its windows.
    """

    rows: tuple[int, ...]
    windows: tuple[tuple[str, ...], ...]
    tokens: tuple[int, ...]

    @property
    def n_inputs(self) -> int:
        """Inputs of the request."""
        return sum(map(len, self.windows))

    @property
    def n_tokens(self) -> int:
        """Tokens of the request."""
        return sum(self.tokens)

    def halves(self) -> tuple["Request", "Request"]:
        """Return the request as two; it must have two texts."""
        middle = len(self.rows) // 2
        return (
            Request(self.rows[:middle], self.windows[:middle], self.tokens[:middle]),
            Request(self.rows[middle:], self.windows[middle:], self.tokens[middle:]),
        )


def cut(text: str, n_bytes: int) -> tuple[str, ...]:
    """Cut a text into windows of so many bytes at most, between words where there are any."""
    windows = []
    rest = text.strip().encode()
    while len(rest) > n_bytes:
        end = rest[: n_bytes + 1].rfind(b" ")
        if end <= 0:
            end = n_bytes
            # Not inside a sign of several bytes.
            while end > 1 and rest[end] & 0xC0 == 0x80:
                end -= 1
        windows.append(rest[:end].decode())
        rest = rest[end:].lstrip()
    return (*windows, rest.decode())


def pack(
    windows: Sequence[tuple[str, ...]], count_tokens: TokenCounter, limits: Limits
) -> list[Request]:
    """Pack texts, in their order, into as few requests as the limits allow.

    The windows of one text stay in one request.
    """
    flat = [window for of_text in windows for window in of_text]
    counts = iter(count_tokens(flat))
    tokens = [sum(next(counts) for _ in of_text) for of_text in windows]

    def requests() -> Iterator[Request]:
        begin = n_inputs = n_tokens = 0
        for row, of_text in enumerate(windows):
            is_full = (
                n_inputs + len(of_text) > limits.inputs
                or n_tokens + tokens[row] > limits.request_tokens
            )
            if is_full and row > begin:
                yield request(begin, row)
                begin, n_inputs, n_tokens = row, 0, 0
            n_inputs += len(of_text)
            n_tokens += tokens[row]
        if windows:
            yield request(begin, len(windows))

    def request(begin: int, end: int) -> Request:
        return Request(
            tuple(range(begin, end)), tuple(windows[begin:end]), tuple(tokens[begin:end])
        )

    return list(requests())


def utf8_bytes(texts: Sequence[str]) -> list[int]:
    """Return the bytes of texts, which byte-pair tokens never exceed."""
    return [len(text.encode()) for text in texts]


def token_counter() -> TokenCounter:
    """Return a counter of OpenAI's tokens, or of bytes where there is none.

    The package tiktoken, which is optional, fetches its vocabulary at first use.
    """
    try:
        encoding = import_module("tiktoken").get_encoding("cl100k_base")
    except (ImportError, OSError):
        return utf8_bytes
    return lambda texts: [len(ids) for ids in encoding.encode_ordinary_batch(list(texts))]
