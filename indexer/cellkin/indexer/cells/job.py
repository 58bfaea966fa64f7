"""The cell job: read a reference twice, fit its cell space, place its cells, publish the index."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from cellkin.indexer.cells.fit import GeneStatistics, deepest_rung, fit_space
from cellkin.matrices.h5ad import CellFile, open_cells
from cellkin.matrices.units import UnitsFinding
from cellkin.space.arrays import CsrMatrix, Float32Matrix, Int32Vector
from cellkin.space.matching import match_genes
from cellkin.space.projection import (
    CellSpace,
    gene_columns,
    linear_expression,
    weighted_means,
)
from cellkin.space.recipe import Recipe
from cellkin.space.vectors import unit_rows
from cellkin.store.catalog import Entry, Kind
from cellkin.store.cell_index import CellIndex, ReferenceCells, write_cell_index
from cellkin.store.corpus import read_gene_names
from cellkin.store.neighbors import NeighborIndex
from cellkin.store.store import GeneEmbedding, Store
from cellkin.wire.errors import InvalidArgumentError
from cellkin.wire.match import GeneMatch
from cellkin.wire.names import VersionName, check_name, parse_version_name
from cellkin.wire.terms import ExpressionUnits

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Reference:
    """What to index.

    Parameters
    ----------
    path
        An ``.h5ad`` file.
    label
        The obs column of subtypes.
    batch
        The obs column of donors or batches, or None.
    taxon
        NCBI taxonomy id of the cells; 0 infers it from the gene names.
    """

    path: Path
    label: str
    batch: str | None = None
    taxon: int = 0


@dataclass(frozen=True)
class IndexReport:
    """What was indexed.

    Parameters
    ----------
    entry
        The published version.
    match
        How the reference's gene names met the corpus.
    mass
        (n_names,) float64, the summed linear expression of each name.
    units
        What the values were found to be.
    label_counts
        Cells of each subtype.
    n_unlabeled, n_empty
        Cells left out: without a label, and without a gene that has a vector.
    """

    entry: Entry
    match: GeneMatch
    mass: np.ndarray[tuple[int], np.dtype[np.float64]]
    units: UnitsFinding
    label_counts: dict[str, int]
    n_unlabeled: int
    n_empty: int


def index_cells(
    store: Store,
    name: str,
    reference: Reference,
    embedding: VersionName,
    recipe: Recipe,
    progress: Progress = lambda done, total: None,
) -> IndexReport:
    """Build and publish a cell index.

    Parameters
    ----------
    store
        Where the embedding is and the index goes.
    name
        Name of the index; a new version of it is published.
    reference
        The labelled cells.
    embedding
        The gene embedding to place cells by.
    recipe
        The choices.
    progress
        Called with the cells read and the cells to read, both passes counted.

    Raises
    ------
    NotFoundError
        If the embedding or the label column does not exist.
    InputFileError
        If the file cannot be read.
    GenesUnmatchedError
        If too few of its genes have text.
    InvalidArgumentError
        If cell names repeat, values are no expression, or no cell is labelled.
    """
    check_name(name, "cell index")
    source = store.catalog.resolve(Kind.EMBEDDING, embedding)
    with open_cells(reference.path) as cells:
        labels = cells.column(reference.label, "labels")
        batches = cells.column(reference.batch, "batch") if reference.batch else None
        _check_cells(cells, labels)
        vectors = store.embedding(source)
        corpus = store.catalog.version(
            Kind.CORPUS, parse_version_name(source.manifest["corpus"], "corpus")
        )
        genes = read_gene_names(store, corpus)
        resolution = genes.resolver.resolve(cells.gene_names, reference.taxon)
        everything = _unfitted(recipe, vectors)
        match, rows = match_genes(resolution, genes.gene_ids, genes.rungs, everything)
        match.require_enough(cells.gene_names)

        statistics, mass = _statistics(cells, rows, len(vectors.gene_ids), progress)
        rungs = genes.rungs[np.searchsorted(genes.gene_ids, vectors.gene_ids)]
        deepest = deepest_rung(rungs, statistics.mass)
        space = fit_space(recipe, vectors, np.flatnonzero(rungs <= deepest), statistics)
        match, rows = match_genes(resolution, genes.gene_ids, genes.rungs, space)
        match.require_enough(cells.gene_names)

        means, empty = _means(cells, gene_columns(rows, len(space.gene_ids)), space, progress)
        kept = np.flatnonzero(~empty & np.array([label is not None for label in labels]))
        if not len(kept):
            raise InvalidArgumentError(
                f"{reference.path}: no cell has both a label in {reference.label!r} "
                "and a gene with text"
            )
        center = means[kept].mean(axis=0, dtype=np.float64).astype(np.float32)
        index = CellIndex(
            replace(space, center=center),
            _reference_cells(cells, labels, batches, kept),
            NeighborIndex.build(unit_rows(means[kept] - center)),
        )
        counts = Counter(label for label in labels if label is not None)
        manifest = _manifest(reference, source, corpus, index, match, cells.units)
        entry = store.publish_index(name, lambda folder: write_cell_index(folder, index), manifest)
        return IndexReport(
            entry,
            match,
            mass,
            cells.units,
            dict(sorted(counts.items())),
            sum(label is None for label in labels),
            int(empty.sum()),
        )


def _check_cells(cells: CellFile, labels: list[str | None]) -> None:
    if all(label is None for label in labels):
        raise InvalidArgumentError(f"{cells.path}: every cell's label is missing")
    repeated = [name for name, n in Counter(cells.cell_ids).items() if n > 1]
    if repeated:
        raise InvalidArgumentError(
            f"{cells.path}: {len(repeated)} cell names repeat, such as {', '.join(repeated[:5])}; "
            "make obs_names unique, so that an answer can name its neighbors"
        )


def _unfitted(recipe: Recipe, embedding: GeneEmbedding) -> CellSpace:
    n, dim = embedding.vectors.shape
    return CellSpace(
        recipe,
        embedding.gene_ids,
        embedding.taxa,
        embedding.vectors,
        np.ones(n, np.float32),
        np.ones(n, bool),
        np.zeros(dim, np.float32),
    )


def _linear(cells: CellFile, block: CsrMatrix) -> CsrMatrix:
    return linear_expression(block) if cells.units.units is ExpressionUnits.LOG1P else block


def _statistics(
    cells: CellFile,
    rows: np.ndarray[tuple[int], np.dtype[np.int64]],
    n_genes: int,
    progress: Progress,
) -> tuple[GeneStatistics, np.ndarray[tuple[int], np.dtype[np.float64]]]:
    columns = gene_columns(rows, n_genes)
    detected = np.zeros(n_genes, np.int64)
    mass = np.zeros(len(rows))
    done = 0
    for block in cells.blocks():
        linear = _linear(cells, block)
        by_gene = linear @ columns
        detected += np.bincount(by_gene.indices[by_gene.data > 0], minlength=n_genes)
        mass += np.asarray(linear.sum(axis=0)).ravel()
        done += block.shape[0]
        progress(done, 2 * cells.n_cells)
    measured = np.zeros(n_genes, bool)
    measured[rows[rows >= 0]] = True
    return GeneStatistics(cells.n_cells, detected, columns.T @ mass, measured), mass


def _means(
    cells: CellFile, columns: CsrMatrix, space: CellSpace, progress: Progress
) -> tuple[Float32Matrix, np.ndarray[tuple[int], np.dtype[np.bool_]]]:
    means = np.empty((cells.n_cells, space.dim), np.float32)
    empty = np.empty(cells.n_cells, bool)
    done = 0
    for block in cells.blocks():
        part = slice(done, done + block.shape[0])
        by_gene = _linear(cells, block) @ columns
        means[part], empty[part] = weighted_means(
            by_gene, space.weights, space.vectors, space.recipe.top_n
        )
        done += block.shape[0]
        progress(cells.n_cells + done, 2 * cells.n_cells)
    return means, empty


def _reference_cells(
    cells: CellFile,
    labels: list[str | None],
    batches: list[str | None] | None,
    kept: np.ndarray[tuple[int], np.dtype[np.intp]],
) -> ReferenceCells:
    names = sorted({label for label in labels if label is not None})
    position = {name: at for at, name in enumerate(names)}
    codes: Int32Vector = np.array([position[labels[i] or ""] for i in kept], np.int32)
    return ReferenceCells(
        [cells.cell_ids[i] for i in kept],
        names,
        codes,
        [(batches[i] or "") if batches else "" for i in kept],
    )


def _manifest(
    reference: Reference,
    embedding: Entry,
    corpus: Entry,
    index: CellIndex,
    match: GeneMatch,
    units: UnitsFinding,
) -> dict[str, Any]:
    return {
        "format": 1,
        "recipe": index.space.recipe.name,
        "embedding": embedding.full_name,
        "embedding_digest": embedding.digest,
        "corpus": corpus.full_name,
        "corpus_digest": corpus.digest,
        "reference": reference.path.name,
        "label": reference.label,
        "batch": reference.batch or "",
        "units": units.why,
        "gene_match": match.to_metadata(),
        "n_cells": len(index.cells.ids),
        "dim": index.space.dim,
        "label_counts": {
            name: int(n)
            for name, n in zip(
                index.cells.label_names,
                np.bincount(index.cells.labels, minlength=len(index.cells.label_names)),
                strict=True,
            )
        },
    }
