"""Pack texts into requests within the limits of an embeddings API."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import islice
from typing import NamedTuple, TypeAlias

TokenCounter: TypeAlias = Callable[[Sequence[str]], list[int]]


@dataclass(frozen=True)
class Limits:
    """Limits of an API; the defaults are those of OpenAI.

    Parameters
    ----------
    inputs
        Inputs per request.
    input_tokens
        Tokens per input. Applied to the number of UTF-8 bytes, which is never smaller: where a
        text is split must not depend on whether a tokenizer is installed.
    request_tokens
        Tokens per request.
    """

    inputs: int = 2048
    input_tokens: int = 8191
    request_tokens: int = 300_000


class Text(NamedTuple):
    """A text of a request: its row among all texts, its windows and their number of tokens."""

    row: int
    windows: tuple[str, ...]
    n_tokens: int


Request: TypeAlias = list[Text]


def split_text(text: str, n_bytes: int) -> tuple[str, ...]:
    """Split a text into windows of at most ``n_bytes`` UTF-8 bytes, at spaces where possible."""
    windows = []
    rest = text.strip().encode()
    while len(rest) > n_bytes:
        end = rest[: n_bytes + 1].rfind(b" ")
        if end <= 0:
            end = n_bytes
            # Do not split a multi-byte character.
            while end > 1 and rest[end] & 0xC0 == 0x80:
                end -= 1
        windows.append(rest[:end].decode())
        rest = rest[end:].lstrip()
    return (*windows, rest.decode())


def pack(texts: Sequence[str], count_tokens: TokenCounter, limits: Limits) -> list[Request]:
    """Pack texts, in order, into as few requests as the limits allow.

    Newlines become spaces, and texts longer than the limit of an input become several windows,
    which stay in one request.
    """
    windows = [split_text(text.replace("\n", " "), limits.input_tokens) for text in texts]
    counts = iter(count_tokens([window for of_text in windows for window in of_text]))
    requests: list[Request] = []
    inputs = tokens = 0
    for row, of_text in enumerate(windows):
        text = Text(row, of_text, sum(islice(counts, len(of_text))))
        inputs += len(of_text)
        tokens += text.n_tokens
        if not requests or inputs > limits.inputs or tokens > limits.request_tokens:
            requests.append([])
            inputs, tokens = len(of_text), text.n_tokens
        requests[-1].append(text)
    return requests


def n_inputs(request: Request) -> int:
    """Return the number of inputs of a request."""
    return sum(len(text.windows) for text in request)


def halves(request: Request) -> list[Request]:
    """Split a request of at least two texts in two."""
    middle = len(request) // 2
    return [request[:middle], request[middle:]]


def utf8_bytes(texts: Sequence[str]) -> list[int]:
    """Return the UTF-8 bytes of texts, which the tokens of byte-pair encoding never exceed."""
    return [len(text.encode()) for text in texts]


def token_counter() -> TokenCounter:
    """Return a counter of OpenAI's tokens, or `utf8_bytes` if it is not available.

    It needs the optional package tiktoken, which downloads its vocabulary at first use.
    """
    try:
        encoding = import_module("tiktoken").get_encoding("cl100k_base")
    except (ImportError, OSError):
        return utf8_bytes
    return lambda texts: [len(ids) for ids in encoding.encode_ordinary_batch(list(texts))]
