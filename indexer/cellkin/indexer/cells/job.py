"""The cell job: match genes, fit a cell space, place the cells, publish them as an index."""

from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cellkin.indexer.cells.engines import Engine, LocalEngine
from cellkin.indexer.cells.fit import unfitted_space
from cellkin.indexer.cells.fitting import choose_sample, fit_spaces, read_sample, shared_genes
from cellkin.indexer.cells.ontology import Ontology
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
    Spaces,
    Stages,
    extend_index,
    publish_index,
)
from cellkin.indexer.cells.report import IndexReport, described, inherited, weaknesses
from cellkin.indexer.cells.sources import Reference, SourceFile, read_sources, require_unique
from cellkin.indexer.cells.worker import Placed, Shard, Work
from cellkin.indexer.spaces.readout import Votes
from cellkin.space.arrays import Int64Vector
from cellkin.space.projection import CellSpace
from cellkin.space.recipe import Recipe
from cellkin.store.catalog import Entry, Kind
from cellkin.store.cell_index import SPACE
from cellkin.store.cell_rows import write_rows
from cellkin.store.cell_table import cell_table, commit_rows, table_name
from cellkin.store.corpus import read_gene_names
from cellkin.store.schema import cells_schema
from cellkin.store.store import GeneEmbedding, Store
from cellkin.wire.errors import FailedPreconditionError, InvalidArgumentError
from cellkin.wire.names import VersionName, check_name, parse_version_name

_REPORT_CELLS = 2_000


@contextmanager
def _silent(what: str) -> Any:
    yield lambda done, total: None


