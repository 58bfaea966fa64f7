"""A small store for trials of damage and of load: made cells and genes, several versions."""

import dataclasses
import hashlib
import os
import shutil
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pyarrow as pa
import scipy.sparse as sp

from cellkin.client import Client
from cellkin.indexer.cells.job import Job, index_cells
from cellkin.indexer.cells.publish import IndexChoice
from cellkin.indexer.cells.sources import Reference
from cellkin.indexer.embeddings.job import embed_genes
from cellkin.space.recipe import TEXT_V1
from cellkin.store import schema
from cellkin.store.catalog import Entry, Kind
from cellkin.store.store import Store
from cellkin.wire.errors import CellkinError
from cellkin.wire.names import VersionName
from cellkin.wire.terms import ExpressionUnits, TextRung

N_GENES = 600
TYPES = ("acinar", "beta", "delta", "ductal")
STAGES = ("one version", "three versions", "retracted", "whole")
"""States of the store, oldest first; of the last one questions are asked."""
_OF_THE_SERVER = ("loaded", "is_loaded")
"""Fields of answers that tell of the server and not of the store."""
_MODEL = "random:48:7"
_SPECIES = ((9606, 0), (10090, 100_000))


def corpus_table(n_genes: int = N_GENES) -> pa.Table:
    """Return human genes and their mouse namesakes, each with a text of its own."""
    rows = []
    for taxon, offset in _SPECIES:
        for i in range(1, n_genes + 1):
            text = f"protein number {i} of taxon {taxon} binds a receptor of family {i % 17}"
            human = taxon == _SPECIES[0][0]
            rows.append(
                {
                    "gene_id": offset + i,
                    "taxon": taxon,
                    "symbol": f"GENE{i}" if human else f"Gene{i}",
                    "name": f"gene number {i}",
                    "synonyms": [f"OLD{i}"],
                    "designations": [],
                    "ensembl_ids": [f"ENSG{i:011d}" if human else f"ENSMUSG{i:011d}"],
                    "former_ids": [],
                    "gene_type": "protein-coding",
                    "rung": TextRung.OWN_SUMMARY,
                    "text": text,
                    "text_source": "RefSeq",
                    "text_gene_id": offset + i,
                    "n_sharing": 1,
                    "text_sha256": hashlib.sha256(text.encode()).hexdigest(),
                }
            )
    return pa.Table.from_pylist(rows, schema=schema.CORPUS)


def cells(n: int, seed: int, n_genes: int = N_GENES) -> anndata.AnnData:
    """Return counts of cells of four types, each with genes of its own."""
    rng = np.random.default_rng(seed)
    types = np.arange(n) % len(TYPES)
    marks = np.arange(n_genes) * len(TYPES) // n_genes
    counts = rng.poisson(np.where(types[:, None] == marks[None], 1.5, 0.1)).astype(np.float32)
    obs = pd.DataFrame(
        {"cell_type": [TYPES[t] for t in types], "donor": [f"d{i % 3}" for i in range(n)]},
        index=[f"cell{seed}-{i}" for i in range(n)],
    )
    var = pd.DataFrame(index=[f"GENE{i}" for i in range(1, n_genes + 1)])
    return anndata.AnnData(sp.csr_matrix(counts), obs, var)


