"""Genes, gene neighborhoods, and resolved gene names."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cellkin.client.results.predictions import read_match
from cellkin.client.results.tables import Tabular
from cellkin.client.results.versions import Versions
from cellkin.v1 import gene_service_pb2 as wire
from cellkin.wire.match import GeneMatch
from cellkin.wire.terms import GeneRoute, TextRung


@dataclass(frozen=True)
class GeneRecord:
    """Identifiers and names of one gene of a corpus.

    Parameters
    ----------
    gene_id
        NCBI GeneID.
    taxon
        NCBI taxonomy id.
    symbol, name
        Current symbol and full name.
    rung
        Source of its text.
    """

    gene_id: int
    taxon: int
    symbol: str
    name: str
    rung: TextRung


@dataclass(frozen=True)
class Gene(GeneRecord):
    """All data of one gene in a corpus.

    Parameters
    ----------
    gene_id, taxon, symbol, name, rung
        As for `GeneRecord`.
    synonyms
        Synonyms and previous symbols.
    ensembl_ids
        Ensembl gene ids, without version.
    former_ids
        Discontinued GeneIDs that it replaced.
    gene_type
        NCBI gene type, such as ``protein-coding``.
    text, text_source
        The embedded text and its source, such as ``RefSeq``; empty if there is none.
    text_gene_id
        GeneID of the gene that the text describes; another gene for ``ORTHOLOG_SUMMARY``.
    text_sha256
        SHA-256 of the text, hexadecimal.
    versions
        Versions of the response: the corpus.
    """

    synonyms: tuple[str, ...]
    ensembl_ids: tuple[str, ...]
    former_ids: tuple[int, ...]
    gene_type: str
    text: str
    text_source: str
    text_gene_id: int
    text_sha256: str
    versions: Versions


@dataclass(frozen=True)
class GeneNeighborhood(Tabular):
    """The genes nearest to a query by their texts, best first.

    Parameters
    ----------
    genes
        The query genes, as resolved; empty for a vector or a free text.
    hits
        The k neighbors, ties by ascending GeneID; never the query genes.
    similarities
        (k,) float32 cosine similarities in [-1, 1] of vectors centered at the mean of all genes.
    background_percentiles
        (k,) float32 in [0, 1], share of random pairs of genes that are less similar.
    compared_embeddings
        The m other embedding versions compared with.
    compared_ranks
        (k, m) int32, 1 for the nearest; 0 if that version has no vector for the hit.
    compared_similarities
        (k, m) float32 cosine similarities in those versions; 0 if there is no vector.
    versions
        Versions of the response.
    """

    genes: tuple[GeneRecord, ...]
    hits: tuple[GeneRecord, ...]
    similarities: npt.NDArray[np.float32]
    background_percentiles: npt.NDArray[np.float32]
    compared_embeddings: tuple[str, ...]
    compared_ranks: npt.NDArray[np.int32]
    compared_similarities: npt.NDArray[np.float32]
    versions: Versions

    @property
    def gene(self) -> GeneRecord:
        """The first query gene; IndexError for a vector or a free text."""
        return self.genes[0]

    @property
    def neighbors(self) -> list[tuple[GeneRecord, float]]:
        """The hits, each with its cosine similarity."""
        return list(zip(self.hits, self.similarities.tolist(), strict=True))

    def columns(self) -> dict[str, Any]:
        """Return one row per hit, with two columns for each version compared with."""
        columns = _record_columns(self.hits) | {
            "similarity": self.similarities,
            "background_percentile": self.background_percentiles,
        }
        for at, name in enumerate(self.compared_embeddings):
            columns[f"rank in {name}"] = self.compared_ranks[:, at]
            columns[f"similarity in {name}"] = self.compared_similarities[:, at]
        return columns


@dataclass(frozen=True)
class ResolvedGenes(Tabular):
    """The genes meant by the gene names of a matrix.

    Parameters
    ----------
    names
        The names as given.
    match
        Match of each name; ``in_space`` refers to the requested cell index, or without one to genes
        with a text.
    ambiguous
        By name: (n,) int64 GeneIDs it could mean, ascending. Such names are not used.
    repeated
        By GeneID: the names that mean it, if more than one. Their columns are summed.
    versions
        Versions of the response.
    """

    names: tuple[str, ...]
    match: GeneMatch
    ambiguous: dict[str, npt.NDArray[np.int64]]
    repeated: dict[int, tuple[str, ...]]
    versions: Versions

    def columns(self) -> dict[str, Any]:
        """Return one row per name."""
        match = self.match
        return {
            "name": list(self.names),
            "gene_id": match.gene_ids,
            "route": [GeneRoute(route).label for route in match.routes.tolist()],
            "text": [TextRung(rung).label if rung else "" for rung in match.rungs.tolist()],
            "used": match.in_space > 0,
        }


def read_record(message: wire.GeneRecord) -> GeneRecord:
    """Read the names of a gene."""
    return GeneRecord(**_called(message))


def read_gene(message: wire.Gene) -> Gene:
    """Read the description of a gene."""
    return Gene(
        **_called(message.record),
        synonyms=tuple(message.synonyms),
        ensembl_ids=tuple(message.ensembl_ids),
        former_ids=tuple(message.former_ids),
        gene_type=message.gene_type,
        text=message.text,
        text_source=message.text_source,
        text_gene_id=message.text_gene_id,
        text_sha256=message.text_sha256,
        versions=Versions.from_message(message.versions),
    )


def read_neighborhood(message: wire.SearchGenesResponse) -> GeneNeighborhood:
    """Read a gene neighborhood."""
    named = [message.gene] if message.HasField("gene") else message.gene_set
    shape = (len(message.hits), len(message.compared_embeddings))
    compared = [there for hit in message.hits for there in hit.compared]
    return GeneNeighborhood(
        tuple(map(read_record, named)),
        tuple(read_record(hit.gene) for hit in message.hits),
        np.array([hit.similarity for hit in message.hits], np.float32),
        np.array([hit.background_percentile for hit in message.hits], np.float32),
        tuple(message.compared_embeddings),
        np.array([there.rank for there in compared], np.int32).reshape(shape),
        np.array([there.similarity for there in compared], np.float32).reshape(shape),
        Versions.from_message(message.versions),
    )


def read_resolved(names: tuple[str, ...], message: wire.ResolveGenesResponse) -> ResolvedGenes:
    """Read resolved gene names."""
    return ResolvedGenes(
        names,
        read_match(message.genes),
        {a.name: np.array(a.gene_ids, np.int64) for a in message.ambiguous_genes},
        {r.gene_id: tuple(r.names) for r in message.repeated_genes},
        Versions.from_message(message.versions),
    )


def _called(message: wire.GeneRecord) -> dict[str, Any]:
    return {
        "gene_id": message.gene_id,
        "taxon": message.taxon,
        "symbol": message.symbol,
        "name": message.name,
        "rung": TextRung(message.rung),
    }


def _record_columns(genes: tuple[GeneRecord, ...]) -> dict[str, Any]:
    return {
        "gene_id": np.array([gene.gene_id for gene in genes], np.int64),
        "taxon": np.array([gene.taxon for gene in genes], np.int32),
        "symbol": [gene.symbol for gene in genes],
        "name": [gene.name for gene in genes],
        "text": [gene.rung.label for gene in genes],
    }
