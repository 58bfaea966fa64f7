"""Embedding models of OpenAI, Azure OpenAI and compatible servers (vLLM, TEI, Infinity, Ollama).

Settings are the environment variables of the ``openai`` package: ``OPENAI_API_KEY`` and
``OPENAI_BASE_URL``, or ``AZURE_OPENAI_ENDPOINT``, ``AZURE_OPENAI_API_KEY`` and
``OPENAI_API_VERSION``; ``HTTPS_PROXY`` and ``NO_PROXY``. Repeated requests give vectors that differ
in their last digits, so a text is embedded once and its vector kept.
"""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import urlsplit

import numpy as np

from cellkin.indexer.models.contract import (
    CostEstimate,
    ModelInfo,
    Setting,
    TokenCounts,
    as_name,
    check_texts,
    unit_rows,
)
from cellkin.indexer.models.openai_client import (
    OPENAI_HOST,
    EmbeddingsClient,
    Endpoint,
    TooLargeError,
)
from cellkin.indexer.models.openai_packing import (
    Limits,
    Request,
    TokenCounter,
    halves,
    n_inputs,
    pack,
    token_counter,
    utf8_bytes,
)
from cellkin.space.arrays import Float32Matrix, Int64Vector
from cellkin.wire.errors import (
    CellkinError,
    DimensionMismatchError,
    FailedPreconditionError,
    InvalidArgumentError,
)

_N_CONCURRENT = 4
# text-embeddings-inference accepts 32 inputs by default, other servers more.
_COMPATIBLE_LIMITS = Limits(inputs=32)

Part: TypeAlias = tuple[Int64Vector, Float32Matrix]


