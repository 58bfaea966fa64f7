"""The cell job: match genes, fit a cell space, place the cells, publish them as an index."""

from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from cellkin.indexer.cells.engines import Engine, LocalEngine
from cellkin.indexer.cells.fit import deepest_rung, fit_space
from cellkin.indexer.cells.plan import (
    MatchedFile,
    count_genes,
    match_files,
    matrix_files,
    sample_of,
    shards_of,
)
from cellkin.indexer.cells.publish import (
    IndexChoice,
    Progress,
    Stages,
    extend_index,
    publish_index,
)
from cellkin.indexer.cells.sources import Reference, SourceFile, read_sources, require_unique
from cellkin.indexer.cells.worker import Placed, Shard, Work
from cellkin.space.projection import CellSpace
from cellkin.space.recipe import Recipe
from cellkin.store.catalog import Entry, Kind
from cellkin.store.cell_index import SPACE, read_space
from cellkin.store.cell_rows import write_rows
from cellkin.store.cell_table import cell_table, commit_rows, table_name
from cellkin.store.corpus import read_gene_names
from cellkin.store.store import GeneEmbedding, Store
from cellkin.wire.errors import FailedPreconditionError, InvalidArgumentError
from cellkin.wire.match import GeneMatch
from cellkin.wire.names import VersionName, check_name, parse_version_name

_REPORT_CELLS = 2_000


@contextmanager
def _silent(what: str) -> Any:
    yield lambda done, total: None


@dataclass(frozen=True)
class Job:
    """How a job is run and its index built; none of it changes a vector.

    Parameters
    ----------
    engine
        Where shards are worked on.
    device
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    index
        What index to build, and how good.
    stages
        Shows progress.
    """

    engine: Engine = field(default_factory=lambda: LocalEngine(1))
    device: str = "auto"
    index: IndexChoice = field(default_factory=IndexChoice)
    stages: Stages = _silent


@dataclass(frozen=True)
class FileReport:
    """What became of one file.

    Parameters
    ----------
    source
        The file.
    match
        The report on its genes.
    mass
        (n_names,) float64, the summed linear expression of each name, in a sample of the cells.
    """

    source: SourceFile
    match: GeneMatch
    mass: npt.NDArray[np.float64]


@dataclass(frozen=True)
class IndexReport:
    """What was indexed.

    Parameters
    ----------
    entry
        The published version.
    files
        The files, in the order given.
    n_unlabeled, n_empty
        Cells left out: without a label, and without a gene that has a vector.
    n_cells, read_s, compute_s, write_s
        Cells read to be placed, and the seconds of all workers this took.
    """

    entry: Entry
    files: list[FileReport]
    n_unlabeled: int
    n_empty: int
    n_cells: int
    read_s: float
    compute_s: float
    write_s: float


def index_cells(
    store: Store,
    name: str,
    reference: Reference,
    embedding: VersionName,
    recipe: Recipe,
    job: Job | None = None,
) -> IndexReport:
    """Fit a cell space to a reference, and publish its cells as an index.

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
    job
        How it is run.

    Raises
    ------
    NotFoundError
        If the embedding or the label column does not exist.
    InputFileError
        If a file cannot be read.
    GenesUnmatchedError
        If too few genes of a file have text.
    InvalidArgumentError
        If cell names repeat, values are no expression, or no cell is labelled.
    """
    job = job or Job()
    check_name(name, "cell index")
    source = store.catalog.resolve(Kind.EMBEDDING, embedding)
    sources = read_sources(reference)
    vectors = store.embedding(source)
    corpus = _corpus(store, source)
    genes = read_gene_names(store, corpus)
    resolutions = [genes.resolver.resolve(s.gene_names, reference.taxon) for s in sources]
    matched = match_files(sources, resolutions, genes, _unfitted(recipe, vectors))
    shards = shards_of(sources)

    sample = sample_of(shards, recipe.statistics_cells)
    work = _work(store, name, matched, reference, len(vectors.gene_ids), None, job)
    with job.stages("counting genes") as progress:
        counted = count_genes(job.engine, work, sample, _counting(sample, progress))
    rungs = genes.rungs[np.searchsorted(genes.gene_ids, vectors.gene_ids)]
    deepest = deepest_rung(rungs, counted.statistics.mass)
    space = fit_space(recipe, vectors, np.flatnonzero(rungs <= deepest), counted.statistics)
    matched = match_files(sources, resolutions, genes, space)

    placed, n_kept = _place(store, name, matched, reference, space, job, shards)
    if recipe.centered:
        center = sum(p.total for p in placed) / n_kept
        space = replace(space, center=np.asarray(center, np.float32))
    cells = commit_rows(store, name, space.vectors.shape[1], [x for p in placed for x in p.parts])
    made_from = {
        "recipe": recipe.name,
        "embedding": source.full_name,
        "embedding_digest": source.digest,
        "corpus": corpus.full_name,
        "corpus_digest": corpus.digest,
        **_described(reference, matched),
    }
    entry = publish_index(store, name, cells, space, job.index, made_from, job.stages)
    return _report(entry, matched, counted.mass, placed)


