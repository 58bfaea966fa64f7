"""The gene set service: lists gene sets, tests their enrichment, and contrasts groups of cells."""

import hashlib
from typing import Any

import grpc
import numpy as np

from cellkin.server.limits import check_names
from cellkin.server.loaded_sets import LoadedGeneSets
from cellkin.server.messages import gene_records
from cellkin.server.pages import page_of
from cellkin.server.text_models import TextModels
from cellkin.server.version_cache import VersionCache
from cellkin.store.catalog import Entry, Kind
from cellkin.store.corpus import find_gene
from cellkin.store.gene_sets import GeneSets
from cellkin.v1 import gene_set_service_pb2 as wire
from cellkin.v1 import gene_set_service_pb2_grpc
from cellkin.wire.names import parse_version_name
from cellkin.wire.terms import GeneSetKind


class GeneSetService(gene_set_service_pb2_grpc.GeneSetServiceServicer):
    """Lists gene sets, tests their enrichment, and contrasts groups of cells."""

    def __init__(self, version_cache: VersionCache, models: TextModels, max_k: int) -> None:
        self._version_cache, self._models, self._max_k = version_cache, models, max_k

    def ListGeneSetCollections(  # the name of the RPC
        self, request: wire.ListGeneSetCollectionsRequest, context: grpc.ServicerContext
    ) -> wire.ListGeneSetCollectionsResponse:
        """List the newest version of every collection that is not retracted, by name."""
        view = self._version_cache.view
        standing = [e for e in view.entries(Kind.GENE_SETS) if view.retraction(e) is None]
        newest = list({entry.name: entry for entry in standing}.values())
        page, token = page_of(newest, lambda e: (e.name,), request.page_size, request.page_token)
        return wire.ListGeneSetCollectionsResponse(
            collections=map(collection_message, page), next_page_token=token
        )

    def ListGeneSets(  # the name of the RPC
        self, request: wire.ListGeneSetsRequest, context: grpc.ServicerContext
    ) -> wire.ListGeneSetsResponse:
        """List the sets of a collection that have words and a gene."""
        check_names([request.query], 1, "query")
        check_names([request.gene], 1, "gene")
        loaded = self._loaded(request.collection)
        genes = loaded.corpus.genes
        gene_id = None
        if request.gene:
            gene_id = int(genes.gene_ids[find_gene(genes, request.gene, loaded.taxon)])
        rows = loaded.sets.containing(request.query, gene_id)
        asked = (loaded.entry.full_name, request.query, request.gene)
        page, token = page_of(
            rows,
            lambda row: (f"{row:09d}",),
            request.page_size,
            request.page_token,
            of=hashlib.sha256("\0".join(asked).encode()).hexdigest()[:16],
        )
        return wire.ListGeneSetsResponse(
            collection=collection_message(loaded.entry),
            sets=[_record(loaded.sets, row) for row in page],
            next_page_token=token,
            total_size=len(rows),
        )

    def GetGeneSet(  # the name of the RPC
        self, request: wire.GetGeneSetRequest, context: grpc.ServicerContext
    ) -> wire.GetGeneSetResponse:
        """Return one set with its genes."""
        check_names([request.name], 1, "name")
        loaded = self._loaded(request.collection)
        sets, genes = loaded.sets, loaded.corpus.genes
        row = sets.row(request.name, loaded.entry.full_name)
        records, _ = gene_records(genes, np.searchsorted(genes.gene_ids, sets.members(row)))
        weights = sets.member_weights(row).tolist()
        return wire.GetGeneSetResponse(
            collection=collection_message(loaded.entry),
            set=_record(sets, row),
            members=[
                wire.GeneSetMember(gene=gene, weight=weight)
                for gene, weight in zip(records, weights, strict=True)
            ],
            unmatched=sets.unmatched[row],
        )

    def EnrichGenes(  # the name of the RPC
        self, request: wire.EnrichGenesRequest, context: grpc.ServicerContext
    ) -> wire.EnrichGenesResponse:
        """Test which sets genes are enriched in."""
        from cellkin.server.enriching import enrich

        return enrich(self._version_cache, self._models, self._max_k, request)

    def ContrastSubtypes(self, request_iterator: Any, context: Any) -> Any:
        """Return a generator that compares groups of cells; see `cellkin.server.methods`."""
        from cellkin.server.contrasting import contrast

        return contrast(self._version_cache)

    def _loaded(self, name: str) -> LoadedGeneSets:
        return self._version_cache.gene_sets(parse_version_name(name, Kind.GENE_SETS.noun))


def collection_message(entry: Entry) -> wire.GeneSetCollection:
    """Return the description of a collection version."""
    made = entry.manifest
    kind = GeneSetKind[made["set_kind"].upper()]
    return wire.GeneSetCollection(
        version=entry.full_name,
        kind=wire.GeneSetKind.ValueType(kind),
        taxon=made["taxon"],
        n_sets=made["n_sets"],
        n_genes=made["n_genes"],
        corpus=made["corpus"],
        carried_by_orthologs=bool(made["carried_from_taxon"]),
    )


def _record(sets: GeneSets, row: int) -> wire.GeneSetRecord:
    return wire.GeneSetRecord(
        name=sets.names[row],
        description=sets.descriptions[row],
        n_genes=sets.sizes[row],
        n_unmatched=len(sets.unmatched[row]),
    )
