"""Tools of `cellkin.client.tl` that compare cells by genes, and test genes for gene sets."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import anndata
import pandas as pd

from cellkin.client.arguments import typed
from cellkin.client.client import Client
from cellkin.client.contrast import Comparison, contrast_cells, contrast_reference
from cellkin.client.queries import WholeQuery, open_query
from cellkin.client.results.contrasts import Contrast
from cellkin.client.results.enrichment import Enrichment
from cellkin.client.results.genes import GeneNeighborhood, GeneRecord
from cellkin.client.session import connected, shown_progress, tell
from cellkin.client.transport.errors import AnswerWarning
from cellkin.matrices.options import ReadOptions
from cellkin.wire.errors import InvalidArgumentError

Told = TypeVar("Told", Contrast, Enrichment)


@typed
def contrast(
    adata: anndata.AnnData | str | Path | None,
    index: str,
    *,
    a: str | Sequence[str],
    b: str | Sequence[str] = (),
    groupby: str = "cellkin_label",
    collections: Sequence[str] = (),
    regulons: Sequence[str] = (),
    batch: str | None = None,
    n_permutations: int = 100,
    n_sets: int | None = None,
    client: Client | None = None,
    layer: str | None = None,
    use_raw: bool = False,
    gene_column: str | None = None,
    units: str | None = None,
    taxon: int | str = 0,
) -> Contrast:
    """Compare two groups of cells by genes, gene sets and regulators.

    Parameters
    ----------
    adata
        (n_cells, n_genes) counts or log1p of normalized counts: AnnData, in memory or backed, or
        the path of a file of any readable format. To compare one label in two conditions, give its
        cells: ``adata[adata.obs["cellkin_label"] == "rod"]``, and the conditions by ``groupby``.
        None to compare labels of the reference.
    index
        ``NAME[@VERSION_OR_ALIAS]`` of the cell index: its corpus names the genes.
    a, b
        A label, or a list of them, for each group; ``b`` empty for all others.
    groupby
        The column of ``obs`` with the labels.
    collections
        Collections of gene sets to test, ``NAME[@VERSION_OR_ALIAS]``.
    regulons
        Collections of regulons to estimate activities of regulators by.
    batch
        A column of ``obs`` with the donor or batch of each cell: with at least three a side,
        ``pseudobulk_p_values`` compare the means of batches.
    n_permutations
        Permutations of group labels that ``called_by_chance`` is averaged over, 100 to 10,000. The
        p-values of sets do not depend on it.
    n_sets
        Sets to return per collection, the most significant; None for all.
    client
        The client; None for one from the environment.
    layer, use_raw
        The matrix to read instead of X.
    gene_column
        The column of ``var`` with the gene names; None for ``var_names``.
    units
        Units of the values: ``counts``, ``cp10k``, ``log1p`` or ``log2``; None infers them.
    taxon
        Species of the cells, by NCBI taxonomy id or name (``"mouse"``); 0 infers it from the gene
        names.

    Returns
    -------
    Contrast
        Genes by descending statistic (``to_pandas()``), ``sets`` and ``regulators``. If the two
        groups have more cells than a server accepts, evenly spaced ones are compared, with a
        warning.

    Warns
    -----
    AnswerWarning
        For each limit of the result, such as few cells.

    Raises
    ------
    NotFoundError
        If the index, a collection or a column does not exist.
    InvalidArgumentError
        If there is no cell of a given label, a group is empty or too small, the groups overlap, or
        sets are of another species.
    GenesUnmatchedError
        If too few genes match.
    FailedPreconditionError
        If the index has no expression profiles to compare its labels by.
    """
    asked = Comparison(
        index, _listed(a), _listed(b), tuple(collections), tuple(regulons), taxon, n_permutations,
        n_sets,
    )  # fmt: skip
    if adata is None:
        with connected(client) as ours:
            return _told(contrast_reference(ours, asked))
    how = ReadOptions(layer, use_raw, gene_column=gene_column, units=units)
    with (
        open_query(adata, how) as query,
        connected(client) as ours,
        shown_progress("comparing cells") as progress,
    ):
        labels = query.column(groupby)  # refuses a stream of blocks
        batches = None if batch is None else query.column(batch)
        whole = cast("WholeQuery", query)
        found = contrast_cells(ours, whole, labels, asked, batches=batches, progress=progress)
        return _told(found)


@typed
def enrich(
    genes: Any,
    collections: Sequence[str],
    *,
    k: int = 100,
    universe: Sequence[str] = (),
    taxon: int | str = 0,
    min_size: int = 5,
    max_size: int = 500,
    n_sets: int | None = None,
    client: Client | None = None,
) -> Enrichment:
    """Test which gene sets genes are enriched in.

    Parameters
    ----------
    genes
        What is tested: a list of gene names; a ranking of genes, as a mapping or a pandas Series of
        values by gene name; a `Contrast`, whose measured genes are ranked by their statistic; a
        `GeneNeighborhood`, whose hits are the list; or one gene name, whose ``k`` nearest genes by
        text are tested, against permuted vectors too.
    collections
        Collections to test, ``NAME[@VERSION_OR_ALIAS]``; multiple testing is corrected within each.
    k
        Neighbors of a single gene.
    universe
        For a list: the genes that could have been in it; empty for the genes of any set of the
        collection.
    taxon
        Species of the genes, by NCBI taxonomy id or name; 0 infers it.
    min_size, max_size
        Sets with fewer or more genes in the universe are not tested.
    n_sets
        Sets to return per collection, the most significant; None for all.
    client
        The client; None for one from the environment.

    Returns
    -------
    Enrichment
        The sets, by collection, most significant first.

    Warns
    -----
    AnswerWarning
        For each limit of the result.

    Raises
    ------
    NotFoundError
        If a collection does not exist, or no gene is known.
    InvalidArgumentError
        If genes are given as another type, a value is not finite, an option is out of range, or the
        sets are of another species.
    """
    query = _tested(genes, k, taxon)
    with connected(client) as ours:
        found = ours.enrich_genes(
            collections, universe=universe, taxon=taxon, min_size=min_size, max_size=max_size,
            n_sets=n_sets, **query,
        )  # fmt: skip
    return _told(found)


def _tested(genes: Any, k: int, taxon: int | str) -> dict[str, Any]:
    """Return the arguments of `Client.enrich_genes` that say what is tested."""
    if isinstance(genes, str):
        return {"neighborhood": {"name": genes, "k": k, "taxon": taxon}}
    if isinstance(genes, Contrast):
        measured = zip(genes.genes, genes.statistics, genes.predicted_from_text, strict=True)
        return {"ranking": {_named(gene): float(x) for gene, x, by_text in measured if not by_text}}
    if isinstance(genes, GeneNeighborhood):
        return {"genes": [_named(gene) for gene in genes.hits]}
    if isinstance(genes, Mapping | pd.Series):
        return {"ranking": {str(name): float(value) for name, value in genes.items()}}
    if hasattr(genes, "__iter__") and all(isinstance(name, str) for name in genes):
        return {"genes": list(genes)}
    raise InvalidArgumentError(
        f"genes are given as {type(genes).__name__}; give a list of names, values by name, a gene "
        "name, or a result of tl.contrast or search_genes",
        field="genes",
    )


def _named(gene: GeneRecord) -> str:
    """Return a name of a gene that means no other; ids below 0 are not of NCBI."""
    return f"GeneID:{gene.gene_id}" if gene.gene_id > 0 else gene.symbol


def _listed(labels: str | Sequence[str]) -> tuple[str, ...]:
    return (labels,) if isinstance(labels, str) else tuple(labels)


def _told(found: Told) -> Told:
    for said in found.warnings:
        warnings.warn(str(said), AnswerWarning, stacklevel=4)  # past `typed`
    tell("; ".join([found.title, *([found.chance] if isinstance(found, Contrast) else [])]))
    return found
