"""Measure how cost grows with the number of cells, of genes and of clients.

Costs are CPU time of all processes that do the work. Each is measured at several sizes, fitted by a
power of the size, and drawn into docs/pictures/growth.png: an exponent of 1 means that twice the
work costs twice as much. The exponent between the two largest sizes is beside it, for fixed costs
hide growth at small sizes.
"""

import argparse
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import anndata
import h5py
import matplotlib as mpl
import numpy as np
import pandas as pd
from annotate_client import make_query
from annotate_client import make_store as make_reference
from index import DIM, N_QUERIES, FileVectors, K, mixture
from matplotlib.figure import Figure as Drawing
from report import Figure, add_options, at_most, finish, machine
from serve_store import FLAT, corpus_of, make_store
from serving import load, serving

from cellkin.indexer.cells.engines import LocalEngine
from cellkin.indexer.cells.job import Job, place_like
from cellkin.indexer.cells.sources import Reference
from cellkin.indexer.embeddings.job import embed_genes
from cellkin.indexer.neighbors.build import build_neighbors
from cellkin.indexer.neighbors.choice import list_count
from cellkin.pages.drawing import SETTINGS
from cellkin.pages.theme import LIGHT
from cellkin.server.genes import GeneService
from cellkin.server.metrics import Metrics
from cellkin.server.text_models import TextModels
from cellkin.server.version_cache import VersionCache
from cellkin.store.neighbors_faiss import faiss
from cellkin.store.store import Store
from cellkin.v1 import gene_service_pb2
from cellkin.wire.names import VersionName

MOST = 1.1
"""The largest exponent of work that grows as it should."""
_CELLS = (1_000, 10_000, 100_000, 1_000_000)
_GENES = (1_000, 4_000, 16_000, 60_000)
_CLIENTS = (1, 4, 16, 64)
_FLAT_CELLS = 20_000
_SEARCHES, _REPEATS = 200, 3
_RECALL = 0.95
_PICTURE = Path(__file__).resolve().parents[1] / "docs/pictures/growth.png"


@dataclass(frozen=True)
class Curve:
    """The cost of a piece of work by its size.

    Parameters
    ----------
    what
        The work.
    of
        What its size counts: cells, genes or clients.
    sizes
        Its sizes, ascending.
    costs_s
        CPU time of each, seconds.
    """

    what: str
    of: str
    sizes: Sequence[int]
    costs_s: Sequence[float]

    @property
    def exponent(self) -> float:
        """The slope of a line through the logarithms."""
        return float(np.polyfit(np.log(self.sizes), np.log(self.costs_s), 1)[0])

    @property
    def last(self) -> float:
        """The slope between the two largest sizes."""
        sizes, costs = np.log(self.sizes[-2:]), np.log(self.costs_s[-2:])
        return float((costs[1] - costs[0]) / (sizes[1] - sizes[0]))

    def row(self) -> str:
        """Return a row of the table."""
        costs = ", ".join(
            f"{size:,}: {_said(cost)}" for size, cost in zip(self.sizes, self.costs_s, strict=True)
        )
        return f"| {self.what} | {self.of} | {costs} | {self.exponent:.2f} | {self.last:.2f} |"