class OpenAIModel:
    """An embedding model behind an OpenAI-compatible API; a `PaidModel`.

    Parameters
    ----------
    name
        Name of the model, valid as that of a version.
    endpoint, limits
        The API and its limits.
    dim
        Width of the vectors.
    count_tokens
        Function that returns the tokens of each text, or an upper bound.
    dollars_per_million
        Price of a million tokens in US dollars, None if unknown.
    """

    def __init__(
        self,
        name: str,
        endpoint: Endpoint,
        dim: int,
        limits: Limits,
        count_tokens: TokenCounter = utf8_bytes,
        dollars_per_million: float | None = None,
    ) -> None:
        settings: dict[str, Setting] = {
            "server": endpoint.host,
            "max_bytes": limits.input_tokens,
            "long_texts": "windows",
            "newlines": "spaces",
        }
        self.info = ModelInfo(name, endpoint.model, dim, settings)
        self._endpoint = endpoint
        self._limits = limits
        self._count_tokens = count_tokens
        self._dollars_per_million = dollars_per_million

    def count(self, texts: Sequence[str]) -> TokenCounts:
        """Count the tokens of texts and the texts longer than the window, sending nothing."""
        packed = [text for request in self._pack(texts) for text in request]
        n_tokens = sum(text.n_tokens for text in packed)
        n_long = sum(len(text.windows) > 1 for text in packed)
        return TokenCounts(len(texts), n_tokens, n_long, self._count_tokens is not utf8_bytes)

    def estimate(self, texts: Sequence[str]) -> CostEstimate:
        """Estimate the cost of embedding texts, sending nothing."""
        counts, price = self.count(texts), self._dollars_per_million
        dollars = None if price is None else counts.n_tokens * price / 1e6
        return CostEstimate(len(self._pack(texts)), counts.n_tokens, dollars, counts.exact)

    def embed(self, texts: Sequence[str]) -> Float32Matrix:
        """Embed texts; see `EmbeddingModel.embed`, and `embed_parts` for errors."""
        vectors = np.empty((len(texts), self.info.dim), np.float32)
        for rows, part in self.embed_parts(texts):
            vectors[rows] = part
        return vectors

    def embed_parts(self, texts: Sequence[str]) -> Iterator[Part]:
        """Embed texts, yielding the vectors of each response as it arrives.

        If a request fails, the responses to those already sent are yielded before the error is
        raised, because they are paid for.

        Yields
        ------
        tuple of Int64Vector and Float32Matrix
            Positions in ``texts``, (n,) int64, and their vectors, (n, dim) float32 of unit length.

        Raises
        ------
        InvalidArgumentError
            If a text is blank, or the server rejects the request.
        UnavailableError
            If the server cannot be reached or is overloaded.
        FailedPreconditionError
            If the key is rejected, the quota is used up, or the response is invalid.
        """
        check_texts(texts)
        with (
            EmbeddingsClient(self._endpoint) as client,
            ThreadPoolExecutor(_N_CONCURRENT, "openai") as executor,
        ):
            try:
                yield from self._run(client, executor, deque(self._pack(texts)))
            finally:
                client.stop()

    def _run(
        self, client: EmbeddingsClient, executor: ThreadPoolExecutor, pending: deque[Request]
    ) -> Iterator[Part]:
        """Keep some requests in flight, halving those that the server rejects as too large."""
        in_flight: dict[Future[Part], Request] = {}
        failure: CellkinError | None = None
        max_inputs = self._limits.inputs
        while in_flight or (pending and failure is None):
            while pending and failure is None and len(in_flight) < _N_CONCURRENT:
                request = pending.popleft()
                if n_inputs(request) > max_inputs and len(request) > 1:
                    pending.extendleft(reversed(halves(request)))
                    continue
                in_flight[executor.submit(self._send, client, request)] = request
            for future in wait(in_flight, return_when=FIRST_COMPLETED).done:
                request = in_flight.pop(future)
                try:
                    yield future.result()
                except TooLargeError as error:
                    # Limit later requests too: every rejection costs a round trip.
                    max_inputs = min(max_inputs, (n_inputs(request) + 1) // 2)
                    if len(request) > 1:
                        pending.extendleft(reversed(halves(request)))
                    else:
                        n_bytes = max(len(window.encode()) for window in request[0].windows)
                        message = f"a single text of {n_bytes} bytes is too long: {error}"
                        failure = failure or InvalidArgumentError(f"{self._endpoint}: {message}")
                except CellkinError as error:
                    failure = failure or error
        if failure is not None:
            raise failure

    def _send(self, client: EmbeddingsClient, request: Request) -> Part:
        inputs = [window for text in request for window in text.windows]
        answer = client.embed(inputs, sum(text.n_tokens for text in request))
        if answer.shape[1] != self.info.dim:
            raise DimensionMismatchError(
                f"{self._endpoint}: the vectors have {answer.shape[1]} dimensions, "
                f"expected {self.info.dim}"
            )
        vectors = unit_rows(answer, self.info.name)
        # A text in windows gets their mean weighted by length, as with the other models.
        weights = np.array([len(window.encode()) for window in inputs], np.float32)
        starts = np.cumsum([0, *(len(text.windows) for text in request[:-1])])
        sums = np.add.reduceat(vectors * weights[:, None], starts, axis=0)
        rows = np.array([text.row for text in request], np.int64)
        return rows, unit_rows(sums, self.info.name)

    def _pack(self, texts: Sequence[str]) -> list[Request]:
        return pack(texts, self._count_tokens, self._limits)


@dataclass(frozen=True)
class OpenAIPreset:
    """Loader of a model of OpenAI: name, width, whether it can be reduced, and price."""

    model: str
    dim: int
    can_shorten: bool
    dollars_per_million: float

    def __call__(self, argument: str = "", *, allow_download: bool = False) -> OpenAIModel:
        """Return the model without sending anything; ``argument`` is a smaller width.

        Raises
        ------
        InvalidArgumentError
            If the model does not have that width.
        FailedPreconditionError
            If ``OPENAI_API_KEY`` is not set.
        """
        del allow_download  # There is nothing to download.
        is_width = argument.isdecimal() and 1 <= int(argument) <= self.dim
        if argument and not (is_width and self.can_shorten):
            expected = f"1 to {self.dim} dimensions" if self.can_shorten else "nothing"
            raise InvalidArgumentError(
                f"model {self.model}:{argument}: expected {expected} after the colon"
            )
        dim = int(argument or self.dim)
        endpoint = _endpoint(self.model, dim if argument else None)
        if endpoint.is_openai and not endpoint.key:
            raise FailedPreconditionError(
                f"model {self.model}: set OPENAI_API_KEY to your key of OpenAI, or OPENAI_BASE_URL "
                "to another server with this model"
            )
        name = f"{self.model}-{dim}" if argument else self.model
        if not endpoint.is_openai:
            return OpenAIModel(name, endpoint, dim, _COMPATIBLE_LIMITS)
        return OpenAIModel(name, endpoint, dim, Limits(), token_counter(), self.dollars_per_million)


ada_002 = OpenAIPreset("text-embedding-ada-002", 1536, False, 0.10)
small_3 = OpenAIPreset("text-embedding-3-small", 1536, True, 0.02)
large_3 = OpenAIPreset("text-embedding-3-large", 3072, True, 0.13)


def load_compatible(argument: str = "", *, allow_download: bool = False) -> OpenAIModel:
    """Return a model of a compatible server or of Azure, sending one text to learn its width.

    ``argument`` is the name of the model on the server ``OPENAI_BASE_URL``, or of the deployment at
    ``AZURE_OPENAI_ENDPOINT``.

    Raises
    ------
    InvalidArgumentError
        If no model or no server is named, or the server rejects the request.
    UnavailableError
        If the server cannot be reached.
    """
    del allow_download
    endpoint = _endpoint(argument)
    if not argument or endpoint.is_openai:
        raise InvalidArgumentError(
            f"model openai:{argument}: name the model as openai:MODEL, and its server by "
            "OPENAI_BASE_URL, such as http://127.0.0.1:8000/v1; those of OpenAI itself have names "
            "of their own, such as text-embedding-3-small"
        )
    with EmbeddingsClient(endpoint) as client:
        dim = client.embed(["gene"], 1).shape[1]
    return OpenAIModel(as_name(argument), endpoint, dim, _COMPATIBLE_LIMITS)


def _endpoint(model: str, dim: int | None = None) -> Endpoint:
    """Return the endpoint that the environment names."""
    prefix, end = "OPENAI", "BASE_URL"
    if os.environ.get("AZURE_OPENAI_ENDPOINT") and not os.environ.get("OPENAI_BASE_URL"):
        prefix, end = "AZURE_OPENAI", "ENDPOINT"
    url = os.environ.get(f"{prefix}_{end}") or f"https://{OPENAI_HOST}/v1"
    key = os.environ.get(f"{prefix}_API_KEY", "").strip()
    # Neither message repeats the value, which may hold a secret.
    if not _is_http_url(url):
        raise InvalidArgumentError(f"{prefix}_{end}: expected an http or https URL")
    if not (key.isascii() and key.isprintable()):
        raise InvalidArgumentError(f"{prefix}_API_KEY has characters that no key has: set it again")
    return Endpoint(url, model, dim, key, is_azure=prefix != "OPENAI")


def _is_http_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
