"""Embed the texts of a corpus; reuses earlier vectors and resumes interrupted runs."""

import hashlib
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from time import perf_counter
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cellkin.indexer.embeddings.controls import (
    PERMUTED,
    RANDOM,
    SYMBOL_ONLY,
    Permutation,
    random_vectors,
    symbol_texts,
)
from cellkin.indexer.embeddings.measured import MeasuredGenes
from cellkin.indexer.embeddings.parts import in_parts, late_texts, timing
from cellkin.indexer.models.contract import (
    CostEstimate,
    EmbeddingModel,
    ModelInfo,
    PaidModel,
    TokenCounts,
    as_name,
)
from cellkin.indexer.models.recipe import Runtime
from cellkin.indexer.models.registry import load_model
from cellkin.space.arrays import Float32Matrix, Float32Vector
from cellkin.store.catalog import Entry, Kind
from cellkin.store.controls import is_control
from cellkin.store.store import GeneEmbedding, Staging, Store
from cellkin.wire.errors import FailedPreconditionError, InvalidArgumentError
from cellkin.wire.names import VersionName, embedding_name

Progress = Callable[[int, int], None]
_NOTHING = TokenCounts(0, 0, 0)


@dataclass(frozen=True)
class Pending:
    """Work that a run is about to do.

    Parameters
    ----------
    name
        Name of the gene embedding.
    n_texts
        Number of distinct texts.
    counts
        Counts of the texts without a vector.
    cost
        Estimated cost of embedding these; None if requests are free.
    computed_by
        Runtime and precision of a model that is computed here, such as ``openvino bfloat16``.
    seconds
        Measures how many seconds it will take, in about one; None if it is not computed here.
    """

    name: str
    n_texts: int
    counts: TokenCounts
    cost: CostEstimate | None = None
    computed_by: str = field(default="", compare=False)
    seconds: Callable[[], float] | None = field(default=None, compare=False)


@dataclass(frozen=True)
class EmbedReport:
    """Result of a run.

    Parameters
    ----------
    entry
        The published version.
    n_genes
        Genes with a vector.
    n_texts
        Number of their distinct texts.
    n_embedded, n_resumed, n_reused
        Texts embedded by this run, by an interrupted run before it, and for an earlier version.
    counts
        Counts of the texts embedded by this run.
    embed_s
        Seconds the model took for them.
    """

    entry: Entry
    n_genes: int
    n_texts: int = 0
    n_embedded: int = 0
    n_resumed: int = 0
    n_reused: int = 0
    counts: TokenCounts = _NOTHING
    embed_s: float = 0.0


def embed_genes(
    store: Store,
    spec: str,
    corpus: VersionName,
    progress: Progress = lambda done, total: None,
    approve: Callable[[Pending], None] = lambda pending: None,
    *,
    allow_download: bool = False,
    runtime: Runtime | str = Runtime.AUTO,
    only: MeasuredGenes | None = None,
) -> EmbedReport:
    """Embed the genes of a corpus that have a text and publish the gene embedding.

    Vectors are committed in parts (for a paid model, each response), so that an interrupted run can
    be resumed. A text shared by several genes is embedded once, and vectors are reused from the
    versions of the same model and settings, the newest first.

    Parameters
    ----------
    store
        Store with the corpus, to which the embedding is added.
    spec
        The embedding model, such as ``all-minilm-l6-v2``, or a control: ``random:DIM:SEED``,
        ``permuted:NAME[@VERSION][:SEED]``, ``symbol-only:MODEL``.
    corpus
        The corpus.
    progress
        Called with the number of texts that have a vector and the number of texts.
    approve
        Called once before anything is embedded or published; an exception from it stops the run.
    allow_download
        Whether missing model weights may be downloaded.
    runtime
        What computes an encoder.
    only
        Genes to embed; None for all.

    Raises
    ------
    NotFoundError
        If the corpus, the model or the embedding to permute does not exist.
    InvalidArgumentError
        If the spec has no known form, or some genes of an embedding are to be permuted.
    FailedPreconditionError
        If the corpus has no texts, or the embedding to permute was made from another corpus.
    """
    source = store.catalog.resolve(Kind.CORPUS, corpus)
    control, _, argument = spec.partition(":")
    if control == PERMUTED:
        if only is not None:
            raise InvalidArgumentError(
                f"model {spec!r} permutes all vectors of an embedding; leave out the files"
            )
        return _permute(store, Permutation.parse(spec), source, approve)
    genes, note = _wanted(with_text(store, source), only)
    if control == RANDOM:
        vectors = random_vectors(spec, genes["gene_id"].to_numpy())
        approve(Pending(embedding_name(spec), 0, _NOTHING))
        settings: dict[str, Any] = {"model": spec}
        entry = publish_vectors(store, embedding_name(spec), source, settings, genes, vectors, note)
        return EmbedReport(entry, len(genes))
    if control == SYMBOL_ONLY:
        genes = symbol_texts(genes)
        model = load_model(argument, allow_download=allow_download, runtime=runtime)
        name = as_name(f"{SYMBOL_ONLY}-{model.info.name}")
        settings = _settings(name, model.info) | {"text": "symbol"}
    else:
        model = load_model(spec, allow_download=allow_download, runtime=runtime)
        name = model.info.name
        settings = _settings(name, model.info)
    return _embed_genes(store, model, name, settings, source, genes, note, progress, approve)


