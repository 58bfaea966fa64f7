"""Find the genes nearest to a gene, a set of genes, a vector, or a free text."""

from dataclasses import dataclass

import numpy as np

from cellkin.server import calls
from cellkin.server.limits import MOST_NAMED, check_names, read_vectors, wanted
from cellkin.server.loading import LoadedEmbedding
from cellkin.server.messages import embedding_versions, gene_record
from cellkin.server.text_models import TextModels
from cellkin.server.version_cache import VersionCache
from cellkin.space.arrays import Float32Vector, Int64Vector
from cellkin.space.vectors import unit_rows
from cellkin.store.corpus import find_gene
from cellkin.v1 import gene_service_pb2 as wire
from cellkin.wire.errors import FailedPreconditionError, InvalidArgumentError, NotFoundError
from cellkin.wire.names import embedding_name, parse_version_name
from cellkin.wire.species import taxon_name
from cellkin.wire.terms import DEFAULT_MODEL

_DEFAULT_K = 10
_MOST_COMPARED = 8


@dataclass(frozen=True)
class _Query:
    """A query vector in one embedding.

    Parameters
    ----------
    vector
        (dim,) float32, unit length.
    gene_ids
        GeneIDs of the query's genes, in the order given; excluded from the hits.
    taxon
        Their species; 0 if there are no genes or several species.
    """

    vector: Float32Vector
    gene_ids: tuple[int, ...] = ()
    taxon: int = 0


