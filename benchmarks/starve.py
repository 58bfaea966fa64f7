"""Let one client take all that it can get and give nothing, and measure the others.

It opens requests and sends no messages, uploads messages by a slow line, and holds streams, as many
as it is given, and asks again for what it is refused. Another client searches, before and
meanwhile. Server, greedy client and the other one run in processes of their own. The store is that
of serve.py.
"""

import argparse
import asyncio
import hashlib
import os
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from report import Figure, add_options, at_least, at_most, finish, machine
from serve_store import FLAT, LISTS, K, make_store
from serving import Server, load, serving

from cellkin.v1 import cell_service_pb2 as wire

_SILENT, _SLOW, _STREAMS = 1000, 100, 200
_LINE_BYTES_S = 20_000
_BLOCK_BYTES = 256_000
_ROUNDS = 3
_CLIENTS = 4
_AGAIN_S = 5.0
_SEARCH, _TALK = (f"/cellkin.v1.CellService/{n}" for n in ("SearchCells", "StreamSearchCells"))
_APART = [("grpc.use_local_subchannel_pool", 1)]


# ---- the greedy client --------------------------------------------------------------------------


class Greedy:
    """Opens requests of every kind and ends none.

    Parameters
    ----------
    address
        Of the server.
    token
        That it has.
    """

    def __init__(self, address: str, token: str) -> None:
        self._address = address
        self._metadata = [("authorization", f"Bearer {token}")]
        self.held: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()

    async def take(self) -> None:
        """Take whatever there is, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            line = await asyncio.start_server(_SlowLine(self._address).carry, "127.0.0.1", 0)
            slow = "127.0.0.1:{1}".format(*line.sockets[0].getsockname())
            for _ in range(_SLOW):
                tasks.create_task(self._keep("slow uploads", slow, self._upload))
            await asyncio.sleep(
                _AGAIN_S
            )  # requests without a message would leave no place for them
            for _ in range(_STREAMS):
                tasks.create_task(self._keep("streams", self._address, self._hold_stream))
            for _ in range(_SILENT):
                tasks.create_task(self._keep("no message", self._address, self._say_nothing))

    async def _keep(self, what: str, address: str, once: Any) -> None:
        options = _APART if what == "slow uploads" else None
        async with grpc.aio.insecure_channel(address, options) as channel:
            while True:
                self.held[what] += 1
                with suppress(grpc.aio.AioRpcError):
                    await once(channel)
                self.held[what] -= 1
                self.refused[what] += 1
                await asyncio.sleep(random.uniform(0.5, 1.5) * _AGAIN_S)

    async def _upload(self, channel: grpc.aio.Channel) -> None:
        vectors = np.ones(_BLOCK_BYTES // 4, "<f4").tobytes()
        queries = wire.SearchQueries(vectors=vectors)
        header = wire.SearchHeader(index=FLAT, k=1)
        message = wire.SearchCellsRequest(header=header, queries=queries).SerializeToString()
        await channel.unary_unary(_SEARCH)(message, metadata=self._metadata)

    async def _hold_stream(self, channel: grpc.aio.Channel) -> None:
        call: Any = channel.stream_stream(_TALK)(metadata=self._metadata)
        header = wire.SearchHeader(index=FLAT, k=1)
        await call.write(wire.StreamSearchCellsRequest(header=header).SerializeToString())
        await call.code()

    async def _say_nothing(self, channel: grpc.aio.Channel) -> None:
        call: Any = channel.stream_stream(_SEARCH)(metadata=self._metadata)
        await call.code()


class _SlowLine:
    """Carries bytes to a server, few a second for all of its connections."""

    def __init__(self, address: str) -> None:
        self._host, _, self._port = address.rpartition(":")

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, ours = await asyncio.open_connection(self._host, int(self._port))
        with suppress(OSError, asyncio.CancelledError):
            await asyncio.gather(
                self._copy(reader, ours, _LINE_BYTES_S / _SLOW), self._copy(theirs, writer, None)
            )

    async def _copy(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, bytes_s: float | None
    ) -> None:
        while data := await reader.read(4096 if bytes_s is None else int(bytes_s)):
            writer.write(data)
            await writer.drain()
            if bytes_s is not None:
                await asyncio.sleep(1.0)


def _be_greedy(address: str, token: str, pipe: Connection) -> None:
    async def run() -> None:
        greedy = Greedy(address, token)
        taking = asyncio.create_task(greedy.take())
        while not pipe.poll():
            await asyncio.sleep(0.1)
        pipe.send((greedy.held, greedy.refused))
        taking.cancel()
        os._exit(0)

    os.nice(5)  # what it computes is not what is measured
    asyncio.run(run())


@contextmanager
def greedy(server: Server, token: str) -> Iterator[Counter[str]]:
    """Run the greedy client; what it holds at the end is filled in then."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_be_greedy, args=(server.address, token, theirs), daemon=True)
    process.start()
    held: Counter[str] = Counter()
    try:
        time.sleep(6)  # until it has what it can get
        yield held
        ours.send(None)
        found, refused = ours.recv()
        held |= found
        print("greedy client: holds", dict(found), "was refused", dict(refused), flush=True)
    finally:
        process.kill()
        process.join()


