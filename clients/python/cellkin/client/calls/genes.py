"""The requests of GeneService."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from cellkin.client.calls.messages import some
from cellkin.client.results import genes as results
from cellkin.client.results.versions import Versions, exactly
from cellkin.client.transport.core import Call, of_answer
from cellkin.v1 import gene_service_pb2 as wire
from cellkin.wire import codec
from cellkin.wire.errors import InvalidArgumentError, UnimplementedError
from cellkin.wire.species import taxon_id
from cellkin.wire.terms import GeneScore


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
    score: str = "",
    controls: Sequence[str] = (),
    taxa: Sequence[int | str] = (),
    gene_types: Sequence[str] = (),
    expressed_in: str = "",
    gene_set: str = "",
) -> Call[results.GeneNeighborhood]:
    """Find the genes whose texts are most similar to those of genes, a vector or a free text.

    Source: ``GeneService.SearchGenes``. The ``versions`` of the result name the data.

    Parameters
    ----------
    name
        Symbol, synonym, Ensembl id or NCBI GeneID; or up to 1000 of them, to search by the mean of
        their vectors. Names of several that are no gene are left out and reported.
    vector
        (dim,) float32 instead of a name, as returned by the language model.
    text
        A free text of up to 10,000 characters instead of a name, if the server has loaded the
        language model.
    taxon
        Species, by NCBI taxonomy id or name (``"mouse"``); 0 means the species with a gene of that
        name, and is refused if there are several.
    k
        Neighbors, 1 to 1000.
    embedding
        ``MODEL[@VERSION_OR_ALIAS]``; empty for the default model.
    target_taxon
        Species to search in; 0 for that of the genes. Required for a vector or a text.
    compare_embeddings
        Up to 8 other embeddings in which to report the rank and similarity of every hit.
    score
        What orders the hits: ``cosine`` similarity, ``csls``, corrected for genes that are near to
        everything, or ``fused``, the rank over ``embedding`` and ``compare_embeddings``. Empty for
        the default.
    controls
        Controls in which to report the rank and similarity of every hit: ``permuted`` (vectors
        permuted over genes), ``symbol-only`` (texts of nothing but the symbol).
    taxa
        Species to search together, instead of ``target_taxon``.
    gene_types
        NCBI gene types to search, ``*`` for any; empty for ``protein-coding``.
    expressed_in
        Search only genes expressed in the reference of this cell index,
        ``NAME[@VERSION_OR_ALIAS]``.
    gene_set
        Search only genes of this set, ``COLLECTION[@VERSION_OR_ALIAS]/SET``.

    Returns
    -------
    GeneNeighborhood
        k hits with (k,) float32 cosine similarities in [-1, 1], best first. It is likeness of
        description, no evidence of interaction.

    Raises
    ------
    NotFoundError
        If the gene or embedding does not exist, no name of several is a gene, or no gene passes
        the filter.
    InvalidArgumentError
        If the name is ambiguous, k is out of range, or not exactly one of name, vector and text is
        given.
    FailedPreconditionError
        If the gene has no text, or the store has no ``symbol-only`` embedding.
    ModelNotLoadedError
        If the server has not loaded the language model for a free text.
    UnimplementedError
        If the server is of an earlier release, without scores, controls and filters.
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
    options = score or any((controls, taxa, gene_types, expressed_in, gene_set))
    request = wire.SearchGenesRequest(
        taxon=taxon_id(taxon),
        k=some("k", k),
        embedding=embedding,
        target_taxon=taxon_id(target_taxon),
        compare_embeddings=compare_embeddings,
        score=_score(score),  # type: ignore[arg-type]  # the enum's values are the proto's
        controls=controls,
        filter=wire.GeneFilter(
            taxa=[taxon_id(species) for species in taxa],
            gene_types=gene_types,
            expressed_in=expressed_in,
            gene_set=gene_set,
        ),
        **given,
    )
    return Call(
        "GeneService/SearchGenes",
        request,
        partial(_read, tuple(controls), bool(options), text or ""),
        of_answer,
        exactly(embedding=embedding),
    )


def _read(
    controls: tuple[str, ...], has_options: bool, text: str, message: wire.SearchGenesResponse
) -> results.GeneNeighborhood:
    # A server of an earlier release ignores options that it does not know.
    if has_options and not message.HasField("filter"):
        raise UnimplementedError(
            "the server ignored the score, controls or filter of the search: it runs an earlier "
            "release; search without them, or ask its operator to upgrade it"
        )
    return results.read_neighborhood(controls, message, text)


def _score(name: str) -> int:
    known = {score.label: int(score) for score in GeneScore}
    if name and name not in known:
        raise InvalidArgumentError(f"score {name!r}; there are {', '.join(known)}", field="score")
    return known.get(name, 0)


def get_gene(name: str, *, taxon: int | str = 0, corpus: str = "") -> Call[results.Gene]:
    """Describe one gene with its text.

    Source: ``GeneService.GetGene``. The ``versions`` of the result name the data.

    Parameters
    ----------
    name
        Symbol, synonym, Ensembl id or NCBI GeneID.
    taxon
        Species, by NCBI taxonomy id or name (``"mouse"``); 0 means the species with a gene of that
        name, and is refused if there are several.
    corpus
        ``NAME[@VERSION_OR_ALIAS]``; empty for ``genes``.

    Returns
    -------
    Gene
        Names, text and source of the text.

    Raises
    ------
    NotFoundError
        If the gene, species or corpus does not exist.
    InvalidArgumentError
        If the name is empty or ambiguous; the message lists the candidates.
    """
    request = wire.GetGeneRequest(name=name, taxon=taxon_id(taxon), corpus=corpus)
    return Call(
        "GeneService/GetGene", request, results.read_gene, of_answer, exactly(corpus=corpus)
    )


def batch_get_genes(
    names: Sequence[str], *, taxon: int | str = 0, corpus: str = ""
) -> Call[list[results.Gene]]:
    """Describe up to 1000 genes, in the given order; fails if any is missing.

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
        One per name.

    Raises
    ------
    NotFoundError, InvalidArgumentError
        As `get_gene`; ``gene`` in the metadata is the refused name.
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
    """Resolve the gene names of a matrix to genes.

    Source: ``GeneService.ResolveGenes``. The ``versions`` of the result name the data.

    Parameters
    ----------
    names
        Names of the columns, up to 200,000.
    taxon
        Species of the cells, by NCBI taxonomy id or name; 0 infers it from the names.
    corpus
        ``NAME[@VERSION_OR_ALIAS]`` of the corpus to look them up in; empty for ``genes``.
    index
        A cell index ``NAME[@VERSION_OR_ALIAS]``, to look them up in its corpus instead and to
        report which genes are in its cell space.

    Returns
    -------
    ResolvedGenes
        The match report, one row per name. A name without a match is not an error.

    Raises
    ------
    NotFoundError
        If the corpus, index or species does not exist.
    InvalidArgumentError
        If there are too many names, or both corpus and index are given.
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
