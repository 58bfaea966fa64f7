"""Build the neighbor index of a reference: choose, train, add, tune, certify."""

import logging
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cellkin.indexer.neighbors import gpu
from cellkin.indexer.neighbors.certify import certify
from cellkin.indexer.neighbors.choice import AUTO, Choice, choose, list_count, new_index, refusing
from cellkin.indexer.neighbors.exact import choose_queries
from cellkin.indexer.neighbors.lists import ListFiller, grouped_lists, train_lists
from cellkin.indexer.neighbors.tune import tune
from cellkin.indexer.neighbors.vectors import Vectors, Watched, spread_rows
from cellkin.space.arrays import Float32Matrix
from cellkin.store.certificate import TUNED_K, Certificate
from cellkin.store.neighbors import NeighborIndex
from cellkin.store.neighbors_faiss import faiss, layers, n_lists, shape
from cellkin.wire.errors import DimensionMismatchError, InvalidArgumentError

Progress = Callable[[int, int], None]

_log = logging.getLogger("cellkin.indexer")

_EF_CONSTRUCTION = 60
# More points hardly improve k-means; FAISS warns below 39.
_SAMPLE_PER_LIST = 40
_LEAST_SAMPLE = 20_000
_ADD_ROWS = 8192
_SEED = 0
# One to add, two to choose the queries for tuning and certifying.
_PASSES = 3


@dataclass(frozen=True)
class BuiltNeighbors:
    """A neighbor index, how it was chosen, and its certificate."""

    index: NeighborIndex
    choice: Choice
    certificate: Certificate


def build_neighbors(
    vectors: Vectors,
    wanted: str = AUTO,
    recall: float = 0.98,
    memory_bytes: int | None = None,
    progress: Progress = lambda done, total: None,
    digest: str = "",
) -> BuiltNeighbors:
    """Build an index, tune its search settings to a recall and certify it.

    Memory holds the index, a training sample of at most a few hundred thousand vectors, and one
    block. If the recall is not reached, the certificate and a logged warning report it.

    Parameters
    ----------
    vectors
        (n, dim) float32 unit rows; row i has id i.
    wanted
        ``auto``, or a FAISS factory string.
    recall
        Target recall@10 of the search settings, in (0, 1].
    memory_bytes
        Memory the index may use where it is served; None for a quarter of this machine's.
    progress
        Called with the rows read and the rows in total, over all passes.
    digest
        SHA-256 of the vectors, for the certificate.

    Raises
    ------
    InvalidArgumentError
        If there is nothing to index, or FAISS cannot build the requested index.
    """
    choice = choose(vectors.n, vectors.dim, wanted, recall, memory_bytes)
    index = new_index(choice.factory, vectors.dim)
    watched = Watched(vectors, progress, _PASSES)
    started = time.perf_counter()
    _train(index, vectors, choice.factory)
    add = _adding(index)
    for batch in watched.batches():
        with refusing(choice.factory, vectors.dim):
            add(np.ascontiguousarray(batch))
    build_s = time.perf_counter() - started
    return _finish(NeighborIndex(index), watched, choice, recall, build_s, digest)


