"""Build, certify and serve an index of ten million cells on one machine.

Cells are synthetic, made from real ones (scale_cells.py). They are written, committed and published
as `cellkin cells index` does, in a process of its own, whose memory is measured. Then a server
process of the command answers clients of the generator. Rows take 1.6 KB a cell and the index
0.85; both are deleted at the end.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from index import DIM
from report import Figure, Timing, add_options, at_least, at_most, cpu_s, finish, machine, wall_s
from scale_cells import Origin, origin
from serve_store import K, corpus_of, rows_of, votes_alone
from serving import Server, load, serving, wait_serving

from cellkin.indexer.cells.publish import IndexChoice, Spaces, publish_index
from cellkin.space.recipe import TEXT_V1
from cellkin.space.vectors import unit_rows
from cellkin.store import schema
from cellkin.store.cell_rows import write_rows
from cellkin.store.cell_table import commit_rows, table_name
from cellkin.store.certificate import TUNED_K
from cellkin.store.machine import limit_threads, n_cores
from cellkin.store.store import Store

_NAME = "cells"
# A little more is asked for than is to be certified. Of these cells 8 bits a number tell too few
# apart, and half precision takes more than the quarter of the memory that is allowed by default.
_RECALL, _ASKED = 0.95, 0.96
_INDEX_BYTES = 10 << 30
_DOCUMENT = Path(__file__).resolve().parents[1] / "docs/scale.md"
_N_QUERIES = 2048
_BYTES_A_CELL = 2450
_FREE_BYTES = 8 << 30
_STARTS = 3
_REPLICAS = 3
_PASSES = 3


# ---- building -----------------------------------------------------------------------------------


class Stages:
    """Times the stages of one process after one another."""

    def __init__(self) -> None:
        self.done: dict[str, tuple[float, float]] = {}
        self._at = self._now()

    @staticmethod
    def _now() -> tuple[float, float]:
        return time.perf_counter(), time.process_time()

    def end(self, name: str) -> None:
        """Say that the present stage ends, and what it was."""
        now = self._now()
        took = self.done[name] = (now[0] - self._at[0], now[1] - self._at[1])
        self._at = now
        print(f"{name}: {took[0]:.0f} s, {took[1]:.0f} CPU-s", file=sys.stderr, flush=True)

    @contextmanager
    def of_index(self, name: str) -> Iterator[Callable[[int, int], None]]:
        """Divide the passes of `build_neighbors` over the vectors into stages."""
        ends = iter(
            [(0, "lists trained"), (1, "cells added"), (_PASSES, "queries answered exactly")]
        )
        at = next(ends)

        def progress(done: int, total: int) -> None:
            nonlocal at
            while at and done >= max(1, at[0] * total // _PASSES):
                self.end(at[1])
                at = next(ends, (_PASSES + 1, ""))

        yield progress
        self.end("tuned and certified")


def build(place: Path, n: int) -> dict[str, Any]:
    """Make a store with an index of n cells; return what it took."""
    made, stages = origin(), Stages()
    store = Store.create(str(place))
    corpus = store.publish_corpus("genes", corpus_of(len(made.space.gene_ids)), {})
    stages.end("real cells placed")
    columns = schema.cells_schema(DIM, 0)
    parts = write_rows(store.table_uri(table_name(_NAME)), columns, _batches(made, n))
    cells = commit_rows(store, _NAME, columns, parts)
    stages.end("rows made and written")
    cells.digest  # noqa: B018  # its first access reads all rows
    stages.end("rows read and digested")
    entry = publish_index(
        store, _NAME, cells, Spaces(made.space, votes_alone(len(made.labels))),
        IndexChoice(recall=_ASKED, memory_bytes=_INDEX_BYTES),
        {"recipe": TEXT_V1.name, "corpus": corpus.full_name, "embedding": "random@2020-01-01.1"},
        stages.of_index,
    )  # fmt: skip
    stages.end("written, compared and published")
    queries = np.concatenate([block for block, _ in made.cells(_N_QUERIES, seed=77)])
    np.save(place / "queries.npy", unit_rows(queries - made.space.center))
    return {
        "notes": made.notes,
        "stages": stages.done,
        "certificate": entry.manifest["certificate"],
        "peak_bytes": _status_bytes("self", "VmHWM"),
        "index": str(place / entry.manifest["path"]),
    }


def _batches(made: Origin, n: int) -> Iterator[pa.RecordBatch]:
    done = 0
    for block, labels in made.cells(n, seed=5):
        yield rows_of(block, done, labels)
        done += len(block)


def _status_bytes(process: int | str, key: str) -> int:
    status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    return int(status.partition(f"{key}:")[2].split()[0]) * 1024


def built_figures(n: int, found: dict[str, Any], place: Path) -> list[Figure]:
    """Turn what the building process measured into figures."""
    certificate = found["certificate"]
    stages: dict[str, list[float]] = found["stages"]
    total = [sum(took) for took in zip(*stages.values(), strict=True)]
    figures = [
        figure
        for name, took in stages.items()
        for figure in (
            Figure(name, took[0], "s"),
            Figure(f"{name}: CPU", 1e6 * took[1] / n, "microseconds/cell"),
        )
    ]
    rows = _bytes_of(place / f"{table_name(_NAME)}.lance")
    return [
        *figures,
        Figure("all stages", total[0], "s"),
        Figure("all stages: CPU", total[1], "s"),
        Figure("all stages: rate", n / total[0], "cells/s"),
        at_least(f"certified recall@{TUNED_K}", certificate["recall"][str(TUNED_K)], "", _RECALL),
        Figure("one query at a time", certificate["qps_single"], "queries/CPU-s"),
        at_most("peak memory of building", found["peak_bytes"] / 2**30, "GiB", 20),
        Figure("rows on disk", rows / 1e9, "GB"),
        Figure("index on disk", _bytes_of(Path(found["index"])) / 1e9, "GB"),
    ]


def _bytes_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


# ---- serving ------------------------------------------------------------------------------------


def served_figures(place: Path, index: Path, seconds: float) -> list[Figure]:
    """Start servers, and ask one from 1, 8 and 64 clients."""
    for path in index.iterdir():
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    cold = _start(place)
    warm = [_start(place) for _ in range(_STARTS)]
    figures = [
        Figure("start to SERVING, index not in the page cache", cold.wall_s, "s"),
        at_most("start to SERVING", wall_s(warm), "s", 3),
        Figure("start to SERVING: CPU", cpu_s(warm), "s"),
    ]
    asked = {"index": _NAME, "queries": place / "queries.npy", "k": K}
    with _ready(place) as server:
        load(server, "search", clients=8, seconds=seconds, **asked)
        for clients in (1, 8, 64):
            found = load(server, "search", clients=clients, seconds=seconds, **asked)
            if set(found["codes"]) != {"OK"}:
                raise RuntimeError(f"not all searches were answered: {found['codes']}")
            who = f"{clients} client{'s' if clients > 1 else ''}"
            figures += [
                Figure(f"{who}: p50", found["p50_ms"], "ms"),
                Figure(f"{who}: p99", found["p99_ms"], "ms"),
                Figure(f"{who}: rate", found["rate"], "queries/s"),
                Figure(f"{who}: CPU of the server", found["cpu_ms"], "ms/query"),
            ]
        own = _status_bytes(server.pid, "RssAnon") / 2**30
        mapped = _status_bytes(server.pid, "RssFile") / 2**30
    return [
        *figures,
        Figure("memory of the server, its own", own, "GiB"),
        Figure("memory of the server, mapped files", mapped, "GiB"),
    ]


def replica_figures(place: Path, seconds: float) -> list[Figure]:
    """Ask one, two and three servers of one store behind one address."""
    figures: list[Figure] = []
    asked = {"index": _NAME, "queries": place / "queries.npy", "k": K, "clients": 64}
    with ExitStack() as running:
        servers: list[Server] = []
        for n in range(1, _REPLICAS + 1):
            servers.append(running.enter_context(_ready(place)))
            every = Server("ipv4:" + ",".join(s.address for s in servers), servers[-1].pid)
            load(every, "search", seconds=1, **asked)
            found = load(every, "search", seconds=seconds, **asked)
            who = f"{n} server{'s' if n > 1 else ''}, 64 clients"
            figures += [
                Figure(f"{who}: rate", found["rate"], "queries/s"),
                Figure(f"{who}: p99", found["p99_ms"], "ms"),
                at_most(
                    f"{who}: not answered",
                    sum(found["codes"].values()) - found["codes"]["OK"],
                    "requests",
                    0,
                ),
            ]
    return figures


@contextmanager
def _ready(place: Path) -> Iterator[Server]:
    with serving(place, "--index", _NAME) as server:
        wait_serving(server.address)
        yield server


def _start(place: Path) -> Timing:
    began = time.perf_counter()
    with _ready(place) as server:
        return Timing(time.perf_counter() - began, server.cpu_s())


def main() -> int:
    """Build, serve, print and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cells", type=int, default=10_000_000)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each run of the generator")
    parser.add_argument("--folder", type=Path, help="where the store is made; default: temporary")
    parser.add_argument("--build", type=Path, metavar="STORE", help=argparse.SUPPRESS)
    add_options(parser)
    arguments = parser.parse_args()
    if arguments.build:
        print(json.dumps(build(arguments.build, arguments.cells)))
        return 0
    notes = machine("faiss-cpu", "numpy", "pylance", "grpcio")
    needed = arguments.cells * _BYTES_A_CELL + _FREE_BYTES
    with tempfile.TemporaryDirectory(prefix="cellkin-", dir=arguments.folder) as scratch:
        if shutil.disk_usage(scratch).free < needed:
            print(f"{scratch} has less than {needed / 1e9:.0f} GB free; give another --folder")
            return 1
        place = Path(scratch) / "store"
        limit_threads(n_cores())
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        done = subprocess.run(
            [sys.executable, __file__, "--build", place, "--cells", str(arguments.cells)],
            check=True, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        found = json.loads(done.stdout.splitlines()[-1])
        return report(arguments, notes, place, found)


def report(
    arguments: argparse.Namespace, notes: list[str], place: Path, found: dict[str, Any]
) -> int:
    """Serve what was built, print and return the exit status."""
    os.environ["OMP_NUM_THREADS"] = "1"
    figures = [
        *built_figures(arguments.cells, found, place),
        *served_figures(place, Path(found["index"]), arguments.seconds),
        *replica_figures(place, arguments.seconds),
    ]
    certificate = found["certificate"]
    settings = ", ".join(f"{name} {value}" for name, value in certificate["parameters"].items())
    notes += [
        f"{arguments.cells:,} cells of {DIM} dimensions, " + " ".join(found["notes"]),
        f"`{certificate['factory']}`, {settings}; chosen by `auto` for recall@{TUNED_K} of "
        f"{_ASKED:g} in at most {_INDEX_BYTES >> 30} GiB; {certificate['why']}",
        f"{n_cores()} cores for building, and for server and clients together; k {K}, new cells as "
        f"queries, {arguments.seconds:g} s a run; load average of the last 15 minutes "
        f"{os.getloadavg()[2]:.1f} at the end",
    ]
    title = f"{arguments.cells:,} cells on one machine"
    return finish(arguments, "scale", title, notes, figures, document=_DOCUMENT)


if __name__ == "__main__":
    sys.exit(main())
