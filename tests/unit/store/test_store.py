"""The store: versions, digests, what a crash may leave, what damage looks like."""

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from cellkin.space.vectors import unit_rows
from cellkin.store.catalog import Kind
from cellkin.store.digest import table_digest
from cellkin.store.store import GeneEmbedding, Store
from cellkin.wire.errors import IntegrityError, InvalidArgumentError, NotFoundError
from cellkin.wire.names import VersionName


def embedding(seed: int, n: int = 9, dim: int = 4) -> GeneEmbedding:
    drawn = np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)
    vectors = unit_rows(drawn)
    return GeneEmbedding(
        np.arange(1, n + 1), np.full(n, 9606, np.int32), [f"{i:064x}" for i in range(n)], vectors
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(str(tmp_path / "s"))


def test_what_is_published_is_read_back(store: Store, make_corpus: Callable[[], pa.Table]) -> None:
    table = make_corpus()
    entry = store.publish_corpus("genes", table, {"source": "here"})
    assert store.corpus(entry).equals(table)
    assert entry.manifest["source"] == "here"
    assert entry.digest == table_digest(table)
    vectors = embedding(1)
    version = store.publish_embedding("model", vectors, {})
    read = store.embedding(version)
    assert read.vectors.tobytes() == vectors.vectors.tobytes()
    assert read.text_sha256 == vectors.text_sha256


def test_versions_are_numbered_and_old_ones_stay(store: Store) -> None:
    first = store.publish_embedding("model", embedding(1), {})
    second = store.publish_embedding("model", embedding(2, n=5), {})
    assert first.version.endswith(".1")
    assert second.version.endswith(".2")
    assert store.catalog.resolve(Kind.EMBEDDING, VersionName("model")) == second
    old = store.catalog.resolve(Kind.EMBEDDING, VersionName("model", first.version))
    assert store.embedding(old).vectors.tobytes() == embedding(1).vectors.tobytes()


def test_names_that_mean_nothing(store: Store) -> None:
    with pytest.raises(
        NotFoundError, match="no cell index 'pancreas' in this store; there is: none"
    ):
        store.catalog.resolve(Kind.INDEX, VersionName("pancreas"))
    entry = store.publish_embedding("model", embedding(1), {})
    with pytest.raises(
        NotFoundError, match="no gene embedding 'other' in this store; there is: model"
    ):
        store.catalog.resolve(Kind.EMBEDDING, VersionName("other"))
    with pytest.raises(
        NotFoundError, match=f"has no version '2020-01-01.1'; there is: {entry.version}"
    ):
        store.catalog.resolve(Kind.EMBEDDING, VersionName("model", "2020-01-01.1"))


def test_a_store_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(
        NotFoundError, match=r"no cellkin store at .*; make one with `cellkin genes"
    ):
        Store.open(str(tmp_path / "nothing"))


def test_a_uri_may_have_escapes(tmp_path: Path) -> None:
    store = Store.create(f"file://{tmp_path}/a%20b%C3%A9")
    assert store.root == f"{tmp_path}/a bé"
    assert (tmp_path / "a bé" / "journal").is_dir()
    assert Store.open(f"{tmp_path}/a bé").catalog.entries() == []
    assert Store.create(f"{tmp_path}/a%20b").root == f"{tmp_path}/a%20b"


def test_a_file_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "s").touch()
    for use in (Store.open, Store.create):
        with pytest.raises(InvalidArgumentError, match="is a file; give a folder"):
            use(str(tmp_path / "s"))


def test_the_digest_does_not_depend_on_chunks() -> None:
    whole = embedding(3, n=40).to_table()
    parts = pa.concat_tables([whole.slice(i, 7) for i in range(0, 40, 7)])
    assert table_digest(whole) == table_digest(parts)
    assert table_digest(whole) != table_digest(embedding(4, n=40).to_table())
    assert table_digest(whole) != table_digest(whole.slice(0, 39))