def _wanted(genes: pa.Table, only: MeasuredGenes | None) -> tuple[pa.Table, Mapping[str, Any]]:
    """Return the genes to embed, and what the manifest says of those that are left out."""
    if only is None:
        return genes, {}
    wanted = genes.filter(pc.is_in(genes["gene_id"], value_set=pa.array(only.gene_ids)))
    if not len(wanted):
        raise FailedPreconditionError(
            f"none of the {len(only.gene_ids)} genes of {', '.join(only.files)} has a text in the "
            "corpus: import more sources of texts"
        )
    return wanted, {"only": {"files": list(only.files), "n_left_out": len(genes) - len(wanted)}}


def with_text(store: Store, corpus: Entry) -> pa.Table:
    """Return the genes of a corpus that have a text.

    Raises
    ------
    FailedPreconditionError
        If there is none.
    """
    genes = store.corpus(corpus)
    genes = genes.filter(pc.not_equal(genes["text"], ""))
    if not len(genes):
        raise FailedPreconditionError(
            f"corpus {corpus.full_name} has no gene with a text: import more sources of texts"
        )
    return genes


def _settings(name: str, info: ModelInfo) -> dict[str, Any]:
    return {"model": name, "revision": info.revision, "dim": info.dim, **info.settings}


def _permute(
    store: Store, control: Permutation, corpus: Entry, approve: Callable[[Pending], None]
) -> EmbedReport:
    source = store.catalog.resolve(Kind.EMBEDDING, control.source)
    made_from = source.manifest["corpus"]
    if made_from != corpus.full_name:
        raise FailedPreconditionError(
            f"gene embedding {source.full_name} was made from corpus {made_from}, not from "
            f"{corpus.full_name}: name its own by --corpus {made_from}, or embed the other first"
        )
    approve(Pending(control.name, 0, _NOTHING))
    embedding = store.embedding(source)
    rows = control.rows(embedding.taxa)
    genes = pa.table(
        {
            "gene_id": embedding.gene_ids,
            "taxon": embedding.taxa,
            "text_sha256": [embedding.text_sha256[row] for row in rows.tolist()],
        }
    )
    settings = {
        "model": PERMUTED,
        "embedding": source.full_name,
        "embedding_digest": source.digest,
        "seed": control.seed,
    }
    vectors = embedding.vectors[rows]
    entry = publish_vectors(store, control.name, corpus, settings, genes, vectors)
    return EmbedReport(entry, len(genes))


