"""A server of labels in the process of a test: it answers the messages of the protocol."""

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cellkin.client import AsyncClient, Client
from cellkin.v1 import cell_service_pb2 as wire
from cellkin.v1 import versions_pb2
from cellkin.wire import codec

LABELS = ("alpha", "beta", "delta")
INDEX = "trio@2026-01-01.1"
Request = wire.StreamPredictSubtypesRequest
Response = wire.StreamPredictSubtypesResponse


def predictions(n: int, at: int = 0) -> wire.PredictionBlock:
    """Return predictions of cells: every third is unknown, winners take turns."""
    places = np.arange(at, at + n)
    return wire.PredictionBlock(
        winners=codec.encode((places % 3).astype(np.int32)),
        probabilities=codec.encode(np.full(n, 0.75, np.float32)),
        supports=codec.encode(np.full(n, 0.5, np.float32)),
        n_votes=codec.encode(np.full(n, 5, np.uint8)),
        novelties=codec.encode(places.astype(np.float32)),
        unknown_reasons=codec.encode(np.where(places % 3 == 2, 3, 0).astype(np.uint8)),
        fallbacks=codec.encode(np.full(n, -1, np.int32)),
        route_shares=codec.encode(np.full((n, 7), 1 / 7, np.float32)),
        runners_up=codec.encode(((places + 1) % 3).astype(np.int32)),
        runner_up_probabilities=codec.encode(np.full(n, 0.25, np.float32)),
    )


@dataclass
class FakeServer:
    """Answers streams of cells and remembers what it was sent.

    Parameters
    ----------
    wanted
        Cells of a background that its report asks for.
    report
        Fields of the report after the background, or of the only one.
    """

    wanted: int = 0
    report: dict[str, Any] = field(default_factory=dict)
    opened: int = 0
    closed: int = 0
    sent: list[list[Any]] = field(default_factory=list)

    def answer(self, requests: Iterator[Request]) -> Iterator[Response]:
        """Answer one stream, each message when it is asked for."""
        seen: list[Any] = []
        self.sent.append(seen)
        seen.append(next(requests))
        header = seen[0].header
        if header.center == wire.CENTER_QUERY:
            seen.append(next(requests))
        yield self._report(header, self.wanted)
        at = 0
        for request in requests:
            seen.append(request)
            if request.HasField("background"):
                yield self._report(header, 0)
                continue
            n = len(request.cells.indptr) // 8 - 1
            yield Response(predictions=predictions(n, at))
            at += n
        self.closed += 1

    def _report(self, header: wire.QueryHeader, wanted: int) -> Response:
        n = len(header.genes)
        genes = wire.GeneMatch(
            taxon=9606, gene_ids=codec.encode(np.arange(1, n + 1)),
            routes=codec.encode(np.full(n, 3, np.uint8)),
            rungs=codec.encode(np.ones(n, np.uint8)),
            in_space=codec.encode(np.ones(n, np.uint8)),
        )  # fmt: skip
        fixed: dict[str, Any] = {
            "versions": versions_pb2.Versions(index=INDEX, embedding="e@2026-01-01.1"),
            "labels": LABELS, "genes": genes, "recipe": "text-v2", "k": 10,
            "space": wire.SPACE_KIND_TEXT, "min_probability": 0.5, "novelty_limit": np.inf,
        }  # fmt: skip
        told = {} if wanted else self.report
        return Response(report=wire.QueryReport(background_cells=wanted, **fixed | told))

    def names(self, stream: int = 0) -> list[str]:
        """Return what was sent in a stream, by the names of the payloads."""
        return [message.WhichOneof("payload") for message in self.sent[stream]]


class _Call:
    def __init__(self, server: FakeServer, answers: Any) -> None:
        self._answers = answers
        server.opened += 1
        self._server = server

    def __next__(self) -> Any:
        return next(self._answers)

    def __iter__(self) -> "_Call":
        return self

    def cancel(self) -> None:
        self._server.opened -= 1


class _AwaitedCall(_Call):
    def __aiter__(self) -> AsyncIterator[Any]:
        return aiter(self._answers)


async def _awaited(server: FakeServer, requests: AsyncIterator[Request]) -> AsyncIterator[Response]:
    # The messages come one by one: what is sent later is there when it is asked for.
    waiting: list[Request] = []
    answers = server.answer(iter(lambda: waiting.pop(0) if waiting else None, None))
    async for request in requests:
        waiting.append(request)
        answer = next(answers, None)
        if answer is None:
            return
        yield answer
    next(answers, None)


class _Channel:
    def __init__(self, make: Callable[..., Any]) -> None:
        self.method = lambda name: make
        self.channel = self

    def close(self) -> None:
        pass


def client_of(server: FakeServer) -> Client:
    """Return a client of the server; it opens no connection."""
    client = Client("127.0.0.1:9")
    client.close()
    client._closed.clear()
    client._channel = _Channel(  # type: ignore[assignment]
        lambda requests, metadata: _Call(server, server.answer(requests))
    )
    return client


def awaiting_client_of(server: FakeServer) -> AsyncClient:
    """Return a client of the server that is awaited."""
    client = AsyncClient("127.0.0.1:9")
    client._channel = _Channel(  # type: ignore[assignment]
        lambda requests, metadata: _AwaitedCall(server, _awaited(server, requests))
    )
    return client
