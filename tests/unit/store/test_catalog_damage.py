"""A catalog that was damaged, lost in part or exchanged: no answer changes without a word."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import lance
import pytest

from cellkin.store.catalog import Catalog, CatalogView, Entry, Kind
from cellkin.store.catalog_tables import CatalogTables
from cellkin.store.store import Store
from cellkin.wire.errors import CellkinError, IntegrityError, NotFoundError, UnavailableError
from cellkin.wire.names import VersionName


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with three versions, the alias `stable` on the first, the last one retracted."""
    root = tmp_path_factory.mktemp("whole") / "s"
    catalog = Store.create(str(root)).catalog
    made = [catalog.commit(Kind.INDEX, "pancreas", f"d{i}", {"i": i}) for i in range(3)]
    catalog.set_alias(made[0], "stable")
    catalog.retract(made[2], "wrong labels")
    return root


@pytest.fixture
def root(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, to damage; no writer is at work whom tables would be given time for."""
    monkeypatch.setattr("cellkin.store.catalog._LAG_WAITS_S", ())
    return Path(shutil.copytree(whole, tmp_path / "s"))


def fresh(root: Path) -> Catalog:
    return Store.open(str(root)).catalog


def manifests(root: Path, table: str) -> list[Path]:
    """The manifests of a table, the newest first."""
    return sorted((root / f"{table}.lance" / "_versions").glob("*.manifest"))


def refused(root: Path) -> str:
    """Return what is said of a damaged catalog; reading and writing say the same."""
    with pytest.raises(IntegrityError) as caught:
        fresh(root).view()
    with pytest.raises(IntegrityError):
        fresh(root).commit(Kind.INDEX, "pancreas", "d", {})
    assert fresh(root).problems() == [caught.value.message]
    return caught.value.message


def gone(root: Path, table: str) -> None:
    shutil.rmtree(root / f"{table}.lance")


def newest_lost(root: Path, table: str) -> None:
    manifests(root, table)[0].unlink()


def all_manifests_lost(root: Path, table: str) -> None:
    shutil.rmtree(root / f"{table}.lance" / "_versions")


def older_copy(root: Path, table: str) -> None:
    kept = shutil.copytree(root / f"{table}.lance", root.with_name("kept"))
    catalog = fresh(root)
    last = catalog.commit(Kind.INDEX, "pancreas", "d3", {})
    catalog.set_alias(last, "best")
    shutil.rmtree(root / f"{table}.lance")
    kept.rename(root / f"{table}.lance")


@pytest.mark.parametrize("table", ["catalog", "catalog-marks"])
@pytest.mark.parametrize(
    "damage", [gone, newest_lost, all_manifests_lost, older_copy], ids=lambda f: f.__name__
)
def test_what_a_table_lost_the_journal_has(
    root: Path, table: str, damage: Callable[[Path, str], None]
) -> None:
    damage(root, table)
    catalog = fresh(root)
    assert len(catalog.retractions()) == 1
    assert (Kind.INDEX, "pancreas", "stable") in catalog.aliases()
    assert len(catalog.entries()) == (4 if damage is older_copy else 3)
    (problem,) = catalog.problems()
    assert f"table {table} " in problem
    assert "`cellkin store upgrade`" in problem
    # The next write brings the table back.
    catalog.set_alias(catalog.entries()[1], "other")
    assert catalog.problems() == []
    assert fresh(root).view() == catalog.view()


def test_a_table_that_cannot_be_written_is_said_to_be(root: Path) -> None:
    newest, *_, oldest = manifests(root, "catalog")
    shutil.copy(oldest, newest)  # Lance reads it, and writes nothing after it
    catalog = fresh(root)
    assert len(catalog.entries()) == 3
    with pytest.raises(IntegrityError, match="after the table was moved out of the store"):
        catalog.upgrade()
    gone(root, "catalog")
    catalog.upgrade()
    assert catalog.problems() == []


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def folder_instead(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("table", ["catalog", "catalog-marks"])
@pytest.mark.parametrize("damage", [cut, folder_instead], ids=lambda f: f.__name__)
def test_a_table_that_cannot_be_read_is_not_empty(
    root: Path, table: str, damage: Callable[[Path], None]
) -> None:
    damage(manifests(root, table)[0])
    said = refused(root)
    assert f"table {table} of the store" in said
    assert "`cellkin store upgrade`" in said
    # As is said: the table away, and written again.
    shutil.move(root / f"{table}.lance", root.with_name("away"))
    fresh(root).upgrade()
    assert fresh(root).problems() == []
    assert len(fresh(root).retractions()) == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("place", ["catalog-marks.lance", "catalog-marks.lance/_versions", "."])
def test_what_may_not_be_read_is_not_empty(root: Path, place: str) -> None:
    (root / place).chmod(0)
    try:
        with pytest.raises(UnavailableError, match="not permitted"):
            Store.open(str(root)).catalog.view()
    finally:
        (root / place).chmod(0o755)


@pytest.mark.parametrize("word", [b"wrong labels", b"d1", b"pancreas@", b"stable"])
def test_a_flipped_bit_in_a_table_is_found(root: Path, word: bytes) -> None:
    n_found = 0
    for file in root.glob("catalog*.lance/data/*.lance"):
        content = file.read_bytes()
        at = content.find(word)
        if at >= 0:
            n_found += 1
            file.write_bytes(content[:at] + bytes([content[at] ^ 2]) + content[at + 1 :])
            assert "move the table out" in refused(root)
            file.write_bytes(content)
    assert n_found > 0
    assert fresh(root).problems() == []


def last_commit(catalog: Catalog, made: list[Entry]) -> None:
    catalog.commit(Kind.INDEX, "pancreas", "d3", {})


def last_alias(catalog: Catalog, made: list[Entry]) -> None:
    for entry in (made[1], made[0]):
        catalog.set_alias(entry, "stable")


def last_retraction(catalog: Catalog, made: list[Entry]) -> None:
    catalog.retract(made[1], "too small")


def last_unretraction(catalog: Catalog, made: list[Entry]) -> None:
    catalog.unretract(made[2])


def last_removal(catalog: Catalog, made: list[Entry]) -> None:
    catalog.remove(made[1:2])


LAST = [last_commit, last_alias, last_retraction, last_unretraction, last_removal]


@pytest.mark.parametrize("change", LAST, ids=lambda f: f.__name__)
def test_a_journal_that_lost_its_end_is_found(
    root: Path, change: Callable[[Catalog, list[Entry]], None]
) -> None:
    catalog = fresh(root)
    change(catalog, catalog.entries())
    after = catalog.view()
    max((root / "journal").glob("*.json")).unlink()
    assert "contradicts the tables" in refused(root)
    shutil.move(root / "journal", root.with_name("away"))
    assert "has lost its journal" in refused(root)
    fresh(root).upgrade()
    assert same(fresh(root).view(), after)


def test_an_older_copy_of_the_journal_is_found(root: Path) -> None:
    kept = shutil.copytree(root / "journal", root.with_name("kept"))
    catalog = fresh(root)
    catalog.unretract(catalog.entries()[2])
    catalog.set_alias(catalog.entries()[2], "stable")
    shutil.rmtree(root / "journal")
    kept.rename(root / "journal")
    assert "contradicts the tables" in refused(root)


def test_the_journal_of_another_store_is_found(root: Path, tmp_path: Path) -> None:
    shutil.rmtree(root / "journal")
    Store.create(str(tmp_path / "other"))
    shutil.copytree(tmp_path / "other" / "journal", root / "journal")
    assert "contradicts the tables" in refused(root)


def test_who_has_read_a_catalog_takes_no_less_for_it(root: Path) -> None:
    catalog = fresh(root)
    before = catalog.view()
    earlier = shutil.copytree(root, root.with_name("earlier"))
    catalog.commit(Kind.INDEX, "pancreas", "d3", {})
    now = catalog.view()
    root.rename(root.with_name("away"))
    with pytest.raises(UnavailableError):
        catalog.view()
    Store.create(str(root))
    with pytest.raises(IntegrityError, match=r"lost the last ones, or an older copy|another store"):
        catalog.view()
    shutil.rmtree(root)
    shutil.copytree(earlier, root)
    with pytest.raises(IntegrityError, match="an older copy was put in its place"):
        catalog.view()
    # To who comes new it is a catalog like any other.
    assert fresh(root).view() == before
    shutil.rmtree(root)
    root.with_name("away").rename(root)
    assert catalog.view() == now


def test_a_writer_killed_before_the_tables_leaves_a_whole_catalog(
    root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(CatalogTables, "write", full)
        entry = fresh(root).commit(Kind.INDEX, "pancreas", "d3", {})
    assert "could not be brought up to date" in caplog.text
    catalog = fresh(root)
    assert catalog.resolve(Kind.INDEX, VersionName("pancreas")) == entry
    assert "older rows" in catalog.problems()[0]
    catalog.set_alias(entry, "stable")
    assert catalog.problems() == []


def test_no_catalog_is_made_where_one_was_lost(root: Path) -> None:
    (root / "corpus-genes.lance").mkdir()
    for place in ("journal", "catalog.lance"):
        shutil.rmtree(root / place)
    with pytest.raises(NotFoundError):
        Store.open(str(root))
    with pytest.raises(IntegrityError, match=r"has the table corpus-genes\.lance and no catalog"):
        Store.create(str(root))


def without_journal(root: Path) -> None:
    """Make a store what earlier releases made."""
    shutil.rmtree(root / "journal")
    lance.dataset(str(root / "catalog-marks.lance")).delete("key = 'journal'")


def test_a_store_of_an_earlier_release_is_read_and_gets_a_journal(root: Path) -> None:
    before = fresh(root).view()
    without_journal(root)
    catalog = fresh(root)
    assert catalog.view() == before
    assert not catalog.has_journal
    assert catalog.problems() == []
    reader = fresh(root)
    reader.view()
    entry = catalog.commit(Kind.INDEX, "pancreas", "d3", {})
    assert entry.order[1] == 4
    assert reader.has_journal
    assert reader.view() == catalog.view() == fresh(root).view()
    assert catalog.problems() == []


def test_upgrade_begins_a_journal_and_does_no_more(root: Path) -> None:
    before = fresh(root).view()
    without_journal(root)
    for _ in range(2):
        fresh(root).upgrade()
        assert len(list((root / "journal").iterdir())) == 1
        assert fresh(root).view() == before
        assert fresh(root).problems() == []


def test_tables_without_a_journal_lose_nothing_unseen(root: Path) -> None:
    without_journal(root)
    catalog = fresh(root)
    catalog.view()
    kept = shutil.copytree(root, root.with_name("kept"))
    for damage, table in ((newest_lost, "catalog"), (gone, "catalog-marks")):
        damage(root, table)
        for _ in range(2):
            with pytest.raises(IntegrityError, match="and has it no longer"):
                catalog.view()
        shutil.rmtree(root)
        shutil.copytree(kept, root)
    assert len(catalog.view().retractions) == 1
    all_manifests_lost(root, "catalog")
    with pytest.raises(IntegrityError, match="has lost its manifests"):
        fresh(root).view()
    gone(root, "catalog")
    with pytest.raises(CellkinError, match="no cellkin store"):
        fresh(root)


def same(one: CatalogView, other: CatalogView) -> bool:
    """Compare what is answered; a journal that was begun anew knows no removed versions."""
    return (one.all_entries, one.aliases, one.retractions) == (
        other.all_entries,
        other.aliases,
        other.retractions,
    )


def test_a_table_that_was_made_again_is_read_again(root: Path) -> None:
    catalog = fresh(root)
    version = lance.dataset(str(root / "catalog.lance")).version
    catalog.view()
    other = root.with_name("other")
    theirs = Store.create(str(other)).catalog
    for i in range(3):
        theirs.commit(Kind.INDEX, "other", f"d{i}", {})
    assert lance.dataset(str(other / "catalog.lance")).version == version
    gone(root, "catalog")
    (other / "catalog.lance").rename(root / "catalog.lance")
    with pytest.raises(IntegrityError, match="that no record of it put"):
        catalog.view()
