"""Cache of loaded versions: a name switches to a new version only once that is loaded and tested.

A replaced version stays in memory until the last request that uses it ends: the request refers to
it strongly, the version cache only weakly.
"""

import copy
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeAlias
from weakref import WeakValueDictionary

import structlog

from cellkin.server import calls
from cellkin.server.loaded_sets import LoadedGeneSets
from cellkin.server.loading import (
    IndexLoader,
    LoadedCorpus,
    LoadedEmbedding,
    LoadedIndex,
    load_embedding,
)
from cellkin.server.metrics import Metrics
from cellkin.store.catalog import CatalogView, Entry, Kind
from cellkin.store.corpus import read_gene_names
from cellkin.store.failures import RAISED
from cellkin.store.neighbors_device import Device
from cellkin.store.store import Store
from cellkin.wire.errors import (
    CellkinError,
    InternalError,
    NotFoundError,
    RetractedError,
    UnavailableError,
)
from cellkin.wire.names import VersionName, parse_version_name

_log = structlog.get_logger("cellkin.server")
Wanted: TypeAlias = tuple[Kind, VersionName]

_STALE_S = 0.25
"""An unknown name triggers another read of the catalog if the last one is older than this."""
_RETRY_S = 30.0
"""Seconds before a version that failed to load is tried again."""
_RETRY_UNAVAILABLE_S = 1.0
"""The same for a version that could not be read because the store was unavailable."""


Loaded: TypeAlias = LoadedIndex | LoadedEmbedding | LoadedCorpus | LoadedGeneSets


@dataclass(frozen=True)
class Refused:
    """The error of a version that failed to load or failed its test, kept until ``until``."""

    error: CellkinError
    until: float


@dataclass(frozen=True)
class Changes:
    """Result of a refresh: versions switched to, and error messages of refused versions."""

    switched: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)


