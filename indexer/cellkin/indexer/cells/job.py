"""The cell job: match genes, fit a cell space, place the cells, publish them as an index."""

from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from cellkin.indexer.cells.engines import Engine, LocalEngine
from cellkin.indexer.cells.fit import unfitted_space
from cellkin.indexer.cells.fitting import (
    Fitted,
    Judging,
    choose_sample,
    fit_spaces,
    read_sample,
    shared_genes,
)
from cellkin.indexer.cells.layout import with_layout
from cellkin.indexer.cells.plan import MatchedFile, count_genes, match_files, sample_of
from cellkin.indexer.cells.publish import (
    IndexChoice,
    Spaces,
    Stages,
    extend_index,
    publish_index,
)
from cellkin.indexer.cells.report import (
    IndexReport,
    described,
    digests_of,
    inherited,
    likely_batch,
)
from cellkin.indexer.cells.sources import Reference, read_sources, require_unique
from cellkin.indexer.cells.steps import Files, Place, counting
from cellkin.indexer.cells.worker import Placed
from cellkin.indexer.genes.own_names import NamedFile, find_corpus, publish_own_names
from cellkin.indexer.spaces.classifier import Votes
from cellkin.indexer.spaces.sample import Sample
from cellkin.indexer.threads import in_background
from cellkin.space.arrays import Int64Vector
from cellkin.space.profiles import Profiles
from cellkin.space.projection import CellSpace
from cellkin.space.recipe import Recipe
from cellkin.store.catalog import Entry, Kind
from cellkin.store.cell_index import EXPRESSION, space_digests
from cellkin.store.cell_rows import write_rows
from cellkin.store.cell_table import check_rows, commit_rows, table_name
from cellkin.store.controls import is_control
from cellkin.store.corpus import corpus_of, is_of_own_names, read_gene_names
from cellkin.store.quality import few_cells
from cellkin.store.store import GeneEmbedding, Store
from cellkin.wire.errors import FailedPreconditionError, InvalidArgumentError
from cellkin.wire.names import VersionName, check_name


@contextmanager
def _silent(what: str) -> Any:
    yield lambda done, total: None


@dataclass(frozen=True)
class Job:
    """Settings of a job: engine, neighbor index and classifier; none of them changes a cell vector.

    Parameters
    ----------
    engine
        Runs the shards.
    device
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    index
        Neighbor index to build, and its target recall.
    votes
        How neighbors vote, and when a cell is unknown.
    stages
        Shows progress.
    judging
        What is held out to evaluate the labels.
    """

    engine: Engine = field(default_factory=lambda: LocalEngine(1))
    device: str = "auto"
    index: IndexChoice = field(default_factory=IndexChoice)
    votes: Votes = field(default_factory=Votes)
    stages: Stages = _silent
    judging: Judging = Judging.LEAVE_OUT

    def to_manifest(self) -> dict[str, Any]:
        """Return the manifest entries from which the index can be rebuilt."""
        return {
            "index": self.index.wanted,
            "recall": self.index.recall,
            "memory_bytes": self.index.memory_bytes,
            "false_alarms": self.votes.false_alarms,
        }

    def require_device(self) -> None:
        """Raise an error for a wrong device before any file is read; see `Engine.require_device`.

        Jobs that place cells on the CPU alone check the device, too.
        """
        self.engine.require_device(self.device)

    def at(self, store: Store, name: str) -> Place:
        """Return the `Place` of an index."""
        return Place(store, name, self.engine, self.device, self.stages)


