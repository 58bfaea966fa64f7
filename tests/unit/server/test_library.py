"""What a server has loaded stays in use until it reads a catalog that explains the difference."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest
import structlog

from cellkin.server.library import Library
from cellkin.server.metrics import Metrics
from cellkin.store.catalog import Entry, Kind
from cellkin.store.store import Store
from cellkin.wire.errors import NotFoundError, RetractedError, UnavailableError
from cellkin.wire.names import VersionName

STABLE, NEWEST = VersionName("genes", "stable"), VersionName("genes")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, make_corpus: Callable[[], pa.Table]) -> Path:
    """A store with three versions of a corpus, `stable` the first, the last one retracted."""
    store = Store.create(str(tmp_path_factory.mktemp("whole") / "s"))
    made = [store.publish_corpus("genes", make_corpus().slice(i), {}) for i in range(3)]
    store.catalog.set_alias(made[0], "stable")
    store.catalog.retract(made[2], "wrong genes")
    return Path(store.uri)


@pytest.fixture
def root(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "s"))


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def library(root: Path, metrics: Metrics) -> Library:
    """Both names asked for once."""
    library = Library(Store.open(str(root)), 2.0, 8, metrics, 1)
    library.corpus(STABLE)
    library.corpus(NEWEST)
    return library


@pytest.fixture
def log() -> Iterator[list[structlog.typing.EventDict]]:
    with structlog.testing.capture_logs() as log:
        yield log


def versions(library: Library) -> list[str]:
    return [library.corpus(name).entry.version for name in (STABLE, NEWEST)]


def readable(metrics: Metrics) -> float | None:
    return metrics.registry.get_sample_value("cellkin_catalog_readable")


def away(root: Path) -> None:
    root.rename(root.with_name("away"))


def another_store(root: Path) -> None:
    away(root)
    Store.create(str(root))


def nothing_but_a_folder(root: Path) -> None:
    away(root)
    root.mkdir()


def marks_cut(root: Path) -> None:
    newest = min((root / "catalog-marks.lance" / "_versions").glob("*.manifest"))
    newest.write_bytes(newest.read_bytes()[:100])


def catalog_cut(root: Path) -> None:
    newest = min((root / "catalog.lance" / "_versions").glob("*.manifest"))
    newest.write_bytes(newest.read_bytes()[:100])


def journal_away(root: Path) -> None:
    (root / "journal").rename(root / "elsewhere")


def record_lost(root: Path) -> None:
    max((root / "journal").glob("*.json")).unlink()


def record_unreadable(root: Path) -> None:
    newest = max((root / "journal").glob("*.json"))
    newest.unlink()
    newest.mkdir()


@pytest.mark.parametrize(
    "damage",
    [
        *(away, another_store, nothing_but_a_folder, marks_cut, catalog_cut),
        *(journal_away, record_lost, record_unreadable),
    ],
    ids=lambda f: f.__name__,
)
def test_what_is_loaded_stays_while_the_catalog_cannot_be_read(
    root: Path,
    library: Library,
    metrics: Metrics,
    log: list[structlog.typing.EventDict],
    damage: Callable[[Path], None],
) -> None:
    before, view = versions(library), library.view
    kept = shutil.copytree(root, root.with_name("kept"))
    damage(root)
    for _ in range(3):
        with pytest.raises(UnavailableError, match="the store cannot be read"):
            library.refresh()
    assert versions(library) == before
    assert library.view is view
    with pytest.raises(UnavailableError, match="what is loaded stays in use, ask again"):
        library.corpus(VersionName("unknown"))
    with pytest.raises(RetractedError, match="wrong genes"):
        library.corpus(VersionName("genes", view.entries(Kind.CORPUS)[2].version))
    assert [line["event"] for line in log] == ["catalog unreadable"]
    assert readable(metrics) == 0
    shutil.rmtree(root, ignore_errors=True)
    kept.rename(root)
    store = Store.open(str(root))
    first, second, _ = store.catalog.entries(Kind.CORPUS)
    store.catalog.set_alias(second, "stable")
    library.refresh()
    assert versions(library) == [second.version, second.version] != before == [
        first.version, second.version,
    ]  # fmt: skip
    assert [line["event"] for line in log if line["event"] != "version switched"] == [
        "catalog unreadable", "catalog readable again",
    ]  # fmt: skip
    assert readable(metrics) == 1


def test_a_version_is_not_blamed_for_a_store_that_is_away(root: Path, library: Library) -> None:
    (_, _, third) = library.view.entries(Kind.CORPUS)
    Store.open(str(root)).catalog.unretract(third)
    library._read(float("inf"))
    away(root)
    with pytest.raises(UnavailableError, match="the store cannot be read"):
        library.corpus(VersionName("genes", third.version))
    root.with_name("away").rename(root)
    library.refresh(again=True)
    assert library.corpus(VersionName("genes", third.version)).entry == third


def test_what_the_catalog_explains_is_followed(root: Path, library: Library) -> None:
    store = Store.open(str(root))
    made: list[Entry] = store.catalog.entries(Kind.CORPUS)
    store.catalog.set_alias(made[1], "stable")
    store.catalog.remove([made[0]])
    library.refresh()
    assert versions(library) == [made[1].version] * 2
    with pytest.raises(NotFoundError, match="was removed on"):
        library.corpus(VersionName("genes", made[0].version))
    with pytest.raises(NotFoundError):
        library.corpus(VersionName("unknown"))
