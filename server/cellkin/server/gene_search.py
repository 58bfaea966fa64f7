"""Find the genes nearest to a gene, a set of genes, a vector, or a free text."""

import numpy as np

from cellkin.server.gene_pool import GeneFilter, GenePool
from cellkin.server.gene_query import GeneQuery, QueryVector, permuted
from cellkin.server.limits import wanted
from cellkin.server.loading import LoadedEmbedding
from cellkin.server.messages import embedding_versions, gene_record, gene_records
from cellkin.server.text_models import TextModels
from cellkin.server.version_cache import VersionCache
from cellkin.space.arrays import Float32Vector, Int32Vector, Int64Vector
from cellkin.space.neighborhoods import fused, largest, ranks
from cellkin.store.partial import partial_caution
from cellkin.v1 import gene_service_pb2 as wire
from cellkin.v1.cell_service_pb2 import Warning as AnswerWarning
from cellkin.wire.errors import FailedPreconditionError, InvalidArgumentError, NotFoundError
from cellkin.wire.names import VersionName, embedding_name, parse_version_name
from cellkin.wire.species import taxon_name
from cellkin.wire.terms import DEFAULT_MODEL

_DEFAULT_K = 10
_MOST_COMPARED = 8
_PERMUTED, _SYMBOL_ONLY = "permuted", "symbol-only"
DEFAULT_SCORE = wire.GENE_SCORE_COSINE
"""The score of the largest precision in `benchmarks/genes.py` that one embedding is enough for."""


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
        self._version_cache, self._request = version_cache, request
        self._query = GeneQuery(request, models)
        self._k = wanted(request.k, _DEFAULT_K, max_k, "k")
        self._score = request.score or DEFAULT_SCORE
        _check(request)

    def answer(self) -> wire.SearchGenesResponse:
        """Return the response."""
        request = self._request
        loaded = self._embedding(request.embedding)
        others = [self._embedding(name) for name in request.compare_embeddings]
        query = self._query.within(loaded)
        chosen = self._filter(loaded, query)
        pool = chosen.pool(loaded, query.gene_ids)
        if not len(pool):
            raise NotFoundError(
                f"embedding {loaded.entry.full_name} has no other gene of {chosen.stated()}"
            )
        compared = [_Elsewhere(other, self._query.within(other), chosen) for other in others]
        best, scores, found, cosine_ranks = self._best(pool, query, compared)
        ids = pool.gene_ids[best]
        columns = [other.hits(ids) for other in compared]
        controls = [self._control(name, loaded, query, chosen, ids) for name in request.controls]
        percentiles = pool.percentiles(best, found)
        records, types = gene_records(loaded.genes, np.searchsorted(loaded.genes.gene_ids, ids))
        hits = [
            wire.GeneHit(
                gene=records[at],
                similarity=found[at],
                background_percentile=percentiles[at],
                compared=[column[at] for column in columns],
                score=scores[at],
                cosine_rank=int(cosine_ranks[at]),
                controls=[column[at] for column in controls],
                gene_type=types[at],
            )
            for at in range(len(best))
        ]
        rows = np.searchsorted(loaded.genes.gene_ids, query.gene_ids)
        named = [gene_record(loaded.genes, row) for row in rows.tolist()]
        kind = self._query.kind
        return wire.SearchGenesResponse(
            gene=named[0] if kind == "gene" else None,
            gene_set=named if kind == "gene_set" else (),
            hits=hits,
            versions=embedding_versions(loaded.entry),
            compared_embeddings=[other.entry.full_name for other in others],
            unmatched=query.unmatched,
            filter=chosen.message,
            score=self._score,
            n_searched=len(pool),
            warnings=[
                AnswerWarning(reason="PARTIAL_EMBEDDING", message=said)
                for each in (loaded, *others)
                if (said := partial_caution(each.entry.full_name, each.entry.manifest))
            ],
        )

    def searched(self) -> Int64Vector:
        """Return the (n,) int64 GeneIDs of the genes that the search goes through."""
        loaded = self._embedding(self._request.embedding)
        query = self._query.within(loaded)
        pool = self._filter(loaded, query).pool(loaded, query.gene_ids)
        return pool.gene_ids[pool.passing]

    def _embedding(self, name: str) -> LoadedEmbedding:
        wanted_version = parse_version_name(embedding_name(name or DEFAULT_MODEL), "gene embedding")
        return self._version_cache.embedding(wanted_version)

    def _filter(self, loaded: LoadedEmbedding, query: QueryVector) -> GeneFilter:
        request = self._request
        taxon = request.target_taxon or query.taxon
        if not taxon and not request.filter.taxa:
            raise InvalidArgumentError(
                "it is not said among the genes of which species to search; give target_taxon",
                field="target_taxon",
            )
        for species in request.filter.taxa or [taxon]:
            genes = loaded.species(species)
            if len(genes.gene_ids) == np.count_nonzero(genes.rows_of(query.gene_ids) >= 0):
                raise NotFoundError(
                    f"embedding {loaded.entry.full_name} has no other gene of {taxon_name(species)}"
                )
        return GeneFilter.of(request.filter, [taxon], loaded, self._version_cache)

    def _best(
        self, pool: GenePool, query: QueryVector, compared: "list[_Elsewhere]"
    ) -> tuple[Int64Vector, Float32Vector, Float32Vector, Int32Vector]:
        """Return the rows of the hits, their scores, cosines, and ranks by cosine."""
        if self._score == wire.GENE_SCORE_COSINE:
            best, found = pool.nearest(query.vector, self._k)
            return best, found, found, ranks(found)
        cosines = pool.cosines(query.vector)
        if self._score == wire.GENE_SCORE_CSLS:
            scores = pool.csls(cosines)
        else:
            ids = pool.gene_ids
            ranked = [ranks(cosines)]
            ranked += [other.pool.ranked_at(other.cosines, ids)[0] for other in compared]
            scores = np.where(pool.passing, fused(ranked), np.float32(-np.inf))
        best = largest(scores, self._k, pool.gene_ids)
        return best, scores[best], cosines[best], ranks(cosines, best)

    def _control(
        self,
        name: str,
        loaded: LoadedEmbedding,
        query: QueryVector,
        chosen: GeneFilter,
        gene_ids: Int64Vector,
    ) -> list[wire.ComparedHit]:
        if name == _PERMUTED:
            pool = chosen.pool(loaded, query.gene_ids)
            cosines = pool.cosines(permuted(query, loaded, pool.parts), permuted=True)
            return _hits(pool, cosines, gene_ids)
        wanted_version = VersionName(f"{_SYMBOL_ONLY}-{loaded.entry.name}")
        try:
            control = self._version_cache.embedding(wanted_version)
        except NotFoundError as error:
            raise FailedPreconditionError(
                f"the store has no {wanted_version} for the control {_SYMBOL_ONLY}; make it by "
                f"`cellkin genes embed --model {_SYMBOL_ONLY}:{loaded.entry.name}`"
            ) from error
        return _Elsewhere(control, self._query.within(control, loaded), chosen).hits(gene_ids)