class GeneSearch:
    """One search for genes.

    Parameters
    ----------
    version_cache, models
        The loaded versions and language models.
    max_k
        Largest k allowed.
    request
        The request.
    """

    def __init__(
        self,
        version_cache: VersionCache,
        models: TextModels,
        max_k: int,
        request: wire.SearchGenesRequest,
    ) -> None:
        self._version_cache, self._models, self._request = version_cache, models, request
        self._k = wanted(request.k, _DEFAULT_K, max_k, "k")
        if request.taxon < 0 or request.target_taxon < 0:
            raise InvalidArgumentError("a taxon is negative; give 0 or more", field="taxon")
        if len(request.compare_embeddings) > _MOST_COMPARED:
            raise InvalidArgumentError(
                f"{len(request.compare_embeddings)} embeddings to compare with; "
                f"name at most {_MOST_COMPARED}",
                field="compare_embeddings",
            )

    def answer(self) -> wire.SearchGenesResponse:
        """Return the response."""
        request = self._request
        loaded = self._embedding(request.embedding)
        others = [self._embedding(name) for name in request.compare_embeddings]
        query = self._query(loaded)
        taxon = self._target(loaded, query)
        similarities = _similarities(loaded, query, taxon)
        ids = loaded.species(taxon).gene_ids
        best = _largest(similarities, self._k)
        compared = [self._compared(other, taxon, ids[best]) for other in others]
        background = loaded.background(taxon)
        below = np.searchsorted(background, similarities[best]) / len(background)
        hits = [
            wire.GeneHit(
                gene=self._record(loaded, int(ids[row])),
                similarity=similarities[row],
                background_percentile=percentile,
                compared=[columns[at] for columns in compared],
            )
            for at, (row, percentile) in enumerate(zip(best, below, strict=True))
        ]
        named = [self._record(loaded, gene_id) for gene_id in query.gene_ids]
        kind = request.WhichOneof("query")
        return wire.SearchGenesResponse(
            gene=named[0] if kind == "gene" else None,
            gene_set=named if kind == "gene_set" else (),
            hits=hits,
            versions=embedding_versions(loaded.entry),
            compared_embeddings=[other.entry.full_name for other in others],
        )

    def _embedding(self, name: str) -> LoadedEmbedding:
        wanted_version = parse_version_name(embedding_name(name or DEFAULT_MODEL), "gene embedding")
        return self._version_cache.embedding(wanted_version)

    def _query(self, loaded: LoadedEmbedding) -> _Query:
        kind = self._request.WhichOneof("query")
        if kind == "gene":
            return self._of_genes(loaded, [self._request.gene], "gene")
        if kind == "gene_set":
            return self._of_genes(loaded, list(self._request.gene_set.names), "gene_set.names")
        if kind == "text":
            return _Query(_moved(loaded, self._models.embed(self._request.text, loaded.entry)))
        if kind == "vector":
            return self._of_vector(loaded)
        raise InvalidArgumentError(
            "nothing is asked for; give a gene, a gene_set, a vector or a text", field="query"
        )

    def _of_vector(self, loaded: LoadedEmbedding) -> _Query:
        if self._request.compare_embeddings:
            raise InvalidArgumentError(
                "a vector belongs to one embedding; compare by a gene, a gene_set or a text",
                field="compare_embeddings",
            )
        vectors = read_vectors(self._request.vector, len(loaded.mean), "vector")
        if len(vectors) != 1:
            raise InvalidArgumentError(f"{len(vectors)} vectors; give one", field="vector")
        return _Query(_moved(loaded, vectors[0]))

    def _of_genes(self, loaded: LoadedEmbedding, names: list[str], field: str) -> _Query:
        check_names(names, MOST_NAMED, field)
        if not names:
            raise InvalidArgumentError("the set has no gene; name at least one", field=field)
        gene_ids: dict[int, int] = {}
        vectors = []
        for name in names:
            row = find_gene(loaded.genes, name, self._request.taxon)
            gene_id = int(loaded.genes.gene_ids[row])
            taxon = int(loaded.genes.table["taxon"][row].as_py())
            if gene_id in gene_ids:
                continue
            gene_ids[gene_id] = taxon
            vectors.append(self._vector_of(loaded, row, gene_id, taxon))
        taxa = set(gene_ids.values())
        mean = np.stack(vectors).mean(axis=0, dtype=np.float64, keepdims=True).astype(np.float32)
        if not mean.any():
            raise InvalidArgumentError("the genes' vectors cancel each other", field=field)
        return _Query(unit_rows(mean)[0], tuple(gene_ids), taxa.pop() if len(taxa) == 1 else 0)

    def _vector_of(
        self, loaded: LoadedEmbedding, row: int, gene_id: int, taxon: int
    ) -> Float32Vector:
        species = loaded.species(taxon)
        at = int(np.searchsorted(species.gene_ids, gene_id))
        if at == len(species.gene_ids) or species.gene_ids[at] != gene_id:
            raise FailedPreconditionError(
                f"gene {loaded.genes.table['symbol'][row].as_py()!r} (GeneID {gene_id}) has no "
                f"text in corpus {loaded.entry.manifest['corpus']}, so it has no neighbors"
            )
        vector: Float32Vector = species.vectors[at]
        return vector

    def _target(self, loaded: LoadedEmbedding, query: _Query) -> int:
        taxon = self._request.target_taxon or query.taxon
        if not taxon:
            raise InvalidArgumentError(
                "it is not said among the genes of which species to search; give target_taxon",
                field="target_taxon",
            )
        others = set(loaded.species(taxon).gene_ids.tolist()) - set(query.gene_ids)
        if not others:
            raise NotFoundError(
                f"embedding {loaded.entry.full_name} has no other gene of {taxon_name(taxon)}"
            )
        return taxon

    def _compared(
        self, other: LoadedEmbedding, taxon: int, gene_ids: Int64Vector
    ) -> list[wire.ComparedHit]:
        calls.check()
        species = other.species(taxon)
        similarities = _similarities(other, self._query(other), taxon)
        ascending = np.sort(similarities)
        at = np.minimum(np.searchsorted(species.gene_ids, gene_ids), len(species.gene_ids) - 1)
        hits = []
        for row, gene_id in zip(at.tolist(), gene_ids.tolist(), strict=True):
            if row < 0 or species.gene_ids[row] != gene_id:
                hits.append(wire.ComparedHit())
                continue
            nearer = len(ascending) - int(np.searchsorted(ascending, similarities[row], "right"))
            hits.append(wire.ComparedHit(rank=nearer + 1, similarity=similarities[row]))
        return hits

    def _record(self, loaded: LoadedEmbedding, gene_id: int) -> wire.GeneRecord:
        return gene_record(loaded.genes, int(np.searchsorted(loaded.genes.gene_ids, gene_id)))


def _moved(loaded: LoadedEmbedding, vector: Float32Vector) -> Float32Vector:
    """Center a vector as the model returns it by the genes' mean, and normalize it."""
    moved: Float32Vector = unit_rows((vector - loaded.mean)[None])[0]
    return moved


def _similarities(loaded: LoadedEmbedding, query: _Query, taxon: int) -> Float32Vector:
    """Return the similarities of the genes of a species; -inf for the query's genes."""
    species = loaded.species(taxon)
    similarities: Float32Vector = species.vectors @ query.vector
    if query.gene_ids:
        similarities[np.isin(species.gene_ids, query.gene_ids)] = -np.inf
    return similarities


def _largest(similarities: Float32Vector, k: int) -> Int64Vector:
    """Return the positions of the k largest without -inf; ties by ascending position."""
    k = min(k, int(np.count_nonzero(~np.isneginf(similarities))))
    least = np.partition(similarities, len(similarities) - k)[len(similarities) - k]
    candidates = np.flatnonzero(similarities >= least)
    order = np.argsort(-similarities[candidates], kind="stable")[:k]
    return candidates[order]
