"""The genes of files: each in its own species, by the names of the corpus."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata
import pyarrow as pa
import pytest
from click.testing import CliRunner, Result
from tests.unit.indexer.embeddings.test_job import GENES, HashModel

from cellkin.indexer.commands import genes_embed
from cellkin.indexer.commands.embeddings import embeddings
from cellkin.indexer.embeddings import job
from cellkin.indexer.embeddings.measured import measured_genes
from cellkin.store.catalog import Kind
from cellkin.store.store import Store
from cellkin.wire.errors import GenesUnmatchedError


@pytest.fixture
def store(
    tmp_path: Path, make_corpus: Callable[[], pa.Table], monkeypatch: pytest.MonkeyPatch
) -> Store:
    monkeypatch.setattr(job, "load_model", lambda spec, **_: HashModel())
    store = Store.create(str(tmp_path / "s"))
    store.publish_corpus("genes", make_corpus(), {})
    return store


@pytest.fixture
def write(tmp_path: Path, make_cells: Callable[..., anndata.AnnData]) -> Callable[..., Path]:
    def write(name: str, names: list[str]) -> Path:
        path = tmp_path / f"{name}.h5ad"
        cells = make_cells(4, 0)[:, : len(names)].copy()
        cells.var_names = names
        cells.write_h5ad(path)
        return path

    return write


def test_each_file_is_of_its_own_species(store: Store, write: Callable[..., Path]) -> None:
    files = [write("human", ["GENE3", "OLD5", "nosuch"]), write("mouse", ["Gene3", "Gene4"])]
    found = measured_genes(store, store.catalog.resolve(Kind.CORPUS, GENES), files)
    assert found.files == ("human.h5ad", "mouse.h5ad")
    assert found.gene_ids.tolist() == [3, 5, 100_003, 100_004]


def test_a_file_of_unknown_genes_is_refused(store: Store, write: Callable[..., Path]) -> None:
    files = [write("human", ["GENE3"]), write("other", ["X1", "X2"])]
    with pytest.raises(GenesUnmatchedError, match=r"other\.h5ad: none of 2 gene names"):
        measured_genes(store, store.catalog.resolve(Kind.CORPUS, GENES), files)


def embed(store: Store, *options: Any) -> Result:
    return CliRunner().invoke(
        genes_embed.embed, ["--store", store.uri, "--model", "hash", *map(str, options)]
    )


def test_the_command_says_what_it_left_out(store: Store, write: Callable[..., Path]) -> None:
    done = embed(store, "--for", write("human", ["GENE3", "GENE4", "GENE10"]))
    assert done.exit_code == 0, done.output
    assert ": 2 genes, 2 distinct texts" in done.output
    assert "not embedded: 214 genes that are in no FILE; run it again without --for" in done.output
    (entry,) = store.catalog.entries(Kind.EMBEDDING)
    said = f"WARNING: {entry.full_name} has vectors of the genes of some files only: 214 others"
    for words in (["list"], ["show", entry.full_name]):
        assert said in CliRunner().invoke(embeddings, [*words, "--store", store.uri]).output
    done = embed(store)
    assert "2 for an earlier version" in done.output
    assert "not embedded" not in done.output
    whole = store.catalog.entries(Kind.EMBEDDING)[-1]
    shown = CliRunner().invoke(embeddings, ["show", whole.full_name, "--store", store.uri])
    assert "WARNING" not in shown.output


def test_a_dry_run_says_seconds(store: Store) -> None:
    done = embed(store, "--dry-run")
    assert done.exit_code == 0, done.output
    assert "s, as a few of the texts took" in done.output
    assert store.catalog.entries(Kind.EMBEDDING) == []
