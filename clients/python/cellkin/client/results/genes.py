"""Genes, gene neighborhoods, and resolved gene names."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cellkin.client.results.predictions import read_match
from cellkin.client.results.sample import ReportWarning, read_warnings
from cellkin.client.results.tables import Shown, Tabular, Told
from cellkin.client.results.versions import Versions
from cellkin.v1 import gene_service_pb2 as wire
from cellkin.wire.match import GeneMatch
from cellkin.wire.species import taxon_name
from cellkin.wire.terms import GeneRoute, GeneScore, TextRung


@dataclass(frozen=True, repr=False)
class GeneRecord(Shown):
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

    @property
    def link(self) -> str:
        """Page of the gene at NCBI; empty for a gene that is only named in cell files."""
        return f"https://www.ncbi.nlm.nih.gov/gene/{self.gene_id}" if self.gene_id > 0 else ""


@dataclass(frozen=True, repr=False)
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


NEIGHBORHOOD_CAUTION = (
    "a neighborhood is likeness of description; it is no evidence that genes interact, are "
    "expressed together or share a pathway"
)
"""What a gene neighborhood does not tell."""


@dataclass(frozen=True, repr=False)
class GeneFilter(Shown):
    """Which genes a search went through, with defaults filled in.

    Parameters
    ----------
    taxa
        NCBI taxonomy ids of the species.
    gene_types
        NCBI gene types; ``*`` for any.
    expressed_in
        Only genes expressed in the reference of this cell index version; empty for no such limit.
    gene_set
        Only genes of this set, ``COLLECTION@VERSION/SET``; empty for no such limit.
    """

    taxa: tuple[int, ...]
    gene_types: tuple[str, ...]
    expressed_in: str = ""
    gene_set: str = ""

    def __str__(self) -> str:
        """The filter in words."""
        species = " and ".join(map(taxon_name, self.taxa))
        types = "any type" if self.gene_types == ("*",) else " or ".join(self.gene_types)
        parts = [f"{types} of {species}"]
        parts += [f"expressed in {self.expressed_in}"] if self.expressed_in else []
        parts += [f"in {self.gene_set}"] if self.gene_set else []
        return ", ".join(parts)


@dataclass(frozen=True, repr=False)
class GeneNeighborhood(Tabular):
    """The genes nearest to a query by their texts, best first.

    It is likeness of description, and no evidence that genes interact: see ``caution``.

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
    scores, score
        (k,) float32 that order the hits, and what they are.
    cosine_ranks
        (k,) int32 ranks by cosine similarity among the genes searched, 1 for the nearest.
    gene_types
        NCBI gene types of the hits, such as ``protein-coding``.
    controls
        By name: (k,) int32 ranks and (k,) float32 cosine similarities of the hits in the controls
        asked for; a rank is 0 if the control has no vector.
    unmatched
        Names of a set that were not used: no gene, several genes, or a gene without text.
    searched, n_searched
        Which genes were searched, and how many.
    text
        The free text that was searched for; empty for genes or a vector.
    warnings
        Warnings about the hits.
    """

    genes: tuple[GeneRecord, ...]
    hits: tuple[GeneRecord, ...]
    similarities: npt.NDArray[np.float32]
    background_percentiles: npt.NDArray[np.float32]
    compared_embeddings: tuple[str, ...]
    compared_ranks: npt.NDArray[np.int32]
    compared_similarities: npt.NDArray[np.float32]
    versions: Versions
    scores: npt.NDArray[np.float32]
    score: GeneScore
    cosine_ranks: npt.NDArray[np.int32]
    gene_types: tuple[str, ...]
    controls: dict[str, tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]]
    unmatched: tuple[str, ...]
    searched: GeneFilter
    n_searched: int
    text: str = ""
    warnings: tuple[ReportWarning, ...] = ()

    @property
    def question(self) -> str:
        """What was searched for: genes with their species, the text, or ``a vector``."""
        asked = ", ".join(f"{gene.symbol} ({taxon_name(gene.taxon)})" for gene in self.genes)
        return asked or self.text or "a vector"

    @property
    def caution(self) -> str:
        """What the neighborhood does not tell."""
        return NEIGHBORHOOD_CAUTION

    @property
    def gene(self) -> GeneRecord:
        """The first query gene; IndexError for a vector or a free text."""
        return self.genes[0]

    @property
    def neighbors(self) -> list[tuple[GeneRecord, float]]:
        """The hits, each with its cosine similarity."""
        return list(zip(self.hits, self.similarities.tolist(), strict=True))

    def columns(self) -> dict[str, Any]:
        """Return one row per hit, with two columns for each version and control compared with."""
        columns = _record_columns(self.hits) | {
            "gene_type": list(self.gene_types),
            "score": self.scores,
            "similarity": self.similarities,
            "background_percentile": self.background_percentiles,
            "cosine_rank": self.cosine_ranks,
        }
        for at, name in enumerate(self.compared_embeddings):
            columns[f"rank in {name}"] = self.compared_ranks[:, at]
            columns[f"similarity in {name}"] = self.compared_similarities[:, at]
        for name, (ranks, similarities) in self.controls.items():
            columns[f"rank in {name}"] = ranks
            columns[f"similarity in {name}"] = similarities
        columns["link"] = [hit.link for hit in self.hits]
        return columns

    def _title(self) -> str:
        n_hits = len(self.hits)
        return f"{n_hits} genes nearest to {self.question} by {self.versions.embedding}"

    def _told(self) -> Told:
        left_out = [f"not used: {', '.join(self.unmatched)}"] if self.unmatched else []
        searched = f"searched: {self.n_searched:,} genes, {self.searched}"
        said = [searched, self.caution, *left_out, *map(str, self.warnings)]
        return self._title(), said, self.columns()


@dataclass(frozen=True, repr=False)
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


def read_neighborhood(
    controls: tuple[str, ...], message: wire.SearchGenesResponse, text: str = ""
) -> GeneNeighborhood:
    """Read a gene neighborhood, with the controls and the free text that were asked for."""
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
        np.array([hit.score for hit in message.hits], np.float32),
        GeneScore(message.score),
        np.array([hit.cosine_rank for hit in message.hits], np.int32),
        tuple(hit.gene_type for hit in message.hits),
        {name: _control(message, at) for at, name in enumerate(controls)},
        tuple(message.unmatched),
        GeneFilter(
            tuple(message.filter.taxa),
            tuple(message.filter.gene_types),
            message.filter.expressed_in,
            message.filter.gene_set,
        ),
        message.n_searched,
        text,
        read_warnings(message.warnings),
    )


def _control(
    message: wire.SearchGenesResponse, at: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    # A server of an earlier release has no controls: nothing is ranked.
    there = [hit.controls[at] if at < len(hit.controls) else None for hit in message.hits]
    ranks = np.array([found.rank if found else 0 for found in there], np.int32)
    return ranks, np.array([found.similarity if found else 0 for found in there], np.float32)


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