def index_cells(
    store: Store,
    name: str,
    reference: Reference,
    embedding: VersionName,
    recipe: Recipe,
    job: Job | None = None,
    *,
    expression: bool = True,
) -> IndexReport:
    """Fit cell spaces to a reference and publish its cells as an index.

    Parameters
    ----------
    store
        Store with the embedding, to which the index is added.
    name
        Name of the index; a new version of it is published.
    reference
        The labeled cells.
    embedding
        The gene embedding of the text space.
    recipe
        The recipe of the text space.
    job
        Settings of the job.
    expression
        Whether to place cells in an expression space as well.

    Raises
    ------
    NotFoundError
        If the embedding or the label column does not exist.
    InputFileError
        If a file cannot be read.
    GenesUnmatchedError
        If too few genes of a file have text.
    InvalidArgumentError
        If cell names repeat, values are not expression, the device is unknown, or the labels cannot
        be learned; see `cellkin.indexer.cells.labels.require_different`.
    FailedPreconditionError
        If CUDA is requested but not available.
    """
    job = job or Job()
    check_name(name, "cell index")
    job.require_device()
    source = store.catalog.resolve(Kind.EMBEDDING, embedding)
    files, at = Files.read(reference), job.at(store, name)
    files.require_different()
    vectors = store.embedding(source)
    corpus = corpus_of(store, source)
    genes = read_gene_names(store, corpus)
    resolutions = files.resolved(genes)
    matched = match_files(files.sources, resolutions, genes, _unfitted(recipe, vectors))

    sample = sample_of(files.shards, recipe.statistics_cells)
    work = at.work(files, matched, len(vectors.gene_ids))
    chosen = choose_sample(files.shards)
    with job.stages("counting genes") as progress:
        counted = count_genes(job.engine, work, sample, counting(sample, progress))
    rungs = genes.rungs[np.searchsorted(genes.gene_ids, vectors.gene_ids)]
    space = unfitted_space(recipe, vectors, rungs, counted.statistics)
    with job.stages("reading a sample") as progress:
        cells_to_fit = read_sample(job.engine, work, chosen, counting(chosen, progress))
    counts = files.label_counts(cells_to_fit.label_names)
    shared = shared_genes(work) if expression else np.empty(0, np.int64)
    profiles = in_background(partial(_profiles, cells_to_fit, shared_genes(work)))
    fitted = fit_spaces(space, cells_to_fit, counts, shared, job.votes, job.stages, job.judging)
    fitted = _with(fitted, profiles())
    matched = match_files(files.sources, resolutions, genes, fitted.spaces.text)
    embedded = {
        "recipe": recipe.name,
        "embedding": source.full_name,
        "embedding_digest": source.digest,
        "control_embedding": is_control(source.manifest),
    }
    return _publish(at, files, matched, fitted, corpus, counted.mass, job, embedded)


def index_by_expression(
    store: Store,
    name: str,
    reference: Reference,
    corpus: VersionName | None = None,
    job: Job | None = None,
    linked: Sequence[NamedFile] = (),
) -> IndexReport:
    """Fit only an expression space to a reference and publish its cells as an index.

    Neither gene texts nor a language model are needed. Such an index cannot label cells of other
    species.

    Parameters
    ----------
    store, name, reference, job
        As in `index_cells`.
    corpus
        Corpus that resolves gene names; None for the store's own or, if it has none, for one made
        from the gene names in the files, see `cellkin.indexer.genes.own_names`.
    linked
        Further files that link gene symbols and ids, if a corpus is made.

    Raises
    ------
    NotFoundError
        If the corpus or the label column does not exist.
    InputFileError
        If a file cannot be read.
    GenesUnmatchedError
        If too few genes of a file are in the corpus.
    InvalidArgumentError
        If cell names repeat, values are not expression, no cell has a label, the labels cannot be
        learned, or the files share no gene.
    """
    job = job or Job()
    check_name(name, "cell index")
    job.require_device()
    named_by = find_corpus(store, corpus)
    files, at = Files.read(reference), job.at(store, name)
    files.require_different()
    if named_by is None:
        named = [NamedFile.read(source.path, reference.how) for source in files.sources]
        named_by = publish_own_names(store, name, named, reference.taxon, linked)
    genes = read_gene_names(store, named_by)
    resolutions = files.resolved(genes)
    matched = match_files(files.sources, resolutions, genes, None)
    work, chosen = at.work(files, matched, 0), choose_sample(files.shards)
    with job.stages("reading a sample") as progress:
        cells_to_fit = read_sample(job.engine, work, chosen, counting(chosen, progress))
    counts, shared = files.label_counts(cells_to_fit.label_names), shared_genes(work)
    profiles = in_background(partial(_profiles, cells_to_fit, shared))
    fitted = fit_spaces(None, cells_to_fit, counts, shared, job.votes, job.stages, job.judging)
    fitted = _with(fitted, profiles())
    matched = match_files(files.sources, resolutions, genes, None, shared)
    mass = at.count_mass(files, matched, 0)
    by_expression = {"recipe": EXPRESSION}
    return _publish(at, files, matched, fitted, named_by, mass, job, by_expression)


