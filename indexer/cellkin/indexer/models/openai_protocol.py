"""The OpenAI embeddings protocol: what a request says, and what is believed of an answer."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from cellkin.space.arrays import Float32Matrix, Float32Vector
from cellkin.wire.errors import DimensionMismatchError, FailedPreconditionError

OPENAI_HOST = "api.openai.com"


@dataclass(frozen=True)
class Endpoint:
    """Where requests go and what they ask for.

    Parameters
    ----------
    base_url
        URL of the API up to the version, such as ``https://api.openai.com/v1``.
    model
        Model as the server names it.
    dim
        Width the vectors must have; None takes any.
    asks_dim
        Whether the width is asked for: only models that can shorten their vectors take that.
    key
        API key, "" for servers that need none. It is shown nowhere.
    timeout_s
        How long the server may be silent.
    """

    base_url: str
    model: str
    dim: int | None = None
    asks_dim: bool = False
    key: str = field(default="", repr=False)
    timeout_s: float = 120.0

    @property
    def host(self) -> str:
        """Host and port, without the user and password a URL can carry."""
        return urlsplit(self.base_url).netloc.rpartition("@")[2]

    @property
    def is_openai(self) -> bool:
        """Whether it is OpenAI itself, and not a server that speaks like it."""
        return urlsplit(self.base_url).hostname == OPENAI_HOST

    def body(self, texts: Sequence[str]) -> dict[str, Any]:
        """Return the JSON of a request."""
        body: dict[str, Any] = {
            "model": self.model,
            "input": list(texts),
            # Others ignore or refuse base64; OpenAI's answers are a quarter of the size by it.
            "encoding_format": "base64" if self.is_openai else "float",
        }
        if self.asks_dim:
            body["dimensions"] = self.dim
        return body


def read_vectors(answer: Any, n_texts: int, endpoint: Endpoint) -> Float32Matrix:
    """Read the vectors of an answer, believing nothing.

    Parameters
    ----------
    answer
        The JSON of the answer.
    n_texts
        Texts of the request.
    endpoint
        What was asked, for the errors and the width.

    Returns
    -------
    Float32Matrix
        (n_texts, dim) float32 in the order of the texts, whatever the order of the answer.

    Raises
    ------
    FailedPreconditionError
        If it does not have one vector of finite numbers for each text.
    DimensionMismatchError
        If vectors are of different widths, or not as wide as was asked.
    """
    where = f"{endpoint.host}, model {endpoint.model}"
    try:
        items = sorted(answer["data"], key=lambda item: int(item["index"]))
        found = [int(item["index"]) for item in items]
        rows = [_read_vector(item["embedding"]) for item in items]
    except (KeyError, TypeError, ValueError) as error:
        raise FailedPreconditionError(
            f"{where}: the answer is not one to an embeddings request "
            f"({type(error).__name__}: {error}); is the base URL right?"
        ) from error
    if found != list(range(n_texts)):
        raise FailedPreconditionError(
            f"{where}: {n_texts} texts were sent, but the answer has {len(found)} vectors with "
            f"{len(set(found) & set(range(n_texts)))} of their numbers"
        )
    widths = sorted({len(row) for row in rows})
    if len(widths) > 1 or widths[0] != (endpoint.dim or widths[0]):
        expected = f"{endpoint.dim} were expected" if endpoint.dim else "all must have the same"
        raise DimensionMismatchError(
            f"{where}: the vectors have {' and '.join(map(str, widths))} dimensions, {expected}"
        )
    vectors = np.stack(rows)
    if not np.isfinite(vectors).all():
        raise FailedPreconditionError(
            f"{where}: {int((~np.isfinite(vectors).all(1)).sum())} of {n_texts} vectors have "
            "values that are not finite; none was kept"
        )
    return vectors


def _read_vector(value: Any) -> Float32Vector:
    """Read a list of numbers, or base64 of little-endian float32, whichever was asked."""
    if isinstance(value, str):
        return np.frombuffer(base64.b64decode(value, validate=True), "<f4").astype(np.float32)
    return np.array(value, np.float32).reshape(len(value))
