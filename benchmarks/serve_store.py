"""The store of the benchmarks of the server: the cells of index.py in three indexes."""

from collections.abc import Collection, Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pyarrow as pa
from index import DIM, N_TYPES, mixture

from cellkin.indexer.cells.publish import IndexChoice, Spaces, publish_index
from cellkin.space.arrays import Float32Matrix
from cellkin.space.classifier import RATES, LabelClassifier
from cellkin.space.projection import CellSpace
from cellkin.space.recipe import TEXT_V1
from cellkin.space.vectors import unit_rows
from cellkin.store import schema
from cellkin.store.cell_rows import write_rows
from cellkin.store.cell_table import commit_rows, table_name
from cellkin.store.store import Store
from cellkin.wire.terms import TextRung

FLAT, LISTS, TINY = "flat", "lists", "tiny"
FACTORY = "IVF4096,RaBitQ,Refine(SQ8)"
K = 10
_N_QUERIES = 2048


def make_store(place: Path, n_cells: int, wanted: Collection[str] = (TINY, FLAT, LISTS)) -> None:
    """Make a store with a flat index, one of inverted lists, and one of a handful of cells."""
    store = Store.create(str(place))
    genes = corpus_of(2000)
    corpus = store.publish_corpus("genes", genes, {})
    rng = np.random.default_rng(1)
    space = CellSpace(
        recipe=TEXT_V1,
        gene_ids=genes["gene_id"].to_numpy(),
        taxa=genes["taxon"].to_numpy(),
        vectors=unit_rows(rng.standard_normal((2000, DIM)).astype(np.float32)),
        weights=np.ones(2000, np.float32),
        measured=np.ones(2000, bool),
        center=np.zeros(DIM, np.float32),
    )
    spaces = Spaces(space, votes_alone(N_TYPES))
    made_from = {
        "recipe": TEXT_V1.name, "corpus": corpus.full_name, "embedding": "random@2020-01-01.1",
    }  # fmt: skip
    for name, n, factory in (
        (TINY, 256, "Flat"), (FLAT, min(100_000, n_cells), "Flat"), (LISTS, n_cells, FACTORY),
    ):  # fmt: skip
        if name not in wanted:
            continue
        print(f"indexing {n} cells as {factory}", flush=True)
        columns = schema.cells_schema(DIM, 0)
        rows = write_rows(store.table_uri(table_name(name)), columns, _rows(n))
        cells = commit_rows(store, name, columns, rows)
        choice = IndexChoice(factory, 0.95)
        publish_index(store, name, cells, spaces, choice, made_from, lambda _: nullcontext(_ignore))
    queries = np.concatenate([*mixture(_N_QUERIES, 77)])[:_N_QUERIES]
    np.save(place / "queries.npy", queries)


def votes_alone(n_labels: int) -> LabelClassifier:
    """Return a classifier of votes alone: no label is asked for here."""
    prototypes = unit_rows(np.random.default_rng(2).standard_normal((n_labels, DIM)))
    nothing, none = np.zeros((n_labels, 0), np.float32), np.zeros((0, DIM), np.float32)
    deviations = np.ones((2, n_labels), np.float32)
    return LabelClassifier(
        k=K, n_novelty=K, vote_epsilon=1e-4, class_balance=0.0, n_components=DIM,
        prototypes=prototypes.astype(np.float32), head_prototypes=nothing,
        coefficients=none, intercepts=np.zeros(0, np.float32), discriminants=none,
        leading_prototypes=nothing, leading_discriminants=nothing,
        mix=np.array([1.0, 0, 0, 0]), sharpness=1.0, votes_sharpness=1.0,
        novelty_means=np.zeros_like(deviations), novelty_deviations=deviations,
        novelty_limit=np.inf, novelty_limits=np.full(len(RATES), np.inf, np.float32),
        min_probability=0.5,
    )  # fmt: skip


def _ignore(done: int, total: int) -> None:
    return


def corpus_of(n: int) -> pa.Table:
    """Return a corpus of genes with the ids 1 to n."""
    rows = [
        {
            "gene_id": i, "taxon": 9606, "symbol": f"G{i}", "name": "", "synonyms": [],
            "designations": [], "ensembl_ids": [], "former_ids": [], "gene_type": "",
            "rung": TextRung.DESIGNATIONS, "text": f"gene {i}", "text_source": "",
            "text_gene_id": i, "n_sharing": 1, "text_sha256": "",
        }
        for i in range(1, n + 1)
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=schema.CORPUS)


def _rows(n: int) -> Iterator[pa.RecordBatch]:
    done = 0
    for block in mixture(n, 5):
        yield rows_of(block, done, [f"type-{i % N_TYPES}" for i in range(done, done + len(block))])
        done += len(block)


def rows_of(vectors: Float32Matrix, first: int, labels: list[str]) -> pa.RecordBatch:
    """Return the rows of cells, of which the first has a number."""
    numbers = range(first, first + len(vectors))
    flat = pa.array(np.ascontiguousarray(vectors).reshape(-1))
    columns = [
        pa.array([f"cell-{i}" for i in numbers]),
        pa.array(labels),
        pa.array([f"donor-{i % 8}" for i in numbers]),
        pa.FixedSizeListArray.from_arrays(flat, DIM),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema.cells_schema(DIM, 0))
