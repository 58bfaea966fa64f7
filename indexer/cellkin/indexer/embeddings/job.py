"""Embed the texts of a corpus, reusing what was embedded before, surviving interruption."""

import hashlib
import json
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cellkin.indexer.embeddings.controls import RANDOM, random_vectors
from cellkin.indexer.models.contract import EmbeddingModel
from cellkin.indexer.models.registry import load_model
from cellkin.space.arrays import Float32Matrix, Float32Vector
from cellkin.store.catalog import Entry, Kind
from cellkin.store.store import GeneEmbedding, Staging, Store
from cellkin.wire.names import VersionName, embedding_name

Progress = Callable[[int, int], None]
# Some seconds of work: what an interruption may cost. Large enough that the texts of one length
# fill their batches.
_FRAGMENT_CHARACTERS = 200_000


@dataclass(frozen=True)
class EmbedReport:
    """What a run did.

    Parameters
    ----------
    entry
        The published version.
    n_genes
        Genes with a vector.
    n_texts
        Distinct texts among them.
    n_embedded, n_resumed, n_reused
        Texts embedded by this run, by an interrupted one before it, and for an earlier version.
    """

    entry: Entry
    n_genes: int
    n_texts: int
    n_embedded: int
    n_resumed: int
    n_reused: int


def embed_genes(
    store: Store, spec: str, corpus: VersionName, progress: Progress = lambda done, total: None
) -> EmbedReport:
    """Embed all genes of a corpus that have text, and publish the version.

    Every fragment is committed when it is done, so a run that is interrupted goes on where it
    stopped. A text is embedded once, however many genes share it, and never again by the same model
    with the same settings.

    Parameters
    ----------
    store
        Where the corpus is and the embedding goes.
    spec
        The embedding model, such as ``all-minilm-l6-v2``, or the control ``random:DIM:SEED``.
    corpus
        The corpus.
    progress
        Called with the texts that have a vector and the texts there are.

    Raises
    ------
    NotFoundError
        If there is no such corpus or model.
    InvalidArgumentError
        If the spec is of no known form.
    """
    source = store.catalog.resolve(Kind.CORPUS, corpus)
    genes = store.corpus(source)
    genes = genes.filter(pc.not_equal(genes["text"], ""))
    if spec.startswith(RANDOM + ":"):
        vectors = random_vectors(spec, genes["gene_id"].to_numpy())
        entry = _publish(store, embedding_name(spec), source, {"model": spec}, genes, vectors)
        return EmbedReport(entry, len(genes), 0, 0, 0, 0)
    model = load_model(spec)
    info = model.info
    settings = {"model": info.name, "revision": info.revision, "dim": info.dim, **info.settings}
    texts = dict(zip(genes["text_sha256"].to_pylist(), genes["text"].to_pylist(), strict=True))
    known = _published(store, info.name, settings, texts)
    n_reused = len(known)
    run = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]
    with store.staging(f"{info.name}-{run}", info.dim) as staging:
        known |= {sha: v for sha, v in staging.vectors().items() if sha in texts}
        n_resumed = len(known) - n_reused
        _embed(
            model,
            {sha: text for sha, text in texts.items() if sha not in known},
            known,
            staging,
            progress,
        )
        vectors = np.stack([known[sha] for sha in genes["text_sha256"].to_pylist()])
        entry = _publish(store, info.name, source, settings, genes, vectors)
    n_embedded = len(texts) - n_reused - n_resumed
    return EmbedReport(entry, len(genes), len(texts), n_embedded, n_resumed, n_reused)


def _published(
    store: Store, name: str, settings: Mapping[str, Any], wanted: Collection[str]
) -> dict[str, Float32Vector]:
    """Return the wanted vectors of the newest version made with the same settings."""
    same = [
        e for e in store.catalog.entries(Kind.EMBEDDING, name) if e.manifest["settings"] == settings
    ]
    if not same:
        return {}
    version = store.embedding(same[-1])
    rows = zip(version.text_sha256, version.vectors, strict=True)
    return {sha: vector for sha, vector in rows if sha in wanted}


def _embed(
    model: EmbeddingModel,
    missing: Mapping[str, str],
    known: dict[str, Float32Vector],
    staging: Staging,
    progress: Progress,
) -> None:
    """Embed what is missing, shortest texts first, committing each fragment."""
    n_texts = len(known) + len(missing)
    progress(len(known), n_texts)
    for fragment in _fragments(missing):
        vectors = model.embed([missing[sha] for sha in fragment])
        staging.append(fragment, vectors)
        known.update(zip(fragment, vectors, strict=True))
        progress(len(known), n_texts)


def _fragments(texts: Mapping[str, str]) -> Iterator[list[str]]:
    """Cut texts into fragments of alike length, the shortest first, by digest among equals."""
    fragment: list[str] = []
    n_characters = 0
    for sha in sorted(texts, key=lambda sha: (len(texts[sha]), sha)):
        fragment.append(sha)
        n_characters += len(texts[sha])
        if n_characters >= _FRAGMENT_CHARACTERS:
            yield fragment
            fragment, n_characters = [], 0
    if fragment:
        yield fragment


def _publish(
    store: Store,
    name: str,
    corpus: Entry,
    settings: Mapping[str, Any],
    genes: pa.Table,
    vectors: Float32Matrix,
) -> Entry:
    embedding = GeneEmbedding(
        genes["gene_id"].to_numpy(),
        genes["taxon"].to_numpy(),
        genes["text_sha256"].to_pylist(),
        vectors,
    )
    manifest = {
        "format": 1,
        "settings": dict(settings),
        "corpus": corpus.full_name,
        "corpus_digest": corpus.digest,
        "n_genes": len(genes),
        "dim": vectors.shape[1],
    }
    return store.publish_embedding(name, embedding, manifest)