def _said(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 1 else f"{1e3 * seconds:.3g} ms"


def cpu_s(work: Callable[[], object]) -> float:
    """Return the CPU time of this process, and of its children that ended meanwhile."""
    began = _used_s()
    work()
    return max(_used_s() - began, 1e-6)


def _used_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


# ---- cells --------------------------------------------------------------------------------------


def searched(scratch: Path, sizes: Sequence[int]) -> list[Curve]:
    """Build an index of inverted lists, and search it for one query after the other."""
    costs = []
    for n in sizes:
        print(f"an index of {n:,} cells", flush=True)
        with (scratch / "cells").open("wb") as file:
            for block in mixture(n, seed=1):
                block.tofile(file)
        costs.append(_index_costs(FileVectors(scratch / "cells")))
    building, searching = zip(*costs, strict=True)
    return [
        Curve("building and certifying an index of lists", "cells", sizes, building),
        Curve("searching it for one query", "cells", sizes, searching),
    ]


def _index_costs(vectors: FileVectors) -> tuple[float, float]:
    built = []
    factory = f"IVF{list_count(vectors.n)},RaBitQ,Refine(SQ8)"
    building_s = cpu_s(lambda: built.append(build_neighbors(vectors, factory, _RECALL)))
    queries = next(mixture(N_QUERIES, seed=2))

    def search() -> None:
        for row in range(_SEARCHES):
            built[0].index.search(queries[row : row + 1], K)

    n_threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    search()
    searching_s = cpu_s(search) / _SEARCHES
    faiss.omp_set_num_threads(n_threads)
    return building_s, searching_s


def placed(scratch: Path, sizes: Sequence[int]) -> Curve:
    """Read cells of a file and place them in both spaces, by the job of `cells index`."""
    make_reference(scratch)
    store, costs = Store.open(str(scratch / "store")), []
    for n in sizes:
        print(f"placing {n:,} cells", flush=True)
        path = scratch / "placed.h5ad"
        make_query(path, n)
        with h5py.File(path, "r+") as file:
            del file["obs"]
            obs = pd.DataFrame({"label": ["type-0"] * n}, index=[f"cell-{i}" for i in range(n)])
            anndata.io.write_elem(file, "obs", obs)
        costs.append(_placing_s(store, path))
    return Curve("reading and placing cells in both spaces", "cells", sizes, costs)


class _CellsPlaced(Exception):
    """Ends a job before it builds an index."""


def _placing_s(store: Store, path: Path) -> float:
    @contextmanager
    def stage(what: str) -> Iterator[Callable[[int, int], None]]:
        if what == "building the index":
            raise _CellsPlaced
        yield lambda done, total: None

    def place() -> None:
        with closing(LocalEngine(2)) as engine, suppress(_CellsPlaced):
            job = Job(engine=engine, stages=stage)
            place_like(store, "cells", Reference([path], "label"), VersionName("ref"), job)

    return cpu_s(place)


# ---- genes --------------------------------------------------------------------------------------


def genes(scratch: Path, sizes: Sequence[int]) -> list[Curve]:
    """Publish random vectors of genes, load and search them, and resolve their names."""
    costs: dict[str, list[float]] = {}
    for n in (sizes[0], *sizes):  # compiled code is loaded with the first
        print(f"{n:,} genes", flush=True)
        store = Store.create(tempfile.mkdtemp(dir=scratch) + "/store")
        store.publish_corpus("genes", corpus_of(n), {})
        for what, cost_s in _gene_costs(store, n).items():
            costs.setdefault(what, []).append(cost_s)
    return [Curve(what, "genes", sizes, found[1:]) for what, found in costs.items()]


def _gene_costs(store: Store, n: int) -> dict[str, float]:
    wanted = VersionName("random-384-1")
    publishing_s = cpu_s(lambda: embed_genes(store, "random:384:1", VersionName("genes")))
    loading_s = float("inf")
    for _ in range(_REPEATS):
        # The one before is freed first: else each touches memory that the process never had, which
        # takes a virtual machine longer than loading.
        versions = VersionCache(store, 60.0, 8, Metrics(), 1)
        loading_s = min(loading_s, cpu_s(lambda v=versions: v.embedding(wanted)))
    service = GeneService(versions, TextModels(), 100)
    names = [f"G{i}" for i in range(1, n + 1)]

    def search() -> None:
        for at in range(_SEARCHES):
            request = gene_service_pb2.SearchGenesRequest(
                gene=names[at * n // _SEARCHES], embedding=str(wanted), k=K
            )
            service.SearchGenes(request, None)  # type: ignore[arg-type]  # needs no context

    search()  # vectors are prepared for searches once
    resolver = versions.embedding(wanted).genes.resolver
    return {
        "publishing vectors of genes": publishing_s,
        "loading them": loading_s,
        "searching them for one gene": cpu_s(search) / _SEARCHES,
        "resolving the names of all": min(
            cpu_s(lambda: resolver.resolve(names)) for _ in range(_REPEATS)
        ),
    }


# ---- clients ------------------------------------------------------------------------------------


def clients(scratch: Path, sizes: Sequence[int], seconds: float) -> Curve:
    """Answer one query of each of some clients, on a flat index; the server's CPU time."""
    store = scratch / "served"
    make_store(store, _FLAT_CELLS, [FLAT])
    asked = {"index": FLAT, "queries": store / "queries.npy", "k": K}
    with serving(store, "--index", FLAT) as server:
        load(server, "search", clients=8, seconds=1, **asked)
        costs = [
            n * load(server, "search", clients=n, seconds=seconds, **asked)["cpu_ms"] / 1e3
            for n in sizes
        ]
    return Curve(f"one query of each client, {_FLAT_CELLS:,} cells", "clients", sizes, costs)


# ---- report -------------------------------------------------------------------------------------


def draw(curves: Sequence[Curve], path: Path) -> None:
    """Draw the curves of cells, genes and clients side by side."""
    kinds = list(dict.fromkeys(curve.of for curve in curves))
    with mpl.rc_context({**SETTINGS, "figure.facecolor": LIGHT["paper"], "font.size": 9}):
        drawing = Drawing(figsize=(3.4 * len(kinds), 4.2), layout="constrained")
        for axes, kind in zip(np.atleast_1d(drawing.subplots(1, len(kinds))), kinds, strict=True):
            for number, curve in enumerate(curve for curve in curves if curve.of == kind):
                color = LIGHT[f"s{number + 1}"]
                label = f"{curve.what} ({curve.exponent:.2f})"
                axes.plot(curve.sizes, curve.costs_s, marker="o", color=color, label=label)
            sizes = np.array(max((c.sizes for c in curves if c.of == kind), key=len), float)
            lowest = min(c.costs_s[0] for c in curves if c.of == kind) / 2
            axes.plot(sizes, lowest * sizes / sizes[0], color=LIGHT["soft"], ls=":", label="1.00")
            axes.set(xscale="log", yscale="log", xlabel=kind)
            axes.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.18))
        drawing.axes[0].set_ylabel("CPU time, s")
        drawing.savefig(path, dpi=110, facecolor=LIGHT["paper"], metadata={"Software": None})


