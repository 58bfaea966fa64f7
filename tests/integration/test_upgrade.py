"""Cell indexes of older formats are carried over or made again, or it is said why not."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cellkin.indexer.cells.job import append_cells
from cellkin.indexer.cells.sources import Reference
from cellkin.indexer.cells.upgrade import Upgraded, upgrade_indexes
from cellkin.store.catalog import Entry, Kind
from cellkin.store.maintenance import damage
from cellkin.store.row_digests import ROW_DIGESTS
from cellkin.store.store import Store
from cellkin.wire.errors import ConflictError, FailedPreconditionError
from cellkin.wire.names import VersionName

pytestmark = pytest.mark.integration
OLDER = {"format": 4}


@pytest.fixture
def store(own_store: Path) -> Store:
    return Store.open(str(own_store))


@contextmanager
def silent(what: str) -> Iterator[Any]:
    yield lambda done, total: None


def upgrade(store: Store, *folders: Path) -> list[Upgraded]:
    return upgrade_indexes(store, folders, silent)


def newest(store: Store) -> Entry:
    return store.catalog.resolve(Kind.INDEX, VersionName("trio"))


def publish(store: Store, changes: Mapping[str, Any], without: tuple[str, ...] = ()) -> Entry:
    """Publish the newest version once more, as if it were an older one."""
    entry = newest(store)
    kept = {k: v for k, v in entry.manifest.items() if k not in without}
    manifest = {**kept, **changes}
    return store.catalog.commit(Kind.INDEX, "trio", entry.digest, manifest)


def test_nothing_is_done_where_all_is_of_the_present_format(store: Store) -> None:
    assert upgrade(store) == []


def test_an_index_that_lacks_digests_of_its_rows_is_carried_over(store: Store) -> None:
    files = dict(newest(store).manifest["files"])
    del files[ROW_DIGESTS]
    old = publish(store, {"files": files})
    store.catalog.set_alias(old, "stable")
    (done,) = upgrade(store)
    new = newest(store)
    assert done == Upgraded(old.full_name, new.full_name, "carried over", ["stable"])
    assert new.manifest == store.catalog.entries(Kind.INDEX)[0].manifest
    assert damage(store, new) == ""
    assert store.catalog.resolve(Kind.INDEX, VersionName("trio", "stable")) == new
    assert upgrade(store) == []


def test_an_alias_that_cannot_be_moved_is_told_beside_the_new_version(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = dict(newest(store).manifest["files"])
    del files[ROW_DIGESTS]
    old = publish(store, {"files": files})
    for alias in ("first", "second"):
        store.catalog.set_alias(old, alias)
    move = store.catalog.set_alias

    def refusing(entry: Entry, alias: str) -> None:
        if alias == "first":
            raise ConflictError("busy")
        move(entry, alias)

    monkeypatch.setattr(store.catalog, "set_alias", refusing)
    (done,) = upgrade(store)
    assert (done.new, done.aliases, done.left) == (newest(store).full_name, ["second"], ("first",))
    assert not done.complete
    assert "alias first was not moved: busy" in done.how


def test_an_index_of_an_older_format_is_refused_with_what_to_do(store: Store) -> None:
    with pytest.raises(FailedPreconditionError, match=r"format 4.*cellkin store upgrade"):
        store.index_folder(publish(store, OLDER))
    with pytest.raises(FailedPreconditionError, match="later cellkin"):
        store.index_folder(publish(store, {"format": 99}))


def test_it_is_made_again_from_the_files_it_names(store: Store) -> None:
    first = newest(store)
    old = publish(store, OLDER)
    store.catalog.set_alias(old, "stable")
    (done,) = upgrade(store)
    new = newest(store)
    assert done == Upgraded(old.full_name, new.full_name, "made again", ["stable"])
    assert new.manifest["format"] == first.manifest["format"]
    # The same files and choices give the same cells, to the bit.
    for key in ("rows_digest", "label_counts", "made_with", "references", "recipe"):
        assert new.manifest[key] == first.manifest[key], key
    assert upgrade(store) == []


def references(entry: Entry) -> list[dict[str, Any]]:
    """The account of its files as earlier releases gave it."""
    known = ("file", "format", "n_cells", "units", "gene_match")
    return [{k: file[k] for k in known} for file in entry.manifest["references"]]


def test_where_the_manifest_does_not_say_where_files_are_they_are_looked_for(
    store: Store, reference_path: Path, query_path: Path, tmp_path: Path
) -> None:
    rows = newest(store).manifest["rows_digest"]
    old = publish(store, OLDER | {"references": references(newest(store))}, ("made_with",))
    (done,) = upgrade(store)
    assert (done.new, done.aliases) == ("", ())
    assert "reference.h5ad" in done.how
    assert "--files FOLDER" in done.how
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(query_path, other / "reference.h5ad")
    (done,) = upgrade(store, other)
    assert "other cells, labels or batches" in done.how
    assert newest(store) == old
    (done,) = upgrade(store, reference_path.parent)
    assert done.how == "made again"
    assert newest(store).manifest["rows_digest"] == rows


def test_a_file_that_was_changed_is_refused(store: Store, query_path: Path, tmp_path: Path) -> None:
    shutil.copy(query_path, tmp_path / "reference.h5ad")
    publish(store, OLDER)
    (done,) = upgrade(store, tmp_path)
    assert done.new == ""
    assert "another digest" in done.how


def test_what_was_appended_to_an_index_is_appended_again(store: Store, query_path: Path) -> None:
    base = publish(store, OLDER)
    store.catalog.retract(base, "only for the moment")
    reference = Reference([query_path], "cell_type", "donor")
    more = append_cells(store, VersionName("trio"), reference).entry
    store.catalog.unretract(base)
    rows = more.manifest["rows_digest"]
    old = publish(store, OLDER | {"appended_to": base.full_name})
    store.catalog.remove([more])
    (done,) = upgrade(store)
    assert (done.index, done.how) == (old.full_name, "made again")
    new = newest(store)
    assert new.manifest["rows_digest"] == rows
    assert len(new.manifest["references"]) == 2
    assert new.manifest["appended_to"] != base.full_name


def test_an_older_version_does_not_become_the_newest(store: Store) -> None:
    first = newest(store)
    old = publish(store, OLDER)
    store.catalog.set_alias(old, "stable")
    store.catalog.commit(Kind.INDEX, "trio", first.digest, first.manifest)
    (done,) = upgrade(store)
    assert done.new == ""
    assert "not the newest of its name" in done.how