def place_like(
    store: Store, name: str, reference: Reference, like: VersionName, job: Job | None = None
) -> IndexReport:
    """Publish a reference as an index in the cell space of another, so that both can be merged.

    Parameters
    ----------
    store, name, reference, job
        As of `index_cells`.
    like
        The index whose space is used as it is.
    """
    job = job or Job()
    check_name(name, "cell index")
    model = store.catalog.resolve(Kind.INDEX, like)
    sources = read_sources(reference)
    space, matched, mass, placed = _place_in(store, name, model, reference, sources, job)
    parts = [x for p in placed for x in p.parts]
    cells = commit_rows(store, name, space.vectors.shape[1], parts)
    made_from = {**_inherited(model), **_described(reference, matched), "like": model.full_name}
    entry = publish_index(store, name, cells, space, job.index, made_from, job.stages)
    return _report(entry, matched, mass, placed)


def append_cells(
    store: Store, index: VersionName, reference: Reference, job: Job | None = None
) -> IndexReport:
    """Publish a new version of an index with more cells; those it has are not placed again.

    Raises
    ------
    InvalidArgumentError
        If a cell of the reference is in the index already, beside what `index_cells` raises.
    """
    job = job or Job()
    base = store.catalog.resolve(Kind.INDEX, index)
    before = cell_table(store, base)
    sources = read_sources(reference)
    named = [(str(source.path), source.rows["id"]) for source in sources]
    require_unique([(base.full_name, before.column("id")), *named])
    space, matched, mass, placed = _place_in(store, base.name, base, reference, sources, job)
    parts = before.parts() + [x for p in placed for x in p.parts]
    cells = commit_rows(store, base.name, before.dim, parts)
    described = _described(reference, matched)
    described["references"] = [*base.manifest["references"], *described["references"]]
    made_from = {**_inherited(base), **described, "appended_to": base.full_name}
    entry = extend_index(store, base, cells, space, job.index, made_from, job.stages)
    return _report(entry, matched, mass, placed)


def merge_indexes(
    store: Store, name: str, indexes: Sequence[VersionName], job: Job | None = None
) -> Entry:
    """Publish the cells of several indexes of one cell space as one index.

    Raises
    ------
    FailedPreconditionError
        If their spaces differ: their vectors cannot be compared.
    InvalidArgumentError
        If a cell is in more than one, or fewer than two indexes are given.
    """
    job = job or Job()
    check_name(name, "cell index")
    entries = [store.catalog.resolve(Kind.INDEX, index) for index in indexes]
    if len(entries) < 2:
        raise InvalidArgumentError(f"{len(entries)} indexes to merge; give two or more")
    spaces = {entry.manifest["files"][SPACE] for entry in entries}
    if len(spaces) > 1:
        raise FailedPreconditionError(
            f"{', '.join(e.full_name for e in entries)} are of {len(spaces)} cell spaces, so their "
            "vectors cannot be compared; place one reference in the space of the other by "
            f"`cellkin cells index --like {entries[0].full_name}`"
        )
    tables = [cell_table(store, entry) for entry in entries]
    require_unique([(e.full_name, t.column("id")) for e, t in zip(entries, tables, strict=True)])
    uri = store.table_uri(table_name(name))
    batches = (batch for table in tables for batch in table.batches())
    cells = commit_rows(store, name, tables[0].dim, write_rows(uri, tables[0].dim, batches))
    made_from = {
        **_inherited(entries[0]),
        "references": [r for e in entries for r in e.manifest["references"]],
        "label": entries[0].manifest["label"],
        "batch": entries[0].manifest["batch"],
        "merged_from": [entry.full_name for entry in entries],
    }
    space = read_space(store.index_folder(entries[0]))
    return publish_index(store, name, cells, space, job.index, made_from, job.stages)


