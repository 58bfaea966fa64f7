"""The requests of GeneService."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cellkin.client.calls.messages import some
from cellkin.client.core import Call, of_answer
from cellkin.client.results import genes as results
from cellkin.client.results.versions import Versions, exactly
from cellkin.v1 import gene_service_pb2 as wire
from cellkin.wire import codec
from cellkin.wire.errors import InvalidArgumentError
from cellkin.wire.species import taxon_id


def search_genes(
    name: str | Sequence[str] | None = None,
    *,
    vector: npt.NDArray[np.float32] | None = None,
    text: str | None = None,
    taxon: int | str = 0,
    k: int = 10,
    embedding: str = "",
    target_taxon: int | str = 0,
    compare_embeddings: Sequence[str] = (),
) -> Call[results.GeneNeighborhood]:
    """Find the genes whose texts are nearest to those of genes, to a vector or to a free text.

    Source: ``GeneService.SearchGenes``. The answer's ``versions`` name the data.

    Parameters
    ----------
    name
        Symbol, synonym, Ensembl id or NCBI GeneID; or several, up to 1000, which are searched for
        by the mean of their vectors.
    vector
        (dim,) float32 instead of a name, as the language model gives it.
    text
        A free text of up to 10,000 characters instead of a name, where the server has the language
        model loaded.
    taxon
        Species, by NCBI taxonomy id or name (``"mouse"``); 0 takes the species that has the gene's
        name, and is refused where several have.
    k
        Neighbors, 1 to 1000.
    embedding
        ``MODEL[@VERSION_OR_ALIAS]``; empty for the default model.
    target_taxon
        Species to search in; 0 for that of the genes. Needed for a vector or a text.
    compare_embeddings
        Up to 8 other embeddings in which to say the rank and similarity of every hit.

    Returns
    -------
    GeneNeighborhood
        k hits with (k,) float32 cosines in [-1, 1], best first.

    Raises
    ------
    NotFoundError
        If there is no such gene or embedding.
    InvalidArgumentError
        If the name is ambiguous, k out of range, or not exactly one of name, vector and text given.
    FailedPreconditionError
        If the gene has no text.
    ModelNotLoadedError
        If the server has no language model for a free text.
    """
    given: dict[str, Any] = {"text": text}
    if isinstance(name, str):
        given["gene"] = name
    elif name is not None:
        given["gene_set"] = wire.GeneSet(names=name)
    if vector is not None:
        try:
            given["vector"] = codec.encode(np.asarray(vector, np.float32))
        except (TypeError, ValueError) as error:
            raise InvalidArgumentError(
                f"vector is {type(vector).__name__}; give an array of numbers", field="vector"
            ) from error
    given = {what: value for what, value in given.items() if value is not None}
    if len(given) != 1:
        raise InvalidArgumentError(
            f"{' and '.join(given) or 'nothing'} given to search for; give a name or names, a "
            "vector, or a text",
            field="query",
        )
    request = wire.SearchGenesRequest(
        taxon=taxon_id(taxon),
        k=some("k", k),
        embedding=embedding,
        target_taxon=taxon_id(target_taxon),
        compare_embeddings=compare_embeddings,
        **given,
    )
    return Call(
        "GeneService/SearchGenes", request, results.read_neighborhood, of_answer,
        exactly(embedding=embedding),
    )  # fmt: skip


def get_gene(name: str, *, taxon: int | str = 0, corpus: str = "") -> Call[results.Gene]:
    """Describe one gene with its text.

    Source: ``GeneService.GetGene``. The answer's ``versions`` name the data.

    Parameters
    ----------
    name
        Symbol, synonym, Ensembl id or NCBI GeneID.
    taxon
        Species, by NCBI taxonomy id or name (``"mouse"``); 0 takes the species that has the gene's
        name, and is refused where several have.
    corpus
        ``NAME[@VERSION_OR_ALIAS]``; empty for ``genes``.

    Returns
    -------
    Gene
        Names, text and where the text is from.

    Raises
    ------
    NotFoundError
        If there is no such gene, species or corpus.
    InvalidArgumentError
        If the name is empty or ambiguous; the message lists what it could mean.
    """
    request = wire.GetGeneRequest(name=name, taxon=taxon_id(taxon), corpus=corpus)
    return Call(
        "GeneService/GetGene", request, results.read_gene, of_answer, exactly(corpus=corpus)
    )


def batch_get_genes(
    names: Sequence[str], *, taxon: int | str = 0, corpus: str = ""
) -> Call[list[results.Gene]]:
    """Describe up to 1000 genes, all of them or none, in the order asked for.

    Source: ``GeneService.BatchGetGenes``. Each gene's ``versions`` name the data.

    Parameters
    ----------
    names
        Symbols, synonyms, Ensembl ids or NCBI GeneIDs.
    taxon, corpus
        As for `get_gene`.

    Returns
    -------
    list of Gene
        One a name.

    Raises
    ------
    NotFoundError, InvalidArgumentError
        As `get_gene`; the metadata's ``gene`` is the name that was refused.
    """
    request = wire.BatchGetGenesRequest(names=names, taxon=taxon_id(taxon), corpus=corpus)
    return Call(
        "GeneService/BatchGetGenes",
        request,
        lambda answer: [results.read_gene(gene) for gene in answer.genes],
        lambda genes: genes[0].versions if genes else Versions(),
        exactly(corpus=corpus),
    )


def resolve_genes(
    names: Sequence[str], *, taxon: int | str = 0, corpus: str = "", index: str = ""
) -> Call[results.ResolvedGenes]:
    """Say of each gene name of a matrix what it means.

    Source: ``GeneService.ResolveGenes``. The answer's ``versions`` name the data.

    Parameters
    ----------
    names
        The columns' names, up to 200,000.
    taxon
        Species of the cells, by NCBI taxonomy id or name; 0 infers it from the names.
    corpus
        ``NAME[@VERSION_OR_ALIAS]`` where they are looked up; empty for ``genes``.
    index
        A cell index ``NAME[@VERSION_OR_ALIAS]`` in whose corpus they are looked up instead, and
        whose cell space says which genes count.

    Returns
    -------
    ResolvedGenes
        The match report, one row a name. A name that meets nothing is no error.

    Raises
    ------
    NotFoundError
        If there is no such corpus, index or species.
    InvalidArgumentError
        If there are too many names, or corpus and index are given.
    """
    if corpus and index:
        raise InvalidArgumentError(
            f"corpus {corpus!r} and index {index!r} given; an index has a corpus, give one of them"
        )
    place = {"cell_index": index} if index else {"corpus": corpus}
    request = wire.ResolveGenesRequest(genes=names, taxon=taxon_id(taxon), **place)
    kept = tuple(names)
    return Call(
        "GeneService/ResolveGenes",
        request,
        lambda answer: results.read_resolved(kept, answer),
        of_answer,
        exactly(corpus=corpus, index=index),
    )