# ---- what is measured ---------------------------------------------------------------------------


def starve(store: Path, index: str, seconds: float) -> list[Figure]:
    """Measure another client's requests, quiet and beside the greedy one, in turns."""
    quiet, beside, streams, cpu = [], [], [], []
    with tempfile.TemporaryDirectory() as scratch:
        tokens = Path(scratch) / "tokens"
        digests = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("greedy", "other")}
        tokens.write_text("".join(f"{n} read sha256:{d}\n" for n, d in digests.items()))
        asked = {
            "index": index, "queries": store / "queries.npy", "k": K, "clients": _CLIENTS,
            "seconds": seconds, "token": "other", "deadline_s": 10,
        }  # fmt: skip
        with serving(store, "--index", index, "--index", FLAT, "--tokens", str(tokens)) as server:
            load(server, "search", **asked)
            for _ in range(_ROUNDS):
                quiet.append(load(server, "search", **asked))
                with greedy(server, "greedy"):
                    before, began = server.cpu_s(), time.perf_counter()
                    beside.append(load(server, "search", **asked))
                    cpu.append((server.cpu_s() - before) / (time.perf_counter() - began))
                    streams.append(asyncio.run(_stream_opens(server.address, index, "other")))
                time.sleep(2)
    p99_quiet, p99_beside = _median(quiet, "p99_ms"), _median(beside, "p99_ms")
    answered = sum(run["codes"].get("OK", 0) for run in beside)
    others = sum(sum(run["codes"].values()) for run in beside) - answered
    print("another client's requests:", *(run["codes"] for run in beside), flush=True)
    return [
        Figure("quiet: median", statistics.median(run["p50_ms"] for run in quiet), "ms"),
        Figure("quiet: p99", p99_quiet, "ms"),
        Figure(
            "beside a greedy client: median", statistics.median(r["p50_ms"] for r in beside), "ms"
        ),
        Figure("beside a greedy client: p99", p99_beside, "ms"),
        at_most("p99 beside it / quiet", p99_beside / p99_quiet, "x", 5),
        Figure("beside it: answered", answered, "requests"),
        at_most("beside it: not answered", others, "requests", 0),
        at_least("beside it: streams of another client opened", sum(streams), "streams", _ROUNDS),
        Figure("beside it: CPU of the server", statistics.median(cpu), "cores"),
    ]


def _median(runs: list[dict[str, Any]], what: str) -> float:
    return statistics.median(run[what] for run in runs)


async def _stream_opens(address: str, index: str, token: str) -> bool:
    async with grpc.aio.insecure_channel(address) as channel:
        call: Any = channel.stream_stream(_TALK)(
            metadata=[("authorization", f"Bearer {token}")], timeout=5
        )
        header = wire.SearchHeader(index=index, k=1)
        try:
            await call.write(wire.StreamSearchCellsRequest(header=header).SerializeToString())
            return bool(await call.read())
        except grpc.aio.AioRpcError as error:
            print(f"another client's stream: {error.code().name}", flush=True)
            return False


def main() -> int:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add_options(parser)
    parser.add_argument("--cells", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each run")
    parser.add_argument("--store", type=Path, default=Path(tempfile.gettempdir()) / "cellkin-serve")
    arguments = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    if not (arguments.store / "queries.npy").exists():
        make_store(arguments.store, arguments.cells)
    notes = machine("grpcio", "protobuf", "faiss-cpu", "numpy")
    notes.append(
        f"{_SILENT} requests without a message, {_SLOW} uploads of {_BLOCK_BYTES:,} bytes over "
        f"{_LINE_BYTES_S:,} bytes/s, {_STREAMS} streams, asked for again every {_AGAIN_S:g} s; "
        f"{_CLIENTS} clients in a closed loop with another token, medians of {_ROUNDS} runs of "
        f"{arguments.seconds:g} s; all share the CPUs"
    )
    figures = starve(arguments.store, LISTS, arguments.seconds)
    return finish(arguments, "starve", "The server beside a greedy client", notes, figures)


if __name__ == "__main__":
    sys.exit(main())
