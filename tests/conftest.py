"""Small worlds the tests share: a corpus, cells of three types, a store that knows both."""

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.sparse as sp
from hypothesis import settings

from cellkin.indexer.embeddings.job import embed_genes
from cellkin.space.recipe import TEXT_V1
from cellkin.store import schema
from cellkin.store.store import Store
from cellkin.wire.names import VersionName
from cellkin.wire.terms import TextRung

# FAISS reads it when it is imported: waiting threads sleep, for others may need the core.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# A machine that is busy with other work is no failure.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

N_GENES = 120
TYPES = ("alpha", "beta", "delta")
MOUSE_OFFSET = 100_000


def corpus_table() -> pa.Table:
    """120 human genes G1.. and their mouse namesakes; every tenth has no text."""
    rows = []
    for taxon, offset in ((9606, 0), (10090, MOUSE_OFFSET)):
        for i in range(1, N_GENES + 1):
            symbol = f"GENE{i}" if taxon == 9606 else f"Gene{i}"
            text = "" if i % 10 == 0 else f"protein number {i} of taxon {taxon}"
            rows.append(
                {
                    "gene_id": offset + i,
                    "taxon": taxon,
                    "symbol": symbol,
                    "name": f"gene number {i}",
                    "synonyms": [f"OLD{i}", "SHARED"] if i < 3 else [f"OLD{i}"],
                    "designations": [],
                    "ensembl_ids": [f"ENSG{i:011d}" if taxon == 9606 else f"ENSMUSG{i:011d}"],
                    "former_ids": [],
                    "gene_type": "protein-coding",
                    "rung": TextRung.OWN_SUMMARY if text else TextRung.NONE,
                    "text": text,
                    "text_source": "RefSeq" if text else "",
                    "text_gene_id": offset + i if text else 0,
                    "n_sharing": 1,
                    "text_sha256": hashlib.sha256(text.encode()).hexdigest() if text else "",
                }
            )
    return pa.Table.from_pylist(rows, schema=schema.CORPUS)


def cells(n: int, seed: int, names: list[str] | None = None) -> anndata.AnnData:
    """Counts of three cell types, each with forty genes of its own."""
    rng = np.random.default_rng(seed)
    types = np.arange(n) % len(TYPES)
    rates = np.full((n, N_GENES), 0.2)
    for i, t in enumerate(types):
        rates[i, 40 * t : 40 * (t + 1)] = 4.0
    counts = sp.csr_matrix(rng.poisson(rates).astype(np.float32))
    obs = pd.DataFrame(
        {"cell_type": [TYPES[t] for t in types], "donor": [f"d{i % 2}" for i in range(n)]},
        index=[f"cell{seed}-{i}" for i in range(n)],
    )
    var = pd.DataFrame(index=names or [f"GENE{i}" for i in range(1, N_GENES + 1)])
    return anndata.AnnData(counts, obs, var)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what cellkin remembers of files out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def make_cells() -> Callable[..., anndata.AnnData]:
    """Makes counts: (n, seed, names) -> AnnData."""
    return cells


@pytest.fixture(scope="session")
def make_corpus() -> Callable[[], pa.Table]:
    """Makes the corpus table."""
    return corpus_table


@pytest.fixture(scope="session")
def reference_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of 150 labeled cells."""
    path = tmp_path_factory.mktemp("cells") / "reference.h5ad"
    cells(150, 1).write_h5ad(path)
    return path


@pytest.fixture(scope="session")
def query_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of 60 other cells of the same three types."""
    path = tmp_path_factory.mktemp("cells") / "query.h5ad"
    cells(60, 2).write_h5ad(path)
    return path


@pytest.fixture(scope="session")
def store_path(tmp_path_factory: pytest.TempPathFactory, reference_path: Path) -> Path:
    """A store with a corpus, random gene vectors and an index `trio`. Only for reading."""
    from cellkin.indexer.cells.job import index_cells
    from cellkin.indexer.cells.sources import Reference

    path = tmp_path_factory.mktemp("store") / "store"
    store = Store.create(str(path))
    store.publish_corpus("genes", corpus_table(), {})
    embed_genes(store, "random:64:7", VersionName("genes"))
    reference = Reference([reference_path], "cell_type", "donor")
    index_cells(store, "trio", reference, VersionName("random-64-7"), TEXT_V1)
    return path