def extend_neighbors(
    index: NeighborIndex,
    old_and_new: Vectors,
    n_old: int,
    wanted: str = AUTO,
    recall: float = 0.98,
    memory_bytes: int | None = None,
    progress: Progress = lambda done, total: None,
    digest: str = "",
) -> BuiltNeighbors:
    """Add cells to a copy of an index, then tune and certify it again.

    If the new size calls for another type of index, or for many more lists, the index is rebuilt.

    Parameters
    ----------
    index
        Index of the first ``n_old`` vectors; it is not changed.
    old_and_new
        All vectors, the old ones first.
    n_old
        Number of vectors in the index.
    wanted, recall, memory_bytes, progress, digest
        As in `build_neighbors`.

    Raises
    ------
    InvalidArgumentError
        If the index is not of the first ``n_old`` vectors.
    DimensionMismatchError
        If the vectors and the index differ in dimension.
    """
    n, dim = old_and_new.n, old_and_new.dim
    if dim != index.dim:
        raise DimensionMismatchError(f"vectors of {dim} dimensions, index of {index.dim}")
    if len(index) != n_old or n < n_old:
        raise InvalidArgumentError(
            f"an index of {len(index)} cells, to be extended from {n_old} to {n}; give the index "
            "of the old cells, and all cells with the old ones first"
        )
    choice = choose(n, dim, wanted, recall, memory_bytes)
    if not _still_fits(index.faiss_index, choice, dim, n):
        return build_neighbors(old_and_new, wanted, recall, memory_bytes, progress, digest)
    watched = Watched(old_and_new, progress, _PASSES)
    watched.report(n_old)
    started = time.perf_counter()
    grown = _copy(index.faiss_index)
    add = _adding(grown)
    for start in range(n_old, n, _ADD_ROWS):
        rows = np.arange(start, min(start + _ADD_ROWS, n), dtype=np.int64)
        add(np.ascontiguousarray(old_and_new.take(rows)))
        watched.report(len(rows))
    build_s = time.perf_counter() - started
    lists = n_lists(grown)
    factory = choice.factory.replace(f"IVF{list_count(n)}", f"IVF{lists}") if lists else ""
    choice = replace(choice, factory=factory or choice.factory)
    return _finish(NeighborIndex(grown), watched, choice, recall, build_s, digest)


def _train(index: faiss.Index, vectors: Vectors, factory: str) -> None:
    """Set the build parameters and train on a sample."""
    lists = faiss.try_extract_index_ivf(index)
    if lists is not None:
        # Small references have few points per list, of which FAISS would warn on standard error.
        lists.cp.min_points_per_centroid = 1
    for layer in layers(index):
        if hasattr(layer, "hnsw"):
            layer.hnsw.efConstruction = _EF_CONSTRUCTION
    if not index.is_trained:
        wanted = max(_LEAST_SAMPLE, _SAMPLE_PER_LIST * n_lists(index))
        sample = vectors.take(spread_rows(vectors.n, wanted, _SEED))
        grouped = grouped_lists(index)
        with refusing(factory, vectors.dim):
            if grouped is None or len(sample) < grouped.nlist:
                gpu.train(index, sample)
            else:
                train_lists(index, grouped, sample)


def _adding(index: faiss.Index) -> Callable[[Float32Matrix], None]:
    """Return what adds rows to a trained index."""
    grouped = grouped_lists(index)
    return index.add if grouped is None else ListFiller(index, grouped).add


def _finish(
    index: NeighborIndex,
    vectors: Vectors,
    choice: Choice,
    recall: float,
    build_s: float,
    digest: str,
) -> BuiltNeighbors:
    tuning, certifying = choose_queries(vectors)
    if not index.exact:
        choice = replace(choice, parameters=tune(index, vectors, tuning, recall))
    certificate = certify(index, vectors, choice, recall, build_s, digest, certifying)
    if not certificate.reached:
        _log.warning(
            "recall not reached: %s with %s finds %.4f of %d neighbors, wanted %.4f; "
            "choose another index, or more memory",
            choice.factory, dict(choice.parameters), certificate.recall[TUNED_K], TUNED_K, recall,
        )  # fmt: skip
    return BuiltNeighbors(index, choice, certificate)


def _still_fits(index: faiss.Index, choice: Choice, dim: int, n: int) -> bool:
    """Return whether an index has the type chosen for n vectors, and enough lists for them."""
    wanted = new_index(choice.factory, dim)
    if shape(index) != shape(wanted):
        return False
    lists, exactly = n_lists(index), n_lists(wanted)
    if f"IVF{list_count(n)}" not in choice.factory:
        return lists == exactly
    # Up to four times the cells, with lists twice as long as a new index would have.
    return exactly // 2 <= lists <= 2 * exactly


def _copy(index: faiss.Index) -> faiss.Index:
    """Copy an index into memory, as neither a memory-mapped index nor its clone can grow."""
    with tempfile.TemporaryDirectory(prefix="cellkin-") as scratch:
        path = Path(scratch) / "index.faiss"
        faiss.write_index(index, str(path))
        return faiss.read_index(str(path))
