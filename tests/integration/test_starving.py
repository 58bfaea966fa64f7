"""One client that takes and gives nothing, by a real server: others do not notice."""

import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from tests.integration.live import live_server

from cellkin.v1 import cell_service_pb2 as wire
from cellkin.v1 import gene_service_pb2

pytestmark = pytest.mark.integration
_SEARCH = "/cellkin.v1.CellService/SearchCells"
_TALK = "/cellkin.v1.CellService/StreamSearchCells"
_GENE = gene_service_pb2.GetGeneRequest(name="GENE5", taxon=9606)
_HEADER = wire.StreamSearchCellsRequest(header=wire.SearchHeader(index="trio"))


class Caller:
    """A client on a connection of its own."""

    def __init__(self, address: str, name: str) -> None:
        self.address = address
        self.channel = grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)])
        self._metadata = [("authorization", f"Bearer {name}")]
        self._over = threading.Event()

    def open(self, method: str, *messages: bytes) -> Any:
        """Begin a request, send messages, and send no more for as long as the caller lives."""

        def sent() -> Iterator[bytes]:
            yield from messages
            self._over.wait(60)

        call: Any = self.channel.stream_stream(method)
        return call(sent(), metadata=self._metadata)

    def gene(self) -> str:
        """Ask what takes no time."""
        ask: Any = self.channel.unary_unary("/cellkin.v1.GeneService/GetGene")
        answer = ask(_GENE.SerializeToString(), metadata=self._metadata, timeout=10)
        return gene_service_pb2.Gene.FromString(answer).record.symbol

    def stream(self) -> Any:
        """Open a stream, and wait for its first answer."""
        call = self.open(_TALK, _HEADER.SerializeToString())
        next(call)
        return call

    def close(self) -> None:
        self._over.set()
        self.channel.close()


@contextmanager
def callers(store: Path, tokens: Path, **settings: Any) -> Iterator[tuple[Caller, Caller]]:
    """A greedy client and another one of a small server."""
    lines = (f"{n} read sha256:{hashlib.sha256(n.encode()).hexdigest()}\n" for n in ("a", "b"))
    tokens.write_text("".join(lines))
    given = {"threads": 2, "queue": 2, "streams": 8, "client_requests": 8, "tokens": tokens}
    with live_server(store, **given | settings) as live:
        both = Caller(live.address, "a"), Caller(live.address, "b")
        try:
            yield both
        finally:
            for caller in both:
                caller.close()


def test_requests_without_a_message_stop_nobody(store_path: Path, tmp_path: Path) -> None:
    with callers(store_path, tmp_path / "tokens") as (greedy, other):
        stranger = Caller(greedy.address, "nobody")
        held = [caller.open(_SEARCH) for _ in range(40) for caller in (greedy, stranger)]
        deadline = time.monotonic() + 20
        while len(refused := [call for call in held if not call.is_active()]) < 80 - 8:
            assert time.monotonic() < deadline, "refusals wait for messages"
            time.sleep(0.02)
        assert {call.code() for call in refused} == {
            grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.RESOURCE_EXHAUSTED,
        }  # fmt: skip
        began = time.monotonic()
        assert other.gene() == "GENE5"
        health = health_pb2_grpc.HealthStub(greedy.channel)
        assert health.Check(health_pb2.HealthCheckRequest(), timeout=10).status == 1
        assert time.monotonic() - began < 5
        stranger.close()


def test_a_client_that_holds_streams_leaves_some_and_reflection(
    store_path: Path, tmp_path: Path
) -> None:
    with callers(store_path, tmp_path / "tokens") as (greedy, other):
        held = [greedy.stream() for _ in range(2)]
        with pytest.raises(grpc.RpcError, match="a has 2 streams at once"):
            greedy.stream()
        ask = reflection_pb2.ServerReflectionRequest(list_services="").SerializeToString()
        method = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"].full_name
        for caller in (greedy, other):
            answer = next(caller.open(f"/{method}/ServerReflectionInfo", ask))
            assert reflection_pb2.ServerReflectionResponse.FromString(answer)
        assert len([other.stream() for _ in range(2)]) == 2
        assert all(call.is_active() for call in held)


def test_a_revoked_token_ends_its_streams_within_seconds(store_path: Path, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    with callers(store_path, tokens) as (mine, other):
        revoked, kept = mine.stream(), other.stream()
        tokens.write_text(tokens.read_text().splitlines(keepends=True)[1])
        began = time.monotonic()
        with pytest.raises(grpc.RpcError) as caught:
            next(revoked)
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert time.monotonic() - began < 5
        assert kept.is_active()
        assert other.gene() == "GENE5"