def _profiles(sample: Sample, shared: Int64Vector) -> Profiles:
    """Return the profiles of the labels, over the genes that all files have."""
    common = sample.of_genes(np.searchsorted(sample.gene_ids, shared))
    return Profiles.of(common.cells, shared, sample.label_names, sample.labels, sample.batches)


def _with(fitted: Fitted, profiles: Profiles) -> Fitted:
    return replace(fitted, spaces=replace(fitted.spaces, profiles=profiles))


def _publish(
    at: Place,
    files: Files,
    matched: list[MatchedFile],
    fitted: Fitted,
    corpus: Entry,
    mass: list[npt.NDArray[np.float64]],
    job: Job,
    how: Mapping[str, Any],
) -> IndexReport:
    """Place all cells in the fitted spaces and publish them."""
    spaces = fitted.spaces
    digests = in_background(partial(digests_of, matched))
    placed = at.place(files, matched, spaces)
    parts = [x for p in placed for x in p.parts]
    cells = commit_rows(at.store, at.name, spaces.schema, parts)
    made_from = {
        "quality": fitted.quality,
        "label_counts": fitted.label_counts,
        "few_cells": few_cells(fitted.label_counts),
        **how,
        "corpus": corpus.full_name,
        "corpus_digest": corpus.digest,
        **({"own_names": True} if is_of_own_names(corpus) else {}),
        "terms": files.terms,
        "likely_batch": likely_batch(files.sources),
        **described(files.reference, matched, digests()),
        "made_with": job.to_manifest(),
    }
    entry = publish_index(at.store, at.name, cells, spaces, job.index, made_from, at.stages)
    return IndexReport.of(entry, matched, mass, placed)


def place_like(
    store: Store, name: str, reference: Reference, like: VersionName, job: Job | None = None
) -> IndexReport:
    """Publish a reference as an index in the spaces of another, so that both can be merged.

    Parameters
    ----------
    store, name, reference, job
        As in `index_cells`.
    like
        The index whose spaces are used unchanged.
    """
    job = job or Job()
    check_name(name, "cell index")
    job.require_device()
    model = store.catalog.resolve(Kind.INDEX, like)
    files = Files.of(reference, read_sources(reference), {})
    spaces, matched, mass, placed = _place_in(job.at(store, name), model, files)
    spaces = spaces.of_other_cells()
    parts = [x for p in placed for x in p.parts]
    cells = commit_rows(store, name, spaces.schema, parts)
    made_from = {
        **inherited(model),
        **described(reference, matched, digests_of(matched)),
        "like": model.full_name,
        "made_with": job.to_manifest(),
    }
    entry = publish_index(store, name, cells, spaces, job.index, made_from, job.stages)
    return IndexReport.of(entry, matched, mass, placed)


