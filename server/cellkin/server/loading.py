"""Load versions into memory: read, warm up, and test before any request uses them."""

import os
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from queue import SimpleQueue
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import numpy.typing as npt
import structlog

from cellkin.server import calls
from cellkin.server.metrics import Metrics
from cellkin.server.recent import RecentHeaders
from cellkin.server.searching import (
    SMALL,
    BatchedSearch,
    ConcurrentSearch,
    Cores,
    DeviceSearch,
    DirectSearch,
)
from cellkin.space.arrays import BoolVector, Float32Matrix, Float32Vector, Int64Vector, rows_in
from cellkin.space.neighborhoods import nearest_means, permutation
from cellkin.space.reference import Reference
from cellkin.space.screening import Screen
from cellkin.space.vectors import unit_rows
from cellkin.store.catalog import Entry
from cellkin.store.cell_index import EXPRESSION, TEXT, CellIndex, read_cell_index
from cellkin.store.cell_table import CellTable, cell_table
from cellkin.store.cell_vectors import CellVectors
from cellkin.store.certificate import Certificate
from cellkin.store.corpus import GeneNames
from cellkin.store.exact_search import search_exactly
from cellkin.store.neighbor_search import Found, Neighbors
from cellkin.store.neighbors import NeighborIndex
from cellkin.store.neighbors_device import Device, DeviceIndex
from cellkin.store.row_digests import BLOCK_ROWS
from cellkin.store.store import Store
from cellkin.store.strings import Strings
from cellkin.wire.errors import IntegrityError

_log = structlog.get_logger("cellkin.server")
_PROBES, _PROBED_BLOCKS = 64, 8
_PAIRS = 100_000
_PART = 10_000
_SEED = 0
PROTEIN_CODING = "protein-coding"
"""NCBI's type of genes with a protein: those that are searched unless others are asked for."""
# The share of cells found may be this many standard errors below the certified recall.
_ERRORS = 4.0


@dataclass(frozen=True, eq=False)
class LoadedCorpus:
    """A corpus with its gene names."""

    entry: Entry
    genes: GeneNames


@dataclass(frozen=True, eq=False)
class LoadedIndex:
    """A cell index with the corpus of its gene names.

    Parameters
    ----------
    entry
        The version.
    index
        Its spaces, cells and neighbor indexes; many requests may search these concurrently.
    corpus
        The corpus of its gene names.
    vectors
        Cell vectors on disk, by name of the space.
    scanning
        Lock held during exact search; shared by all indexes of the process.
    ids, batches
        Ids of the cells, and their donors or batches, by row.
    prepared
        What was prepared for recent headers of queries. It must not refer to this object, which
        would then not be freed when the last request ends.
    """

    entry: Entry
    index: CellIndex
    corpus: LoadedCorpus
    vectors: Mapping[str, CellVectors]
    scanning: threading.Lock
    ids: Strings
    batches: Strings
    prepared: RecentHeaders = field(default_factory=RecentHeaders)

    @property
    def genes(self) -> GeneNames:
        """Gene names of the corpus."""
        return self.corpus.genes

    @cached_property
    def reference(self) -> Reference:
        """The reference that cells are labeled with."""
        return self.index.reference(self.entry.full_name)

    def search_exactly(
        self, vectors: CellVectors, queries: Float32Matrix, k: int, passing: BoolVector | None
    ) -> Found:
        """Compare all passing cells with each query; see `cellkin.store.exact_search`."""
        with calls.turn(self.scanning):
            return search_exactly(vectors, queries, k, passing, calls.check)


