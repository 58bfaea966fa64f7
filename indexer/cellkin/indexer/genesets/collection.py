"""Match the gene names of gene sets to the genes of a corpus, and carry them to other species."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from cellkin.indexer.genes.orthologs import Partners
from cellkin.indexer.genesets.named_sets import NamedSet
from cellkin.space.arrays import Int64Vector
from cellkin.store.corpus import GeneNames
from cellkin.store.gene_sets import GeneSets
from cellkin.wire.errors import GenesUnmatchedError, InvalidArgumentError, NotFoundError
from cellkin.wire.species import taxon_name

_EXAMPLES = 20
_FEW = 0.5
_TO_SEE_WHY = "`cellkin genes resolve NAME` shows what a name matches"


@dataclass(frozen=True)
class MatchReport:
    """How the gene names of a source matched.

    Parameters
    ----------
    taxon, taxon_inferred
        Species that the names were matched in, and whether it was inferred from them.
    n_names
        Number of different gene names.
    n_matched
        Names that match one gene, which has an ortholog if the sets are carried to a species.
    n_ambiguous, n_unmatched, n_without_ortholog
        Names that match several genes, no gene, or one without a one-to-one ortholog.
    examples
        Some of these names.
    n_empty
        Sets without any matched gene.
    """

    taxon: int
    taxon_inferred: bool
    n_names: int
    n_matched: int
    n_ambiguous: int
    n_unmatched: int
    n_without_ortholog: int
    examples: tuple[str, ...]
    n_empty: int

    def to_manifest(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return asdict(self) | {"examples": list(self.examples)}

    def notes(self) -> list[str]:
        """Return what a user should know of the match, in sentences."""
        inferred = " (inferred from the names)" if self.taxon_inferred else ""
        lines = [
            f"{self.n_matched:,} of {self.n_names:,} gene names match one gene of "
            f"{taxon_name(self.taxon)}{inferred}"
        ]
        missed = (
            (self.n_unmatched, "match no gene"),
            (self.n_ambiguous, "match several genes"),
            (self.n_without_ortholog, "have no one-to-one ortholog"),
        )
        if any(n for n, _ in missed):
            counts = ", ".join(f"{n:,} {what}" for n, what in missed if n)
            lines.append(
                f"{counts}, and are left out, such as {', '.join(self.examples[:5])}; {_TO_SEE_WHY}"
            )
        if self.n_matched < _FEW * self.n_names:
            lines.append(
                "WARNING: fewer than half of the names match: is it the right species and corpus?"
            )
        if self.n_empty:
            lines.append(
                f"WARNING: {self.n_empty:,} sets have no matched gene and are never tested"
            )
        return lines


def match_sets(
    sets: Sequence[NamedSet],
    genes: GeneNames,
    taxon: int = 0,
    orthologs: Mapping[int, int] | None = None,
) -> tuple[GeneSets, MatchReport]:
    """Match the gene names of sets to genes.

    Parameters
    ----------
    sets
        The sets.
    genes
        Gene names of a corpus.
    taxon
        NCBI taxonomy id of the species of the names; 0 to infer it from them.
    orthologs
        GeneID to use instead of each GeneID; genes that are not in it are left out. None to keep
        the genes.

    Returns
    -------
    sets
        The same sets, in the same order. Of names that match one gene, the weight of largest
        absolute value counts.
    report
        How the names matched.

    Raises
    ------
    GenesUnmatchedError
        If no name matches.
    NotFoundError
        If the corpus has no gene of the species.
    InvalidArgumentError
        If the names clearly belong to another species.
    """
    names = list(dict.fromkeys(name for each in sets for name in each.weights))
    resolution = genes.resolver.resolve(names, taxon)
    found = np.where(resolution.rows >= 0, genes.gene_ids[resolution.rows], 0)
    gene_of = {
        name: gene if orthologs is None else orthologs.get(gene, 0)
        for name, gene, row in zip(names, found.tolist(), resolution.rows.tolist(), strict=True)
        if row >= 0
    }
    n_resolved = len(gene_of)
    gene_of = {name: gene for name, gene in gene_of.items() if gene}
    lost = [name for name in names if name not in gene_of]
    if n_resolved and not gene_of:
        raise GenesUnmatchedError(
            f"none of the {n_resolved} genes of {taxon_name(resolution.taxon)} has a one-to-one "
            "ortholog in the other species; give --to-taxon another species, and NCBI's "
            "gene_orthologs with both"
        )
    if not gene_of:
        of = f" of {taxon_name(taxon)}" if taxon else ""
        raise GenesUnmatchedError(
            f"none of the {len(names)} gene names matches a gene{of}, such as "
            f"{', '.join(lost[:5])}; give the species they are of with --taxon, and a corpus that "
            "has it with --corpus"
        )
    members = [_members(each, gene_of) for each in sets]
    sizes = [len(ids) for ids, _ in members]
    matched = GeneSets(
        [each.name for each in sets],
        [each.description for each in sets],
        np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        np.concatenate([ids for ids, _ in members]),
        np.concatenate([weights for _, weights in members]),
        [[name for name in each.weights if name not in gene_of] for each in sets],
    )
    n_ambiguous = len(resolution.ambiguous)
    report = MatchReport(
        taxon=resolution.taxon,
        taxon_inferred=resolution.taxon_inferred,
        n_names=len(names),
        n_matched=len(gene_of),
        n_ambiguous=n_ambiguous,
        n_unmatched=len(names) - n_resolved - n_ambiguous,
        n_without_ortholog=n_resolved - len(gene_of),
        examples=tuple(lost[:_EXAMPLES]),
        n_empty=sizes.count(0),
    )
    return matched, report


def _members(
    named: NamedSet, gene_of: Mapping[str, int]
) -> "tuple[Int64Vector, np.typing.NDArray[np.float32]]":
    weights: dict[int, float] = {}
    for name, weight in named.weights.items():
        gene = gene_of.get(name)
        # Of two opposite weights the positive one, in whatever order they come.
        if gene is not None:
            weights[gene] = max(weights.get(gene, 0.0), weight, key=lambda w: (abs(w), w))
    ids = sorted(weights)
    return np.array(ids, np.int64), np.array([weights[gene] for gene in ids], np.float32)


def orthologs_in(partners: Partners, genes: GeneNames, taxon: int) -> dict[int, int]:
    """Return the one-to-one ortholog in a species of each gene that has one.

    Parameters
    ----------
    partners
        One-to-one orthologs.
    genes
        The corpus; orthologs that are not in it are left out.
    taxon
        NCBI taxonomy id of the species.

    Raises
    ------
    NotFoundError
        If the corpus has no gene of the species.
    InvalidArgumentError
        If no gene has an ortholog in it.
    """
    there = set(genes.gene_ids[genes.table["taxon"].to_numpy() == taxon].tolist())
    if not there:
        raise NotFoundError(
            f"the corpus has no gene of {taxon_name(taxon)}; give one that has it with --corpus"
        )
    found = {
        gene: other
        for gene, others in partners.items()
        for of, other in others
        if of == taxon and other in there
    }
    if not found:
        raise InvalidArgumentError(
            f"the table has no one-to-one ortholog in {taxon_name(taxon)}; give NCBI's "
            "gene_orthologs with that species"
        )
    return found
