"""Copies of stores: whole, consistent, only what is new, and never of another store."""

import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import lance
import numpy as np
import pytest

from cellkin.store import backup
from cellkin.store.backup import copy_store
from cellkin.store.catalog import Entry, Kind
from cellkin.store.cell_table import row_files
from cellkin.store.gc import collect, orphans
from cellkin.store.maintenance import damage
from cellkin.store.store import GeneEmbedding, Store
from cellkin.wire.errors import (
    ConflictError,
    FailedPreconditionError,
    IntegrityError,
    InvalidArgumentError,
)


def embedding(seed: int) -> GeneEmbedding:
    vectors = np.random.default_rng(seed).standard_normal((9, 4)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return GeneEmbedding(np.arange(1, 10), np.full(9, 9606, np.int32), ["0"] * 9, vectors)


def write(text: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "a").write_text(text)

    return write


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "s"
    store = Store.create(str(path))
    first = store.publish_embedding("model", embedding(0), {"n_genes": 9})
    store.publish_embedding("model", embedding(1), {"n_genes": 9})
    store.publish_index("cells", write("x"), {})
    store.catalog.set_alias(first, "stable")
    return path


@pytest.fixture
def store(tmp_path: Path, template: Path) -> Store:
    return Store.open(str(shutil.copytree(template, tmp_path / "s")))


@pytest.fixture
def place(tmp_path: Path) -> str:
    return str(tmp_path / "copies" / "of it")


def silent(done: int, total: int) -> None:
    assert done <= total


def content(store: Store) -> tuple[list[Entry], object, object, list[str]]:
    """What a store has, and what is wrong with it."""
    view = Store.open(store.uri).catalog.view()
    wrong = [damage(store, entry) for entry in view.all_entries] + store.catalog.problems()
    return list(view.all_entries), view.aliases, view.retractions, [w for w in wrong if w]


def test_a_copy_has_what_the_store_has_and_can_be_written_to(store: Store, place: str) -> None:
    left = embedding(7).to_table()
    store.database.create_table("embedding-model", left, mode="overwrite")  # of no version
    copied = copy_store(store.uri, place, silent)
    assert content(copied.store) == content(store)
    assert content(store)[3] == []
    assert (copied.n_versions, copied.n_files_before) == (3, 0)
    assert orphans(copied.store) == []
    new = copied.store.publish_embedding("model", embedding(5), {"n_genes": 9})
    assert new.order[1] == 3
    assert content(copied.store)[3] == []


def test_only_what_is_new_is_copied(store: Store, place: str) -> None:
    first = copy_store(store.uri, place, silent)
    store.publish_index("cells", write("more"), {})
    store.catalog.retract(store.catalog.entries(Kind.EMBEDDING)[1], "bad")
    second = copy_store(store.uri, place, silent)
    assert (second.n_files, second.n_bytes, second.n_files_before) == (1, 4, first.n_files)
    assert content(second.store) == content(store)
    assert copy_store(store.uri, place, silent).n_files == 0


def test_what_is_removed_stays_in_the_copy_until_it_is_collected(store: Store, place: str) -> None:
    copy_store(store.uri, place, silent)
    index = store.catalog.entries(Kind.INDEX)[0]
    store.catalog.remove([index])
    copy = copy_store(store.uri, place, silent).store
    assert content(copy) == content(store)
    assert (Path(place) / index.manifest["path"]).exists()


def test_a_copy_is_of_one_moment(store: Store, place: str) -> None:
    before, other = content(store), Store.open(store.uri)

    def meanwhile(done: int, total: int) -> None:
        if other.catalog.entries() == before[0]:
            late = other.publish_index("late", write("late"), {})
            other.catalog.set_alias(late, "stable")

    copy = copy_store(store.uri, place, meanwhile).store
    assert content(store)[0] != before[0]
    assert content(copy) == before
    assert content(copy_store(store.uri, place, silent).store) == content(store)


def test_what_is_removed_meanwhile_is_told(
    store: Store, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = store.catalog.entries(Kind.INDEX)[0]
    other = Store.open(store.uri)

    def started(done: int, total: int) -> None:
        if index in other.catalog.entries():
            other.catalog.remove([index])
            shutil.rmtree(Path(store.uri) / index.manifest["path"])

    with pytest.raises(ConflictError, match="removed while the store was copied"):
        copy_store(store.uri, place, started)
    # The journal comes last: what is there is no store yet, and what is to come finishes it.
    assert not Store(place, store.files).catalog.is_there()
    assert content(copy_store(store.uri, place, silent).store) == content(store)


@pytest.mark.parametrize("case", ["another", "later", "branched"])
def test_a_copy_of_something_else_is_not_written_to(store: Store, place: str, case: str) -> None:
    if case == "another":
        Store.create(place)
    else:
        copy = copy_store(store.uri, place, silent).store
        copy.publish_index("later", write("later"), {})
        if case == "branched":
            store.publish_index("mine", write("mine"), {})
            store.publish_index("mine", write("mine 2"), {})
    before = content(Store.open(place))
    with pytest.raises(FailedPreconditionError, match="no earlier state"):
        copy_store(store.uri, place, silent)
    assert content(Store.open(place)) == before


def test_damage_does_not_replace_what_is_whole(store: Store, place: str) -> None:
    copy = copy_store(store.uri, place, silent).store
    index = store.catalog.entries(Kind.INDEX)[0]
    (Path(store.uri) / index.manifest["path"] / "a").write_text("longer")
    with pytest.raises(IntegrityError, match="does not have the digest"):
        copy_store(store.uri, place, silent)
    assert content(copy)[3] == []
    # The other way round the file is put back.
    copy_store(place, store.uri, silent)
    assert content(store)[3] == []


def test_a_damaged_file_is_not_copied(store: Store, place: str) -> None:
    index = store.catalog.entries(Kind.INDEX)[0]
    (Path(store.uri) / index.manifest["path"] / "a").write_text("y")
    with pytest.raises(IntegrityError, match="does not have the digest"):
        copy_store(store.uri, place, silent)
    assert list(Path(place).glob("indexes/*/*/*")) == []
    (Path(store.uri) / index.manifest["path"] / "a").unlink()
    with pytest.raises(IntegrityError, match="is missing"):
        copy_store(store.uri, place, silent)


@pytest.mark.parametrize(
    "manifest",
    [
        {"path": "indexes/../../x", "files": {}},
        {"path": "/tmp/indexes/x/" + "ab" * 32, "files": {}},
        {"path": "indexes/x/" + "ab" * 32, "files": {"../a": "0"}},
        {"table": "../embedding-x", "table_version": 1},
    ],
)
def test_a_catalog_that_names_other_files_is_refused(
    store: Store, place: str, manifest: dict[str, object]
) -> None:
    store.catalog.commit(Kind.INDEX, "evil", "0", manifest)
    with pytest.raises(IntegrityError, match="names files that cellkin does not write"):
        copy_store(store.uri, place, silent)
    assert not Path(place).exists()


def test_a_copy_is_collected_like_any_store(store: Store, place: str) -> None:
    copy = copy_store(store.uri, place, silent).store
    copy.catalog.remove(copy.catalog.entries(Kind.INDEX))
    assert len(collect(copy, timedelta(0), force=True)) == 1
    assert content(copy)[3] == []


def test_a_store_of_an_earlier_release_is_upgraded_first(store: Store, place: str) -> None:
    shutil.rmtree(Path(store.uri) / "journal")
    lance.dataset(store.table_uri("catalog-marks")).delete("mark = 'journal'")
    with pytest.raises(FailedPreconditionError, match="cellkin store upgrade"):
        copy_store(store.uri, place, silent)
    Store.open(store.uri).catalog.upgrade()
    assert content(copy_store(store.uri, place, silent).store) == content(store)


def test_a_commit_into_the_copy_meanwhile_is_not_overwritten(store: Store, place: str) -> None:
    copy = copy_store(store.uri, place, silent).store
    store.publish_index("more", write("more"), {})
    theirs: list[Entry] = []

    def meanwhile(done: int, total: int) -> None:
        if not theirs:
            theirs.append(copy.publish_index("theirs", write("theirs"), {}))

    with pytest.raises(ConflictError, match="was written to while"):
        copy_store(store.uri, place, meanwhile)
    there = Store.open(place)
    assert there.catalog.entries(Kind.INDEX, "theirs") == theirs
    assert content(there)[3] == []


def test_two_copies_to_one_place_at_once_are_one(store: Store, place: str) -> None:
    started: list[bool] = []

    def meanwhile(done: int, total: int) -> None:
        if not started:
            started.append(True)
            copy_store(store.uri, place, silent)

    assert content(copy_store(store.uri, place, meanwhile).store) == content(store)


def test_an_empty_store_is_copied(tmp_path: Path, place: str) -> None:
    Store.create(str(tmp_path / "empty"))
    assert copy_store(str(tmp_path / "empty"), place, silent).n_versions == 0
    assert content(Store.open(place))[0] == []


def test_a_file_is_no_place_for_a_copy(store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidArgumentError, match="is a file"):
        copy_store(store.uri, str(tmp_path / "file"), silent)


def test_a_tag_that_goes_meanwhile_is_not_missed(
    store: Store, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.database.create_table("embedding-model", embedding(7).to_table(), mode="overwrite")
    lance.dataset(store.table_uri("embedding-model")).tags.create("left", 3)
    read = backup._tagged

    def tagged(source: Store, path: str) -> int:
        if path.endswith("left.json"):
            (Path(source.uri) / path).unlink()
        return read(source, path)

    monkeypatch.setattr(backup, "_tagged", tagged)
    copied = copy_store(store.uri, place, silent).store
    assert content(copied) == content(store)
    assert list(Path(place).rglob("left.json")) == []


def test_a_table_version_that_is_pruned_meanwhile_is_told(
    store: Store, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = store.catalog.entries(Kind.EMBEDDING)[1]
    store.publish_embedding("model", embedding(2), {"n_genes": 9})
    other = Store.open(store.uri)

    def rows(source: Store, table: str, versions: list[int]) -> set[str]:
        if versions == [first.manifest["table_version"]]:
            other.catalog.remove([first])
            collect(other, timedelta(0), force=True)
        return row_files(source, table, versions)

    monkeypatch.setattr(backup, "row_files", rows)
    with pytest.raises(ConflictError, match=f"{first.full_name} was removed while the store was"):
        copy_store(store.uri, place, silent)