class VersionCache:
    """The versions of a store, loaded at first use and updated with the catalog.

    Parameters
    ----------
    store
        The store.
    refresh_s
        Seconds between reads of the catalog.
    most_loaded
        Maximum number of names kept loaded; the least recently used are dropped.
    metrics
        Where loading and searching are counted.
    cores, device
        As for `IndexLoader`.
    """

    def __init__(
        self,
        store: Store,
        refresh_s: float,
        most_loaded: int,
        metrics: Metrics,
        cores: int,
        device: Device | None = None,
    ) -> None:
        self._store, self._metrics = store, metrics
        self._refresh_s, self._most_loaded = refresh_s, most_loaded
        self._loader = IndexLoader(store, metrics, cores, device)
        self._meant: dict[Wanted, Loaded] = {}
        self._used: dict[Wanted, float] = {}
        self._alive: WeakValueDictionary[tuple[Kind, str], Loaded] = WeakValueDictionary()
        self._refused: dict[tuple[Kind, str], Refused] = {}
        self._lock = threading.Lock()
        # Weak, so that a lock stays while any request that loads or waits holds it.
        self._turns: WeakValueDictionary[tuple[Kind, str], threading.Lock] = WeakValueDictionary()
        self._refreshing = threading.Lock()
        self._view = store.catalog.view()
        self._reading = threading.Lock()
        # Time of the last successful and the last attempted read, and the error of the latter.
        self._read_at = self._tried_at = time.monotonic()
        self._unreadable = ""
        self._stopping = threading.Event()
        self._watcher: threading.Thread | None = None

    def start(self, followed: Callable[[], None]) -> None:
        """Start the thread that refreshes from the catalog, until `stop`.

        Parameters
        ----------
        followed
            Called after each successful refresh.
        """
        self._watcher = threading.Thread(
            target=self._watch, args=(followed,), name="version_cache", daemon=True
        )
        self._watcher.start()

    def stop(self) -> None:
        """Stop refreshing."""
        self._stopping.set()
        if self._watcher is not None:
            self._watcher.join()

    @property
    def view(self) -> CatalogView:
        """The catalog as last read, at most `refresh_s` ago unless the store cannot be read.

        It is replaced only by a later state of the same catalog. A store that is unavailable or
        damaged, an older copy, or another store in its place changes nothing.
        """
        return self._view

    @property
    def store(self) -> Store:
        """The store."""
        return self._store

    def index(self, wanted: VersionName) -> LoadedIndex:
        """Return the loaded version of a cell index.

        Raises
        ------
        NotFoundError
            If the version does not exist.
        RetractedError
            If it was retracted; seen up to ``refresh_s`` seconds later.
        IntegrityError
            If its files are damaged or it fails its test.
        UnavailableError
            If the store cannot be read.
        """
        loaded = self._get(Kind.INDEX, wanted)
        assert isinstance(loaded, LoadedIndex)
        return loaded

    def embedding(self, wanted: VersionName) -> LoadedEmbedding:
        """Return the loaded version of a gene embedding; see `index`."""
        loaded = self._get(Kind.EMBEDDING, wanted)
        assert isinstance(loaded, LoadedEmbedding)
        return loaded

    def corpus(self, wanted: VersionName) -> LoadedCorpus:
        """Return the loaded version of a corpus; see `index`."""
        loaded = self._get(Kind.CORPUS, wanted)
        assert isinstance(loaded, LoadedCorpus)
        return loaded

    def gene_sets(self, wanted: VersionName) -> LoadedGeneSets:
        """Return the loaded version of a gene set collection; see `index`."""
        loaded = self._get(Kind.GENE_SETS, wanted)
        assert isinstance(loaded, LoadedGeneSets)
        return loaded

    def is_loaded(self, entry: Entry) -> bool:
        """Return whether a version is in memory."""
        return (entry.kind, entry.full_name) in self._alive

    def has_index(self) -> bool:
        """Return whether any cell index is loaded and tested."""
        return any(kind is Kind.INDEX for kind, _ in list(self._meant))

    def index_names(self) -> set[str]:
        """Return the names of the loaded cell indexes."""
        return {wanted.name for kind, wanted in list(self._meant) if kind is Kind.INDEX}

    def resolve(self, kind: Kind, wanted: VersionName) -> Entry:
        """Return the version a name refers to, loaded or not; see `CatalogView.resolve`.

        For an unknown name the catalog is read again, since the name may be new.
        """
        return self._looked_up(lambda view: view.resolve(kind, wanted))

    def version(self, kind: Kind, wanted: VersionName) -> Entry:
        """Return the version a name refers to, retracted or not; see `CatalogView.version`."""
        return self._looked_up(lambda view: view.version(kind, wanted))

    def load(self, names: Iterable[str]) -> dict[str, CellkinError]:
        """Load the newest versions of cell indexes; return the errors by name."""
        failed = {}
        for name in names:
            try:
                self.index(VersionName(name))
            except CellkinError as error:
                failed[name] = error
        return failed

    def refresh(self, again: bool = False) -> Changes:
        """Read the catalog now, and switch every name to its new version once that is loaded.

        Parameters
        ----------
        again
            Whether to retry versions that failed recently.

        Raises
        ------
        UnavailableError
            If the catalog cannot be read, or is not a later state of the one read before; then
            nothing changes.
        """
        with self._refreshing:
            self._read(time.monotonic())
            if again:
                self._refused.clear()
            changes = Changes()
            for wanted in list(self._meant):
                self._follow(wanted, changes)
            self._let_go()
            return changes

    def _get(self, kind: Kind, wanted: VersionName) -> Loaded:
        key = kind, wanted
        found = self._meant.get(key)
        if found is None:
            found = self._load(self.resolve(kind, wanted))
            with self._lock:
                self._meant[key] = found
            self._let_go()
        self._used[key] = time.monotonic()
        calls.current().versions.append(found.entry.full_name)
        return found

    def _looked_up(self, look: Callable[[CatalogView], Entry]) -> Entry:
        try:
            return look(self._view)
        except NotFoundError:
            recent = time.monotonic() - _STALE_S
            if self._read_at >= recent and not self._unreadable:
                raise
            self._read(recent)
            return look(self._view)

    def _read(self, since: float) -> None:
        """Read the catalog, unless another thread started a read after ``since``.

        Raises
        ------
        UnavailableError
            If it cannot be read.
        """
        with self._reading:
            if self._tried_at < since:
                self._tried_at = time.monotonic()
                self._try_to_read()
            if self._unreadable:
                raise UnavailableError(
                    f"the store cannot be read ({self._unreadable}); what is loaded stays in use, "
                    "ask again"
                )

    def _try_to_read(self) -> None:
        try:
            self._view = self._store.catalog.view()
        except (CellkinError, *RAISED) as error:
            if not self._unreadable:
                _log.error("catalog unreadable", error=str(error))
            self._unreadable = str(error) or type(error).__name__
        else:
            if self._unreadable:
                _log.info("catalog readable again")
            self._unreadable, self._read_at = "", time.monotonic()
        self._metrics.catalog_read(not self._unreadable)

    def _load(self, entry: Entry) -> Loaded:
        """Load a version unless it is loaded; concurrent requests for it load it once."""
        key = entry.kind, entry.full_name
        with self._lock:
            turn = self._turns.setdefault(key, threading.Lock())
        with turn:
            found = self._alive.get(key)
            if found is not None:
                return found
            refused = self._refused.get(key)
            if refused is not None and time.monotonic() < refused.until:
                # Raised itself, it would hold the frames of every request that it was raised for.
                raise copy.copy(refused.error)
            began = time.perf_counter()
            try:
                found = self._read_version(entry)
            except CellkinError as error:
                self._raise_if_away(entry)
                self._refuse(entry, error)
                raise
            except Exception as error:
                _log.exception("version unreadable", kind=entry.kind, version=entry.full_name)
                unforeseen = InternalError(f"{entry.kind.noun} {entry.full_name}: {error}")
                self._refuse(entry, unforeseen)
                raise unforeseen from error
            self._refused.pop(key, None)
            self._alive[key] = found
        _log.info(
            "version loaded", kind=entry.kind, version=entry.full_name,
            duration_s=round(time.perf_counter() - began, 3),
        )  # fmt: skip
        return found

    def _read_version(self, entry: Entry) -> Loaded:
        if entry.kind is Kind.CORPUS:
            return LoadedCorpus(entry, read_gene_names(self._store, entry))
        if entry.kind is Kind.EMBEDDING:
            return load_embedding(self._store, entry, self._corpus_of(entry))
        if entry.kind is Kind.GENE_SETS:
            return LoadedGeneSets(entry, self._store.gene_sets(entry), self._corpus_of(entry))
        return self._loader.load(entry, lambda: self._corpus_of(entry))

    def _corpus_of(self, made_from: Entry) -> LoadedCorpus:
        name = parse_version_name(made_from.manifest["corpus"], "corpus")
        loaded = self._load(self.version(Kind.CORPUS, name))
        assert isinstance(loaded, LoadedCorpus)
        return loaded

    def _raise_if_away(self, entry: Entry) -> None:
        """Raise UnavailableError, not the version's error, if the whole store is unavailable."""
        try:
            self._read(time.monotonic())
        except UnavailableError as error:
            self._refuse(entry, error)
            raise

    def _refuse(self, entry: Entry, error: CellkinError) -> None:
        self._metrics.refused(entry.kind)
        _log.warning(
            "version refused", kind=entry.kind, version=entry.full_name, reason=error.reason,
            message=error.message,
        )  # fmt: skip
        retry_s = _RETRY_UNAVAILABLE_S if isinstance(error, UnavailableError) else _RETRY_S
        until = time.monotonic() + retry_s
        self._refused[entry.kind, entry.full_name] = Refused(copy.copy(error), until)

    def _follow(self, wanted: Wanted, changes: Changes) -> None:
        kind, name = wanted
        before = self._meant.get(wanted)
        try:
            entry = self._view.resolve(kind, name)
        except (NotFoundError, RetractedError) as error:
            # The next request for the name gets this error.
            _log.warning("name withdrawn", kind=kind, name=str(name), reason=error.reason)
            with self._lock:
                self._meant.pop(wanted, None)
                self._used.pop(wanted, None)
            return
        if before is None or entry.full_name == before.entry.full_name:
            return
        try:
            after = self._load(entry)
        except CellkinError as error:
            changes.refused[entry.full_name] = error.message
            return
        with self._lock:
            self._meant[wanted] = after
        self._metrics.switched(kind)
        changes.switched.append(entry.full_name)
        _log.info(
            "version switched", kind=kind, name=str(name), version=entry.full_name,
            before=before.entry.full_name,
        )  # fmt: skip

    def _let_go(self) -> None:
        """Drop the least recently used names above the limit."""
        with self._lock:
            newest = time.monotonic()
            oldest = sorted(self._meant, key=lambda wanted: self._used.get(wanted, newest))
            for wanted in oldest[: max(0, len(oldest) - self._most_loaded)]:
                del self._meant[wanted]
                self._used.pop(wanted, None)

    def _watch(self, followed: Callable[[], None]) -> None:
        while not self._stopping.wait(self._refresh_s):
            try:
                self.refresh()
                followed()
            except UnavailableError:
                pass  # logged when it began; loaded versions stay in use
            except Exception:  # noqa: BLE001  # the thread must keep refreshing
                _log.exception("catalog not followed")
            try:
                for name in self._loader.unload():
                    _log.info("version unloaded", kind=Kind.INDEX, version=name)
            except Exception:  # noqa: BLE001  # as above
                _log.exception("version not unloaded")
