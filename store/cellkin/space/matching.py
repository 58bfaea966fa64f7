"""Match the names of a matrix to the genes of a cell space."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cellkin.space.arrays import Int64Vector, UInt8Vector
from cellkin.space.genes import Resolution
from cellkin.space.projection import CellSpace
from cellkin.space.reference import Reference
from cellkin.wire.errors import GenesUnmatchedError
from cellkin.wire.features import NonGene, non_genes
from cellkin.wire.match import GeneMatch
from cellkin.wire.species import species_of_ids, taxon_name
from cellkin.wire.terms import TextRung

MIN_GENES = 20
"""Minimum number of genes with a vector to label anything."""
MIN_SHARE = 0.05
"""Minimum share with a vector, among the names that may be genes, to label anything."""


def match_genes(
    resolution: Resolution, gene_ids: Int64Vector, rungs: UInt8Vector, space: CellSpace
) -> tuple[GeneMatch, Int64Vector]:
    """Report the gene of each name and its row in a text space.

    Parameters
    ----------
    resolution
        The names resolved by `GeneResolver.resolve`.
    gene_ids, rungs
        (n_genes,) of the corpus: int64 NCBI GeneIDs, uint8 `TextRung`.
    space
        The cell space.

    Returns
    -------
    match
        The report.
    rows
        (n_names,) int64 rows of the space, -1 for names that are not used.
    """
    match = match_texts(resolution, gene_ids, rungs)
    rows = space.rows_of(match.gene_ids)
    return replace(match, in_space=(rows >= 0).astype(np.uint8)), rows


def match_reference(
    resolution: Resolution, gene_ids: Int64Vector, rungs: UInt8Vector, reference: Reference
) -> GeneMatch:
    """Report the gene of each name and whether a reference uses it.

    A reference without a text space uses the genes measured in its cells.

    Parameters
    ----------
    resolution, gene_ids, rungs
        As in `match_genes`.
    reference
        The reference.
    """
    if reference.text is not None:
        return match_genes(resolution, gene_ids, rungs, reference.text.space)[0]
    return match_measured(resolution, gene_ids, reference.require_expression().space.gene_ids)


def match_measured(
    resolution: Resolution, gene_ids: Int64Vector, measured: Int64Vector | None = None
) -> GeneMatch:
    """Report the gene of each name without regard to texts: every rung is 0.

    Parameters
    ----------
    resolution, gene_ids
        As in `match_genes`.
    measured
        (n_measured,) int64 NCBI GeneIDs of the genes that are used; None for all of the corpus.
    """
    met = resolution.rows >= 0
    ids = np.zeros(len(met), np.int64)
    ids[met] = gene_ids[resolution.rows[met]]
    counts = met if measured is None else np.isin(ids, measured) & met
    nothing = np.zeros(len(met), np.uint8)
    return GeneMatch(
        resolution.taxon,
        resolution.taxon_inferred,
        ids,
        resolution.routes,
        nothing,
        counts.astype(np.uint8),
    )


def match_texts(resolution: Resolution, gene_ids: Int64Vector, rungs: UInt8Vector) -> GeneMatch:
    """Report the gene of each name; every gene with a text is used.

    Parameters
    ----------
    resolution
        The names resolved by `GeneResolver.resolve`.
    gene_ids, rungs
        (n_genes,) of the corpus: int64 NCBI GeneIDs, uint8 `TextRung`.

    Returns
    -------
    GeneMatch
        The report; ``in_space`` says which genes have a text.
    """
    met = resolution.rows >= 0
    ids, texts = np.zeros(len(met), np.int64), np.zeros(len(met), np.uint8)
    ids[met], texts[met] = gene_ids[resolution.rows[met]], rungs[resolution.rows[met]]
    has_text = met & (texts != TextRung.NONE)
    return GeneMatch(
        resolution.taxon,
        resolution.taxon_inferred,
        ids,
        resolution.routes,
        texts,
        has_text.astype(np.uint8),
    )


def require_enough(match: GeneMatch, names: Sequence[str]) -> None:
    """Raise if too few genes match for a meaningful result.

    Parameters
    ----------
    match
        The match report.
    names
        The names as given, for the message.

    Raises
    ------
    GenesUnmatchedError
        If fewer than `MIN_GENES` genes have a vector, or less than `MIN_SHARE` of the distinct
        names that may be genes. Its metadata is the report.
    """
    n_genes = match.n_genes
    used = {names[i] for i in np.flatnonzero(match.in_space > 0).tolist()}
    given = set(names)
    others: Counter[NonGene] = Counter()
    if len(used) < MIN_SHARE * len(given):  # clear non-genes do not count
        kinds = non_genes(names)
        others = Counter(kinds.values())
        given -= {names[i] for i in kinds} - used
    if n_genes >= MIN_GENES and len(used) >= MIN_SHARE * len(given):
        return
    lost = [str(names[i]) for i in np.flatnonzero(match.in_space == 0)[:5]]
    unused = f" Not used, for example: {', '.join(lost)}." if lost else ""
    if others:
        n, kinds_said = others.total(), ", ".join(others)
        unused += f" Of the names {n} are plainly no genes and not counted ({kinds_said})."
    if (stated := species_of_ids(names)) and stated != match.taxon:
        unused += f" Most are Ensembl ids of {taxon_name(stated)}: is it in the corpus?"
    raise GenesUnmatchedError(
        f"{match.n_given} gene names mean {n_genes} {'gene' if n_genes == 1 else 'genes'} that "
        f"count, too few to label anything by: at least {MIN_GENES} genes and {MIN_SHARE:.0%} "
        f"of the names are needed.{unused} Names may be NCBI GeneIDs, symbols, synonyms or "
        "Ensembl gene ids of a species in the corpus; check var_names",
        match.to_metadata(),
    )
