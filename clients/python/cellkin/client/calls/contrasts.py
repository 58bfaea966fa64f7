"""The requests of GeneSetService that compare cells and test genes."""

from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from cellkin.client.calls.genes import search_genes
from cellkin.client.calls.messages import some, to_message
from cellkin.client.results import contrasts as results
from cellkin.client.results.enrichment import Enrichment, read_enrichment
from cellkin.client.results.versions import exactly
from cellkin.client.transport.core import Blocks, Call, Exchange, Stream, of_answer
from cellkin.v1 import gene_set_service_pb2 as wire
from cellkin.wire import codec
from cellkin.wire.errors import InvalidArgumentError
from cellkin.wire.species import taxon_id
from cellkin.wire.terms import ExpressionUnits

_ALL_SETS = 100_000
"""Sets per collection that a server returns at most."""


@dataclass(frozen=True)
class GroupedCells:
    """A block of cells of the two groups of a contrast.

    Parameters
    ----------
    cells
        CSR matrix (n_cells, n_genes), up to 4096 cells, finite and non-negative.
    groups
        (n_cells,) uint8, 0 for group a and 1 for group b.
    batches
        Donor or batch of each cell; empty for none.
    """

    cells: Any
    groups: npt.NDArray[np.uint8]
    batches: Sequence[str] = ()


def contrast_subtypes(
    index: str,
    blocks: Blocks = (),
    *,
    a: Sequence[str] = (),
    b: Sequence[str] = (),
    collections: Sequence[str] = (),
    regulons: Sequence[str] = (),
    genes: Sequence[str] = (),
    units: ExpressionUnits | None = None,
    taxon: int | str = 0,
    n_permutations: int = 100,
    n_genes: int | None = None,
    n_sets: int | None = None,
) -> Exchange[results.ContrastReport, wire.ContrastResult, results.Contrast]:
    """Compare two groups of cells by genes, gene sets and regulators.

    Source: ``GeneSetService.ContrastSubtypes``. The ``versions`` of the result name the data.

    Parameters
    ----------
    index
        ``NAME[@VERSION_OR_ALIAS]`` of the cell index; an exact version also pins the response.
    blocks
        `GroupedCells`, up to 200,000 cells in all; an asynchronous client also takes asynchronous
        iterables. Empty to compare labels of the reference.
    a, b
        Labels of the groups. For the reference, ``b`` is all other labels if empty; for cells they
        are names to display.
    collections
        Collections of gene sets to test, ``NAME[@VERSION_OR_ALIAS]``.
    regulons
        Collections of regulons to estimate activities of regulators by.
    genes, units, taxon
        For cells: names of the columns, units of the values, and the species (0 infers it).
    n_permutations
        Permutations of group labels that ``called_by_chance`` is averaged over, 100 to 10,000. The
        p-values of sets do not depend on it.
    n_genes
        Genes to return, the strongest of each direction; None for all.
    n_sets
        Sets to return per collection, the most significant; None for all.

    Returns
    -------
    Contrast
        Genes by descending statistic, gene sets, and regulators.

    Raises
    ------
    NotFoundError
        If the index or a collection does not exist.
    InvalidArgumentError
        If a group is empty or too small, the groups overlap, the reference lacks a label, the sets
        are of another species, or an option is out of range.
    GenesUnmatchedError
        If too few genes of the cells match.
    FailedPreconditionError
        If the index has no expression profiles to compare its labels by.
    VersionMismatchError
        If the response is from another version than pinned.
    """
    header = wire.ContrastHeader(
        index=index,
        a=a,
        b=b,
        collections=collections,
        regulons=regulons,
        genes=genes,
        taxon=taxon_id(taxon),
        units=int(units or 0),  # type: ignore[arg-type]  # the enum's values are the proto's
        n_permutations=some("n_permutations", n_permutations),
        n_genes=_most("n_genes", n_genes, 0),
        n_sets=_most("n_sets", n_sets, _ALL_SETS),
    )
    request = wire.ContrastSubtypesRequest
    stream = Stream(
        "GeneSetService/ContrastSubtypes",
        [request(header=header)],
        _closed(blocks),
        _message,
        lambda first: results.read_contrast_report(first.report),
        lambda answer: answer.result,
        pins=exactly(index=index),
        answered=False,
    )
    return Exchange(stream, results.read_contrast)


