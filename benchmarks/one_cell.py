"""Label one cell by one request: from its expression to its label, through Python's client.

The index has both spaces and 2,000 genes, whose names every request sends. Beside it in one run,
and in turns: scikit-learn's logistic regression of the same reference, in this process; the same
requests with genes that the server has not just seen; and messages of one cell on a stream, which
sends the names once. CPU time is that of client and server together.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import scipy.sparse as sp
from annotate_client import N_GENES, counts, make_store, names
from report import Figure, add_options, at_most, finish, machine
from serving import Server, serving
from sklearn.linear_model import LogisticRegression

from cellkin.client import Client
from cellkin.wire.terms import ExpressionUnits

_N_CELLS = 256


@dataclass(frozen=True)
class Taken:
    """What one request takes: the median of the clock, and mean CPU time of both processes."""

    p50_ms: float
    client_ms: float
    server_ms: float


def taken(ask: Callable[[int], Any], n: int, server: Server) -> Taken:
    """Ask some times, one after the other."""
    times, server_s, client_s = [], server.cpu_s(), time.process_time()
    for number in range(n):
        began = time.perf_counter()
        ask(number)
        times.append(time.perf_counter() - began)
    ours, theirs = time.process_time() - client_s, server.cpu_s() - server_s
    return Taken(1e3 * statistics.median(times), 1e3 * ours / n, 1e3 * theirs / n)


def bare_model(reference: Path) -> Callable[[sp.csr_matrix], Any]:
    """Return a function that labels a cell by scikit-learn."""
    cells = anndata.read_h5ad(reference)
    model = LogisticRegression(max_iter=200).fit(logarithms(cells.X), cells.obs["label"])
    return lambda cell: model.predict(logarithms(cell))


def logarithms(cells: sp.csr_matrix) -> sp.csr_matrix:
    """Return log1p of counts per ten thousand."""
    logs = cells.multiply(1e4 / np.maximum(cells.sum(axis=1), 1)).tocsr()
    return logs.log1p()


def measure(place: Path, n_requests: int, n_rounds: int) -> list[Figure]:
    """Measure every way in turns."""
    make_store(place)
    bare = bare_model(place / "reference.h5ad")
    x = counts(_N_CELLS, 9)[0][:, :N_GENES]
    cells = [x[row] for row in range(_N_CELLS)]
    genes = names()[:N_GENES]
    turned = [[*genes[-at:], *genes[:-at]] for at in range(1, n_requests + 1)]
    units = ExpressionUnits.LINEAR
    found: dict[str, list[Taken]] = {}
    with serving(place / "store") as server, Client(server.address) as client:

        def again(number: int) -> Any:
            return client.predict_subtypes("ref", genes, cells[number % _N_CELLS], units=units)

        def anew(number: int) -> Any:
            own = turned[number]
            return client.predict_subtypes("ref", own, cells[number % _N_CELLS], units=units)

        def predicted(number: int) -> Any:
            return bare(cells[number % _N_CELLS])

        every = (cells[number % _N_CELLS] for number in range(sys.maxsize))
        _, answers = client.stream_predict_subtypes("ref", genes, every, units=units)
        with closing(answers):
            ways: dict[str, Callable[[int], Any]] = {
                "one request": again, "scikit-learn in process": predicted,
                "a request of other genes": anew, "a message of a stream": lambda _: next(answers),
            }  # fmt: skip
            for number in range(-1, n_rounds):
                for way, ask in list(ways.items())[:: -1 if number % 2 else 1]:
                    run = taken(ask, n_requests, server)
                    if number >= 0:
                        found.setdefault(way, []).append(run)
    figures = []
    for way, runs in found.items():
        p50, ours, theirs = (
            statistics.median(getattr(run, what) for run in runs)
            for what in ("p50_ms", "client_ms", "server_ms")
        )
        if way != "a message of a stream":  # of which several are on their way
            figures.append(Figure(f"{way}: median", p50, "ms"))
        if way == "scikit-learn in process":
            figures.append(Figure(f"{way}: CPU", ours, "ms"))
            continue
        figures += [
            Figure(f"{way}: CPU of the client", ours, "ms"),
            Figure(f"{way}: CPU of the server", theirs, "ms"),
            at_most(f"{way}: CPU of both", ours + theirs, "ms", 2.0)
            if way == "one request"
            else Figure(f"{way}: CPU of both", ours + theirs, "ms"),
        ]
    return figures


def main() -> int:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add_options(parser)
    parser.add_argument("--requests", type=int, default=300, help="of each way and round")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    notes = machine("grpcio", "protobuf", "numpy", "scipy", "scikit-learn")
    with tempfile.TemporaryDirectory(prefix="cellkin-bench-") as place:
        figures = measure(Path(place), arguments.requests, arguments.rounds)
    notes.append(
        f"one cell of {N_GENES:,} genes a request, one after the other; medians of "
        f"{arguments.rounds} rounds of {arguments.requests}; logistic regression on log1p of "
        "counts per ten thousand"
    )
    return finish(arguments, "one_cell", "One cell by one request", notes, figures)


if __name__ == "__main__":
    sys.exit(main())
