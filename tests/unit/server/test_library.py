"""What a server has loaded stays in use until it reads a catalog that explains the difference."""

import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest
import structlog

from cellkin.server.library import Library
from cellkin.server.metrics import Metrics
from cellkin.store.catalog import Entry, Kind
from cellkin.store.store import Store
from cellkin.wire.errors import IntegrityError, NotFoundError, RetractedError, UnavailableError
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


def test_every_request_for_a_refused_version_gets_an_error_of_its_own(
    root: Path, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = Library(Store.open(str(root)), 2.0, 8, metrics, 1)

    def damaged(entry: Entry) -> None:
        raise IntegrityError("damaged", {"file": "rows"})

    monkeypatch.setattr(library, "_read_version", damaged)
    errors = []
    for _ in range(3):
        with pytest.raises(IntegrityError, match="damaged") as caught:
            library.corpus(NEWEST)
        assert caught.value.metadata == {"file": "rows"}
        errors.append(caught.value)
    assert len(set(map(id, errors))) == 3
    # Else the traceback would keep what the requests refer to.
    assert [refused.error.__traceback__ for refused in library._refused.values()] == [None]


def test_a_turn_that_is_waited_for_is_not_replaced(
    root: Path, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = Library(Store.open(str(root)), 2.0, 8, metrics, 1)
    entry = library.resolve(Kind.CORPUS, NEWEST)
    key, read, seen = (entry.kind, entry.full_name), library._read_version, []

    class Interrupted:
        """A lock after whose first release another thread cleans up."""

        def __init__(self) -> None:
            self.lock, self.n = threading.Lock(), 0

        def __enter__(self) -> None:
            self.lock.acquire()

        def __exit__(self, *_: object) -> None:
            self.lock.release()
            self.n += 1
            if self.n == 1:
                library._let_go()

    def reading(entry: Entry) -> object:
        seen.append(key in library._turns)
        return read(entry)

    monkeypatch.setattr(library, "_lock", Interrupted())
    monkeypatch.setattr(library, "_read_version", reading)
    library.corpus(NEWEST)
    assert seen == [True]
    assert not library._turns


def test_the_catalog_is_followed_though_a_version_cannot_be_closed(
    root: Path, metrics: Metrics, monkeypatch: pytest.MonkeyPatch,
    log: list[structlog.typing.EventDict],
) -> None:  # fmt: skip
    library, again = Library(Store.open(str(root)), 0.01, 8, metrics, 1), threading.Event()
    n = 0

    def unload() -> list[str]:
        nonlocal n
        n += 1
        if n == 1:
            raise OSError("cannot be closed")
        again.set()
        return []

    monkeypatch.setattr(library._loader, "unload", unload)
    library.start(lambda: None)
    followed = again.wait(10)
    library.stop()
    assert followed
    assert [line["event"] for line in log] == ["version not unloaded"]


def test_nothing_is_kept_of_a_name_that_was_withdrawn(root: Path, library: Library) -> None:
    store = Store.open(str(root))
    store.catalog.retract(store.catalog.entries(Kind.CORPUS)[0], "wrong genes", force=True)
    library.refresh()
    assert list(library._used) == list(library._meant) == [(Kind.CORPUS, NEWEST)]
