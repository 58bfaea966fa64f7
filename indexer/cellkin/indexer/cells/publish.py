"""Publish placed cells as an index: build, certify, write, verify, commit."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from cellkin.indexer.cells.milvus import build_in_milvus
from cellkin.indexer.neighbors.build import build_neighbors, extend_neighbors
from cellkin.space.classifier import LabelClassifier
from cellkin.space.expression import ExpressionSpace
from cellkin.space.gene_pairs import ForeignReference
from cellkin.space.layout import Layout
from cellkin.space.profiles import Profiles
from cellkin.space.projection import CellSpace
from cellkin.store.catalog import Entry
from cellkin.store.cell_index import (
    EXPRESSION,
    TEXT,
    CellIndex,
    ExpressionIndex,
    ReferenceCells,
    TextIndex,
    read_classifier,
    read_expression_space,
    read_foreign,
    read_layout,
    read_neighbors,
    read_profiles,
    read_reference_cells,
    read_text_space,
    write_cell_index,
)
from cellkin.store.cell_table import CellTable
from cellkin.store.cell_vectors import CellVectors
from cellkin.store.certificate import Certificate
from cellkin.store.milvus import SCHEME
from cellkin.store.neighbor_search import Neighbors
from cellkin.store.neighbors import NeighborIndex
from cellkin.store.schema import INDEX_FORMAT, cells_schema
from cellkin.store.store import Store
from cellkin.wire.errors import IntegrityError

Progress = Callable[[int, int], None]
Stages = Callable[[str], AbstractContextManager[Progress]]
"""Opens a named stage of long work; its context yields a ``progress(done, total)`` callback."""

_PROBES = 32
_MOST_BATCHES = 1000


@dataclass(frozen=True)
class IndexChoice:
    """Requested type of neighbor index.

    Parameters
    ----------
    wanted
        ``auto``, a FAISS factory string, or ``milvus://...``.
    recall
        Target recall@10 of the search settings, in (0, 1].
    memory_bytes
        Memory the index may use where it is served; None for a share of this machine's.
    """

    wanted: str = "auto"
    recall: float = 0.98
    memory_bytes: int | None = None


@dataclass(frozen=True)
class Spaces:
    """Spaces and classifiers of a cell index, without its neighbor indexes.

    Parameters
    ----------
    text, text_classifier
        Text space and its classifier; both None if there is none.
    expression, expression_classifier
        Expression space and its classifier; both None if there is none.
    foreign
        Reference for checking samples with foreign genes, or None.
    profiles
        Profiles of the labels, of the cells that the spaces were fitted to, or None.
    layout
        Layout of the reference's cells, or None.
    """

    text: CellSpace | None = None
    text_classifier: LabelClassifier | None = None
    expression: ExpressionSpace | None = None
    expression_classifier: LabelClassifier | None = None
    foreign: ForeignReference | None = None
    profiles: Profiles | None = None
    layout: Layout | None = None

    @property
    def names(self) -> list[str]:
        """Names of the present spaces, in the order `TEXT`, `EXPRESSION`."""
        both = {TEXT: self.text, EXPRESSION: self.expression}
        return [name for name, space in both.items() if space is not None]

    @property
    def dim(self) -> int:
        """Dimensions of the first space."""
        space = self.text or self.expression
        return 0 if space is None else space.dim

    @property
    def n_text_genes(self) -> int:
        """Number of genes of the text space; 0 without one."""
        return 0 if self.text is None else len(self.text.gene_ids)

    @property
    def schema(self) -> pa.Schema:
        """Schema of the table of cells."""
        text, expression = self.text, self.expression
        return cells_schema(
            0 if text is None else text.vectors.shape[1],
            0 if expression is None else expression.dim,
        )

    @classmethod
    def of(cls, folder: Path) -> "Spaces":
        """Read the spaces of an index from its folder."""
        text, expression = read_text_space(folder), read_expression_space(folder)
        return cls(
            text,
            None if text is None else read_classifier(folder, TEXT),
            expression,
            None if expression is None else read_classifier(folder, EXPRESSION),
            read_foreign(folder),
            read_profiles(folder, read_reference_cells(folder).label_names),
            read_layout(folder),
        )

    def searched(self, cells: CellTable) -> list[tuple[CellVectors, bytes]]:
        """Return, in the order of `names`, the search vectors and what else determines them."""
        found = []
        if (text := self.text) is not None:
            head = b"" if text.head is None else text.head.tobytes()
            found.append((CellVectors.of_text(cells, text), text.center.tobytes() + head))
        if self.expression_classifier is not None:
            n = self.expression_classifier.n_components
            found.append((CellVectors.of_expression(cells, n), f"{EXPRESSION} {n}".encode()))
        return found

    def of_other_cells(self) -> "Spaces":
        """Return the spaces without what describes the cells that they were fitted to."""
        return replace(self, profiles=None, layout=None)

    def index(self, cells: ReferenceCells, neighbors: Sequence[Neighbors]) -> CellIndex:
        """Assemble the `CellIndex`; ``neighbors`` are in the order of `names`."""
        found = dict(zip(self.names, neighbors, strict=True))
        text, expression = None, None
        if self.text is not None and self.text_classifier is not None:
            text = TextIndex(self.text, found[TEXT], self.text_classifier, self.foreign)
        if self.expression is not None and self.expression_classifier is not None:
            expression = ExpressionIndex(
                self.expression, found[EXPRESSION], self.expression_classifier
            )
        return CellIndex(cells, text, expression, self.profiles, self.layout)


def publish_index(
    store: Store,
    name: str,
    cells: CellTable,
    spaces: Spaces,
    choice: IndexChoice,
    made_from: Mapping[str, Any],
    stages: Stages,
) -> Entry:
    """Build the neighbor indexes of committed rows and publish them as one version.

    Everything written here is an orphan until the version is in the catalog.

    Raises
    ------
    IntegrityError
        If a written index does not return the same results as the built one.
    """
    built: list[Built] = []
    with ExitStack() as opened:
        for vectors, content in spaces.searched(cells):
            index, certificate = _build(name, cells, vectors, content, choice, stages)
            opened.enter_context(closing(index))
            built.append((index, certificate))
        return _publish(store, name, cells, spaces, built, made_from)


def extend_index(
    store: Store,
    base: Entry,
    cells: CellTable,
    spaces: Spaces,
    choice: IndexChoice,
    made_from: Mapping[str, Any],
    stages: Stages,
) -> Entry:
    """Add the rows appended to a base version to its indexes and publish a new version."""
    folder = store.index_folder(base)
    n_old = base.manifest["n_cells"]
    wanted, recall, memory_bytes = choice.wanted, choice.recall, choice.memory_bytes
    built: list[Built] = []
    with ExitStack() as opened:
        old = [opened.enter_context(closing(read_neighbors(folder, s))) for s in spaces.names]
        indexes = [index for index in old if isinstance(index, NeighborIndex)]
        if wanted.startswith(SCHEME) or len(indexes) < len(old):
            return publish_index(store, base.name, cells, spaces, choice, made_from, stages)
        for index, (vectors, _) in zip(indexes, spaces.searched(cells), strict=True):
            with stages("extending the index") as progress:
                more = extend_neighbors(
                    index, vectors, n_old, wanted, recall, memory_bytes, progress, cells.digest
                )
            opened.enter_context(closing(more.index))
            built.append((more.index, more.certificate))
        return _publish(store, base.name, cells, spaces, built, made_from)


Built: TypeAlias = tuple[Neighbors, Certificate]


def _build(
    name: str,
    cells: CellTable,
    vectors: CellVectors,
    content: bytes,
    choice: IndexChoice,
    stages: Stages,
) -> Built:
    if choice.wanted.startswith(SCHEME):
        with stages("filling the collection") as progress:
            return build_in_milvus(choice.wanted, name, cells, vectors, content, progress)
    with stages("building the index") as progress:
        built = build_neighbors(
            vectors, choice.wanted, choice.recall, choice.memory_bytes, progress, cells.digest
        )
    return built.index, built.certificate


def _publish(
    store: Store,
    name: str,
    cells: CellTable,
    spaces: Spaces,
    built: list[Built],
    made_from: Mapping[str, Any],
) -> Entry:
    reference = ReferenceCells.from_columns(
        cells.column("id"), cells.column("label"), cells.column("batch"),
        made_from.get("label_counts", ()),
    )  # fmt: skip
    some = np.unique(np.linspace(0, cells.n_cells - 1, _PROBES).astype(np.int64))
    probes = [vectors.take(some) for vectors, _ in spaces.searched(cells)]
    indexes = [index for index, _ in built]

    def write(folder: Path) -> None:
        write_cell_index(folder, spaces.index(reference, indexes))
        cells.row_digests.save(folder)
        for space, index, probe in zip(spaces.names, indexes, probes, strict=True):
            with closing(read_neighbors(folder, space)) as neighbors:
                written = neighbors.search(probe, 1)
            expected = index.search(probe, 1)
            same = [np.array_equal(expected[i], written[i]) for i in range(2)]
            if not all(same):
                raise IntegrityError(
                    f"the {space} index that was written does not answer as the one that was "
                    "built; nothing was published, run the command again"
                )

    counts = np.bincount(reference.labels, minlength=len(reference.label_names))
    certificates = {
        name: made.to_json() for name, (_, made) in zip(spaces.names, built, strict=True)
    }
    manifest = {
        "format": INDEX_FORMAT,
        **made_from,
        **cells.to_manifest(),
        "vector_dim": cells.dim,
        "dim": spaces.dim,
        "label_counts": dict(zip(reference.label_names, counts.tolist(), strict=True)),
        "batches": _batch_names(reference.batches),
        "certificate": certificates[spaces.names[0]],
        "certificates": certificates,
    }
    return store.publish_index(name, write, manifest)


def _batch_names(batches: pa.ChunkedArray) -> list[str]:
    """Return the sorted batch names, capped to keep the catalog small."""
    return sorted(set(batches.unique().to_pylist()) - {"", None})[:_MOST_BATCHES]
