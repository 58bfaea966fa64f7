"""Looking after a store: damage is found, orphans go, what is referred to stays."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from cellkin.store.catalog import Kind
from cellkin.store.maintenance import collect, damage, orphans
from cellkin.store.store import GeneEmbedding, Store
from cellkin.wire.errors import InvalidArgumentError

NOW = timedelta(0)


def embedding(seed: int, scale: float = 1.0) -> GeneEmbedding:
    vectors = np.random.default_rng(seed).standard_normal((9, 4))
    vectors *= scale / np.linalg.norm(vectors, axis=1, keepdims=True)
    ids = np.arange(1, 10)
    return GeneEmbedding(ids, np.full(9, 9606, np.int32), ["0"] * 9, vectors.astype(np.float32))


@pytest.fixture
def store(tmp_path: Path, make_corpus: Callable[[], pa.Table]) -> Store:
    store = Store.create(str(tmp_path / "s"))
    corpus = store.publish_corpus("genes", make_corpus(), {})
    made_from = {"corpus": corpus.full_name, "corpus_digest": corpus.digest, "n_genes": 9}
    for seed in range(3):
        store.publish_embedding("model", embedding(seed), made_from)
    store.publish_index("cells", lambda folder: _write(folder, "x"), {})
    return store


def _write(folder: Path, text: str) -> None:
    (folder / "a").write_text(text)


def test_a_whole_store_has_neither_damage_nor_orphans(store: Store) -> None:
    assert [damage(store, entry) for entry in store.catalog.entries()] == [""] * 5
    assert orphans(store) == []
    assert collect(store, NOW) == []


def test_damage_is_named(store: Store) -> None:
    index = store.catalog.entries(Kind.INDEX)[0]
    (store.index_folder(index) / "a").write_text("y")
    assert damage(store, index) == (
        "cell index cells@"
        + index.version
        + ": file a does not have the digest "
        + index.manifest["files"]["a"][:16]
        + " of the catalog; the data was changed or damaged, publish it again"
    )


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (embedding(0, 2.0), "vectors of 9 genes are not of unit length, such as that of GeneID 1"),
        (embedding(0, np.nan), "vectors of 9 genes are not finite, such as that of GeneID 1"),
    ],
)
def test_vectors_that_cannot_be_are_not_published(
    store: Store, vectors: GeneEmbedding, message: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        store.publish_embedding("bad", vectors, {"n_genes": 9})
    assert store.catalog.entries(Kind.EMBEDDING, "bad") == []


def test_a_count_that_differs_from_the_manifest_is_damage(store: Store) -> None:
    entry = store.publish_embedding("bad", embedding(0), {"n_genes": 10})
    assert damage(store, entry) == "9 rows where the manifest says 10"


def test_a_source_that_is_gone_is_damage(store: Store) -> None:
    made_from = {"corpus": "other@2020-01-01.1", "corpus_digest": "0", "n_genes": 9}
    entry = store.publish_embedding("bad", embedding(0), made_from)
    assert damage(store, entry) == "no corpus 'other' in this store; there is: genes"


def test_what_interrupted_runs_left_is_removed_and_nothing_else(store: Store) -> None:
    # A run cut off after writing its table, one after writing its folder, one in its midst.
    table = store.database.create_table(
        "embedding-model", embedding(7).to_table(), mode="overwrite"
    )
    table.tags.create("sha256-left", table.version)
    store.publish_embedding("model", embedding(8), {"n_genes": 9})
    store.files.publish("indexes/cells", lambda folder: _write(folder, "left"))
    (Path(store.uri) / "indexes" / "cells" / ".partial-1").mkdir()
    with pytest.raises(KeyboardInterrupt):
        _cut_off(store)
    assert sorted(o.what for o in orphans(store)) == [
        "folder", "folder", "staging table", "table version",
    ]  # fmt: skip
    assert collect(store, timedelta(hours=1)) == []
    files = len(list((Path(store.uri) / "embedding-model.lance" / "data").iterdir()))
    assert len(collect(store, NOW)) == 4
    assert orphans(store) == []
    assert len(list((Path(store.uri) / "embedding-model.lance" / "data").iterdir())) == files - 1
    assert [damage(store, entry) for entry in store.catalog.entries()] == [""] * 6


def _cut_off(store: Store) -> None:
    with store.staging("run", 4) as staging:
        staging.append(["a"], np.ones((1, 4), np.float32))
        raise KeyboardInterrupt