def _embed_genes(
    store: Store,
    model: EmbeddingModel,
    name: str,
    settings: Mapping[str, Any],
    corpus: Entry,
    genes: pa.Table,
    note: Mapping[str, Any],
    progress: Progress,
    approve: Callable[[Pending], None],
) -> EmbedReport:
    texts = dict(zip(genes["text_sha256"].to_pylist(), genes["text"].to_pylist(), strict=True))
    known = _published(store, name, settings, texts)
    n_reused = len(known)
    run = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]
    with store.staging(f"{name}-{run}", model.info.dim) as staging:
        known |= {sha: v for sha, v in staging.vectors().items() if sha in texts}
        n_resumed = len(known) - n_reused
        missing = {sha: text for sha, text in texts.items() if sha not in known}
        wanted = list(missing.values())
        counts = model.count(wanted) if missing else _NOTHING
        cost = model.estimate(wanted) if missing and isinstance(model, PaidModel) else None
        computed_by = " ".join(str(settings[k]) for k in ("runtime", "dtype") if k in settings)
        pending = Pending(name, len(texts), counts, cost, computed_by, timing(model, wanted))
        approve(pending)
        start_s = perf_counter()
        _embed(model, missing, late_texts(genes), known, staging, progress)
        embed_s = perf_counter() - start_s
        shas = genes["text_sha256"].to_pylist()
        vectors = np.stack([known[sha] for sha in shas])
        entry = publish_vectors(store, name, corpus, settings, genes, vectors, note)
    return EmbedReport(
        entry, len(genes), len(texts), len(missing), n_resumed, n_reused, counts, embed_s
    )


def _published(
    store: Store, name: str, settings: Mapping[str, Any], wanted: Collection[str]
) -> dict[str, Float32Vector]:
    """Return the wanted vectors of versions made with the same settings, of the newest if several.

    Retracted versions are skipped, as their vectors may be wrong.
    """
    retracted = store.catalog.retractions()
    same = [
        e
        for e in store.catalog.entries(Kind.EMBEDDING, name)
        if e.manifest["settings"] == settings and (e.kind, e.name, e.version) not in retracted
    ]
    found: dict[str, Float32Vector] = {}
    for entry in reversed(same):
        if len(found) == len(wanted):
            break
        version = store.embedding(entry)
        rows = zip(version.text_sha256, version.vectors, strict=True)
        found = {sha: vector for sha, vector in rows if sha in wanted} | found
    return found


def _embed(
    model: EmbeddingModel,
    missing: Mapping[str, str],
    late: Collection[str],
    known: dict[str, Float32Vector],
    staging: Staging,
    progress: Progress,
) -> None:
    """Embed the missing texts, committing each part."""
    n_texts = len(known) + len(missing)
    progress(len(known), n_texts)
    for part, vectors in in_parts(model, missing, late):
        staging.append(part, vectors)
        known.update(zip(part, vectors, strict=True))
        progress(len(known), n_texts)


def publish_vectors(
    store: Store,
    name: str,
    corpus: Entry,
    settings: Mapping[str, Any],
    genes: pa.Table,
    vectors: Float32Matrix,
    note: Mapping[str, Any] = MappingProxyType({}),
) -> Entry:
    """Publish a gene embedding with its corpus and settings.

    Parameters
    ----------
    store
        The store to publish in.
    name
        Name of the embedding.
    corpus
        Corpus of the genes.
    settings
        Model and settings the vectors were made with.
    genes
        Columns ``gene_id``, ascending, ``taxon`` and ``text_sha256``.
    vectors
        (n_genes, dim) float32, unit rows.
    note
        Further fields of the manifest.
    """
    embedding = GeneEmbedding(
        genes["gene_id"].to_numpy(),
        genes["taxon"].to_numpy(),
        genes["text_sha256"].to_pylist(),
        vectors,
    )
    manifest: dict[str, Any] = {
        "format": 1,
        "settings": dict(settings),
        "corpus": corpus.full_name,
        "corpus_digest": corpus.digest,
        "n_genes": len(genes),
        "dim": vectors.shape[1],
        **note,
    }
    manifest["control"] = is_control(manifest)
    return store.publish_embedding(name, embedding, manifest)