@dataclass(frozen=True, eq=False)
class SpeciesGenes:
    """The genes of one species in an embedding.

    Parameters
    ----------
    gene_ids
        (n,) int64 NCBI GeneIDs, ascending.
    vectors
        (n, dim) float32, centered at the mean of all genes, unit length.
    types
        (n,) NCBI gene types, such as ``protein-coding``.
    """

    gene_ids: Int64Vector
    vectors: Float32Matrix
    types: npt.NDArray[np.object_]
    _measuring: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @cached_property
    def coding(self) -> "SpeciesGenes":
        """The protein-coding genes; all genes if none is known to be one."""
        coding = self.types == PROTEIN_CODING
        if coding.all() or not coding.any():
            return self
        return SpeciesGenes(self.gene_ids[coding], self.vectors[coding], self.types[coding])

    @cached_property
    def type_names(self) -> frozenset[str]:
        """The types that any gene has."""
        return frozenset(self.types)

    def rows_of(self, gene_ids: Int64Vector) -> Int64Vector:
        """Return the (n_wanted,) int64 rows of GeneIDs; -1 for genes that are not here."""
        return rows_in(self.gene_ids, gene_ids)

    @cached_property
    def screen(self) -> Screen:
        """The vectors rounded to 8 bits, for searches."""
        return Screen.of(self.vectors)

    @cached_property
    def background(self) -> Float32Vector:
        """The similarities of random pairs of different genes.

        (n_pairs,) float32, ascending; a single -1 if there are fewer than two genes.
        """
        n = len(self.vectors)
        n_pairs = _PAIRS if n > 1 else 1
        rng = np.random.default_rng(n)
        similarities = np.full(n_pairs, -1, np.float32)
        for at in range(0, n_pairs if n > 1 else 0, _PART):
            first = rng.integers(0, n, _PART)
            second = (first + rng.integers(1, n, _PART)) % n
            pairs = self.vectors[first], self.vectors[second]
            similarities[at : at + _PART] = np.einsum("nd,nd->n", *pairs)
        similarities.sort()
        return similarities

    def nearest_means(self) -> Float32Vector:
        """Return (n,) float32 mean cosines of each gene to its 10 nearest protein-coding genes.

        The first call takes seconds for 20,000 genes. A call that ends at its deadline leaves what
        it has computed to the next.

        Raises
        ------
        DeadlineExceededError, CancelledError
            If the request ended before.
        """
        with calls.turn(self._measuring):
            among = self.coding
            own = among.rows_of(self.gene_ids)
            return nearest_means(self.vectors, among.vectors, own, self._means, calls.check)

    @cached_property
    def _means(self) -> Float32Vector:
        return np.full(len(self.gene_ids), np.nan, np.float32)

    @cached_property
    def permuted(self) -> Int64Vector:
        """(n,) int64, the row whose vector each gene is given by the control `permuted`."""
        return permutation(len(self.gene_ids), _SEED)


@dataclass(frozen=True, eq=False)
class LoadedEmbedding:
    """A gene embedding by species, with the corpus of its gene names.

    Parameters
    ----------
    entry
        The version.
    mean
        (dim,) float32, mean of the vectors of all genes as returned by the model.
    corpus
        The corpus of its gene names.
    by_taxon
        The genes by NCBI taxonomy id.
    """

    entry: Entry
    mean: Float32Vector
    corpus: LoadedCorpus
    by_taxon: Mapping[int, SpeciesGenes]

    @property
    def genes(self) -> GeneNames:
        """Gene names of the corpus."""
        return self.corpus.genes

    def species(self, taxon: int) -> SpeciesGenes:
        """Return the genes of a species; empty if the embedding has none."""
        known = self.by_taxon.get(taxon)
        if known is not None:
            return known
        vectors = np.empty((0, len(self.mean)), np.float32)
        return SpeciesGenes(np.empty(0, np.int64), vectors, np.empty(0, object))


def load_embedding(store: Store, entry: Entry, corpus: LoadedCorpus) -> LoadedEmbedding:
    """Read a gene embedding, and check its digest."""
    raw = store.embedding(entry)
    mean = raw.vectors.mean(axis=0, dtype=np.float64)
    at = np.searchsorted(corpus.genes.gene_ids, raw.gene_ids)
    # Equal types share one string.
    types = corpus.genes.table["gene_type"].combine_chunks().dictionary_encode().take(at)
    names = np.array(types.dictionary.to_pylist(), object)[types.indices.to_numpy()]
    by_taxon = {}
    for taxon in np.unique(raw.taxa).tolist():
        rows = raw.taxa == taxon
        centered = unit_rows(np.asarray(raw.vectors[rows] - mean, np.float32))
        by_taxon[taxon] = SpeciesGenes(raw.gene_ids[rows], centered, names[rows])
    return LoadedEmbedding(entry, mean.astype(np.float32), corpus, by_taxon)


