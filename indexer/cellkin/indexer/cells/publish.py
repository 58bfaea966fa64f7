"""From rows of placed cells to a published index: build, certify, write, verify, commit."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cellkin.indexer.cells.milvus import build_in_milvus
from cellkin.indexer.neighbors.build import build_neighbors, extend_neighbors
from cellkin.space.projection import CellSpace
from cellkin.store.catalog import Entry
from cellkin.store.cell_index import (
    CellIndex,
    ReferenceCells,
    read_neighbors,
    write_cell_index,
)
from cellkin.store.cell_table import CellTable, CellVectors
from cellkin.store.certificate import Certificate
from cellkin.store.milvus import SCHEME, MilvusNeighbors
from cellkin.store.neighbors import NeighborIndex
from cellkin.store.store import Store
from cellkin.wire.errors import IntegrityError

Progress = Callable[[int, int], None]
Stages = Callable[[str], AbstractContextManager[Progress]]
"""Opens a stage of long work by its name; yields a function of steps done and steps to do."""

_PROBES = 32


@dataclass(frozen=True)
class IndexChoice:
    """What index to build.

    Parameters
    ----------
    wanted
        ``auto``, a FAISS factory string, or ``milvus://...``.
    recall
        The recall@10 its settings are tuned to, in (0, 1].
    memory_bytes
        What it may take of a machine that serves it, or None for a share of this one's memory.
    """

    wanted: str = "auto"
    recall: float = 0.98
    memory_bytes: int | None = None


def publish_index(
    store: Store,
    name: str,
    cells: CellTable,
    space: CellSpace,
    choice: IndexChoice,
    made_from: Mapping[str, Any],
    stages: Stages,
) -> Entry:
    """Build the index of committed rows and publish it.

    Until the catalog names it, whatever is written here is an orphan.

    Raises
    ------
    IntegrityError
        If the written index does not answer as the built one.
    """
    if choice.wanted.startswith(SCHEME):
        with stages("filling the collection") as progress:
            filled = build_in_milvus(choice.wanted, name, cells, space, progress)
        return _publish(store, name, cells, space, *filled, made_from)
    vectors = CellVectors(cells, space)
    with stages("building the index") as progress:
        built = build_neighbors(
            vectors, choice.wanted, choice.recall, choice.memory_bytes, progress, cells.digest
        )
    return _publish(store, name, cells, space, built.index, built.certificate, made_from)


def extend_index(
    store: Store,
    base: Entry,
    cells: CellTable,
    space: CellSpace,
    choice: IndexChoice,
    made_from: Mapping[str, Any],
    stages: Stages,
) -> Entry:
    """Add the rows after those of a base version to its index, and publish that."""
    old = None if choice.wanted.startswith(SCHEME) else read_neighbors(store.index_folder(base))
    if not isinstance(old, NeighborIndex):
        return publish_index(store, base.name, cells, space, choice, made_from, stages)
    vectors = CellVectors(cells, space)
    n_old = base.manifest["n_cells"]
    wanted, recall, memory_bytes = choice.wanted, choice.recall, choice.memory_bytes
    with stages("extending the index") as progress:
        built = extend_neighbors(
            old, vectors, n_old, wanted, recall, memory_bytes, progress, cells.digest
        )
    return _publish(store, base.name, cells, space, built.index, built.certificate, made_from)


def _publish(
    store: Store,
    name: str,
    cells: CellTable,
    space: CellSpace,
    index: NeighborIndex | MilvusNeighbors,
    certificate: Certificate,
    made_from: Mapping[str, Any],
) -> Entry:
    reference = ReferenceCells.from_columns(
        cells.column("id"), cells.column("label"), cells.column("batch")
    )
    some = np.unique(np.linspace(0, cells.n_cells - 1, _PROBES).astype(np.int64))
    probes = CellVectors(cells, space).take(some)

    def write(folder: Path) -> None:
        write_cell_index(folder, CellIndex(space, reference, index))
        neighbors = read_neighbors(folder)
        written = neighbors.search(probes, 1)
        neighbors.close()
        expected = index.search(probes, 1)
        if not (
            np.array_equal(expected[0], written[0]) and np.array_equal(expected[1], written[1])
        ):
            raise IntegrityError(
                "the index that was written does not answer as the one that was built; "
                "nothing was published, run the command again"
            )

    counts = np.bincount(reference.labels, minlength=len(reference.label_names))
    manifest = {
        "format": 2,
        **made_from,
        **cells.to_manifest(),
        "vector_dim": cells.dim,
        "dim": space.dim,
        "label_counts": dict(zip(reference.label_names, counts.tolist(), strict=True)),
        "certificate": certificate.to_json(),
    }
    try:
        return store.publish_index(name, write, manifest)
    finally:
        index.close()
