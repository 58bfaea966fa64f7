"""Looking after a store: damage is found and named."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from cellkin.store.catalog import Kind
from cellkin.store.maintenance import damage
from cellkin.store.store import GeneEmbedding, Store
from cellkin.wire.errors import InvalidArgumentError


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
    store.publish_embedding("model", embedding(0), made_from)
    store.publish_index("cells", lambda folder: write(folder, "x"), {})
    return store


def write(folder: Path, text: str) -> None:
    (folder / "a").write_text(text)


def test_a_whole_store_has_no_damage(store: Store) -> None:
    assert [damage(store, entry) for entry in store.catalog.entries()] == [""] * 3


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


def test_what_is_published_again_takes_the_place_of_damage(store: Store) -> None:
    index = store.catalog.entries(Kind.INDEX)[0]
    (store.index_folder(index) / "a").write_text("y")
    store.publish_index("cells", lambda folder: write(folder, "x"), {})
    assert [damage(store, entry) for entry in store.catalog.entries(Kind.INDEX)] == ["", ""]


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
