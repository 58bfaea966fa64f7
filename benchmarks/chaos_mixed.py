"""Mixed load on one server, while what names mean changes under it.

    python benchmarks/chaos_mixed.py [--seconds 600] [--clients 6]

Clients label cells by request and by stream, search cells and genes, and fetch cells, through an
alias that moves between two versions every few seconds, and `latest`, of which new versions come
and are retracted. Each answer has to be the first one given of its version. Memory,
descriptors and threads of the server are read ten times; they have to be level after four tenths.
"""

import argparse
import collections
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from chaos_gc import prune
from chaos_report import report
from chaos_world import STAGES, World, cells, plain, publish

from cellkin.client import Client
from cellkin.store.catalog import Kind
from cellkin.store.gc import LEAST_AGE, collect
from cellkin.store.store import Store
from cellkin.wire.errors import CellkinError
from cellkin.wire.terms import ExpressionUnits

_ALIAS = "moving"
_SWAP_S = 8.0
_SWAPS_A_VERSION = 5
"""Each time so often the alias has moved a new version is published."""
_MOST_GROWTH = {"memory": 1.15, "descriptors": 2, "threads": 2}
"""From four tenths of the time to the end."""
_ASKED = ("labels", "stream", "search", "genes", "cells")
_FAULTS = (
    "answers that differ", "errors", "tracebacks in the log", "memory not level",
    "descriptors not level", "threads not level", "server that ended", "untyped errors",
)  # fmt: skip


class Load:
    """Clients, what they were answered, and the first answer of each question and version."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._first: dict[tuple[str, str], str] = {}
        self._lock = threading.Lock()
        self.counts: collections.Counter[str] = collections.Counter()
        self.stopping = threading.Event()
        query = cells(40, 77)
        self._genes, self._counts = query.var_names.tolist(), query.X

    def client(self, seed: int) -> None:
        """Ask at random until told to stop."""
        rng = random.Random(seed)
        try:
            with Client(self._address, attempts=4, timeout_s=30) as client:
                while not self.stopping.is_set():
                    self._once(client, rng)
        except Exception as error:  # noqa: BLE001
            self._count("untyped errors", repr(error))

    def _once(self, client: Client, rng: random.Random) -> None:
        index = rng.choice(("trio", f"trio@{_ALIAS}"))
        what = rng.choice(_ASKED)
        try:
            version, answer = self._ask(client, what, index)
        except CellkinError as error:
            # A version may be retracted between the name's meaning and the answer.
            kind = "refused RETRACTED" if error.reason == "RETRACTED" else "errors"
            self._count(kind, f"{what} {index}: {error.code} {error.message}")
            return
        digest = hashlib.sha256(repr(plain(answer)).encode()).hexdigest()
        with self._lock:
            self.counts[what] += 1
            if self._first.setdefault((what, version), digest) != digest:
                self.counts["answers that differ"] += 1
                print(f"{what} of {version} differs", flush=True)

    def _ask(self, client: Client, what: str, index: str) -> tuple[str, Any]:
        units = ExpressionUnits.LINEAR
        if what == "labels":
            found = client.predict_subtypes(
                index, self._genes, self._counts, units=units, space="expression"
            )
            return found.versions.index, found.predictions
        if what == "stream":
            blocks = [self._counts[:20], self._counts[20:]]
            head, answers = client.stream_predict_subtypes(
                index, self._genes, blocks, units=units, space="expression"
            )
            return head.versions.index, list(answers)
        if what == "search":
            hits = client.search_cells(
                index, self._counts[:5], k=5, genes=self._genes, units=units, space="expression"
            )
            return hits.versions.index, hits
        if what == "genes":
            near = client.search_genes("GENE8", embedding="random-48-7")
            return near.versions.embedding, near
        there = client.get_cells("trio@stable", ["cell1-1", "cell1-7"])
        return there.versions.index, there

    def _count(self, what: str, said: str) -> None:
        with self._lock:
            self.counts[what] += 1
        if what in _FAULTS:
            print(f"{what}: {said}", flush=True)


def swap(root: Path, load: Load) -> None:
    """Move the alias, publish and retract versions, prune and collect, until told to stop."""
    store, number = Store.open(str(root)), 0
    first = store.catalog.entries(Kind.INDEX, "trio")[0]
    while not load.stopping.wait(_SWAP_S):
        number += 1
        view = store.catalog.view()
        standing = [e for e in view.entries(Kind.INDEX, "trio") if view.retraction(e) is None]
        store.catalog.set_alias(standing[-1] if number % 2 else first, _ALIAS)
        load.counts["swaps"] += 1
        if number % _SWAPS_A_VERSION == 0:
            publish(store, root.parent, cells(240, number))
            load.counts["versions published"] += 1
            collect(store, LEAST_AGE)
        elif number % _SWAPS_A_VERSION == 3 and len(standing) > 2:
            store.catalog.retract(standing[-1], "a trial", force=True)
            load.counts["versions retracted"] += 1
            prune(store, Kind.INDEX, "trio", 3)


@contextmanager
def serving(
    root: Path, log: Path, listen: str = "127.0.0.1:0"
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Run a server in a process of its own; yields its address and the process."""
    command = [str(Path(sys.executable).with_name("cellkin")), "serve", "--store", str(root)]
    with log.open("w") as errors:
        process = subprocess.Popen(
            [*command, "--listen", listen],
            stdout=subprocess.PIPE, stderr=errors, text=True,
            env={**os.environ, "CELLKIN_SERVER__REFRESH_S": "0.5"},
        )  # fmt: skip
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        address = next(line for line in lines if line.startswith("serving on ")).split()[-1]
        # The log comes the same way.
        rest = threading.Thread(target=lambda: log.with_suffix(".out").write_text("".join(lines)))
        rest.start()
        try:
            yield address, process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)
            rest.join()


