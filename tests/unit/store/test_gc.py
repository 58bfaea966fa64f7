"""Garbage collection: orphans go, and nothing else, whatever happens meanwhile."""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pytest

from cellkin.store import gc
from cellkin.store.catalog import Kind
from cellkin.store.cell_rows import write_rows
from cellkin.store.cell_table import commit_rows
from cellkin.store.folders import Found
from cellkin.store.gc import Orphan, collect, orphans
from cellkin.store.local_files import LocalFiles, _move
from cellkin.store.maintenance import damage
from cellkin.store.schema import cells_schema
from cellkin.store.store import GeneEmbedding, Store
from cellkin.wire.errors import (
    ConflictError,
    FailedPreconditionError,
    IntegrityError,
    InvalidArgumentError,
    UnavailableError,
)

NOW, DAY = timedelta(0), timedelta(days=1)
DIGEST = "ab" * 32


def embedding(seed: int) -> GeneEmbedding:
    vectors = np.random.default_rng(seed).standard_normal((9, 4)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return GeneEmbedding(np.arange(1, 10), np.full(9, 9606, np.int32), ["0"] * 9, vectors)


def write(text: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "a").write_text(text)

    return write


def make_old(place: Path, days: float = 3) -> None:
    """Let a file, or a folder and all in it, be of some days ago."""
    then = time.time() - 86400 * days
    for path in [place, *place.rglob("*")]:
        os.utime(path, (then, then), follow_symlinks=False)


def age_all(store: Store) -> None:
    for part in ("indexes", *(f"{name}.lance" for name in store.tables())):
        if not part.startswith("catalog"):
            make_old(Path(store.uri) / part)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "s"
    store = Store.create(str(path))
    for seed in range(3):
        store.publish_embedding("model", embedding(seed), {"n_genes": 9})
    store.publish_index("cells", write("x"), {})
    return path


@pytest.fixture
def store(tmp_path: Path, template: Path) -> Store:
    return Store.open(str(shutil.copytree(template, tmp_path / "s")))


def whole(store: Store) -> bool:
    return [damage(store, entry) for entry in store.catalog.entries()] == [""] * len(
        store.catalog.entries()
    )


def test_a_whole_store_has_no_orphans(store: Store) -> None:
    age_all(store)
    assert orphans(store) == []
    assert collect(store, NOW, force=True) == []


def test_what_interrupted_runs_left_is_removed_and_nothing_else(store: Store) -> None:
    # A run cut off after writing its table, one after writing its folder, one in its midst.
    left = embedding(7).to_table()
    table = store.database.create_table("embedding-model", left, mode="overwrite")
    table.tags.create("sha256-left", table.version)
    store.publish_embedding("model", embedding(8), {"n_genes": 9})
    store.files.publish("indexes/cells", write("left"))
    (Path(store.uri) / "indexes" / "cells" / ".partial-1").mkdir()
    with pytest.raises(KeyboardInterrupt):
        cut_off(store)
    found = orphans(store)
    assert {o.what for o in found} == {"folder", "rows", "table version"}
    assert all(o.n_bytes for o in found if o.what != "folder")
    assert collect(store, timedelta(hours=1)) == []
    assert collect(store, NOW, force=True) == found
    assert orphans(store) == []
    names = lance.dataset(store.table_uri("embedding-model")).tags.list()
    assert len(names) == 4
    assert "sha256-left" not in names
    assert whole(store)
    store.publish_embedding("model", embedding(9), {"n_genes": 9})
    assert whole(store)


def cut_off(store: Store) -> None:
    with store.staging("run", 4) as staging:
        staging.append(["a"], np.ones((1, 4), np.float32))
        raise KeyboardInterrupt


def test_an_age_below_an_hour_must_be_forced(store: Store) -> None:
    with pytest.raises(InvalidArgumentError, match=r"0\.5 h is less than 1 h.*--force"):
        collect(store, timedelta(minutes=30))


def foreign(store: Store) -> dict[str, Path]:
    """Things of others in a store's folder, all of them old."""
    root = Path(store.uri)
    outside = root.parent / "outside" / "sub"
    outside.mkdir(parents=True)
    (outside / DIGEST).mkdir()
    (outside / DIGEST / "mine").write_text("1")
    things = {
        "genome index": root / "indexes" / "hg38" / "star" / "SA",
        "capitals": root / "indexes" / "HG38" / DIGEST / "SA",
        "deep": root / "indexes" / "cells" / ("cd" * 32) / "sub" / "file",
        "stray": root / "indexes" / "cells" / ".DS_Store",
        "stray above": root / "indexes" / ".DS_Store",
        "stray in a table": root / "embedding-model.lance" / "data" / ".DS_Store",
        "stray in versions": root / "embedding-model.lance" / "_versions" / ".DS_Store",
        "another table": root / "cells-hela.lance" / "notes",
        "a file": root / "embedding-notes.lance",
        "partial": root / ".partial-download" / "file",
    }
    for path in things.values():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("1")
    lance.write_dataset(pa.table({"x": [1]}), str(root / "cells-mine.lance"))
    for folder in ("indexes/link", f"indexes/cells/{'ef' * 32}", "cells-linked.lance"):
        (root / folder).symlink_to(outside)
    age_all(store)
    make_old(outside.parent)
    make_old(root)
    things["behind links"] = outside / DIGEST / "mine"
    things["table of other columns"] = root / "cells-mine.lance"
    return things


def test_what_others_wrote_stays(store: Store) -> None:
    things = foreign(store)
    assert collect(store, NOW, force=True) == []
    assert [name for name, path in things.items() if not path.exists()] == []
    assert whole(store)


def test_the_age_is_that_of_the_newest_file(store: Store) -> None:
    path, _ = store.files.publish("indexes/cells", write("left"))
    age_all(store)
    assert [o.where for o in orphans(store, older_than=DAY)] == [path]
    (Path(store.uri) / path / "a").touch()
    assert orphans(store, older_than=DAY) == []


def test_a_folder_that_is_used_again_is_young(store: Store) -> None:
    path, _ = store.files.publish("indexes/cells", write("left"))
    age_all(store)
    assert store.files.publish("indexes/cells", write("left"))[0] == path
    assert collect(store, DAY) == []
    assert (Path(store.uri) / path / "a").read_text() == "left"


@pytest.fixture
def at_removal(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Callable[[], object]]]:
    """Things to do, in turn, each right before a removal looks once more."""
    todo: list[Callable[[], object]] = []
    looked = gc._Search.is_wanted

    def look(self: gc._Search, orphan: Orphan, now: Found) -> bool:
        if todo:
            todo.pop(0)()
        return looked(self, orphan, now)

    monkeypatch.setattr(gc._Search, "is_wanted", look)
    yield todo
    assert todo == []