class World:
    """A store that was kept at several stages, and a query.

    Parameters
    ----------
    folder
        Where it is made, if it is not there yet.
    n_cells
        Cells of a version.
    """

    def __init__(self, folder: Path, n_cells: int = 240) -> None:
        self._folder = folder
        if not (folder / "done").exists():
            shutil.rmtree(folder, ignore_errors=True)
            self._make(n_cells)
            (folder / "done").touch()

    def stage(self, name: str) -> Path:
        """Return the store as it was at a stage; not to be changed."""
        return self._folder / name

    def _make(self, n_cells: int) -> None:
        place = self._folder / "store"
        store = Store.create(str(place))
        store.publish_corpus("genes", corpus_table(), {})
        embed_genes(store, _MODEL, VersionName("genes"))
        first = publish(store, self._folder, cells(n_cells, 1))
        self._keep(place, STAGES[0])
        publish(store, self._folder, cells(n_cells + 40, 2))
        wrong = cells(n_cells, 3)
        wrong.obs["cell_type"] = np.roll(wrong.obs["cell_type"].to_numpy(), 1)
        third = publish(store, self._folder, wrong)
        self._keep(place, STAGES[1])
        store.catalog.retract(third, "labels of another column")
        self._keep(place, STAGES[2])
        store.catalog.set_alias(first, "stable")
        self._keep(place, STAGES[3])
        shutil.rmtree(place)

    def _keep(self, place: Path, stage: str) -> None:
        shutil.copytree(place, self._folder / stage)


def publish(store: Store, scratch: Path, reference: anndata.AnnData, name: str = "trio") -> Entry:
    """Publish cells as a version of an index of inverted lists."""
    path = scratch / f"reference-{os.getpid()}.h5ad"
    reference.write_h5ad(path)
    job = Job(index=IndexChoice("IVF8,Flat", recall=0.9))
    index_cells(
        store, name, Reference([path], "cell_type", "donor"), VersionName("random-48-7"), TEXT_V1,
        job,
    )  # fmt: skip
    path.unlink()
    return store.catalog.entries(Kind.INDEX, name)[-1]


def questions() -> dict[str, Callable[[Client], Any]]:
    """Return what a server is asked, by name."""
    query = cells(60, 9)
    genes, counts = query.var_names.tolist(), query.X
    vectors = np.random.default_rng(5).normal(size=(5, 48)).astype(np.float32)
    units = ExpressionUnits.LINEAR
    some = [f"GENE{i}" for i in range(1, N_GENES, 7)]

    def labels(index: str, space: str) -> Callable[[Client], Any]:
        return lambda client: client.predict_subtypes(
            index, genes, counts, units=units, space=space
        )

    def found(index: str, exact: bool) -> Callable[[Client], Any]:
        return lambda client: client.search_cells(index, vectors, k=9, exact=exact)

    return {
        **{f"labels {i} {s}": labels(i, s) for i in ("trio", "trio@stable")
           for s in ("text", "expression")},
        **{f"search {i} exact={e}": found(i, e) for i in ("trio", "trio@stable")
           for e in (True, False)},
        "cells": lambda c: c.get_cells(
            "trio@stable", [f"cell1-{i}" for i in range(0, 240, 3)], return_vectors=True
        ),
        "gene": lambda c: [c.get_gene(name) for name in some[:40]],
        "resolve": lambda c: c.resolve_genes(some),
        "similar genes": lambda c: c.search_genes("GENE8", k=20, embedding="random-48-7"),
        "indexes": lambda c: list(c.list_cell_indexes(all_versions=True)),
        "aliases": lambda c: list(c.list_aliases()),
        "index": lambda c: c.get_cell_index("trio@stable"),
    }  # fmt: skip


def plain(value: Any) -> Any:
    """Return an answer as text, floats to six digits."""
    if dataclasses.is_dataclass(value):
        names = [f.name for f in dataclasses.fields(value) if f.name not in _OF_THE_SERVER]
        return {name: plain(getattr(value, name)) for name in names}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def answers(client: Client, asked: Collection[str] | None = None) -> dict[str, str]:
    """Ask everything, or some; return digests of the answers, or ``refused:`` and the code."""
    given = {}
    for name, ask in questions().items():
        if asked is not None and name not in asked:
            continue
        try:
            text = repr(plain(ask(client)))
        except CellkinError as error:
            given[name] = f"refused: {error.code}"
        else:
            given[name] = hashlib.sha256(text.encode()).hexdigest()[:16]
    return given


def files_of(store: Path) -> Iterator[Path]:
    """Yield the files of a store, relative to it."""
    yield from sorted(p.relative_to(store) for p in store.rglob("*") if p.is_file())
