"""Label a million cells by `tl.annotate`: the client's memory, its rate, and an interrupt.

A server of a small index runs in a process of its own, and so does every run of the client. Its
rate is compared with what the server answers to the same messages when they lie ready, sent by the
bare stub with as many on their way. One run is killed when half of its answers are kept, resumed,
and compared with the run that was left alone.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import anndata
import grpc
import h5py
import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy.sparse as sp
from report import Figure, add_options, at_least, at_most, finish, machine
from serving import serving

from cellkin.client.calls.cells import stream_predict_subtypes
from cellkin.client.queries import WholeQuery
from cellkin.client.transport.connection import MAX_IN_FLIGHT
from cellkin.indexer.cells.job import index_cells
from cellkin.indexer.cells.sources import Reference
from cellkin.indexer.embeddings.job import embed_genes
from cellkin.matrices.cells import open_cells
from cellkin.matrices.matrix import MAX_CELLS
from cellkin.space.recipe import TEXT_V1
from cellkin.store import schema
from cellkin.store.store import Store
from cellkin.v1 import cell_service_pb2 as wire
from cellkin.v1 import cell_service_pb2_grpc
from cellkin.wire.names import VersionName
from cellkin.wire.terms import ExpressionUnits, TextRung

N_GENES, N_STRANGE, N_TYPES = 2000, 400, 12
N_REFERENCE, N_BASE = 3000, 16_384
N_READY = 65_536
"""Cells whose messages lie ready."""


# ---- what is asked, and of whom -----------------------------------------------------------------


def counts(n_cells: int, seed: int) -> tuple[sp.csr_matrix, npt.NDArray[np.int64]]:
    """Return counts of cells over known and strange genes, some 270 of a cell, and their types."""
    rng = np.random.default_rng(seed)
    types = rng.integers(0, N_TYPES, n_cells)
    rates = np.random.default_rng(0).gamma(0.08, 1.6, (N_TYPES, N_GENES + N_STRANGE))
    blocks = [sp.csr_matrix(rng.poisson(rates[part])) for part in np.array_split(types, 8)]
    return sp.vstack(blocks, format="csr").astype(np.float32), types


def names() -> list[str]:
    """Return the names of the columns: of 2,000 genes, and 400 that no corpus knows."""
    return [f"G{i}" for i in range(1, N_GENES + 1)] + [f"probe{i}" for i in range(N_STRANGE)]


def make_store(place: Path) -> None:
    """Publish a corpus, random vectors and an index of both spaces."""
    import pyarrow as pa

    rows = [
        {
            "gene_id": i, "taxon": 9606, "symbol": f"G{i}", "name": "", "synonyms": [],
            "designations": [], "ensembl_ids": [], "former_ids": [], "gene_type": "",
            "rung": TextRung.DESIGNATIONS, "text": f"gene {i}", "text_source": "",
            "text_gene_id": i, "n_sharing": 1, "text_sha256": "",
        }
        for i in range(1, N_GENES + 1)
    ]  # fmt: skip
    store = Store.create(str(place / "store"))
    store.publish_corpus("genes", pa.Table.from_pylist(rows, schema=schema.CORPUS), {})
    embed_genes(store, "random:64:7", VersionName("genes"))
    x, types = counts(N_REFERENCE, 1)
    obs = pd.DataFrame(
        {"label": [f"type-{t}" for t in types], "donor": [f"d{i % 3}" for i in range(len(types))]},
        index=[f"r{i}" for i in range(len(types))],
    )
    path = place / "reference.h5ad"
    anndata.AnnData(x[:, :N_GENES], obs, pd.DataFrame(index=names()[:N_GENES])).write_h5ad(path)
    reference = Reference([path], "label", "donor")
    index_cells(store, "ref", reference, VersionName("random-64-7"), TEXT_V1)


def make_query(path: Path, n_cells: int) -> None:
    """Write cells as an uncompressed .h5ad, in blocks: a base in turn, changed a little."""
    base, _ = counts(N_BASE, 2)
    rng = np.random.default_rng(3)
    with h5py.File(path, "w") as file:
        for name in ("layers", "obsm", "obsp", "uns", "varm", "varp"):
            anndata.io.write_elem(file, name, {})
        ids = pd.DataFrame(index=[f"cell-{i}" for i in range(n_cells)])
        anndata.io.write_elem(file, "obs", ids)
        anndata.io.write_elem(file, "var", pd.DataFrame(index=names()))
        x = file.create_group("X")
        kinds = {"data": np.float32, "indices": np.uint16, "indptr": np.int64}
        arrays = {
            name: x.create_dataset(name, (0,), kind, maxshape=(None,), chunks=(2**18,))
            for name, kind in kinds.items()
        }

        def append(name: str, values: npt.NDArray[Any]) -> None:
            array = arrays[name]
            start = len(array)
            array.resize((start + len(values),))
            array[start:] = values

        append("indptr", np.zeros(1, np.int64))
        n_values = 0
        for start in range(0, n_cells, N_BASE):
            cells = base[rng.permutation(N_BASE)[: n_cells - start]]
            append("data", cells.data + rng.integers(0, 2, cells.nnz))
            append("indices", cells.indices)
            append("indptr", n_values + cells.indptr[1:].astype(np.int64))
            n_values += cells.nnz
        shape = [n_cells, N_GENES + N_STRANGE]
        x.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": shape})
        file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})


# ---- runs, each in a process of its own ---------------------------------------------------------


def started(query: Path, address: str, out: Path, *options: str | Path) -> subprocess.Popen[bytes]:
    """Start a run of the client."""
    script = Path(__file__).with_name("label.py")
    return subprocess.Popen([sys.executable, script, query, address, out, *options])


def run(query: Path, address: str, out: Path, *options: str | Path) -> dict[str, float]:
    """Run the client to its end."""
    code = started(query, address, out, *options).wait()
    if code:
        raise SystemExit(f"a run of the client ended with {code}")
    found: dict[str, float] = json.loads(out.read_text())
    return found


def killed(query: Path, address: str, out: Path, resume: Path, n_cells: int) -> int:
    """Kill a run when half of the answers are kept; return how many those are."""
    process = started(query, address, out, "--resume", resume)
    while process.poll() is None and kept(resume) < n_cells / 2:
        time.sleep(0.05)
    process.kill()
    process.wait()
    return kept(resume)


def kept(resume: Path) -> int:
    """Return how many cells a checkpoint has answers to."""
    manifest = resume / "manifest.json"
    if not manifest.exists():
        return 0
    return sum(part["n_cells"] for part in json.loads(manifest.read_text())["parts"])


# ---- the bare stub ------------------------------------------------------------------------------


def messages(query: Path) -> tuple[Any, list[Any], list[int]]:
    """Return the header, and messages of blocks as the client makes them with their cells."""
    with open_cells(query) as cells:
        whole = WholeQuery(cells)
        ready: list[Any] = []
        sizes: list[int] = []
        stream = stream_predict_subtypes(
            "ref", whole.gene_names, [], units=ExpressionUnits.LINEAR, space="expression",
        )  # fmt: skip
        for block in whole.blocks(MAX_CELLS):
            ready.append(stream.message(block.cells))
            sizes.append(len(block.names))
            if sum(sizes) >= N_READY:
                break
    return stream.opening[0], ready, sizes


def bare(address: str, header: Any, ready: list[Any], sizes: list[int], n_cells: int) -> float:
    """Send messages that lie ready by the bare stub; return cells a second."""
    waiting: SimpleQueue[Any] = SimpleQueue()
    options = [("grpc.max_receive_message_length", 64 << 20)]
    with grpc.insecure_channel(address, options=options) as channel:
        stub = cell_service_pb2_grpc.CellServiceStub(channel)
        waiting.put(header)
        answers: Iterator[wire.StreamPredictSubtypesResponse] = stub.StreamPredictSubtypes(
            iter(waiting.get, None)
        )
        next(answers)
        n_messages = max(1, round(n_cells / (sum(sizes) / len(sizes))))
        began, done = time.perf_counter(), 0
        in_flight: deque[int] = deque()
        for message, size in islice(cycle(zip(ready, sizes, strict=True)), n_messages):
            waiting.put(message)
            in_flight.append(size)
            if len(in_flight) == MAX_IN_FLIGHT:
                next(answers)
                done += in_flight.popleft()
        waiting.put(None)
        for _ in answers:
            done += in_flight.popleft()
        return done / (time.perf_counter() - began)


# ---- what is measured ---------------------------------------------------------------------------


def measure(place: Path, n_cells: int, say: Callable[[str], None]) -> list[Figure]:
    """Measure everything on one server."""
    query = place / "query.h5ad"
    say("making the index and the cells")
    make_store(place)
    make_query(query, n_cells)
    with serving(place / "store") as server:
        header, ready, sizes = messages(query)
        n_bare = max(N_READY, n_cells // 2)
        bare(server.address, header, ready, sizes, N_READY // 4)
        rates = []
        say("the bare stub, before")
        rates.append(bare(server.address, header, ready, sizes, n_bare))
        say("the whole run")
        whole = run(query, server.address, place / "whole.json")
        say("the bare stub, after")
        rates.append(bare(server.address, header, ready, sizes, n_bare))
        say("a run that is killed at half, and resumed")
        half = killed(query, server.address, place / "broken.json", place / "kept", n_cells)
        resumed = run(query, server.address, place / "broken.json", "--resume", place / "kept")
    left, right = (np.load(place / f"{name}.npz") for name in ("whole", "broken"))
    differ = np.zeros(n_cells, bool)
    for name in left.files:
        # Bit for bit, by the bytes of each value.
        a, b = left[name], right[name]
        differ |= a.view(f"u{a.itemsize}") != b.view(f"u{b.itemsize}")
    rate, stub = n_cells / whole["wall_s"], sum(rates) / len(rates)
    return [
        Figure("bare stub, messages ready", stub, "cells/s"),
        Figure("tl.annotate", rate, "cells/s"),
        at_least("tl.annotate / bare stub", rate / stub, "x", 0.7),
        at_most("peak memory of the client", whole["peak_gib"], "GiB", 1),
        Figure("killed with answers to", half, "cells"),
        Figure("resumed: to read those again and label the rest", resumed["wall_s"], "s"),
        at_most("resumed: peak memory of the client", resumed["peak_gib"], "GiB", 1),
        at_most("resumed: cells with another result", int(differ.sum()), "cells", 0),
    ]


def main() -> int:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add_options(parser)
    parser.add_argument("--cells", type=int, default=1_000_000)
    arguments = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    notes = machine("anndata", "grpcio", "protobuf", "numpy")
    with tempfile.TemporaryDirectory(prefix="cellkin-bench-") as place:
        figures = measure(Path(place), arguments.cells, lambda what: print(what, flush=True))
    notes.append(
        f"{arguments.cells:,} cells of a backed .h5ad, {N_GENES + N_STRANGE:,} columns of which "
        f"{N_GENES:,} mean a gene; {N_REFERENCE:,} reference cells of {N_TYPES} types, compared by "
        "expression; client and server share the CPUs; the bare stub before and after the run"
    )
    title = "Labeling a million cells through the client"
    return finish(arguments, "annotate_client", title, notes, figures)


if __name__ == "__main__":
    sys.exit(main())
