"""Embeddings by OpenAI, or by any server that speaks its protocol (vLLM, TEI, Infinity, Ollama).

The key is read from ``OPENAI_API_KEY`` and the server from ``OPENAI_BASE_URL``, and from nowhere
else. Repeated calls give vectors that differ in their last digits, so a text is embedded once and
its vector kept.
"""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
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
from cellkin.indexer.models.openai_packing import (
    Limits,
    Request,
    TokenCounter,
    cut,
    pack,
    token_counter,
    utf8_bytes,
)
from cellkin.indexer.models.openai_protocol import Endpoint
from cellkin.indexer.models.openai_request import Client, TooLargeError
from cellkin.space.arrays import Float32Matrix, Int64Vector
from cellkin.wire.errors import (
    CellkinError,
    FailedPreconditionError,
    InvalidArgumentError,
)

_BASE_URL = "https://api.openai.com/v1"
_N_CONCURRENT = 4
# Few enough inputs for every server there is: text-embeddings-inference takes 32 by default.
_COMPATIBLE_LIMITS = Limits(inputs=32)

Part: TypeAlias = tuple[Int64Vector, Float32Matrix]


class OpenAIModel:
    """An embedding model behind an OpenAI-compatible API; a `PaidModel`.

    Parameters
    ----------
    name
        Name of the model, as versions are named.
    endpoint
        Where requests go and what they ask for.
    dim
        Width of the vectors.
    limits
        What the server takes in one request.
    count_tokens
        Tokens of each text, or what they cannot exceed.
    dollars_per_million
        Price of a million tokens in US dollars, None where it is not known.
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
        self._info = ModelInfo(name, endpoint.model, dim, settings)
        self._endpoint = endpoint
        self._limits = limits
        self._count_tokens = count_tokens
        self._dollars_per_million = dollars_per_million

    @property
    def info(self) -> ModelInfo:
        """What identifies the vectors."""
        return self._info

    def count(self, texts: Sequence[str]) -> TokenCounts:
        """Count the tokens of texts and the texts longer than the window, sending none."""
        requests = self._pack(texts)
        n_long = sum(len(windows) > 1 for request in requests for windows in request.windows)
        n_tokens = sum(request.n_tokens for request in requests)
        return TokenCounts(len(texts), n_tokens, n_long, self._count_tokens is not utf8_bytes)

    def estimate(self, texts: Sequence[str]) -> CostEstimate:
        """Say what embedding texts will cost, sending none."""
        counts, price = self.count(texts), self._dollars_per_million
        dollars = None if price is None else counts.n_tokens * price / 1e6
        return CostEstimate(len(self._pack(texts)), counts.n_tokens, dollars, counts.exact)

    def embed(self, texts: Sequence[str]) -> Float32Matrix:
        """Embed texts.

        Parameters
        ----------
        texts
            Texts, none of them blank.

        Returns
        -------
        Float32Matrix
            (n_texts, dim) float32, rows of unit length in the order of the texts.

        Raises
        ------
        InvalidArgumentError
            If a text is blank, or the server refuses the request.
        UnavailableError
            If the server cannot be reached, or is too busy.
        FailedPreconditionError
            If the key is refused, the quota used up, or the answer makes no sense.
        """
        vectors = np.empty((len(texts), self._info.dim), np.float32)
        for rows, part in self.embed_parts(texts):
            vectors[rows] = part
        return vectors

    def embed_parts(self, texts: Sequence[str]) -> Iterator[Part]:
        """Embed texts, giving the vectors of each request as it is answered.

        If a request fails for good, what the others under way bring is still given before the error
        is raised, for it is paid for.

        Yields
        ------
        tuple of Int64Vector and Float32Matrix
            Positions in ``texts``, (n,) int64, and their vectors, (n, dim) float32 of unit length.

        Raises
        ------
        CellkinError
            As `embed` does.
        """
        check_texts(texts)
        client = Client(self._endpoint)
        executor = ThreadPoolExecutor(_N_CONCURRENT, "openai")
        try:
            yield from self._run(client, executor, deque(self._pack(texts)))
        finally:
            client.stop()
            executor.shutdown(cancel_futures=True)

    def _run(
        self, client: Client, executor: ThreadPoolExecutor, pending: deque[Request]
    ) -> Iterator[Part]:
        """Keep some requests under way, making those smaller that the server finds too large."""
        under_way: dict[Future[Part], Request] = {}
        failure: CellkinError | None = None
        n_most = self._limits.inputs
        while under_way or (pending and failure is None):
            while pending and failure is None and len(under_way) < _N_CONCURRENT:
                request = pending.popleft()
                if request.n_inputs > n_most and len(request.rows) > 1:
                    pending.extendleft(reversed(request.halves()))
                    continue
                under_way[executor.submit(self._send, client, request)] = request
            for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                request = under_way.pop(future)
                try:
                    yield future.result()
                except TooLargeError as error:
                    if len(request.rows) == 1:
                        failure = failure or self._too_long(request, str(error))
                        continue
                    # What was too many once is so again, and finding out takes time.
                    n_most = min(n_most, (request.n_inputs + 1) // 2)
                    pending.extendleft(reversed(request.halves()))
                except CellkinError as error:
                    failure = failure or error
        if failure is not None:
            raise failure

    def _send(self, client: Client, request: Request) -> Part:
        inputs = [window for windows in request.windows for window in windows]
        answer = client.embed(inputs, request.n_tokens)
        vectors = unit_rows(answer, self._info.name)
        # A text in windows is their mean weighted by length, as with the other models.
        weights = np.array([len(window.encode()) for window in inputs], np.float32)
        starts = np.cumsum([0, *(len(windows) for windows in request.windows[:-1])])
        sums = np.add.reduceat(vectors * weights[:, None], starts, axis=0)
        return np.array(request.rows, np.int64), unit_rows(sums, self._info.name)

    def _pack(self, texts: Sequence[str]) -> list[Request]:
        windows = [cut(text.replace("\n", " "), self._limits.input_tokens) for text in texts]
        return pack(windows, self._count_tokens, self._limits)

    def _too_long(self, request: Request, said: str) -> CellkinError:
        n_bytes = max(len(window.encode()) for window in request.windows[0])
        return InvalidArgumentError(
            f"{self._endpoint.host}, model {self._endpoint.model}: a single text of {n_bytes} "
            f"bytes is too long for it: {said}"
        )


@dataclass(frozen=True)
class OpenAIPreset:
    """A model of OpenAI.

    Parameters
    ----------
    model
        Its name.
    dim
        Width of its vectors.
    can_shorten
        Whether fewer dimensions can be asked for.
    dollars_per_million
        Price of a million tokens, US dollars.
    """

    model: str
    dim: int
    can_shorten: bool
    dollars_per_million: float

    def __call__(self, argument: str = "", *, allow_download: bool = False) -> OpenAIModel:
        """Make the model ready; nothing is sent.

        Parameters
        ----------
        argument
            Dimensions, where the model can give fewer than its own.
        allow_download
            Of no account: nothing is downloaded.

        Raises
        ------
        InvalidArgumentError
            If the dimensions are not possible.
        FailedPreconditionError
            If ``OPENAI_API_KEY`` is not set.
        """
        del allow_download
        dim = self._dim(argument)
        endpoint = _endpoint(self.model, dim, asks_dim=bool(argument))
        if endpoint.is_openai and not endpoint.key:
            raise FailedPreconditionError(
                f"model {self.model}: set OPENAI_API_KEY to your key of OpenAI, or OPENAI_BASE_URL "
                "to another server with this model"
            )
        name = f"{self.model}-{dim}" if argument else self.model
        if not endpoint.is_openai:
            return OpenAIModel(name, endpoint, dim, _COMPATIBLE_LIMITS)
        return OpenAIModel(name, endpoint, dim, Limits(), token_counter(), self.dollars_per_million)

    def _dim(self, argument: str) -> int:
        if not argument:
            return self.dim
        if not self.can_shorten:
            raise InvalidArgumentError(
                f"model {self.model}:{argument}: {self.model} has {self.dim} dimensions and cannot "
                "give fewer; text-embedding-3-small and -3-large can"
            )
        if not argument.isdecimal() or not 1 <= int(argument) <= self.dim:
            raise InvalidArgumentError(
                f"model {self.model}:{argument}: after the colon come dimensions, 1 to {self.dim}"
            )
        return int(argument)


ada_002 = OpenAIPreset("text-embedding-ada-002", 1536, False, 0.10)
small_3 = OpenAIPreset("text-embedding-3-small", 1536, True, 0.02)
large_3 = OpenAIPreset("text-embedding-3-large", 3072, True, 0.13)


def load_compatible(argument: str = "", *, allow_download: bool = False) -> OpenAIModel:
    """Make a model of an OpenAI-compatible server ready, asking it for one vector to see its width.

    Parameters
    ----------
    argument
        Name of the model, as the server at ``OPENAI_BASE_URL`` knows it.
    allow_download
        Of no account: nothing is downloaded.

    Raises
    ------
    InvalidArgumentError
        If no model or no server is named, or the server refuses the request.
    UnavailableError
        If the server cannot be reached.
    """
    del allow_download
    endpoint = _endpoint(argument, None)
    if not argument or endpoint.is_openai:
        raise InvalidArgumentError(
            f"model openai:{argument}: name the model as openai:MODEL, and its server by "
            "OPENAI_BASE_URL, such as http://127.0.0.1:8000/v1; those of OpenAI itself have names "
            "of their own, such as text-embedding-3-small"
        )
    dim = Client(endpoint).embed(["gene"], 1).shape[1]
    return OpenAIModel(as_name(argument), replace(endpoint, dim=dim), dim, _COMPATIBLE_LIMITS)


def _endpoint(model: str, dim: int | None, *, asks_dim: bool = False) -> Endpoint:
    base_url = os.environ.get("OPENAI_BASE_URL") or _BASE_URL
    if urlsplit(base_url).scheme not in {"http", "https"}:
        raise InvalidArgumentError("OPENAI_BASE_URL is not a URL such as http://127.0.0.1:8000/v1")
    key = os.environ.get("OPENAI_API_KEY", "").strip()
    if not (key.isascii() and key.isprintable()):
        # It is not repeated here, nor by the error HTTP would raise.
        raise InvalidArgumentError("OPENAI_API_KEY has signs that a key cannot have: set it anew")
    return Endpoint(base_url, model, dim, asks_dim, key)
