"""Send a request to an OpenAI-compatible server until it is answered or refused for good.

This speaks HTTP by the standard library. The protocol is one POST, while what matters here (which
errors are tried again and after how long, which encoding is asked for, what of an answer is
believed) would have to be switched off in the ``openai`` package and written anyway: it asks for
base64 even from servers that ignore it, and retries by rules of its own.
"""

import http.client
import json
import random
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Any

from cellkin.indexer.models.openai_protocol import Endpoint, read_vectors
from cellkin.space.arrays import Float32Matrix
from cellkin.wire.errors import (
    CellkinError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    UnavailableError,
)

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
    """The server finds the request, or a text in it, too large."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follow no redirect: the key would go with it."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


class Client:
    """Sends requests, waiting as the server asks; safe to use from several threads.

    Parameters
    ----------
    endpoint
        Where requests go and what they ask for.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._opener = urllib.request.build_opener(_NoRedirect)
        self._lock = threading.Lock()
        self._not_before_s = 0.0
        self._stopped = threading.Event()

    def stop(self) -> None:
        """End all waiting: requests that are waiting to be tried again fail now."""
        self._stopped.set()

    def embed(self, texts: Sequence[str], n_tokens: int) -> Float32Matrix:
        """Send one request until it is answered.

        Parameters
        ----------
        texts
            Texts of the request.
        n_tokens
            Tokens they may have, against which the server's remaining allowance is held.

        Returns
        -------
        Float32Matrix
            (n_texts, dim) float32 in the order of the texts, finite, not normalized.

        Raises
        ------
        TooLargeError
            If the server finds the request too large.
        UnavailableError
            If the server could not be reached, or was too busy, at every try.
        FailedPreconditionError
            If the key is refused, the quota used up, or the answer is not one to this request.
        NotFoundError
            If the server does not know the model.
        InvalidArgumentError
            If the server refuses the request for another reason.
        """
        request, host = self._request(texts), self._endpoint.host
        for n_tries in range(1, _MAX_TRIES + 1):
            self._pause()
            try:
                with self._opener.open(request, timeout=self._endpoint.timeout_s) as response:
                    answer, headers = json.loads(response.read()), _lower(response.headers.items())
            except urllib.error.HTTPError as error:
                with error:
                    problem, wait_s = self._refusal(error)
            except (OSError, http.client.HTTPException, ValueError) as error:
                # ValueError: an answer cut short is not JSON.
                problem, wait_s = str(getattr(error, "reason", type(error).__name__)), 0.0
            else:
                self._heed_allowance(headers, n_tokens)
                return read_vectors(answer, len(texts), self._endpoint)
            if wait_s > _LONGEST_WAIT_S:
                raise UnavailableError(
                    f"{host} asks to wait {wait_s:.0f} s ({problem}); "
                    "run again then: what is embedded is kept"
                )
            backoff_s = (
                min(_LONGEST_BACKOFF_S, _FIRST_BACKOFF_S * 2 ** (n_tries - 1)) * random.random()
            )
            self._hold(wait_s or backoff_s)
        raise UnavailableError(
            f"{host} did not answer in {_MAX_TRIES} tries, the last time: {problem}. "
            "Run again later: what is embedded is kept"
        )

    def _request(self, texts: Sequence[str]) -> urllib.request.Request:
        endpoint = self._endpoint
        headers = {"Content-Type": "application/json", "User-Agent": "cellkin"}
        if endpoint.key:
            headers["Authorization"] = f"Bearer {endpoint.key}"
        url = f"{endpoint.base_url.rstrip('/')}/embeddings"
        return urllib.request.Request(url, json.dumps(endpoint.body(texts)).encode(), headers)

    def _refusal(self, error: urllib.error.HTTPError) -> tuple[str, float]:
        """Return what was said and how long to wait, where trying again may help."""
        code, said = self._said(error)
        host = self._endpoint.host
        if error.code == 429 and "insufficient_quota" in code:
            raise FailedPreconditionError(
                f"{host}: the quota of the account is used up (insufficient_quota); add credit and "
                "run again: what is embedded is kept"
            )
        if error.code in {401, 403}:
            # What the server says may repeat part of the key.
            raise FailedPreconditionError(
                f"{host} refuses the key (HTTP {error.code}): set OPENAI_API_KEY to one that may "
                f"use {self._endpoint.model}"
            )
        if error.code == 413 or (error.code in {400, 422} and _SIZE.search(f"{code} {said}")):
            raise TooLargeError(said)
        problem = f"HTTP {error.code}: {said}"
        if error.code in _RETRIED:
            return problem, _asked_wait_s(_lower(error.headers.items()), limited=error.code == 429)
        raise _refused(error.code, f"{host}, model {self._endpoint.model}: {problem}")

    def _said(self, error: urllib.error.HTTPError) -> tuple[str, str]:
        """Return the codes and the message of an error, without any secret."""
        try:
            body = json.loads(error.read())
        except (OSError, http.client.HTTPException, ValueError):
            body = {}
        detail = body.get("error", body) if isinstance(body, dict) else {}
        if not isinstance(detail, dict):
            detail = {"message": detail}
        codes = f"{detail.get('code', '')} {detail.get('type', '')} {detail.get('error_type', '')}"
        said = str(detail.get("message") or detail.get("detail") or error.reason)
        if self._endpoint.key:
            said = said.replace(self._endpoint.key, "***")
        return codes, _SECRET.sub("***", said)[:300]

    def _hold(self, wait_s: float) -> None:
        """Let no thread send anything for a while: all share one allowance."""
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

    def _heed_allowance(self, headers: Mapping[str, str], n_tokens: int) -> None:
        """Wait for new tokens where those that remain do not suffice for as much again."""
        limit, remaining = (
            _number(headers.get(f"x-ratelimit-{what}-tokens")) for what in ("limit", "remaining")
        )
        # Some servers send 0 or -1 for what they do not limit.
        if 0 <= remaining < min(n_tokens, limit):
            wait_s = _duration_s(headers.get("x-ratelimit-reset-tokens"))
            self._hold(min(wait_s, _LONGEST_BACKOFF_S))


def _refused(status: int, message: str) -> CellkinError:
    if status == 404:
        return NotFoundError(f"{message} (set OPENAI_BASE_URL to the URL up to /v1)")
    if 300 <= status < 400:
        return FailedPreconditionError(
            f"{message}: redirects are not followed, for the key would go with them; set "
            "OPENAI_BASE_URL to the final URL"
        )
    return InvalidArgumentError(message)


def _lower(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers}


def _asked_wait_s(headers: Mapping[str, str], *, limited: bool) -> float:
    """Return how long the server asks to wait, 0 where it does not say."""
    waits = [_number(headers.get("retry-after-ms")) / 1000, _retry_after_s(headers)]
    if limited:
        waits += [
            _duration_s(headers.get(f"x-ratelimit-reset-{what}")) for what in ("tokens", "requests")
        ]
    return max(0.0, *waits)


def _retry_after_s(headers: Mapping[str, str]) -> float:
    value = headers.get("retry-after", "")
    try:
        return parsedate_to_datetime(value).timestamp() - time.time()
    except ValueError:
        return _number(value)


def _duration_s(value: str | None) -> float:
    """Read a duration such as ``12ms``, ``1s`` or ``6m0s``."""
    parts = _DURATION.findall(value or "")
    return sum(float(number) * _UNIT_S[unit] for number, unit in parts)


def _number(value: str | None) -> float:
    try:
        return float(value or 0)
    except ValueError:
        return 0.0
