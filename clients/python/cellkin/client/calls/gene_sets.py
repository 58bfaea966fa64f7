"""The requests of GeneSetService for gene sets and their collections."""

from functools import partial

from cellkin.client.calls.messages import pages
from cellkin.client.results import gene_sets as results
from cellkin.client.transport.core import Call, Pages
from cellkin.v1 import gene_set_service_pb2 as wire


def list_gene_set_collections() -> Pages[results.GeneSetCollection]:
    """List the newest version of every collection of gene sets, by name.

    Source: ``GeneSetService.ListGeneSetCollections``.

    Returns
    -------
    iterator of GeneSetCollection
        Pages are requested as they are needed.
    """
    return pages(
        "GeneSetService/ListGeneSetCollections",
        wire.ListGeneSetCollectionsRequest,
        lambda answer: map(results.read_collection, answer.collections),
    )


def list_gene_sets(
    collection: str, *, query: str = "", gene: str = ""
) -> Pages[results.GeneSetRecord]:
    """List the gene sets of a collection, in its order.

    Source: ``GeneSetService.ListGeneSets``.

    Parameters
    ----------
    collection
        ``NAME[@VERSION_OR_ALIAS]``.
    query
        Words that name or description must contain, ignoring case; empty for all sets.
    gene
        A gene that the sets must contain: symbol, synonym, Ensembl id or NCBI GeneID; empty for
        any.

    Returns
    -------
    iterator of GeneSetRecord
        Pages are requested as they are needed.

    Raises
    ------
    NotFoundError
        If the collection or gene does not exist; raised when the first item is requested.
    InvalidArgumentError
        If the gene name is ambiguous.
    """
    make = partial(wire.ListGeneSetsRequest, collection=collection, query=query, gene=gene)
    return pages("GeneSetService/ListGeneSets", make, results.read_set_records)


def get_gene_set(collection: str, name: str) -> Call[results.GeneSet]:
    """Return a gene set with its genes.

    Source: ``GeneSetService.GetGeneSet``. The ``collection`` of the result names the data.

    Parameters
    ----------
    collection
        ``NAME[@VERSION_OR_ALIAS]``.
    name
        Name of the set.

    Returns
    -------
    GeneSet
        Its genes and their weights.

    Raises
    ------
    NotFoundError
        If the collection or the set does not exist; the message lists similar ones.
    """
    request = wire.GetGeneSetRequest(collection=collection, name=name)
    return Call("GeneSetService/GetGeneSet", request, results.read_gene_set)
