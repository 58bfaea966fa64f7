"""The layout of a reference: how well it keeps neighbors, and where cells are placed in it.

A fifth of a reference's cells is held out, the layout is fitted to the others, and the held-out
cells are placed in it: by the rule of the product, by plainer ones, and by umap-learn's own
`transform`. Their trustworthiness is measured beside a layout fitted to all cells and beside
chance; so is how far a cell moves when it is placed in other company. Then a million drawn vectors
are laid out, and sent as a server sends them.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from report import Figure, add_options, at_least, at_most, finish, machine
from sklearn.manifold import trustworthiness

from cellkin.client.results.layouts import Layout as Received
from cellkin.client.results.layouts import read_part
from cellkin.indexer.spaces import layout as fitting
from cellkin.server.layouts import get_layout
from cellkin.space.largest import largest_products
from cellkin.space.layout import PLACED_BY, Layout, among
from cellkin.space.vectors import unit_rows
from cellkin.store.catalog import Kind
from cellkin.store.cell_index import EXPRESSION, ReferenceCells
from cellkin.store.cell_vectors import read_vectors
from cellkin.store.store import Store
from cellkin.v1 import cell_service_pb2 as wire
from cellkin.wire.names import VersionName

DATA = Path(__file__).resolve().parents[2] / "shared/data/cells"
REFERENCES = {
    "pancreas": ("pancreas_human_baron.h5ad", "donor"),
    "retina": ("retina_human_voigt_periphery_d1_d2.h5ad", "donor"),
    "PBMC": ("pbmc_human_3k.h5ad", None),
}
TIMED = "pancreas_human_baron.h5ad"
K = 15
DRAWN, DRAWN_DIM, DRAWN_LABELS = 1_000_000, 50, 40
Floats = npt.NDArray[np.float32]


def main() -> int:
    """Run the benchmark and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--drawn", type=int, default=DRAWN, help="cells of the drawn reference")
    add_options(parser)
    arguments = parser.parse_args()
    figures: list[Figure] = []
    skipped = []
    for name, (file, batch) in REFERENCES.items():
        if (DATA / file).is_file():
            vectors, taken = indexed(DATA / file, batch)
            figures += [*placed(name, vectors), *taken]
            print(*figures[-12:], sep="\n", flush=True)
        else:
            skipped.append(f"{name}: skipped, the cells are not at {DATA / file}")
    figures += drawn(arguments.drawn)
    notes = [
        *machine("umap-learn", "scikit-learn", "numba"),
        f"trustworthiness at {K} neighbors; a fifth of the cells held out and placed",
        *skipped,
    ]
    return finish(arguments, "layout", "Layouts", notes, figures)


def indexed(file: Path, batch: str | None) -> tuple[Floats, list[Figure]]:
    """Index a reference; return its vectors, and what its layout takes."""
    with tempfile.TemporaryDirectory() as folder:
        given = ["--batch", batch] if batch else []
        index_s = command_s(
            "index", str(file), "--label", "cell_type", *given, "--store", folder, "--name",
            "reference", "--space", "expression", "--quick",
        )  # fmt: skip
        store = Store.open(folder)
        entry = store.catalog.resolve(Kind.INDEX, VersionName("reference"))
        vectors = read_vectors(store, entry, EXPRESSION).take(np.arange(entry.manifest["n_cells"]))
        taken = {"index --quick": index_s}
        if file.name == TIMED:
            taken["layout"] = command_s("layout", "reference", "--store", folder)
        what = f"{len(vectors):,} cells"
        return vectors, [Figure(f"{what}: `cells {k}`, CPU", s, "s") for k, s in taken.items()]