def test_what_is_published_meanwhile_stays(
    store: Store, at_removal: list[Callable[[], object]]
) -> None:
    # The folder of a run that was cut off, found by the clean-up, is published by another run.
    store.files.publish("indexes/cells", write("again"))
    age_all(store)
    at_removal.append(lambda: store.publish_index("cells", write("again"), {}))
    assert collect(store, DAY) == []
    assert whole(store)


def test_what_is_published_at_the_last_moment_is_put_back(
    store: Store, at_removal: list[Callable[[], object]]
) -> None:
    path, files = store.files.publish("indexes/cells", write("again"))
    age_all(store)
    # The second look is after it was moved out of the way.
    commit = {"path": path, "files": files}
    at_removal.append(lambda: None)
    at_removal.append(lambda: store.catalog.commit(Kind.INDEX, "cells", DIGEST, commit))
    assert collect(store, DAY) == []
    assert whole(store)


def test_what_is_written_to_a_table_meanwhile_stays(
    store: Store, at_removal: list[Callable[[], object]]
) -> None:
    left = embedding(7).to_table()
    store.database.create_table("embedding-other", left)
    age_all(store)
    at_removal.append(lambda: store.publish_embedding("other", embedding(1), {"n_genes": 9}))
    assert {o.what for o in collect(store, DAY)} == {"table version", "rows"}
    assert len(store.catalog.entries(Kind.EMBEDDING, "other")) == 1
    assert whole(store)