@dataclass(frozen=True)
class Job:
    """How a job is run, its index built and labels read; none of it changes a vector.

    Parameters
    ----------
    engine
        Where shards are worked on.
    device
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    index
        What index to build, and how good.
    votes
        How neighbors vote and what is asked of a label.
    stages
        Shows progress.
    """

    engine: Engine = field(default_factory=lambda: LocalEngine(1))
    device: str = "auto"
    index: IndexChoice = field(default_factory=IndexChoice)
    votes: Votes = field(default_factory=Votes)
    stages: Stages = _silent


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
    """Fit cell spaces to a reference, and publish its cells as an index.

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
    expression
        Whether cells are placed in an expression space beside the text space.

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
    terms = _terms(reference, sources)
    sources = [file.renamed(terms) for file in sources]
    vectors = store.embedding(source)
    corpus = _corpus(store, source)
    genes = read_gene_names(store, corpus)
    resolutions = [genes.resolver.resolve(s.gene_names, reference.taxon) for s in sources]
    matched = match_files(sources, resolutions, genes, _unfitted(recipe, vectors))
    shards = shards_of(sources)

    sample = sample_of(shards, recipe.statistics_cells)
    work = _work(store, name, matched, reference, len(vectors.gene_ids), None, job)
    chosen = choose_sample(shards)
    if not chosen:
        raise _nothing_to_place(reference)
    with job.stages("counting genes") as progress:
        counted = count_genes(job.engine, work, sample, _counting(sample, progress))
    rungs = genes.rungs[np.searchsorted(genes.gene_ids, vectors.gene_ids)]
    space = unfitted_space(recipe, vectors, rungs, counted.statistics)
    with job.stages("reading a sample") as progress:
        cells_to_fit = read_sample(job.engine, work, chosen, _counting(chosen, progress))
    counts = _label_counts(sources, cells_to_fit.label_names)
    shared = shared_genes(work) if expression else np.empty(0, np.int64)
    fitted = fit_spaces(space, cells_to_fit, counts, shared, job.votes, job.stages)
    spaces = fitted.spaces
    matched = match_files(sources, resolutions, genes, spaces.text)

    placed = _place(store, name, matched, reference, spaces, job, shards)
    cells = commit_rows(store, name, _schema(spaces), [x for p in placed for x in p.parts])
    made_from = {
        "quality": fitted.quality,
        "recipe": recipe.name,
        "embedding": source.full_name,
        "embedding_digest": source.digest,
        "corpus": corpus.full_name,
        "corpus_digest": corpus.digest,
        "terms": terms,
        **weaknesses(source, sources),
        **described(reference, matched),
    }
    entry = publish_index(store, name, cells, spaces, job.index, made_from, job.stages)
    return IndexReport.of(entry, matched, counted.mass, placed)


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
    spaces, matched, mass, placed = _place_in(store, name, model, reference, sources, job)
    parts = [x for p in placed for x in p.parts]
    cells = commit_rows(store, name, _schema(spaces), parts)
    made_from = {**inherited(model), **described(reference, matched), "like": model.full_name}
    entry = publish_index(store, name, cells, spaces, job.index, made_from, job.stages)
    return IndexReport.of(entry, matched, mass, placed)


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
    spaces, matched, mass, placed = _place_in(store, base.name, base, reference, sources, job)
    parts = before.parts() + [x for p in placed for x in p.parts]
    cells = commit_rows(store, base.name, before.schema, parts)
    kept = described(reference, matched)
    kept["references"] = [*base.manifest["references"], *kept["references"]]
    made_from = {**inherited(base), **kept, "appended_to": base.full_name}
    entry = extend_index(store, base, cells, spaces, job.index, made_from, job.stages)
    return IndexReport.of(entry, matched, mass, placed)


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
    schema = tables[0].schema
    cells = commit_rows(store, name, schema, write_rows(uri, schema, batches))
    made_from = {
        **inherited(entries[0]),
        "references": [r for e in entries for r in e.manifest["references"]],
        "label": entries[0].manifest["label"],
        "batch": entries[0].manifest["batch"],
        "merged_from": [entry.full_name for entry in entries],
    }
    shared = Spaces.of(store.index_folder(entries[0]))
    return publish_index(store, name, cells, shared, job.index, made_from, job.stages)


def _place_in(
    store: Store,
    name: str,
    model: Entry,
    reference: Reference,
    sources: list[SourceFile],
    job: Job,
) -> tuple[Spaces, list[MatchedFile], list[npt.NDArray[np.float64]], list[Placed]]:
    """Place a reference in the spaces of an index that exists."""
    spaces = Spaces.of(store.index_folder(model))
    sources = [file.renamed(model.manifest.get("terms", {})) for file in sources]
    _require_labels(model, reference, sources)
    genes = read_gene_names(store, _corpus(store, model))
    resolutions = [genes.resolver.resolve(s.gene_names, reference.taxon) for s in sources]
    matched = match_files(sources, resolutions, genes, spaces.text)
    shards = shards_of(sources)
    sample = sample_of(shards, _REPORT_CELLS)
    work = _work(store, name, matched, reference, len(spaces.text.gene_ids), None, job)
    counted = count_genes(job.engine, work, sample, lambda shard: None)
    placed = _place(store, name, matched, reference, spaces, job, shards)
    return spaces, matched, counted.mass, placed


def _place(
    store: Store,
    name: str,
    matched: list[MatchedFile],
    reference: Reference,
    spaces: Spaces,
    job: Job,
    shards: list[Shard],
) -> list[Placed]:
    work = _work(store, name, matched, reference, len(spaces.text.gene_ids), spaces, job)
    with job.stages("placing cells") as progress:
        placed: list[Placed] = job.engine.run(work, "place", shards, _counting(shards, progress))
    if not any(p.n_kept for p in placed):
        raise _nothing_to_place(reference)
    return placed


def _nothing_to_place(reference: Reference) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"{', '.join(map(str, reference.paths))}: no cell has both a label in "
        f"{reference.label!r} and a gene with text"
    )


def _terms(reference: Reference, sources: Sequence[SourceFile]) -> dict[str, str]:
    """Return the paths of labels that are terms of an ontology; none if they are not."""
    if reference.ontology is None:
        return {}
    return Ontology.read(reference.ontology).paths(
        label for source in sources for label in source.labels
    )


def _label_counts(sources: Sequence[SourceFile], names: Sequence[str]) -> Int64Vector:
    labels = pa.chunked_array([c for s in sources for c in s.rows["label"].chunks], pa.string())
    codes = pc.drop_null(pc.index_in(labels, pa.array(names, pa.string())))
    return np.bincount(codes.to_numpy(), minlength=len(names))


def _require_labels(model: Entry, reference: Reference, sources: Sequence[SourceFile]) -> None:
    """Refuse labels that a space was not fitted to: nothing could ever be called by them."""
    known = set(model.manifest["label_counts"])
    given = {label for source in sources for label in source.labels}
    if new := sorted(given - known):
        raise InvalidArgumentError(
            f"labels in {reference.label!r} that {model.full_name} does not know: "
            f"{', '.join(new[:10])}{' and more' if len(new) > 10 else ''}; rename them to one of "
            "its labels, or index all files together by `cellkin cells index`"
        )


def _schema(spaces: Spaces) -> pa.Schema:
    expression = spaces.expression
    return cells_schema(spaces.text.vectors.shape[1], expression.dim if expression else 0)


def _work(
    store: Store,
    name: str,
    matched: list[MatchedFile],
    reference: Reference,
    n_genes: int,
    spaces: Spaces | None,
    job: Job,
) -> Work:
    return Work(
        matrix_files(matched, reference.how, n_genes),
        n_genes,
        spaces.text if spaces is not None else None,
        spaces.expression if spaces is not None else None,
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
