"""The gene service."""

from importlib.metadata import version

import grpc
import numpy as np

from cellkin.server.library import Library, LoadedEmbedding
from cellkin.store.corpus import GeneNames, find_gene
from cellkin.v1 import gene_service_pb2 as wire
from cellkin.v1 import gene_service_pb2_grpc, versions_pb2
from cellkin.wire.errors import FailedPreconditionError, InvalidArgumentError, NotFoundError
from cellkin.wire.names import embedding_name, parse_version_name
from cellkin.wire.terms import DEFAULT_MODEL, taxon_name

_DEFAULT_K = 10
_MAX_K = 1000


class GeneService(gene_service_pb2_grpc.GeneServiceServicer):
    """Answers questions about genes from what is written about them."""

    def __init__(self, library: Library) -> None:
        self._library = library

    def SearchGenes(  # the name of the RPC
        self, request: wire.SearchGenesRequest, context: grpc.ServicerContext
    ) -> wire.SearchGenesResponse:
        """Find the genes whose texts are nearest to that of one gene."""
        k = request.k or _DEFAULT_K
        if not 1 <= k <= _MAX_K:
            raise InvalidArgumentError(f"k is {k}; ask for 1 to {_MAX_K} neighbors")
        wanted = parse_version_name(
            embedding_name(request.embedding or DEFAULT_MODEL), "gene embedding"
        )
        loaded = self._library.embedding(wanted)
        row = find_gene(loaded.genes, request.gene, request.taxon)
        at = _vector_row(loaded, row)
        rows, similarities = _nearest(loaded, at, request.target_taxon, k)
        entry = loaded.entry
        return wire.SearchGenesResponse(
            gene=_record(loaded.genes, row),
            hits=[
                wire.GeneHit(gene=_record(loaded.genes, _corpus_row(loaded, r)), similarity=s)
                for r, s in zip(rows.tolist(), similarities.tolist(), strict=True)
            ],
            versions=versions_pb2.Versions(
                embedding=entry.full_name,
                corpus=entry.manifest["corpus"],
                server=version("cellkin"),
            ),
        )


def _vector_row(loaded: LoadedEmbedding, row: int) -> int:
    gene_id = int(loaded.genes.gene_ids[row])
    ids = loaded.embedding.gene_ids
    at = int(np.searchsorted(ids, gene_id))
    if at == len(ids) or ids[at] != gene_id:
        raise FailedPreconditionError(
            f"gene {loaded.genes.table['symbol'][row].as_py()!r} (GeneID {gene_id}) has no text in "
            f"corpus {loaded.entry.manifest['corpus']}, so it has no neighbors"
        )
    return at


def _nearest(
    loaded: LoadedEmbedding, at: int, taxon: int, k: int
) -> tuple[np.ndarray[tuple[int], np.dtype[np.intp]], np.ndarray[tuple[int], np.dtype[np.float32]]]:
    vectors, taxa = loaded.embedding.vectors, loaded.embedding.taxa
    target = taxon or int(taxa[at])
    rows = np.flatnonzero((taxa == target) & (np.arange(len(taxa)) != at))
    if not len(rows):
        raise NotFoundError(
            f"embedding {loaded.entry.full_name} has no other gene of {taxon_name(target)}"
        )
    similarities = vectors[rows] @ vectors[at]
    # Stable over ascending GeneIDs, so ties fall to the lowest.
    best = np.argsort(-similarities, kind="stable")[:k]
    return rows[best], similarities[best]


def _corpus_row(loaded: LoadedEmbedding, row: int) -> int:
    return int(np.searchsorted(loaded.genes.gene_ids, loaded.embedding.gene_ids[row]))


def _record(genes: GeneNames, row: int) -> wire.GeneRecord:
    record = genes.table.slice(row, 1).to_pylist()[0]
    return wire.GeneRecord(
        gene_id=record["gene_id"],
        taxon=record["taxon"],
        symbol=record["symbol"],
        name=record["name"],
        rung=record["rung"],
    )