class IndexLoader:
    """Loads cell indexes for serving.

    Parameters
    ----------
    store
        The store.
    metrics
        Where loading and searching are counted.
    cores
        Maximum number of parallel searches.
    device
        The device that large blocks of queries are searched on; None for the CPU.
    """

    def __init__(
        self, store: Store, metrics: Metrics, cores: int, device: Device | None = None
    ) -> None:
        self._store, self._metrics = store, metrics
        self._cores, self._device, self._lane = Cores(cores), device, Cores(1)
        self._scanning = threading.Lock()
        self._counting = threading.Lock()
        self._live: WeakValueDictionary[str, LoadedIndex] = WeakValueDictionary()
        # A finalizer may run while any lock is held, so it only adds to this queue.
        self._gone: SimpleQueue[tuple[str, Any]] = SimpleQueue()

    def load(self, entry: Entry, corpus: Callable[[], LoadedCorpus]) -> LoadedIndex:
        """Map an index into memory, read it once, and test it.

        Raises
        ------
        IntegrityError
            If its files differ from the catalog, or its results from the certificate.
        """
        folder = self._store.index_folder(entry, again=False)
        plain = read_cell_index(folder)
        vectors = _vectors(plain, cell_table(self._store, entry))
        n_bytes = sum((folder / name).stat().st_size for name in entry.manifest["files"])
        _warm(folder / name for name in entry.manifest["files"])
        test_index(entry, plain, vectors)
        text, expression = plain.text, plain.expression
        if text is not None:
            shared = self._shared(text.neighbors, entry.full_name)
            text = replace(text, neighbors=shared)
        if expression is not None:
            shared = self._shared(expression.neighbors, entry.full_name)
            expression = replace(expression, neighbors=shared)
        names = Strings(plain.cells.ids), Strings(plain.cells.batches)
        wrapped = replace(plain, text=text, expression=expression)
        loaded = LoadedIndex(entry, wrapped, corpus(), vectors, self._scanning, *names)
        with self._counting:
            self._live[entry.full_name] = loaded
            self._metrics.index_loaded(entry.full_name, n_bytes, entry.manifest["n_cells"])
        gone = (entry.full_name, [part.neighbors for part in plain.parts.values()])
        weakref.finalize(loaded, self._gone.put, gone).atexit = False
        return loaded

    def unload(self) -> list[str]:
        """Close indexes that are no longer referenced; return their versions."""
        names = []
        while not self._gone.empty():
            name, neighbors = self._gone.get()
            try:
                for index in neighbors:
                    index.close()
            finally:
                with self._counting:
                    if name not in self._live:  # else loaded again meanwhile
                        self._metrics.index_unloaded(name)
            names.append(name)
        return names

    def _shared(self, neighbors: Neighbors, name: str) -> Neighbors:
        shared = self._on_cpu(neighbors, name)
        if self._device is None or not isinstance(neighbors, NeighborIndex):
            return shared
        try:
            placed = DeviceIndex(neighbors, self._device)
        except RuntimeError as error:
            cause = str(error).strip().rpartition("\n")[2]
            _log.warning("index not on device", index=name, device=self._device.name, error=cause)
            return shared
        return DeviceSearch(placed, shared, name, self._metrics, self._lane)

    def _on_cpu(self, neighbors: Neighbors, name: str) -> Neighbors:
        if neighbors.exact:
            if len(neighbors) * neighbors.dim <= SMALL:
                return DirectSearch(neighbors, name, self._metrics)
            return BatchedSearch(neighbors, name, self._metrics, self._cores)
        return ConcurrentSearch(neighbors, name, self._metrics, self._cores)