class _Elsewhere:
    """The search in another embedding.

    Parameters
    ----------
    loaded
        The embedding.
    query
        The query in it.
    chosen
        The filter of the genes.
    """

    def __init__(self, loaded: LoadedEmbedding, query: QueryVector, chosen: GeneFilter) -> None:
        self.pool = chosen.pool(loaded, query.gene_ids)
        self.cosines = self.pool.cosines(query.vector)

    def hits(self, gene_ids: Int64Vector) -> list[wire.ComparedHit]:
        """Return the ranks and cosines of genes."""
        return _hits(self.pool, self.cosines, gene_ids)


def _hits(pool: GenePool, cosines: Float32Vector, gene_ids: Int64Vector) -> list[wire.ComparedHit]:
    found = pool.ranked_at(cosines, gene_ids)
    return [
        wire.ComparedHit(rank=rank, similarity=similarity)
        for rank, similarity in zip(found[0].tolist(), found[1].tolist(), strict=True)
    ]


def _check(request: wire.SearchGenesRequest) -> None:
    """Raise if the options of a request are out of range or contradict each other.

    Raises
    ------
    InvalidArgumentError
        If one is or two do.
    """
    n_compared = len(request.compare_embeddings)
    if request.taxon < 0 or request.target_taxon < 0 or any(t < 1 for t in request.filter.taxa):
        raise InvalidArgumentError("a taxon is negative; give 0 or more", field="taxon")
    if n_compared > _MOST_COMPARED:
        raise InvalidArgumentError(
            f"{n_compared} embeddings to compare with; name at most {_MOST_COMPARED}",
            field="compare_embeddings",
        )
    if n_compared and request.WhichOneof("query") == "vector":
        raise InvalidArgumentError(
            "a vector belongs to one embedding; compare by a gene, a gene_set or a text",
            field="compare_embeddings",
        )
    if request.score not in wire.GeneScore.values():
        raise InvalidArgumentError(f"there is no score {request.score}", field="score")
    if request.score == wire.GENE_SCORE_FUSED and not n_compared:
        raise InvalidArgumentError(
            "the fused score is over several embeddings; name others in compare_embeddings",
            field="compare_embeddings",
        )
    unknown = sorted(set(request.controls) - {_PERMUTED, _SYMBOL_ONLY})
    if unknown or len(request.controls) > 2:
        raise InvalidArgumentError(
            f"controls {', '.join(map(repr, request.controls[:3]))}; there are {_PERMUTED!r} and "
            f"{_SYMBOL_ONLY!r}",
            field="controls",
        )
