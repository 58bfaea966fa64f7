"""Gene sets and their collections."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from cellkin.client.results.genes import GeneRecord, read_record
from cellkin.client.results.tables import Shown, Tabular, Told
from cellkin.v1 import gene_set_service_pb2 as wire
from cellkin.wire.terms import GeneSetKind


@dataclass(frozen=True, repr=False)
class GeneSetCollection(Shown):
    """A version of a collection of gene sets.

    Parameters
    ----------
    version
        ``NAME@DATE.N``.
    kind
        What its sets are.
    taxon
        NCBI taxonomy id of its genes.
    n_sets, n_genes
        Numbers of sets and of different genes.
    corpus
        Version of the corpus that its gene names were matched in.
    carried_by_orthologs
        Whether its genes are orthologs of those that the sets were made of.
    """

    version: str
    kind: GeneSetKind
    taxon: int
    n_sets: int
    n_genes: int
    corpus: str
    carried_by_orthologs: bool


@dataclass(frozen=True, repr=False)
class GeneSetRecord(Shown):
    """Name and size of a gene set.

    Parameters
    ----------
    collection
        Version of its collection, ``NAME@DATE.N``.
    name
        Name, unique in its collection.
    description
        Description; may be empty.
    n_genes
        Number of genes.
    n_unmatched
        Gene names of the source that match no gene, or several.
    """

    collection: str
    name: str
    description: str
    n_genes: int
    n_unmatched: int


@dataclass(frozen=True, repr=False)
class GeneSetMember(Shown):
    """A gene of a set.

    Parameters
    ----------
    gene
        The gene.
    weight
        1 in a set without weights; in a regulon positive for activation, negative for repression.
    """

    gene: GeneRecord
    weight: float


@dataclass(frozen=True, repr=False)
class GeneSet(Tabular):
    """A gene set with its genes; iterating gives the ``members``.

    Parameters
    ----------
    collection
        Its collection.
    name, description
        As for `GeneSetRecord`.
    members
        Its genes, by ascending GeneID.
    unmatched
        Gene names of the source that match no gene, or several.
    """

    collection: GeneSetCollection
    name: str
    description: str
    members: tuple[GeneSetMember, ...]
    unmatched: tuple[str, ...]

    def __iter__(self) -> Iterator[GeneSetMember]:
        return iter(self.members)

    def __len__(self) -> int:
        return len(self.members)

    def columns(self) -> dict[str, Any]:
        """Return one row per gene."""
        genes = [member.gene for member in self.members]
        return {
            "gene_id": np.array([gene.gene_id for gene in genes], np.int64),
            "symbol": [gene.symbol for gene in genes],
            "name": [gene.name for gene in genes],
            "weight": np.array([member.weight for member in self.members], np.float32),
        }

    def _title(self) -> str:
        return f"{self.collection.version}/{self.name}: {len(self):,} genes"

    def _told(self) -> Told:
        notes = [self.description] if self.description else []
        if self.unmatched:
            notes.append(f"{len(self.unmatched):,} names of the source without a gene")
        return self._title(), notes, self.columns()


def read_collection(message: wire.GeneSetCollection) -> GeneSetCollection:
    """Read the description of a collection."""
    return GeneSetCollection(
        message.version,
        GeneSetKind(message.kind),
        message.taxon,
        message.n_sets,
        message.n_genes,
        message.corpus,
        message.carried_by_orthologs,
    )


def read_set_records(message: wire.ListGeneSetsResponse) -> list[GeneSetRecord]:
    """Read names and sizes of sets."""
    version = message.collection.version
    return [
        GeneSetRecord(version, each.name, each.description, each.n_genes, each.n_unmatched)
        for each in message.sets
    ]


def read_gene_set(message: wire.GetGeneSetResponse) -> GeneSet:
    """Read a set with its genes."""
    members = (GeneSetMember(read_record(m.gene), m.weight) for m in message.members)
    return GeneSet(
        read_collection(message.collection),
        message.set.name,
        message.set.description,
        tuple(members),
        tuple(message.unmatched),
    )
