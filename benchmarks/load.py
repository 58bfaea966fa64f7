"""A bounded load generator: asks a server from a process of its own, and says what came back.

Used by serve.py. Clients in a closed loop ask again when they are answered; in an open loop
requests come at a rate whether or not those before were answered, up to a number in flight.
"""

import argparse
import asyncio
import json
import statistics
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from cellkin.v1 import catalog_service_pb2, catalog_service_pb2_grpc, cell_service_pb2
from cellkin.v1 import cell_service_pb2_grpc as cells

_MOST_IN_FLIGHT = 2000
_OPTIONS = [
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.lb_policy_name", "round_robin"),  # an address may be of several servers
]
Ask = Callable[[int], Awaitable[Any]]


class Tally:
    """What came back."""

    def __init__(self) -> None:
        self.latencies: list[float] = []
        self.codes: Counter[str] = Counter()
        self.first: list[list[int]] = []

    async def once(self, ask: Ask, number: int) -> None:
        """Ask once."""
        began = time.perf_counter()
        try:
            await ask(number)
        except grpc.aio.AioRpcError as error:
            self.codes[error.code().name] += 1
        else:
            self.codes["OK"] += 1
            self.latencies.append(time.perf_counter() - began)

    def to_json(self, took_s: float) -> dict[str, Any]:
        """Return rates and times."""
        ordered = sorted(self.latencies) or [0.0]
        return {
            "took_s": took_s,
            "codes": dict(self.codes),
            "rate": self.codes["OK"] / took_s,
            "p50_ms": 1e3 * statistics.median(ordered),
            "p99_ms": 1e3 * ordered[int(0.99 * (len(ordered) - 1))],
            "longest_ms": [1e3 * latency for latency in ordered[-(len(ordered) // 50 + 1) :]],
        }


async def closed(ask: Ask, n_clients: int, seconds: float) -> dict[str, Any]:
    """Ask from some clients, each when it is answered."""
    tally, began = Tally(), time.perf_counter()

    async def client(number: int) -> None:
        while time.perf_counter() - began < seconds:
            await tally.once(ask, number)
            number += n_clients

    await asyncio.gather(*(client(number) for number in range(n_clients)))
    return tally.to_json(time.perf_counter() - began)


async def opened(ask: Ask, rate: float, seconds: float) -> dict[str, Any]:
    """Ask at a rate, whatever comes back."""
    tally, began = Tally(), time.perf_counter()
    flying: set[asyncio.Task[None]] = set()
    number = 0
    while (now := time.perf_counter() - began) < seconds:
        while number < rate * now and len(flying) < _MOST_IN_FLIGHT:
            task = asyncio.create_task(tally.once(ask, number))
            flying.add(task)
            task.add_done_callback(flying.discard)
            number += 1
        await asyncio.sleep(0.002)
    await asyncio.gather(*flying)
    return {**tally.to_json(time.perf_counter() - began), "offered": number / seconds}


async def streams(
    channel: grpc.aio.Channel, requests: list[Any], n_clients: int, seconds: float
) -> dict[str, Any]:
    """Send messages on streams, each when the one before is answered."""
    tally, began = Tally(), time.perf_counter()
    stub: Any = cells.CellServiceStub(channel)

    async def client() -> None:
        call = stub.StreamSearchCells()
        header = requests[0].header
        await call.write(cell_service_pb2.StreamSearchCellsRequest(header=header))
        await call.read()
        number = 0
        while time.perf_counter() - began < seconds:
            queries = requests[number % len(requests)].queries
            message = cell_service_pb2.StreamSearchCellsRequest(queries=queries)
            sent = time.perf_counter()
            await call.write(message)
            await call.read()
            tally.latencies.append(time.perf_counter() - sent)
            tally.codes["OK"] += 1
            number += 1
        await call.done_writing()
        await call.read()

    await asyncio.gather(*(client() for _ in range(n_clients)))
    return tally.to_json(time.perf_counter() - began)


def searches(index: str, queries: Path, per_request: int, k: int) -> list[Any]:
    """Return requests made of the vectors of a file."""
    vectors = np.load(queries, mmap_mode="r")
    header = cell_service_pb2.SearchHeader(index=index, k=k)
    parts = [
        vectors[at : at + per_request].tobytes()
        for at in range(0, len(vectors) - per_request + 1, per_request)
    ]
    return [
        cell_service_pb2.SearchCellsRequest(
            header=header, queries=cell_service_pb2.SearchQueries(vectors=part)
        )
        for part in parts
    ]


async def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Ask as the options say."""
    bearer = [("authorization", f"Bearer {arguments.token}")] if arguments.token else None
    async with grpc.aio.insecure_channel(arguments.address, _OPTIONS) as channel:
        if arguments.what == "null":
            stub: Any = catalog_service_pb2_grpc.CatalogServiceStub(channel)
            empty = catalog_service_pb2.ListAliasesRequest()
            return await closed(
                lambda _: stub.ListAliases(empty, metadata=bearer),
                arguments.clients,
                arguments.seconds,
            )
        requests = searches(arguments.index, arguments.queries, arguments.per_request, arguments.k)
        if arguments.what == "stream":
            return await streams(channel, requests, arguments.clients, arguments.seconds)
        search: Any = cells.CellServiceStub(channel).SearchCells

        def ask(number: int) -> Any:
            request = requests[number % len(requests)]
            return search(request, metadata=bearer, timeout=arguments.deadline_s or None)

        if arguments.rate:
            return await opened(ask, arguments.rate, arguments.seconds)
        return await closed(ask, arguments.clients, arguments.seconds)


def main() -> None:
    """Print what came back as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("address")
    parser.add_argument("what", choices=["null", "search", "stream"])
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--rate", type=float, default=0.0, help="open loop: requests a second")
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--index", default="")
    parser.add_argument("--queries", type=Path)
    parser.add_argument("--per-request", type=int, default=1)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--deadline-s", type=float, default=0.0, help="of searches; 0 for none")
    parser.add_argument("--token", default="", help="that requests, not streams, are sent with")
    print(json.dumps(asyncio.run(run(parser.parse_args()))))


if __name__ == "__main__":
    main()