def held(pid: int) -> dict[str, int]:
    """Return what a process holds: MiB of memory, descriptors and threads."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    status = dict(line.split(":", 1) for line in lines)
    return {
        "memory": int(status["VmRSS"].split()[0]) >> 10,
        "descriptors": len(list(Path(f"/proc/{pid}/fd").iterdir())),
        "threads": int(status["Threads"]),
    }


def main() -> int:
    """Run the load and return 1 where something went wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--clients", type=int, default=6)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cellkin-chaos-") as name:
        os.environ["XDG_CACHE_HOME"] = f"{name}/cache"
        root, log = Path(name) / "store", Path(name) / "log.err"
        shutil.copytree(World(Path(name) / "world").stage(STAGES[-1]), root)
        store = Store.open(str(root))
        store.catalog.set_alias(store.catalog.entries(Kind.INDEX, "trio")[0], _ALIAS)
        with serving(root, log) as (address, process):
            load = Load(address)
            threads = [
                threading.Thread(target=load.client, args=(seed,))
                for seed in range(arguments.clients)
            ]
            threads.append(threading.Thread(target=swap, args=(root, load)))
            for thread in threads:
                thread.start()
            seen: list[dict[str, int]] = []
            for _ in range(10):
                time.sleep(arguments.seconds / 10)
                seen.append(held(process.pid))
                print(", ".join(f"{what} {n}" for what, n in seen[-1].items()), flush=True)
            load.stopping.set()
            for thread in threads:
                thread.join()
            load.counts["server that ended"] = int(process.poll() is not None)
        told = log.read_text() + log.with_suffix(".out").read_text()
        counts = load.counts
        counts["tracebacks in the log"] = told.count("Traceback (most recent call last)")
        for what, most in _MOST_GROWTH.items():
            counts[f"{what} not level"] = int(seen[-1][what] > most * seen[3][what])
        if counts["tracebacks in the log"]:
            print(told[-3000:])
    return report(counts, _FAULTS, sum(counts[what] for what in _ASKED))


if __name__ == "__main__":
    sys.exit(main())