def main() -> int:
    """Measure, draw and report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add_options(parser)
    parser.add_argument("--cells", type=int, default=_CELLS[-1], help="most cells")
    parser.add_argument("--seconds", type=float, default=4.0, help="of load by clients, each")
    arguments = parser.parse_args()
    os.environ |= {"OMP_WAIT_POLICY": "PASSIVE"}
    sizes = [n for n in _CELLS if n < arguments.cells] + [arguments.cells]
    notes, began = machine("faiss-cpu", "numba", "numpy", "grpcio"), time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="cellkin-bench-") as scratch:
        place = Path(scratch)
        curves = [
            *searched(place, sizes), placed(place, sizes), *genes(place, _GENES),
            clients(place, _CLIENTS, arguments.seconds),
        ]  # fmt: skip
    if not arguments.no_docs:
        draw(curves, _PICTURE)
    notes += [
        f"CPU time, {time.perf_counter() - began:.0f} s in all; vectors of {DIM} dimensions; lists "
        f"tuned to recall@10 >= {_RECALL:g}; cells of 2,400 columns and some 270 values, with the "
        "start of two processes; genes in this process; clients by the server's process",
    ]
    table = [
        "| work | size | CPU time by size | exponent | of the last step |",
        "| --- | --- | --- | --- | --- |",
        *(curve.row() for curve in curves),
        "",
        "![Cost by size](pictures/growth.png)",
    ]
    figures: list[Figure] = []
    for curve in curves:
        figures += [
            at_most(f"{curve.what}: exponent", curve.exponent, "", MOST),
            Figure(f"{curve.what}: exponent of the last step", curve.last, ""),
        ]
    return finish(arguments, "growth", "How cost grows", notes, figures, table)


if __name__ == "__main__":
    sys.exit(main())