def command_s(*arguments: str) -> float:
    """Run a command of `cellkin cells` and return the CPU seconds it took."""
    command = str(Path(sys.executable).with_name("cellkin"))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([command, "cells", *arguments], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def placed(name: str, vectors: Floats) -> Iterator[Figure]:
    """Hold a fifth of the cells out, place them, and yield how well that keeps neighbors."""
    n = len(vectors)
    out = np.sort(np.random.default_rng(1).permutation(n)[: n // 5])
    fitted = np.setdiff1d(np.arange(n), out)
    at = fitting._embedded(vectors[fitted])
    near = largest_products(vectors[fitted], vectors[out], PLACED_BY)
    weights = 1 / np.maximum(1 - near[0], 1e-6)
    means = np.einsum("nk,nkd->nd", weights, at[near[1]]) / weights.sum(axis=1)[:, None]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from umap import UMAP

        peer = UMAP(n_neighbors=K, min_dist=0.3, random_state=0, n_jobs=1).fit(vectors[fitted])
        transformed = peer.transform(vectors[out])
        alone = np.concatenate([peer.transform(vectors[row : row + 1]) for row in out[:30]])
    ours = among(at, *near)
    all_fitted = fitting._embedded(vectors)[out]

    def trust(positions: Floats) -> float:
        return float(trustworthiness(vectors[out], positions, n_neighbors=K))

    measured = trust(transformed)
    permuted = np.random.default_rng(0).permutation(ours)
    yield at_least(f"{name}: trustworthiness, placed", trust(ours), "", measured - 0.01)
    yield Figure(f"{name}: the same by umap's transform", measured, "")
    yield Figure(f"{name}: by the mean of the same neighbors", trust(means), "")
    yield Figure(f"{name}: on the nearest cell", trust(at[near[1][:, 0]]), "")
    yield Figure(f"{name}: fitted with the others", trust(all_fitted), "")
    yield Figure(f"{name}: positions permuted", trust(permuted), "")
    one_by_one = np.concatenate(
        [among(at, *largest_products(vectors[fitted], vectors[row : row + 1], PLACED_BY))
         for row in out[:30]]
    )  # fmt: skip
    spread = float(np.linalg.norm(at.std(axis=0)))
    moved = float(np.abs(one_by_one - ours[:30]).max()) / spread
    yield at_most(f"{name}: moved by other company, of the spread", moved, "", 0)
    moved = float(np.median(np.linalg.norm(alone - transformed[:30], axis=1))) / spread
    yield Figure(f"{name}: the same by umap's transform, median", moved, "")


class Drawn:
    """Vectors around drawn directions, as an index holds them."""

    def __init__(self, n: int) -> None:
        rng = np.random.default_rng(0)
        self.labels = rng.integers(0, DRAWN_LABELS, n).astype(np.int32)
        self.n, self._rng = n, rng
        centers = rng.normal(size=(DRAWN_LABELS, DRAWN_DIM)).astype(np.float32)
        self._rows = centers[self.labels]
        self._rows += rng.normal(0, 0.7, self._rows.shape).astype(np.float32)
        self._rows = unit_rows(self._rows)

    def take(self, rows: Any) -> Floats:
        """Return the vectors of rows."""
        return self._rows[rows]

    def batches(self) -> Iterator[Floats]:
        """Yield all vectors."""
        for start in range(0, self.n, 16_384):
            yield self._rows[start : start + 16_384]


def drawn(n: int) -> Iterator[Figure]:
    """Lay drawn vectors out and send the layout."""
    vectors = Drawn(n)
    began, cpu = time.perf_counter(), time.process_time()
    layout, certificate = fitting.fit_layout({EXPRESSION: vectors}, vectors.labels)  # type: ignore[dict-item]
    what = f"{n:,} drawn cells"
    yield Figure(f"{what}: laid out, wall", time.perf_counter() - began, "s")
    yield Figure(f"{what}: laid out, CPU", time.process_time() - cpu, "s")
    yield Figure(f"{what}: trustworthiness", certificate.trustworthiness, "")
    yield Figure(f"{what}: positions permuted", certificate.permuted_trustworthiness, "")
    queries = vectors.take(np.arange(4096))
    began = time.perf_counter()
    layout.place(queries, EXPRESSION)
    yield Figure(f"{what}: queries placed, one thread", 4096 / (time.perf_counter() - began), "/s")
    n_bytes, seconds = sent(layout, vectors.labels, certificate.to_json())
    yield at_most(f"{what}: sent", n_bytes / 1e6, "MB", 20 * n / 1e6)
    yield Figure(f"{what}: written and read, without the network", seconds, "s")


def sent(layout: Layout, labels: npt.NDArray[np.int32], certificate: Any) -> tuple[int, float]:
    """Return the bytes of the pages of a layout, and the seconds to write and read them."""
    names = [f"label {code:02}" for code in range(DRAWN_LABELS)]
    n = len(labels)
    batches = pa.chunked_array([pa.array([f"batch {row % 12}" for row in range(n)])])
    cells = ReferenceCells(pa.chunked_array([pa.array([""] * n)]), names, labels, batches)
    manifest = {
        "layout": certificate,
        "n_cells": n,
        "corpus": "",
        "files": {"space.safetensors": ""},
    }
    loaded = SimpleNamespace(
        entry=SimpleNamespace(full_name="drawn@2026-01-01.1", manifest=manifest),
        index=SimpleNamespace(layout=layout, cells=cells),
    )
    cache: Any = SimpleNamespace(index=lambda name: loaded)
    began, n_bytes, token, parts = time.perf_counter(), 0, "", []
    while token or not parts:
        page = get_layout(cache, wire.GetLayoutRequest(index="drawn", page_token=token))
        message = page.SerializeToString()
        n_bytes += len(message)
        parts.append(read_part(wire.GetLayoutResponse.FromString(message)))
        token = page.next_page_token
    assert len(Received.join(parts).positions) == n
    return n_bytes, time.perf_counter() - began


if __name__ == "__main__":
    raise SystemExit(main())
