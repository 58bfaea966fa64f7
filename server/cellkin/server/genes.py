"""The gene service: names and texts of genes, and their nearest genes."""

from dataclasses import dataclass

import grpc

from cellkin.server.gene_search import GeneSearch
from cellkin.server.limits import MOST_GENES, MOST_NAMED, check_names
from cellkin.server.loading import LoadedCorpus
from cellkin.server.messages import corpus_versions, gene_record, index_versions, match_message
from cellkin.server.text_models import TextModels
from cellkin.server.version_cache import VersionCache
from cellkin.space.genes import Resolution
from cellkin.space.matching import match_reference, match_texts
from cellkin.store.corpus import GeneNames, find_gene
from cellkin.v1 import gene_service_pb2 as wire
from cellkin.v1 import gene_service_pb2_grpc, versions_pb2
from cellkin.wire.errors import CellkinError, InvalidArgumentError
from cellkin.wire.match import GeneMatch
from cellkin.wire.names import parse_version_name

_CORPUS = "genes"


@dataclass(frozen=True)
class _Looked:
    """Result of looking up gene names."""

    genes: GeneNames
    resolution: Resolution
    match: GeneMatch
    versions: versions_pb2.Versions


class GeneService(gene_service_pb2_grpc.GeneServiceServicer):
    """Describes genes, resolves their names, and searches by their texts."""

    def __init__(self, version_cache: VersionCache, models: TextModels, max_k: int) -> None:
        self._version_cache, self._models, self._max_k = version_cache, models, max_k

    def GetGene(  # the name of the RPC
        self, request: wire.GetGeneRequest, context: grpc.ServicerContext
    ) -> wire.Gene:
        """Describe one gene with its text."""
        check_names([request.name], 1, "name")
        (found,) = self._describe([request.name], request.taxon, request.corpus)
        return found

    def BatchGetGenes(  # the name of the RPC
        self, request: wire.BatchGetGenesRequest, context: grpc.ServicerContext
    ) -> wire.BatchGetGenesResponse:
        """Describe several genes; an unknown one fails the request."""
        check_names(request.names, MOST_NAMED, "names")
        found = self._describe(list(request.names), request.taxon, request.corpus)
        return wire.BatchGetGenesResponse(genes=found)

    def ResolveGenes(  # the name of the RPC
        self, request: wire.ResolveGenesRequest, context: grpc.ServicerContext
    ) -> wire.ResolveGenesResponse:
        """Return the match report of a matrix's gene names."""
        check_names(request.genes, MOST_GENES, "genes")
        looked = self._look_up(request)
        return wire.ResolveGenesResponse(
            genes=match_message(looked.match),
            ambiguous_genes=[
                wire.AmbiguousGene(name=name, gene_ids=ids)
                for name, ids in looked.resolution.ambiguous.items()
            ],
            repeated_genes=[
                wire.RepeatedGene(gene_id=gene_id, names=names)
                for gene_id, names in looked.resolution.duplicates.items()
            ],
            versions=looked.versions,
        )

    def SearchGenes(  # the name of the RPC
        self, request: wire.SearchGenesRequest, context: grpc.ServicerContext
    ) -> wire.SearchGenesResponse:
        """Find the genes nearest to a gene, a set of genes, a vector or a text."""
        return GeneSearch(self._version_cache, self._models, self._max_k, request).answer()

    def _describe(self, names: list[str], taxon: int, corpus: str) -> list[wire.Gene]:
        loaded = self._corpus(corpus)
        genes = loaded.genes
        rows = []
        for name in names:
            try:
                rows.append(find_gene(genes, name, taxon))
            except CellkinError as error:
                error.metadata["gene"] = name
                raise
        ids = genes.gene_ids[rows].tolist() if rows else []
        known = self._version_cache.store.corpus_rows(loaded.entry, ids)
        texts = {row["gene_id"]: row for row in known.to_pylist()}
        versions = corpus_versions(loaded.entry)
        return [
            wire.Gene(
                record=gene_record(genes, row),
                synonyms=[*texts[gene_id].get("other_symbols", ()), *texts[gene_id]["synonyms"]],
                ensembl_ids=texts[gene_id]["ensembl_ids"],
                former_ids=texts[gene_id]["former_ids"],
                gene_type=texts[gene_id]["gene_type"],
                text=texts[gene_id]["text"],
                text_source=texts[gene_id]["text_source"],
                text_gene_id=texts[gene_id]["text_gene_id"],
                text_sha256=texts[gene_id]["text_sha256"],
                versions=versions,
            )
            for row, gene_id in zip(rows, ids, strict=True)
        ]

    def _corpus(self, name: str) -> LoadedCorpus:
        return self._version_cache.corpus(parse_version_name(name or _CORPUS, "corpus"))

    def _look_up(self, request: wire.ResolveGenesRequest) -> _Looked:
        if request.taxon < 0:
            raise InvalidArgumentError(f"taxon is {request.taxon}; give 0 or more", field="taxon")
        if request.WhichOneof("place") == "cell_index":
            loaded = self._version_cache.index(parse_version_name(request.cell_index, "cell index"))
            genes = loaded.genes
            resolution = genes.resolver.resolve(request.genes, request.taxon)
            match = match_reference(resolution, genes.gene_ids, genes.rungs, loaded.reference)
            return _Looked(genes, resolution, match, index_versions(loaded.entry))
        corpus = self._corpus(request.corpus)
        genes = corpus.genes
        resolution = genes.resolver.resolve(request.genes, request.taxon)
        match = match_texts(resolution, genes.gene_ids, genes.rungs)
        return _Looked(genes, resolution, match, corpus_versions(corpus.entry))