@pytest.mark.parametrize("left", ["folder", "table", "rows", "version"])
def test_what_another_removed_first_is_passed_over(
    store: Store, left: str, at_removal: list[Callable[[], object]]
) -> None:
    if left == "folder":
        store.files.publish("indexes/cells", write("left"))
    elif left == "table":
        store.database.create_table("embedding-other", embedding(7).to_table())
    elif left == "rows":
        write_rows(store.table_uri("cells-cells"), cells_schema(4, 0), [cell_rows("a")])
    else:
        store.database.create_table("embedding-model", embedding(7).to_table(), mode="overwrite")
        store.publish_embedding("model", embedding(8), {"n_genes": 9})
    age_all(store)
    other = Store.open(store.uri)
    at_removal.append(lambda: collect(other, DAY) and None)
    found = orphans(store)
    assert found
    assert len(collect(store, DAY)) < len(found)
    assert orphans(store) == []
    assert whole(store)


def cell_rows(name: str) -> pa.RecordBatch:
    vector = pa.FixedSizeListArray.from_arrays(pa.array([1, 0, 0, 0], pa.float32()), 4)
    schema = cells_schema(4, 0)
    vector = vector.cast(schema.field("vector").type)
    return pa.RecordBatch.from_arrays(
        [pa.array([name]), pa.array(["t"]), pa.array([""]), vector], schema=schema
    )


def test_rows_of_a_run_at_work_stay_and_those_that_went_are_missed(store: Store) -> None:
    uri, schema = store.table_uri("cells-cells"), cells_schema(4, 0)
    first = write_rows(uri, schema, [cell_rows("a")])
    age_all(store)
    second = write_rows(uri, schema, [cell_rows("b")])
    assert collect(store, DAY) == []
    age_all(store)
    assert len(collect(store, DAY)) == 2
    with pytest.raises(ConflictError, match="removed"):
        commit_rows(store, "cells", schema, first + second)


def test_rows_that_are_committed_at_the_last_moment_are_put_back(
    store: Store, at_removal: list[Callable[[], object]]
) -> None:
    uri, schema = store.table_uri("cells-cells"), cells_schema(4, 0)
    parts = write_rows(uri, schema, [cell_rows("a")])
    age_all(store)
    fragments = [lance.FragmentMetadata.from_json(part) for part in parts]
    at_removal.append(lambda: None)
    at_removal.append(
        lambda: lance.LanceDataset.commit(uri, lance.LanceOperation.Overwrite(schema, fragments))
    )
    assert collect(store, DAY) == []
    assert lance.dataset(uri).to_table()["id"].to_pylist() == ["a"]


def test_the_age_of_what_was_pruned_counts_from_then(store: Store) -> None:
    index = store.publish_index("cells", write("y"), {})
    table = store.publish_embedding("model", embedding(4), {"n_genes": 9})
    store.publish_embedding("model", embedding(5), {"n_genes": 9})
    age_all(store)
    store.catalog.remove([index, table])
    assert collect(store, timedelta(hours=1)) == []
    assert {o.where for o in collect(store, NOW, force=True)} >= {index.manifest["path"]}
    assert not (Path(store.uri) / index.manifest["path"]).exists()
    assert whole(store)


def test_a_catalog_that_knows_nothing_is_no_reason_to_remove(store: Store) -> None:
    other = Path(store.uri).with_name("other")
    Store.create(str(other))
    shutil.copytree(Path(store.uri) / "indexes", other / "indexes")
    make_old(other / "indexes")
    with pytest.raises(FailedPreconditionError, match="has no version, while there is indexes/"):
        collect(Store.open(str(other)), DAY)
    assert len(list((other / "indexes").glob("*/*/a"))) == 1


def test_a_catalog_that_is_away_for_a_moment_is_no_reason_to_remove(store: Store) -> None:
    store.files.publish("indexes/cells", write("left"))
    age_all(store)
    root = Path(store.uri)
    for name in ("journal", "catalog.lance", "catalog-marks.lance"):
        (root / name).rename(root.with_name(name))
    with pytest.raises(UnavailableError):
        collect(store, DAY)
    assert len(list(root.glob("indexes/*/*/a"))) == 2
    for name in ("journal", "catalog.lance", "catalog-marks.lance"):
        root.with_name(name).rename(root / name)
    (root / "journal" / "00000002.json").write_text("{}")
    with pytest.raises(IntegrityError):
        collect(Store.open(store.uri), DAY)
    assert len(list(root.glob("indexes/*/*/a"))) == 2


