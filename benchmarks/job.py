"""Measure the cell job end to end: against the rate at which its files can be read, and in memory.

Counts are those of `project.py`, written uncompressed and as zarr. The plain rate is anndata's own:
one process that takes slices of a backed file. The job reads with two processes and projects in the
same two, so it is set beside two processes of its reader as well. Targets are those of the
projection of `project.py`, alone and with the expression space, and differ by the format. Memory is
the peak of the largest process while cells are read and placed; ten times the cells are ten times
the files, which share their values on disk.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import product
from multiprocessing import active_children, get_context
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pyarrow as pa
import zarr
from project import counts
from report import (
    Figure,
    Timing,
    add_options,
    at_least,
    at_most,
    finish,
    interleaved,
    machine,
    speedup,
    wall_s,
)

from cellkin.indexer.cells.engines import LocalEngine
from cellkin.indexer.cells.job import Job, index_cells, place_like
from cellkin.indexer.cells.sources import Reference
from cellkin.indexer.embeddings.job import embed_genes
from cellkin.matrices.cells import open_cells, open_matrix
from cellkin.matrices.convert import write_zarr
from cellkin.space.recipe import TEXT_V1, Recipe
from cellkin.store import schema
from cellkin.store.store import Store
from cellkin.wire.names import VersionName
from cellkin.wire.terms import TextRung

_SLICE_CELLS = 1000
_TOP_200 = replace(TEXT_V1, name="top-200", top_n=200)
_EMBEDDING = "random:384:0"
_FILE_CELLS = 20_000
_FIT_CELLS = 2_000


@dataclass(frozen=True)
class _Way:
    """A recipe, whether cells are placed by expression as well, and targets of zarr and h5ad."""

    title: str
    recipe: Recipe
    expression: bool
    targets: tuple[float, float] | None = None

    @property
    def index(self) -> str:
        """Name of the index whose spaces are these."""
        return f"{self.recipe.name}-{'both' if self.expression else 'text'}"


_WAYS = (
    _Way("top 200", _TOP_200, expression=False, targets=(0.95, 0.8)),
    _Way("top 200 and expression", _TOP_200, expression=True, targets=(0.8, 0.7)),
    _Way("text-v1 and expression", TEXT_V1, expression=True),
)


def main() -> int:
    """Run the benchmark and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=65_536, help="cells of the timed files")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", action="store_true", help="also place 100,000 and 1,000,000")
    parser.add_argument("--place", nargs=2, metavar=("STORE", "FOLDER"), help=argparse.SUPPRESS)
    add_options(parser)
    arguments = parser.parse_args()
    if arguments.place:
        return _place_and_tell(*map(Path, arguments.place))
    notes = [
        *machine("anndata", "zarr", "h5py", "pylance", "numba"),
        f"{arguments.cells:,} cells of 20,000 genes, 2 processes, 384 dimensions; text-v1 takes "
        "the top 1,000 genes",
    ]
    with tempfile.TemporaryDirectory(prefix="cellkin-") as scratch:
        figures = _rates(Path(scratch), arguments.cells, arguments.rounds)
        if arguments.memory:
            figures += _memory(Path(scratch))
        else:
            notes.append("memory at 100,000 and 1,000,000 cells: not asked for (--memory)")
    return finish(arguments, "job", "The cell job, end to end", notes, figures)


def _rates(scratch: Path, n_cells: int, n_rounds: int) -> list[Figure]:
    cells = anndata.AnnData(counts(n_cells), _obs(n_cells, 0), _var())
    h5ad, tree = scratch / "cells.h5ad", scratch / "cells.zarr"
    cells.write_h5ad(h5ad)
    with open_cells(h5ad) as source:
        write_zarr(source, tree)
    store = _store(scratch / "store")
    for way in _WAYS:
        _fit(store, scratch / "fit.h5ad", way)
    figures = []
    with closing(LocalEngine(2)) as engine:
        for way, path in product(_WAYS, (tree, h5ad)):
            name = f"{'zarr v3' if path is tree else 'h5ad'}, {way.title}"
            placing: list[Timing] = []
            ways: dict[str, Callable[[], object]] = {
                "plain": lambda path=path: _read_plainly(path),
                "reader": lambda path=path: _read_in_processes(path, n_cells),
                "job": lambda path=path, way=way, placing=placing: _place(
                    store, path, way, engine, placing
                ),
            }
            timings = interleaved(ways, n_rounds)
            job = placing[-n_rounds:]

            def rate(of: list[Timing]) -> float:
                return n_cells / wall_s(of)

            ratio = speedup(timings["plain"], job)
            figures += [
                Figure(f"{name}: read plainly, 1 process", rate(timings["plain"]), "cells/s"),
                Figure(f"{name}: our reader, 2 processes", rate(timings["reader"]), "cells/s"),
                Figure(f"{name}: read and placed, 2 processes", rate(job), "cells/s"),
                at_least(f"{name}: placed / read plainly", ratio, "x", way.targets[path is h5ad])
                if way.targets
                else Figure(f"{name}: placed / read plainly", ratio, "x"),
                Figure(f"{name}: placed / our reader", speedup(timings["reader"], job), "x"),
            ]
    return figures


def _fit(store: Store, path: Path, way: _Way) -> None:
    """Publish an index of a few cells, for its spaces: fitting them is not what is timed."""
    anndata.AnnData(counts(_FIT_CELLS, seed=2), _obs(_FIT_CELLS, 0), _var()).write_h5ad(path)
    wanted = VersionName(_EMBEDDING.replace(":", "-"))
    reference = Reference([path], "cell_type")
    index_cells(store, way.index, reference, wanted, way.recipe, expression=way.expression)


