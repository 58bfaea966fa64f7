"""What it costs to compare what is read with its digest, and to sum products in one order.

A table of cells and a corpus are made here. Each first reading is of a table opened anew, so that
none of its blocks was compared; files are in the system's cache, so that the rest costs least and
the share of the comparison is the largest there is.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
from report import Figure, Timing, add_options, cpu_s, finish, interleaved, machine, timed, wall_s

from cellkin.space.arrays import Float32Matrix
from cellkin.space.products import all_products
from cellkin.space.vectors import unit_rows
from cellkin.store.catalog import Entry
from cellkin.store.cell_rows import write_rows
from cellkin.store.cell_table import CellTable, cell_table, check_rows, commit_rows, table_name
from cellkin.store.cell_vectors import CellVectors
from cellkin.store.corpus import read_gene_names
from cellkin.store.exact_search import search_exactly
from cellkin.store.row_digests import BLOCK_ROWS
from cellkin.store.schema import CORPUS, cells_schema
from cellkin.store.store import Store

_DIM, _EXPRESSION_DIM = 384, 50
_PART = 32_768
_N_GENES = 92_110
_PRODUCTS = (
    (1, 384, "head, 1 cell"),
    (64, 384, "head, 64 cells"),
    (2048, 384, "head, 2048 cells"),
    (2048, 14, "14 labels, 2048 cells"),
    (1, 8192, "search, 1 query"),
    (100, 8192, "search, 100 queries"),
)
_TEXT = "a sentence about what the gene does, where it is found and what else is known. " * 4


def _rows(n: int) -> Iterator[pa.RecordBatch]:
    schema, rng = cells_schema(_DIM, _EXPRESSION_DIM), np.random.default_rng(0)
    for first in range(0, n, _PART):
        numbers = range(first, min(first + _PART, n))
        columns = [
            pa.array([f"cell-{i}" for i in numbers]),
            pa.array([f"type {i % 20}" for i in numbers]),
            pa.array([f"donor {i % 4}" for i in numbers]),
        ]
        for field in list(schema)[3:]:
            size = len(numbers) * field.type.list_size
            flat = pa.array(rng.standard_normal(size, np.float32))
            columns.append(pa.FixedSizeListArray.from_arrays(flat, type=field.type))
        yield pa.RecordBatch.from_arrays(columns, schema=schema)


def _write(store: Store, n: int) -> CellTable:
    schema, uri = cells_schema(_DIM, _EXPRESSION_DIM), store.table_uri(table_name("x"))
    parts = [part for batch in _rows(n) for part in write_rows(uri, schema, [batch])]
    return commit_rows(store, "x", schema, parts)


def _corpus(store: Store) -> Entry:
    columns = []
    for field in CORPUS:
        if pa.types.is_string(field.type):
            long = _TEXT if field.name == "text" else ""
            columns.append(pa.array([f"{field.name}{i} {long}" for i in range(_N_GENES)]))
        elif pa.types.is_list(field.type):
            text = pa.types.is_string(field.type.value_type)
            values = [[f"{field.name}{i}" if text else i] for i in range(_N_GENES)]
            columns.append(pa.array(values, field.type))
        else:
            columns.append(pa.array(np.arange(_N_GENES) % 250, field.type))
    columns[CORPUS.names.index("gene_id")] = pa.array(range(1, _N_GENES + 1), pa.int64())
    columns[CORPUS.names.index("taxon")] = pa.array([9606] * _N_GENES, pa.int32())
    return store.publish_corpus("genes", pa.table(columns, schema=CORPUS), {})


def cells(store: Store, n: int, n_rounds: int) -> list[Figure]:
    """Measure readings of the vectors of cells."""
    table = _write(store, n)
    made = timed(lambda: table.digest)
    entry = store.publish_index("x", table.row_digests.save, table.to_manifest())
    plain = CellTable(table.name, table._dataset)
    later = cell_table(store, entry)
    list(later.batches(["vector"]))
    queries = unit_rows(np.random.default_rng(1).standard_normal((100, _DIM), np.float32))
    probes = np.concatenate([np.arange(8) + at * BLOCK_ROWS for at in range(8)])

    def vectors(cells: CellTable) -> CellVectors:
        return CellVectors(cells, "vector", _DIM, unit_rows)

    found = [
        Figure("digests taken at publishing, both kinds", made.cpu_s / _size(n), "CPU-s/GB"),
        Figure("digests of blocks", _block_bytes(entry, store) / n, "bytes/cell"),
    ]
    reads: dict[str, Callable[[CellTable], object]] = {
        "scan": lambda cells: [len(batch) for batch in cells.batches(["vector"])],
        "exact search of 1": lambda cells: search_exactly(vectors(cells), queries[:1], 10),
        "exact search of 100": lambda cells: search_exactly(vectors(cells), queries, 10),
        "test of an index": lambda cells: cells.take_vectors(probes, "vector"),
    }
    for name, read in reads.items():
        times = interleaved(
            {
                "never": lambda read=read: read(plain),  # type: ignore[misc]
                "first": lambda read=read: read(cell_table(store, entry)),  # type: ignore[misc]
                "later": lambda read=read: read(later),  # type: ignore[misc]
            },
            n_rounds,
        )
        for when, timings in times.items():
            found.append(Figure(f"{name}, {when} compared", wall_s(timings) * 1e3, "ms"))
        share = 1 - cpu_s(times["later"]) / cpu_s(times["first"])
        found.append(Figure(f"{name}: share of the first that compares", share, "of CPU"))
        if name == "scan":
            more = cpu_s(times["first"]) - cpu_s(times["later"])
            found.append(Figure("comparing vectors", more / (n * _DIM * 4e-9), "CPU-s/GB"))
    whole = timed(lambda: check_rows(store, entry))
    found.append(
        Figure("all rows, as append, merge and verify", whole.cpu_s / _size(n), "CPU-s/GB")
    )
    return found


def corpus(store: Store, n_rounds: int) -> list[Figure]:
    """Measure readings of a corpus of human and mouse."""
    entry = _corpus(store)
    (data,) = (Path(store.uri) / "corpus-genes.lance" / "data").iterdir()

    def touched() -> Store:
        os.utime(data)
        return Store.open(store.uri)

    columns = ["gene_id", "symbol", "synonyms", "ensembl_ids"]
    ways: dict[str, Callable[[], object]] = {
        "names of genes, first": lambda: touched().corpus(entry, columns),
        "names of genes, later": lambda: Store.open(store.uri).corpus(entry, columns),
        "a row, first": lambda: touched().corpus_rows(entry, [7]),
        "a row, later": lambda: store.corpus_rows(entry, [7]),
        "names of genes, later, with their resolver": lambda: read_gene_names(store, entry),
    }
    found = [Figure("corpus", data.stat().st_size / 1e6, "MB")]
    for name, timings in interleaved(ways, n_rounds).items():
        found += [
            Figure(name, wall_s(timings) * 1e3, "ms"),
            Figure(name, cpu_s(timings) * 1e3, "CPU-ms"),
        ]
    return found


def products(n_rounds: int) -> list[Figure]:
    """Measure products that are summed in one order beside those of BLAS."""
    rng, found = np.random.default_rng(0), []
    for n, n_vectors, what in _PRODUCTS:
        queries: Float32Matrix = rng.standard_normal((n, _DIM), np.float32)
        vectors: Float32Matrix = rng.standard_normal((n_vectors, _DIM), np.float32)
        times = 1 + 2_000_000 // (n * n_vectors)
        ways = (all_products, _by_blas)
        repeated: dict[str, Callable[[], object]] = {
            way.__name__: partial(_repeat, way, queries, vectors, times) for way in ways
        }
        timings = interleaved(repeated, n_rounds)
        ours, blas = (wall_s(timings[way.__name__]) / times * 1e6 for way in ways)
        found += [Figure(f"{what}: one order", ours, "us"), Figure(f"{what}: BLAS", blas, "us")]
    return found


def _by_blas(queries: Float32Matrix, vectors: Float32Matrix) -> Float32Matrix:
    return np.asarray(queries @ vectors.T)


def _repeat(
    way: Callable[[Float32Matrix, Float32Matrix], Float32Matrix],
    queries: Float32Matrix,
    vectors: Float32Matrix,
    times: int,
) -> None:
    for _ in range(times):
        way(queries, vectors)


def _size(n: int) -> float:
    return n * (_DIM + _EXPRESSION_DIM) * 4e-9


def _block_bytes(entry: Entry, store: Store) -> int:
    folder = store.index_folder(entry)
    return sum((folder / name).stat().st_size for name in entry.manifest["files"])


def main() -> int:
    """Measure, print and return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cells", type=int, default=200_000, help="how many cells")
    parser.add_argument("--rounds", type=int, default=5, help="how many timed rounds")
    add_options(parser)
    arguments = parser.parse_args()
    started = Timing(time.perf_counter(), time.process_time())
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = f"{folder}/cache"
        store = Store.create(f"{folder}/store")
        found = [
            *products(arguments.rounds),
            *cells(store, arguments.cells, arguments.rounds),
            *corpus(store, arguments.rounds),
        ]
    wall, cpu = time.perf_counter() - started.wall_s, time.process_time() - started.cpu_s
    notes = [
        *machine("numpy", "pylance"),
        f"{arguments.cells} cells of {_DIM} and {_EXPRESSION_DIM} dimensions, "
        f"{_size(arguments.cells):.2f} GB, in the system's cache; a corpus of {_N_GENES} genes; "
        f"BLAS on {os.environ.get('OPENBLAS_NUM_THREADS', 'all')} threads",
        f"medians of {arguments.rounds} rounds in turns; wall {wall:.0f} s, CPU {cpu:.0f} s, "
        f"load average {os.getloadavg()[0]:.1f} at the end",
    ]
    return finish(arguments, "checks", "Comparing what is read", notes, found)


if __name__ == "__main__":
    sys.exit(main())