def _warm(files: Iterable[Path]) -> None:
    """Read files once, so that the first requests do not wait for page faults."""
    buffer = bytearray(1 << 24)
    with Path(os.devnull).open("wb", buffering=0) as nowhere:
        for path in files:
            with path.open("rb", buffering=0) as file:
                try:
                    # Linux reads into the page cache and copies nothing.
                    while n := os.sendfile(
                        nowhere.fileno(), file.fileno(), file.tell(), len(buffer)
                    ):
                        file.seek(n, os.SEEK_CUR)
                except (AttributeError, OSError):
                    # The system has no such call, or sends this kind of file to sockets only.
                    while file.readinto(buffer):
                        pass


def _vectors(index: CellIndex, cells: CellTable) -> dict[str, CellVectors]:
    found = {}
    if index.text is not None:
        found[TEXT] = CellVectors.of_text(cells, index.text.space)
    if index.expression is not None:
        n_components = index.expression.classifier.n_components
        found[EXPRESSION] = CellVectors.of_expression(cells, n_components)
    return found


def test_index(entry: Entry, index: CellIndex, vectors: Mapping[str, CellVectors]) -> None:
    """Search an index for its own cells, and compare with its manifest and certificate.

    Only its first space is tested, to which the certificate belongs.

    A cell of the index is at least as easy to find as the queries of the certificate. So it must be
    its own nearest neighbor at least as often as the certified recall at 1, except for chance.

    Raises
    ------
    IntegrityError
        If the number of cells, the labels, or the share of cells found differ.
    """
    manifest = entry.manifest
    counts = np.bincount(index.cells.labels, minlength=len(index.cells.label_names)).tolist()
    stated = dict(zip(index.cells.label_names, counts, strict=True)) == manifest["label_counts"]
    n = manifest["n_cells"]
    space, part = next(iter(index.parts.items()))
    neighbors = part.neighbors
    if not stated or not len(neighbors) == len(index.cells.ids) == vectors[space].n == n:
        raise IntegrityError(
            f"cell index {entry.full_name}: its files have {len(neighbors)} vectors and "
            f"{len(index.cells.ids)} cells, or other labels, where the manifest says {n} cells; "
            "publish it again"
        )
    rows = _probes(n, entry.digest)
    probes = vectors[space].take(rows)
    placed = np.einsum("nd,nd->n", probes, probes) > 0
    if not placed.any():
        return
    similarities, ids = neighbors.search(probes[placed], 1)
    # A single query uses its own compiled code, which is compiled or loaded here.
    neighbors.search(probes[placed][:1], 1)
    # A duplicate of the cell, or one equally near up to rounding, also counts.
    found = (ids[:, 0] == rows[placed]) | (similarities[:, 0] >= 1 - 1e-4)
    share = float(found.mean())
    least = _least_share(manifest.get("certificate"), int(placed.sum()))
    if share < least or not np.isfinite(similarities).all():
        raise IntegrityError(
            f"cell index {entry.full_name}: {share:.0%} of {int(placed.sum())} of its own cells "
            f"found themselves, where its certificate promises at least {least:.0%}; "
            "publish it again"
        )


def _probes(n: int, digest: str) -> Int64Vector:
    """Choose rows from a few blocks, since each block is read and checked as a whole."""
    rng = np.random.default_rng(list(digest.encode()))
    blocks = rng.permutation(-(-n // BLOCK_ROWS))[:_PROBED_BLOCKS]
    each = -(-_PROBES // len(blocks))
    first = np.sort(blocks) * BLOCK_ROWS
    sizes = np.minimum(BLOCK_ROWS, n - first)
    drawn = [
        at + np.sort(rng.permutation(size)[:each]) for at, size in zip(first, sizes, strict=True)
    ]
    return np.concatenate(drawn).astype(np.int64)


def _least_share(certificate: dict[str, Any] | None, n: int) -> float:
    if certificate is None:
        return 1.0
    recall = Certificate.from_json(certificate).recall[1]
    return max(0.0, recall - _ERRORS * float(np.sqrt(max(recall * (1 - recall), 1 / n) / n)))