def append_cells(
    store: Store, index: VersionName, reference: Reference, job: Job | None = None
) -> IndexReport:
    """Publish a new version of an index with more cells; its present cells are not placed again.

    Raises
    ------
    InvalidArgumentError
        If a cell of the reference is already in the index; also raises as `index_cells`.
    """
    job = job or Job()
    job.require_device()
    base = store.catalog.resolve(Kind.INDEX, index)
    # Verify all rows, or damaged ones would become part of a new version.
    before = check_rows(store, base)
    taken = set(before.column("batch").unique().to_pylist())
    files = Files.of(reference, read_sources(reference, taken), {})
    named = [(str(source.path), source.rows["id"]) for source in files.sources]
    require_unique([(base.full_name, before.column("id")), *named])
    spaces, matched, mass, placed = _place_in(job.at(store, base.name), base, files)
    parts = before.parts() + [x for p in placed for x in p.parts]
    cells = commit_rows(store, base.name, before.schema, parts)
    cells.require_start(before)
    spaces = with_layout(spaces, cells)
    kept = described(reference, matched, digests_of(matched))
    kept["references"] = [*base.manifest["references"], *kept["references"]]
    made_from = {
        **inherited(base),
        **kept,
        **({"layout": base.manifest["layout"]} if spaces.layout is not None else {}),
        "appended_to": base.full_name,
        "made_with": job.to_manifest(),
    }
    entry = extend_index(store, base, cells, spaces, job.index, made_from, job.stages)
    return IndexReport.of(entry, matched, mass, placed)


def merge_indexes(
    store: Store, name: str, indexes: Sequence[VersionName], job: Job | None = None
) -> Entry:
    """Publish the cells of several indexes with the same spaces as one index.

    Raises
    ------
    FailedPreconditionError
        If their spaces differ, so that their vectors cannot be compared.
    InvalidArgumentError
        If a cell is in more than one, or fewer than two indexes are given.
    """
    job = job or Job()
    check_name(name, "cell index")
    entries = [store.catalog.resolve(Kind.INDEX, index) for index in indexes]
    if len(entries) < 2:
        raise InvalidArgumentError(f"{len(entries)} indexes to merge; give two or more")
    spaces = {tuple(space_digests(entry).items()) for entry in entries}
    if len(spaces) > 1:
        raise FailedPreconditionError(
            f"{', '.join(e.full_name for e in entries)} are of {len(spaces)} cell spaces, so their "
            "vectors cannot be compared; place one reference in the space of the other by "
            f"`cellkin cells index --like {entries[0].full_name}`"
        )
    tables = [check_rows(store, entry) for entry in entries]
    require_unique([(e.full_name, t.column("id")) for e, t in zip(entries, tables, strict=True)])
    uri = store.table_uri(table_name(name))
    batches = (batch for table in tables for batch in table.batches())
    schema = tables[0].schema
    cells = commit_rows(store, name, schema, write_rows(uri, schema, batches))
    made_from = {
        **inherited(entries[0]),
        "label_counts": sorted({name for e in entries for name in e.manifest["label_counts"]}),
        "references": [r for e in entries for r in e.manifest["references"]],
        "label": entries[0].manifest["label"],
        "batch": entries[0].manifest["batch"],
        "merged_from": [entry.full_name for entry in entries],
        "made_with": job.to_manifest(),
    }
    shared = Spaces.of(store.index_folder(entries[0])).of_other_cells()
    return publish_index(store, name, cells, shared, job.index, made_from, job.stages)


def _place_in(
    at: Place, model: Entry, files: Files
) -> tuple[Spaces, list[MatchedFile], list[npt.NDArray[np.float64]], list[Placed]]:
    """Place files in the spaces of an existing index."""
    spaces = Spaces.of(at.store.index_folder(model))
    sources = [file.renamed(model.manifest.get("terms", {})) for file in files.sources]
    files = Files.of(files.reference, sources, {})
    files.require_labels(model)
    genes = read_gene_names(at.store, corpus_of(at.store, model))
    measured = None if spaces.expression is None else spaces.expression.gene_ids
    resolutions = files.resolved(genes)
    matched = match_files(files.sources, resolutions, genes, spaces.text, measured)
    mass = at.count_mass(files, matched, spaces.n_text_genes)
    placed = at.place(files, matched, spaces)
    return spaces, matched, mass, placed


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
