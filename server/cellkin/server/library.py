"""Loaded versions: each is read from the store once, then shared by all requests."""

import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, TypeVar

from cellkin.space.vectors import centered_unit_rows
from cellkin.store.catalog import Entry, Kind
from cellkin.store.cell_index import CellIndex, read_cell_index
from cellkin.store.corpus import GeneNames, read_gene_names
from cellkin.store.store import GeneEmbedding, Store
from cellkin.wire.names import VersionName, parse_version_name

Loaded = TypeVar("Loaded")


@dataclass(frozen=True)
class LoadedIndex:
    """A cell index with the corpus its genes are named by."""

    entry: Entry
    index: CellIndex
    genes: GeneNames

    @property
    def space_digest(self) -> str:
        """SHA-256 of the cell space, hexadecimal."""
        digest: str = self.entry.manifest["files"]["space.safetensors"]
        return digest


@dataclass(frozen=True)
class LoadedEmbedding:
    """A gene embedding, centred, with the corpus its genes are named by."""

    entry: Entry
    embedding: GeneEmbedding
    genes: GeneNames


class Library:
    """The versions of a store, loaded at first use.

    Parameters
    ----------
    store
        The store.
    refresh_s
        Seconds for which the meaning of a name is taken as known.
    """

    def __init__(self, store: Store, refresh_s: float) -> None:
        self._store = store
        self._refresh_s = refresh_s
        self._resolved: dict[tuple[Kind, VersionName], tuple[float, Entry]] = {}
        self._loaded: dict[Hashable, Any] = {}
        self._lock = threading.Lock()
        self._loading: dict[Hashable, threading.Lock] = {}

    def indexes(self) -> list[Entry]:
        """Return the newest version of every cell index, by name."""
        newest = {entry.name: entry for entry in self._store.catalog.entries(Kind.INDEX)}
        return [newest[name] for name in sorted(newest)]

    def resolve(self, kind: Kind, wanted: VersionName) -> Entry:
        """Return the version a name means now.

        Raises
        ------
        NotFoundError
            If there is none.
        RetractedError
            If it was withdrawn; that too is seen after ``refresh_s`` seconds.
        """
        now = time.monotonic()
        known = self._resolved.get((kind, wanted))
        if known is not None and now - known[0] < self._refresh_s:
            return known[1]
        entry = self._store.catalog.resolve(kind, wanted)
        self._resolved[kind, wanted] = now, entry
        return entry

    def index(self, wanted: VersionName) -> LoadedIndex:
        """Return a loaded cell index."""
        entry = self.resolve(Kind.INDEX, wanted)

        def load() -> LoadedIndex:
            index = read_cell_index(self._store.index_folder(entry))
            return LoadedIndex(entry, index, self._genes(entry))

        return self._once(entry, load)

    def embedding(self, wanted: VersionName) -> LoadedEmbedding:
        """Return a loaded gene embedding."""
        entry = self.resolve(Kind.EMBEDDING, wanted)

        def load() -> LoadedEmbedding:
            raw = self._store.embedding(entry)
            centered = GeneEmbedding(
                raw.gene_ids, raw.taxa, raw.text_sha256, centered_unit_rows(raw.vectors)
            )
            return LoadedEmbedding(entry, centered, self._genes(entry))

        return self._once(entry, load)

    def _genes(self, made_from: Entry) -> GeneNames:
        name = parse_version_name(made_from.manifest["corpus"], "corpus")
        corpus = self._store.catalog.version(Kind.CORPUS, name)
        return self._once(corpus, lambda: read_gene_names(self._store, corpus))

    def _once(self, entry: Entry, load: Callable[[], Loaded]) -> Loaded:
        """Load a version unless it is loaded; of two requests for it, one waits for the other."""
        key = entry.kind, entry.full_name
        with self._lock:
            turn = self._loading.setdefault(key, threading.Lock())
        with turn:
            if key not in self._loaded:
                self._loaded[key] = load()
            loaded: Loaded = self._loaded[key]
            return loaded