def enrich_genes(
    collections: Sequence[str],
    *,
    genes: Sequence[str] | None = None,
    ranking: Mapping[str, float] | None = None,
    neighborhood: Mapping[str, Any] | None = None,
    universe: Sequence[str] = (),
    taxon: int | str = 0,
    min_size: int = 5,
    max_size: int = 500,
    n_sets: int | None = None,
) -> Call[Enrichment]:
    """Test which gene sets a list, a ranking or a neighborhood of genes is enriched in.

    Source: ``GeneSetService.EnrichGenes``. The ``collections`` of the result name the data.

    Parameters
    ----------
    collections
        Collections to test, ``NAME[@VERSION_OR_ALIAS]``; multiple testing is corrected within each.
    genes
        A list of genes, tested by over-representation in the universe.
    ranking
        A value of each measured gene, such as a test statistic, to find sets at either end.
    neighborhood
        Arguments of `search_genes` (``name``, ``text``, ``k``, ...): the nearest genes are tested
        by over-representation, against permuted vectors too.
    universe
        For a list: the genes that could have been in it; empty for the genes of any set of the
        collection.
    taxon
        Species of the genes, by NCBI taxonomy id or name; 0 infers it.
    min_size, max_size
        Sets with fewer or more genes in the universe are not tested.
    n_sets
        Sets to return per collection, the most significant; None for all.

    Returns
    -------
    Enrichment
        The sets, by collection, most significant first.

    Raises
    ------
    NotFoundError
        If a collection does not exist, or no gene of the list is known.
    InvalidArgumentError
        If not exactly one of genes, ranking and neighborhood is given, a value is not finite, an
        option is out of range, or the sets are of another species.
    """
    given = {"genes": genes, "ranking": ranking, "neighborhood": neighborhood}
    named = [name for name, value in given.items() if value is not None]
    if len(named) != 1:
        raise InvalidArgumentError(
            f"{' and '.join(named) or 'nothing'} given to test; give genes, a ranking, or a "
            "neighborhood",
            field="query",
        )
    query: dict[str, Any]
    if genes is not None:
        query = {"genes": wire.NamedGenes(names=genes)}
    elif ranking is not None:
        query = {"ranking": wire.RankedGenes(names=list(ranking), values=list(ranking.values()))}
    else:
        query = {"neighborhood": search_genes(**(neighborhood or {})).request}
    request = wire.EnrichGenesRequest(
        collections=collections,
        universe=wire.NamedGenes(names=universe) if universe else None,
        taxon=taxon_id(taxon),
        min_size=some("min_size", min_size),
        max_size=some("max_size", max_size),
        n_sets=_most("n_sets", n_sets, _ALL_SETS),
        **query,
    )
    return Call("GeneSetService/EnrichGenes", request, read_enrichment, of_answer)


def _most(name: str, n: int | None, every: int) -> int:
    """Return the number of rows to ask for; None means all."""
    return every if n is None else some(name, n)


def _closed(blocks: Blocks) -> Blocks:
    """Return the blocks followed by None, which stands for the finish."""
    if isinstance(blocks, AsyncIterable):
        return _closed_awaited(blocks)
    return chain(blocks, (None,))


async def _closed_awaited(blocks: AsyncIterable[Any]) -> AsyncIterator[Any]:
    async for block in blocks:
        yield block
    yield None


def _message(block: GroupedCells | None) -> wire.ContrastSubtypesRequest:
    if block is None:
        return wire.ContrastSubtypesRequest(finish=wire.ContrastFinish())
    cells = wire.ContrastCells(
        cells=to_message(block.cells),
        groups=codec.encode(np.asarray(block.groups, np.uint8)),
        batches=block.batches,
    )
    return wire.ContrastSubtypesRequest(cells=cells)