def test_a_store_whose_versions_were_all_removed_is_collected(store: Store) -> None:
    store.catalog.remove(store.catalog.entries())
    assert {o.what for o in collect(store, NOW, force=True)} == {"folder", "table version", "rows"}
    assert orphans(store) == []
    assert [*Path(store.uri).glob("indexes/*/*"), *Path(store.uri).glob("embedding*/data/*")] == []


def test_a_removal_that_was_cut_off_is_finished_later(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.files.publish("indexes/cells", write("left"))
    age_all(store)
    monkeypatch.setattr(shutil, "rmtree", lambda *args, **kwargs: None)
    assert len(collect(store, DAY)) == 1
    monkeypatch.undo()
    assert [o.what for o in orphans(store)] == ["folder"]
    assert len(collect(store, NOW, force=True)) == 1
    assert orphans(store) == []


def test_a_table_of_no_version_is_emptied_and_can_be_written_to(store: Store) -> None:
    store.database.create_table("embedding-other", embedding(7).to_table())
    age_all(store)
    assert {o.what for o in collect(store, DAY)} == {"table version", "rows"}
    assert orphans(store) == []
    assert list((Path(store.uri) / "embedding-other.lance" / "data").iterdir()) == []
    store.publish_embedding("other", embedding(8), {"n_genes": 9})
    assert whole(store)


def test_what_killed_processes_left_among_small_files_is_removed(store: Store) -> None:
    root = Path(store.uri)
    for folder in (
        "journal",
        "embedding-model.lance/_versions",
        "embedding-model.lance/_refs/tags",
    ):
        (root / folder / ".partial-1").write_text("1")
    assert orphans(store, older_than=DAY) == []
    age_all(store)
    make_old(root / "journal")
    assert {o.what for o in orphans(store, Kind.INDEX)} == set()
    assert [(o.what, o.n_bytes) for o in collect(store, DAY)] == [("unfinished file", 1)] * 3
    assert list(root.rglob(".partial-*")) == []
    assert whole(store)


def test_a_table_that_cannot_be_read_is_named(
    store: Store, at_removal: list[Callable[[], object]]
) -> None:
    store.database.create_table("embedding-other", embedding(7).to_table())
    age_all(store)
    (manifest,) = Path(store.uri).glob("embedding-other.lance/_versions/*.manifest")

    def damaged() -> None:
        manifest.write_bytes(b"x")
        make_old(manifest)

    at_removal.append(damaged)
    with pytest.raises(IntegrityError, match="table embedding-other cannot be read"):
        collect(store, DAY)
    assert manifest.exists()


def test_a_table_is_not_emptied_for_a_version_that_stays(
    store: Store, at_removal: list[Callable[[], object]]
) -> None:
    store.database.create_table("embedding-other", embedding(7).to_table())
    age_all(store)
    where = {"table": "embedding-other", "table_version": 1}
    at_removal.append(lambda: store.catalog.commit(Kind.EMBEDDING, "other", DIGEST, where))
    assert collect(store, DAY) == []
    assert lance.dataset(store.table_uri("embedding-other")).version == 1


def test_what_is_put_back_replaces_nothing(tmp_path: Path) -> None:
    aside, place = tmp_path / "aside", tmp_path / "place"
    aside.write_text("old")
    assert _move(aside, place)
    assert (place.read_text(), aside.exists()) == ("old", False)
    aside.write_text("older")
    assert not _move(aside, place)
    assert (place.read_text(), aside.read_text()) == ("old", "older")


def test_publishing_what_another_has_published_is_no_conflict(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    published: list[str] = []

    def both(folder: Path) -> None:
        write("x")(folder)
        published.append(files.publish("indexes/cells", write("x"))[0])

    assert files.publish("indexes/cells", both)[0] == published[0]
    assert len(list(tmp_path.glob("indexes/cells/*"))) == 1


def test_a_folder_that_goes_while_it_is_looked_at_is_passed_over(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for text in ("1", "2"):
        store.files.publish("indexes/x", write(text))
    listed = Path.iterdir

    def iterdir(folder: Path) -> Iterator[Path]:
        if folder.parent.name == "x":  # another clean-up is faster
            shutil.rmtree(folder)
        return listed(folder)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    assert "indexes/x" not in {at.path.rpartition("/")[0] for at in store.files.found("indexes")}