def _place(store: Store, path: Path, way: _Way, engine: LocalEngine, placing: list[Timing]) -> None:
    """Place the cells of a file in spaces that are fitted, and add what that took."""

    @contextmanager
    def stage(what: str) -> Iterator[Callable[[int, int], None]]:
        if what == "building the index":
            raise _CellsPlaced
        started = time.perf_counter()
        yield lambda done, total: None
        if what == "placing cells":
            placing.append(Timing(time.perf_counter() - started, 0.0))

    reference, job = Reference([path], "cell_type"), Job(engine=engine, stages=stage)
    with suppress(_CellsPlaced):
        place_like(store, "cells", reference, VersionName(way.index), job)


class _CellsPlaced(Exception):
    """Ends a job whose cells are placed: building the index is what `index.py` measures."""


def _read_plainly(path: Path) -> None:
    if path.suffix == ".h5ad":
        cells = anndata.read_h5ad(path, backed="r")
        matrix, n_cells = cells.X, cells.n_obs
    else:
        group = zarr.open_group(str(path), mode="r")
        matrix = anndata.io.sparse_dataset(group["X"])
        n_cells = matrix.shape[0]
    for start in range(0, n_cells, _SLICE_CELLS):
        matrix[start : start + _SLICE_CELLS]


_pool: ProcessPoolExecutor | None = None


def _read_in_processes(path: Path, n_cells: int) -> None:
    global _pool
    if _pool is None:
        _pool = ProcessPoolExecutor(2, get_context("spawn"))
    edges = range(0, n_cells, 8192)
    list(_pool.map(_read_part, [path] * len(edges), edges))


def _read_part(path: Path, start: int) -> None:
    with open_matrix(path) as matrix:
        for _ in matrix.blocks(start, min(start + 8192, matrix.n_cells), 4_000_000, 4096):
            pass


def _memory(scratch: Path) -> list[Figure]:
    """Place 100,000 and 1,000,000 cells, each in a process of its own, up to the index."""
    store = _store(scratch / "memory")
    base = scratch / "base.zarr"
    cells = anndata.AnnData(counts(_FILE_CELLS, seed=1), _obs(_FILE_CELLS, 0), _var())
    cells.write_h5ad(scratch / "base.h5ad")
    with open_cells(scratch / "base.h5ad") as source:
        write_zarr(source, base)
    peaks, figures = [], []
    for n_files in (5, 50):
        folder = scratch / f"files-{n_files}"
        for number in range(n_files):
            _twin(base, folder / f"{number:02d}.zarr", number)
        started = time.perf_counter()
        command = [sys.executable, __file__, "--place", store.uri, str(folder)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        peaks.append(int(done.stdout.split()[-1]) / 1024)
        n_cells = n_files * _FILE_CELLS
        took_s = time.perf_counter() - started
        figures += [
            Figure(f"{n_cells:,} cells: peak of the largest process", peaks[-1], "MiB"),
            Figure(f"{n_cells:,} cells: from start to index", n_cells / took_s, "cells/s"),
        ]
    return [*figures, at_most("peak at 1,000,000 / 100,000 cells", peaks[1] / peaks[0], "x", 1.5)]


def _place_and_tell(store: Path, folder: Path) -> int:
    """Place the files of a folder; print the peak memory when their index would be built."""

    @contextmanager
    def stage(what: str) -> Iterator[Callable[[int, int], None]]:
        if what == "building the index":
            pids = ["self", *(str(child.pid) for child in active_children())]
            print(max(map(_peak_kib, pids)))
            engine.close()
            sys.exit(0)
        yield lambda done, total: None

    engine = LocalEngine(2)
    reference = Reference(sorted(folder.iterdir()), "cell_type")
    wanted = VersionName(_EMBEDDING.replace(":", "-"))
    job = Job(engine=engine, stages=stage)
    index_cells(Store.open(str(store)), "cells", reference, wanted, TEXT_V1, job)
    return 1


def _peak_kib(pid: str) -> int:
    """Return the peak memory of a process since it began; rusage would count what it came from."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])


def _twin(base: Path, path: Path, number: int) -> None:
    """Make a file of the same values under other names."""
    path.mkdir(parents=True)
    for part in base.iterdir():
        if part.name == "obs":
            continue
        if part.is_dir():
            (path / part.name).symlink_to(part)
        else:
            shutil.copy(part, path / part.name)
    shutil.copytree(base / "obs", path / "obs")
    group = zarr.open_group(str(path), mode="r+", use_consolidated=False)
    anndata.io.write_elem(group, "obs", _obs(_FILE_CELLS, number))


def _obs(n_cells: int, number: int) -> pd.DataFrame:
    names = [f"{number:03d}-{i:07d}" for i in range(n_cells)]
    types = np.arange(n_cells) % 8
    return pd.DataFrame({"cell_type": [f"type {t}" for t in types]}, index=names)


def _var() -> pd.DataFrame:
    return pd.DataFrame(index=[f"GENE{i}" for i in range(1, 20_001)])


def _store(path: Path) -> Store:
    """Make a store of 20,000 genes with random vectors."""
    rows = [
        {
            "gene_id": i, "taxon": 9606, "symbol": f"GENE{i}", "name": "", "synonyms": [],
            "designations": [], "ensembl_ids": [], "former_ids": [], "gene_type": "protein-coding",
            "rung": TextRung.OWN_SUMMARY, "text": f"text {i}", "text_source": "generated",
            "text_gene_id": i, "n_sharing": 1, "text_sha256": f"{i:064x}",
        }
        for i in range(1, 20_001)
    ]  # fmt: skip
    store = Store.create(str(path))
    store.publish_corpus("genes", pa.Table.from_pylist(rows, schema=schema.CORPUS), {})
    embed_genes(store, _EMBEDDING, VersionName("genes"))
    return store


if __name__ == "__main__":
    sys.exit(main())