def test_a_slice_has_the_digest_of_its_rows(
    store: Store, make_corpus: Callable[[], pa.Table]
) -> None:
    part = make_corpus().slice(7, 50)
    copy = pa.Table.from_pylist(part.to_pylist(), schema=part.schema)
    assert table_digest(part) == table_digest(copy)
    assert store.corpus(store.publish_corpus("genes", part, {})).equals(copy)


def test_a_table_that_was_changed_is_not_served(store: Store) -> None:
    entry = store.publish_embedding("model", embedding(1), {})
    for file in (Path(store.uri) / "embedding-model.lance" / "data").iterdir():
        data = bytearray(file.read_bytes())
        at = data.find(embedding(1).vectors.tobytes()[:16])
        assert at >= 0
        data[at] ^= 1
        file.write_bytes(data)
    with pytest.raises(IntegrityError, match="do not have the digest"):
        Store.open(store.uri).embedding(entry)


def test_a_table_that_is_gone_is_said_to_be(store: Store) -> None:
    entry = store.publish_embedding("model", embedding(1), {})
    for file in (Path(store.uri) / "embedding-model.lance" / "data").iterdir():
        file.unlink()
    with pytest.raises(IntegrityError, match="cannot be read"):
        Store.open(store.uri).embedding(entry)


def test_writers_of_one_name_each_get_a_version(store: Store) -> None:
    names: list[str] = []

    def write(seed: int) -> None:
        mine = Store.open(store.uri)
        entry = mine.catalog.commit(Kind.INDEX, "shared", f"{seed}", {"seed": seed})
        names.append(entry.full_name)

    threads = [threading.Thread(target=write, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(names)) == 4
    entries = store.catalog.entries(Kind.INDEX, "shared")
    assert {entry.manifest["seed"] for entry in entries} == {0, 1, 2, 3}


def test_an_index_folder_is_there_whole_or_not_at_all(store: Store) -> None:
    def half(folder: Path) -> None:
        (folder / "a").write_text("x")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.publish_index("cells", half, {})
    assert list((Path(store.uri) / "indexes" / "cells").iterdir()) == []
    assert store.catalog.entries(Kind.INDEX) == []
    entry = store.publish_index("cells", lambda folder: _write(folder, "x"), {})
    assert (store.index_folder(entry) / "a").read_text() == "x"
    again = store.publish_index("cells", lambda folder: _write(folder, "x"), {})
    assert store.index_folder(again) == store.index_folder(entry)


def test_a_changed_index_file_is_not_served(store: Store) -> None:
    entry = store.publish_index("cells", lambda folder: _write(folder, "x"), {})
    file = store.index_folder(entry) / "a"
    file.write_text("y")
    with pytest.raises(IntegrityError, match="file a does not have the digest"):
        store.index_folder(entry)
    file.unlink()
    with pytest.raises(IntegrityError, match="file a is missing"):
        store.index_folder(entry)


def test_staged_vectors_survive_until_the_run_is_done(store: Store) -> None:
    def cut_off() -> None:
        with store.staging("run", 2) as staging:
            staging.append(["a"], np.array([[1, 2]], np.float32))
            raise RuntimeError("cut")

    with pytest.raises(RuntimeError, match="cut"):
        cut_off()
    with Store.open(store.uri).staging("run", 2) as staging:
        assert staging.vectors()["a"].tolist() == [1, 2]
    with store.staging("run", 2) as staging:
        assert staging.vectors() == {}


def test_of_two_runs_of_one_model_neither_spoils_the_other(store: Store) -> None:
    with store.staging("run", 2) as slower:
        slower.append(["a"], np.array([[1, 2]], np.float32))
        with Store.open(store.uri).staging("run", 2) as faster:
            faster.append(["b"], np.array([[3, 4]], np.float32))
        slower.append(["c"], np.array([[5, 6]], np.float32))
        assert slower.vectors()["c"].tolist() == [5, 6]
    with store.staging("run", 2) as staging:
        assert staging.vectors() == {}


def _write(folder: Path, text: str) -> None:
    (folder / "a").write_text(text)