def _place_in(
    store: Store,
    name: str,
    model: Entry,
    reference: Reference,
    sources: list[SourceFile],
    job: Job,
) -> tuple[CellSpace, list[MatchedFile], list[npt.NDArray[np.float64]], list[Placed]]:
    """Place a reference in the space of an index that exists."""
    space = read_space(store.index_folder(model))
    genes = read_gene_names(store, _corpus(store, model))
    resolutions = [genes.resolver.resolve(s.gene_names, reference.taxon) for s in sources]
    matched = match_files(sources, resolutions, genes, space)
    shards = shards_of(sources)
    sample = sample_of(shards, _REPORT_CELLS)
    work = _work(store, name, matched, reference, len(space.gene_ids), None, job)
    counted = count_genes(job.engine, work, sample, lambda shard: None)
    placed, _ = _place(store, name, matched, reference, space, job, shards)
    return space, matched, counted.mass, placed


def _place(
    store: Store,
    name: str,
    matched: list[MatchedFile],
    reference: Reference,
    space: CellSpace,
    job: Job,
    shards: list[Shard],
) -> tuple[list[Placed], int]:
    work = _work(store, name, matched, reference, len(space.gene_ids), space, job)
    with job.stages("placing cells") as progress:
        placed: list[Placed] = job.engine.run(work, "place", shards, _counting(shards, progress))
    n_kept = sum(p.n_kept for p in placed)
    if not n_kept:
        raise InvalidArgumentError(
            f"{', '.join(map(str, reference.paths))}: no cell has both a label in "
            f"{reference.label!r} and a gene with text"
        )
    return placed, n_kept


def _work(
    store: Store,
    name: str,
    matched: list[MatchedFile],
    reference: Reference,
    n_genes: int,
    space: CellSpace | None,
    job: Job,
) -> Work:
    return Work(
        matrix_files(matched, reference.layer, reference.raw, n_genes),
        n_genes,
        space,
        store.table_uri(table_name(name)),
        job.device,
    )


def _counting(shards: Sequence[Shard], progress: Progress) -> Callable[[Shard], None]:
    total = sum(shard.stop - shard.start for shard in shards)
    done = 0

    def finished(shard: Shard) -> None:
        nonlocal done
        done += shard.stop - shard.start
        progress(done, total)

    return finished


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


def _corpus(store: Store, made_from_it: Entry) -> Entry:
    name = parse_version_name(made_from_it.manifest["corpus"], "corpus")
    return store.catalog.version(Kind.CORPUS, name)


def _inherited(entry: Entry) -> dict[str, Any]:
    keys = ("recipe", "embedding", "embedding_digest", "corpus", "corpus_digest")
    return {key: entry.manifest[key] for key in keys}


def _described(reference: Reference, matched: Sequence[MatchedFile]) -> dict[str, Any]:
    return {
        "references": [
            {
                "file": file.source.path.name,
                "format": file.source.format,
                "n_cells": file.source.n_cells,
                "units": file.source.units.why,
                "gene_match": file.match.to_metadata(),
            }
            for file in matched
        ],
        "label": reference.label,
        "batch": reference.batch or "",
    }


def _report(
    entry: Entry,
    matched: Sequence[MatchedFile],
    masses: Sequence[npt.NDArray[np.float64]],
    placed: Sequence[Placed],
) -> IndexReport:
    files = [FileReport(f.source, f.match, mass) for f, mass in zip(matched, masses, strict=True)]
    return IndexReport(
        entry,
        files,
        sum(f.source.rows["label"].null_count for f in files),
        sum(p.n_empty for p in placed),
        sum(p.n_cells for p in placed),
        sum(p.read_s for p in placed),
        sum(p.compute_s for p in placed),
        sum(p.write_s for p in placed),
    )
