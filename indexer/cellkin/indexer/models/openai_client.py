"""A client of OpenAI-compatible embeddings APIs on top of the ``openai`` package.

The package does HTTP, proxies, authentication and Azure. Its retries are off: they sleep per
request, although a rate limit holds for all requests of an account, and repeat requests after the
quota is used up. Responses are parsed from their JSON, because the package keeps the server's order
of the vectors, does not check their number, and decodes base64 only if it chose that encoding.
"""

import base64
import random
import re
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import openai

from cellkin.space.arrays import Float32Matrix, Float32Vector
from cellkin.wire.errors import (
    DimensionMismatchError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    UnavailableError,
)

OPENAI_HOST = "api.openai.com"
_TIMEOUT_S = 120.0
_MAX_TRIES = 8
_FIRST_BACKOFF_S = 1.0
_LONGEST_BACKOFF_S = 60.0
_LONGEST_WAIT_S = 600.0
_RETRIED = frozenset({408, 409, 429, 500, 502, 503, 504, 529})
_SIZE = re.compile(
    r"max_tokens_per_request|maximum context length|context_length|max(?:imum)?[_ ].*batch"
    r"|batch[_ ]size|too (?:large|long|many)|exceed|at most|larger than",
    re.IGNORECASE,
)
_SECRET = re.compile(r"\b(?:sk|sess|key)-[\w*.-]+")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)?")
_UNIT_S = {"ms": 0.001, "": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class TooLargeError(Exception):
    """The server rejects a request, or an input of it, as too large."""


@dataclass(frozen=True)
class Endpoint:
    """An embeddings API and the model requested of it.

    Parameters
    ----------
    base_url
        URL of the API up to its version, such as ``https://api.openai.com/v1``.
    model
        Model, or on Azure the deployment.
    dim
        Width to request, which only models that can shorten their vectors accept; or None.
    key
        API key, "" for servers that need none.
    is_azure
        Whether to use the package's client for Azure, which reads its environment variables.
    """

    base_url: str
    model: str
    dim: int | None = None
    key: str = field(default="", repr=False)
    is_azure: bool = False

    def __str__(self) -> str:
        return f"{self.host}, model {self.model}"

    @property
    def host(self) -> str:
        """Host and port, without a user and password in the URL."""
        return urlsplit(self.base_url).netloc.rpartition("@")[2]

    @property
    def is_openai(self) -> bool:
        """Whether this is OpenAI itself rather than a compatible server."""
        return urlsplit(self.base_url).hostname == OPENAI_HOST

    def connect(self) -> openai.OpenAI:
        """Return the package's client, without its retries."""
        try:
            settings: dict[str, Any] = {
                # A redirect would take the texts to another server.
                "http_client": openai.DefaultHttpxClient(follow_redirects=False),
                "max_retries": 0,
                "timeout": _TIMEOUT_S,
            }
            if self.is_azure:
                return openai.AzureOpenAI(**settings)
            return openai.OpenAI(base_url=self.base_url, api_key=self.key or "none", **settings)
        except (ImportError, ValueError, openai.OpenAIError) as error:
            raise FailedPreconditionError(
                f"{self.host}: {error}; check the proxy and Azure settings in the environment"
            ) from error


class EmbeddingsClient:
    """Sends requests with retries, within the endpoint's rate limits; thread-safe."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._openai = endpoint.connect()
        has_key = endpoint.key or endpoint.is_azure
        self._headers = {} if has_key else {"Authorization": openai.Omit()}
        self._lock = threading.Lock()
        self._not_before_s = 0.0
        self._stopped = threading.Event()

    def __enter__(self) -> "EmbeddingsClient":
        return self

    def __exit__(self, *_: object) -> None:
        self._openai.close()

    def stop(self) -> None:
        """Fail requests that are waiting to be sent."""
        self._stopped.set()

    def embed(self, texts: Sequence[str], n_tokens: int) -> Float32Matrix:
        """Send a request until it is answered or rejected.

        Parameters
        ----------
        texts
            Texts of the request.
        n_tokens
            Upper bound of their tokens. If fewer remain of the server's rate limit, the next
            requests wait until it is reset.

        Returns
        -------
        Float32Matrix
            (n_texts, dim) float32 in the order of the texts, not normalized.

        Raises
        ------
        TooLargeError
            If the server rejects the request as too large.
        CellkinError
            See `OpenAIModel.embed_parts`.
        """
        endpoint = self._endpoint
        for n_tries in range(1, _MAX_TRIES + 1):
            self._pause()
            try:
                response = self._openai.embeddings.with_raw_response.create(
                    model=endpoint.model,
                    input=list(texts),
                    # base64 is a quarter of the size; compatible servers may ignore or reject it.
                    encoding_format="base64" if endpoint.is_openai else "float",
                    dimensions=endpoint.dim or openai.omit,
                    extra_headers=self._headers,
                )
                answer = response.http_response.json()
            except openai.APIStatusError as error:
                problem, wait_s = self._refusal(error)
            except (openai.APIConnectionError, ValueError) as error:
                # ValueError: a truncated response is not JSON.
                cause = error.__cause__ or error
                problem, wait_s = str(cause) or type(cause).__name__, 0.0
            else:
                self._heed_allowance(response.headers, n_tokens)
                return _read_vectors(answer, len(texts), str(endpoint))
            if wait_s > _LONGEST_WAIT_S:
                raise UnavailableError(
                    f"{endpoint.host} asks to wait {wait_s:.0f} s ({problem}); run again then: "
                    "what was embedded is kept"
                )
            backoff_s = min(_LONGEST_BACKOFF_S, _FIRST_BACKOFF_S * 2 ** (n_tries - 1))
            self._hold(wait_s or backoff_s * random.random())
        raise UnavailableError(
            f"{endpoint.host} did not answer in {_MAX_TRIES} attempts, the last: {problem}. "
            "Run again later: what was embedded is kept"
        )

    def _refusal(self, error: openai.APIStatusError) -> tuple[str, float]:
        """Return the server's message and seconds to wait, or raise if retrying cannot help."""
        endpoint, status = self._endpoint, error.status_code
        detail = error.body if isinstance(error.body, dict) else {"message": error.body}
        said = str(detail.get("message") or detail.get("detail") or error.response.reason_phrase)
        said = said.replace(endpoint.key or "\0", "***")
        said = _SECRET.sub("***", said)[:300]
        codes = " ".join(str(detail.get(name, "")) for name in ("code", "type", "error_type"))
        if status == 429 and "insufficient_quota" in codes:
            raise FailedPreconditionError(
                f"{endpoint}: the quota of the account is used up (insufficient_quota); add credit "
                "and run again: what was embedded is kept"
            )
        if status in {401, 403}:
            # The server's message may repeat part of the key.
            raise FailedPreconditionError(
                f"{endpoint}: the key is rejected (HTTP {status}); set one that may use the model"
            )
        if status == 413 or (status in {400, 422} and _SIZE.search(f"{codes} {said}")):
            raise TooLargeError(said)
        problem = f"HTTP {status}: {said}"
        if status in _RETRIED:
            return problem, _requested_wait_s(error.response.headers, limited=status == 429)
        message = f"{endpoint}: {problem}"
        if status == 404:
            raise NotFoundError(f"{message} (the base URL must end in the version, as in /v1)")
        if 300 <= status < 400:
            raise FailedPreconditionError(
                f"{message}; redirects are not followed: set the base URL to the final URL"
            )
        raise InvalidArgumentError(message)

    def _hold(self, wait_s: float) -> None:
        """Delay the requests of all threads, which share one rate limit."""
        with self._lock:
            self._not_before_s = max(self._not_before_s, time.monotonic() + wait_s)

    def _pause(self) -> None:
        while not self._stopped.is_set():
            with self._lock:
                wait_s = self._not_before_s - time.monotonic()
            if wait_s <= 0:
                return
            self._stopped.wait(wait_s)
        raise UnavailableError("stopped before the request was sent")

    def _heed_allowance(self, headers: Any, n_tokens: int) -> None:
        """Delay the next requests if too few tokens remain for another one of this size."""
        limit, remaining, reset = (
            headers.get(f"x-ratelimit-{what}-tokens", "")
            for what in ("limit", "remaining", "reset")
        )
        # Some servers send 0 or -1 for no limit.
        if (
            limit.isdecimal()
            and remaining.isdecimal()
            and int(remaining) < min(n_tokens, int(limit))
        ):
            self._hold(min(_seconds(reset), _LONGEST_BACKOFF_S))


def _read_vectors(answer: Any, n_texts: int, where: str) -> Float32Matrix:
    """Validate a response, and return its vectors in the order of the texts."""
    try:
        items = sorted(answer["data"], key=lambda item: int(item["index"]))
        found = [int(item["index"]) for item in items]
        rows = [_read_vector(item["embedding"]) for item in items]
    except (KeyError, TypeError, ValueError) as error:
        raise FailedPreconditionError(
            f"{where}: not an answer to an embeddings request "
            f"({type(error).__name__}: {error}); check the base URL"
        ) from error
    if found != list(range(n_texts)):
        raise FailedPreconditionError(
            f"{where}: {n_texts} texts were sent, but the answer has {len(found)} vectors, "
            f"for {len(set(found) & set(range(n_texts)))} of the texts"
        )
    widths = sorted({len(row) for row in rows})
    if len(widths) > 1:
        raise DimensionMismatchError(f"{where}: vectors of different widths: {widths}")
    return np.stack(rows)


def _read_vector(value: Any) -> Float32Vector:
    if isinstance(value, str):
        return np.frombuffer(base64.b64decode(value, validate=True), "<f4").astype(np.float32)
    return np.array(value, np.float32).reshape(len(value))


def _requested_wait_s(headers: Any, *, limited: bool) -> float:
    waits = [headers.get("retry-after", ""), headers.get("retry-after-ms", "") + "ms"]
    if limited:
        waits += [headers.get(f"x-ratelimit-reset-{what}", "") for what in ("tokens", "requests")]
    return max(0.0, *map(_seconds, waits))


def _seconds(value: str) -> float:
    """Read a number of seconds, a duration such as ``6m0s`` or ``12ms``, or an HTTP date."""
    try:
        return parsedate_to_datetime(value).timestamp() - time.time()
    except ValueError:
        return sum(float(number) * _UNIT_S[unit] for number, unit in _DURATION.findall(value))
