"""What a server has loaded stays in use until it reads a catalog that explains the difference."""

import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest
import structlog

from cellkin.server.metrics import Metrics
from cellkin.server.version_cache import VersionCache
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
def version_cache(root: Path, metrics: Metrics) -> VersionCache:
    """Both names asked for once."""
    version_cache = VersionCache(Store.open(str(root)), 2.0, 8, metrics, 1)
    version_cache.corpus(STABLE)
    version_cache.corpus(NEWEST)
    return version_cache


@pytest.fixture
def log() -> Iterator[list[structlog.typing.EventDict]]:
    with structlog.testing.capture_logs() as log:
        yield log


def versions(version_cache: VersionCache) -> list[str]:
    return [version_cache.corpus(name).entry.version for name in (STABLE, NEWEST)]


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
    version_cache: VersionCache,
    metrics: Metrics,
    log: list[structlog.typing.EventDict],
    damage: Callable[[Path], None],
) -> None:
    before, view = versions(version_cache), version_cache.view
    kept = shutil.copytree(root, root.with_name("kept"))
    damage(root)
    for _ in range(3):
        with pytest.raises(UnavailableError, match="the store cannot be read"):
            version_cache.refresh()
    assert versions(version_cache) == before
    assert version_cache.view is view
    with pytest.raises(UnavailableError, match="what is loaded stays in use, ask again"):
        version_cache.corpus(VersionName("unknown"))
    with pytest.raises(RetractedError, match="wrong genes"):
        version_cache.corpus(VersionName("genes", view.entries(Kind.CORPUS)[2].version))
    assert [line["event"] for line in log] == ["catalog unreadable"]
    assert readable(metrics) == 0
    shutil.rmtree(root, ignore_errors=True)
    kept.rename(root)
    store = Store.open(str(root))
    first, second, _ = store.catalog.entries(Kind.CORPUS)
    store.catalog.set_alias(second, "stable")
    version_cache.refresh()
    assert versions(version_cache) == [second.version, second.version] != before == [
        first.version, second.version,
    ]  # fmt: skip
    assert [line["event"] for line in log if line["event"] != "version switched"] == [
        "catalog unreadable", "catalog readable again",
    ]  # fmt: skip
    assert readable(metrics) == 1


def test_a_version_is_not_blamed_for_a_store_that_is_away(
    root: Path, version_cache: VersionCache
) -> None:
    (_, _, third) = version_cache.view.entries(Kind.CORPUS)
    Store.open(str(root)).catalog.unretract(third)
    version_cache._read(float("inf"))
    away(root)
    with pytest.raises(UnavailableError, match="the store cannot be read"):
        version_cache.corpus(VersionName("genes", third.version))
    root.with_name("away").rename(root)
    version_cache.refresh(again=True)
    assert version_cache.corpus(VersionName("genes", third.version)).entry == third


def test_what_the_catalog_explains_is_followed(root: Path, version_cache: VersionCache) -> None:
    store = Store.open(str(root))
    made: list[Entry] = store.catalog.entries(Kind.CORPUS)
    store.catalog.set_alias(made[1], "stable")
    store.catalog.remove([made[0]])
    version_cache.refresh()
    assert versions(version_cache) == [made[1].version] * 2
    with pytest.raises(NotFoundError, match="was removed on"):
        version_cache.corpus(VersionName("genes", made[0].version))
    with pytest.raises(NotFoundError):
        version_cache.corpus(VersionName("unknown"))


def test_every_request_for_a_refused_version_gets_an_error_of_its_own(
    root: Path, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    version_cache = VersionCache(Store.open(str(root)), 2.0, 8, metrics, 1)

    def damaged(entry: Entry) -> None:
        raise IntegrityError("damaged", {"file": "rows"})

    monkeypatch.setattr(version_cache, "_read_version", damaged)
    errors = []
    for _ in range(3):
        with pytest.raises(IntegrityError, match="damaged") as caught:
            version_cache.corpus(NEWEST)
        assert caught.value.metadata == {"file": "rows"}
        errors.append(caught.value)
    assert len(set(map(id, errors))) == 3
    # Else the traceback would keep what the requests refer to.
    assert [refused.error.__traceback__ for refused in version_cache._refused.values()] == [None]


def test_a_turn_that_is_waited_for_is_not_replaced(
    root: Path, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    version_cache = VersionCache(Store.open(str(root)), 2.0, 8, metrics, 1)
    entry = version_cache.resolve(Kind.CORPUS, NEWEST)
    key, read, seen = (entry.kind, entry.full_name), version_cache._read_version, []

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
                version_cache._let_go()

    def reading(entry: Entry) -> object:
        seen.append(key in version_cache._turns)
        return read(entry)

    monkeypatch.setattr(version_cache, "_lock", Interrupted())
    monkeypatch.setattr(version_cache, "_read_version", reading)
    version_cache.corpus(NEWEST)
    assert seen == [True]
    assert not version_cache._turns


def test_the_catalog_is_followed_though_a_version_cannot_be_closed(
    root: Path, metrics: Metrics, monkeypatch: pytest.MonkeyPatch,
    log: list[structlog.typing.EventDict],
) -> None:  # fmt: skip
    version_cache, again = (
        VersionCache(Store.open(str(root)), 0.01, 8, metrics, 1),
        threading.Event(),
    )
    n = 0

    def unload() -> list[str]:
        nonlocal n
        n += 1
        if n == 1:
            raise OSError("cannot be closed")
        again.set()
        return []

    monkeypatch.setattr(version_cache._loader, "unload", unload)
    version_cache.start(lambda: None)
    followed = again.wait(10)
    version_cache.stop()
    assert followed
    assert [line["event"] for line in log] == ["version not unloaded"]


def test_nothing_is_kept_of_a_name_that_was_withdrawn(
    root: Path, version_cache: VersionCache
) -> None:
    store = Store.open(str(root))
    store.catalog.retract(store.catalog.entries(Kind.CORPUS)[0], "wrong genes", force=True)
    version_cache.refresh()
    assert list(version_cache._used) == list(version_cache._meant) == [(Kind.CORPUS, NEWEST)]
