"""The requests of CellService."""

from collections.abc import Sequence
from typing import Any

from cellkin.client.calls.messages import (
    CellFilter,
    queries_message,
    query_header,
    search_header,
    to_message,
)
from cellkin.client.core import Blocks, Call, Stream, of_answer
from cellkin.client.results import cells as results
from cellkin.client.results import predictions
from cellkin.client.results.versions import exactly
from cellkin.v1 import cell_service_pb2 as wire
from cellkin.wire.terms import ExpressionUnits


def predict_subtypes(
    index: str,
    genes: Sequence[str],
    cells: Any,
    *,
    units: ExpressionUnits,
    taxon: int = 0,
    min_probability: float | None = None,
    return_vectors: bool = False,
    space: str | None = None,
    own_mean: bool = False,
    exclude_batches: Sequence[str] = (),
) -> Call[predictions.Prediction]:
    """Label one block of cells.

    Source: ``CellService.PredictSubtypes``. The answer's ``versions`` name the data.

    Parameters
    ----------
    index
        ``NAME[@VERSION_OR_ALIAS]``; of exactly one version, the answer must be of it.
    genes
        Names of the columns.
    cells
        CSR matrix (n_cells, n_genes), up to 4096 cells, finite and not negative.
    units
        What the values are: linear (counts), or log1p of them.
    taxon
        NCBI taxonomy id; 0 infers it from the names.
    min_probability
        The least probability of a label, in (0, 1]; None for that stored with the index.
    return_vectors
        Whether to bring the cells' vectors.
    space
        ``text`` or ``expression``; None lets the server choose by the genes that are shared.
    own_mean
        Whether the mean of these cells, at least 200, is taken off in the text space and not the
        reference's.
    exclude_batches
        Batches of the reference that do not vote; then neighbors alone decide.

    Returns
    -------
    Prediction
        The report, and one row a cell.

    Raises
    ------
    NotFoundError
        If there is no such index.
    InvalidArgumentError
        If there is no such space, or the block is no expression.
    GenesUnmatchedError
        If too few genes match; its metadata is the match report.
    VersionMismatchError
        If the answer is of another version than is pinned.
    """
    header = query_header(
        index, genes, units, taxon, min_probability, return_vectors, space, own_mean,
        exclude_batches,
    )  # fmt: skip
    return Call(
        "CellService/PredictSubtypes",
        wire.PredictSubtypesRequest(header=header, cells=to_message(cells)),
        predictions.read_prediction,
        of_answer,
        exactly(index=index),
    )


def stream_predict_subtypes(
    index: str,
    genes: Sequence[str],
    blocks: Blocks,
    *,
    units: ExpressionUnits,
    taxon: int = 0,
    min_probability: float | None = None,
    return_vectors: bool = False,
    space: str | None = None,
    background: Any = None,
    exclude_batches: Sequence[str] = (),
) -> Stream[predictions.QueryReport, predictions.Predictions]:
    """Label a stream of cells, all from one version.

    Source: ``CellService.StreamPredictSubtypes``. The report's ``versions`` name the data.

    Parameters
    ----------
    index, genes, units, taxon, min_probability, return_vectors, space, exclude_batches
        As for `predict_subtypes`.
    blocks
        CSR matrices (n_cells, n_genes), taken one by one as answers come; an asynchronous client
        takes asynchronous iterables, too.
    background
        CSR matrix (n_cells, n_genes) of cells drawn evenly from the query, at least 200, whose
        mean is taken off in the text space; None for the reference's mean.

    Returns
    -------
    report
        `QueryReport`: what the query met.
    predictions
        `Predictions`, one a block and in order; take them to keep the stream going.

    Raises
    ------
    NotFoundError, InvalidArgumentError, GenesUnmatchedError, VersionMismatchError
        As `predict_subtypes`; errors in a block when its answer is taken.
    """
    own_mean = background is not None
    header = query_header(
        index, genes, units, taxon, min_probability, return_vectors, space, own_mean,
        exclude_batches,
    )  # fmt: skip
    request = wire.StreamPredictSubtypesRequest
    opening = [request(header=header)]
    if own_mean:
        opening.append(request(background=to_message(background)))
    return Stream(
        "CellService/StreamPredictSubtypes",
        opening,
        blocks,
        lambda block: request(cells=to_message(block)),
        lambda first: predictions.read_report(first.report),
        lambda answer: predictions.read_predictions(answer.predictions),
        pins=exactly(index=index),
    )


def search_cells(
    index: str,
    queries: Any,
    *,
    k: int = 10,
    filters: Sequence[CellFilter] = (),
    exact: bool = False,
    genes: Sequence[str] = (),
    units: ExpressionUnits | None = None,
    taxon: int = 0,
    space: str | None = None,
    exclude_batches: Sequence[str] = (),
) -> Call[results.FoundCells]:
    """Find the reference cells nearest to vectors, or to cells by their expression.

    Source: ``CellService.SearchCells``. The answer's ``versions`` name the data.

    Parameters
    ----------
    index
        ``NAME[@VERSION_OR_ALIAS]``; of exactly one version, the answer must be of it.
    queries
        (n_queries, dim) float32 vectors of the space, of any length but 0; or a CSR matrix
        (n_cells, n_genes) of expression. Up to 4096.
    k
        Neighbors of each, 1 to 1000.
    filters
        Only cells that pass all of these are hits.
    exact
        Whether to compare every cell, whatever the index; slow on a large reference.
    genes, units, taxon
        Of expression: names of the columns, what the values are, and the species (0 infers it).
    space
        ``text`` or ``expression``; None means text for vectors, and for cells lets the server
        choose by the genes that are shared.
    exclude_batches
        One a query: the batch whose own cells are no hits, or an empty string.

    Returns
    -------
    FoundCells
        The hits, best first, with float32 cosines in [-1, 1].

    Raises
    ------
    NotFoundError
        If there is no such index.
    InvalidArgumentError
        If k or the number of queries is out of range, or vectors are of another width.
    GenesUnmatchedError
        If too few genes match.
    VersionMismatchError
        If the answer is of another version than is pinned.
    """
    header = search_header(index, k, filters, exact, genes, units, taxon, space)
    message = queries_message((queries, exclude_batches))
    return Call(
        "CellService/SearchCells",
        wire.SearchCellsRequest(header=header, queries=message),
        results.read_found,
        of_answer,
        exactly(index=index),
    )


def stream_search_cells(
    index: str,
    blocks: Blocks,
    *,
    k: int = 10,
    filters: Sequence[CellFilter] = (),
    exact: bool = False,
    genes: Sequence[str] = (),
    units: ExpressionUnits | None = None,
    taxon: int = 0,
    space: str | None = None,
) -> Stream[results.SearchReport, results.CellHits]:
    """Search for a stream of queries, all in one version.

    Source: ``CellService.StreamSearchCells``. The report's ``versions`` name the data.

    Parameters
    ----------
    index, k, filters, exact, genes, units, taxon, space
        As for `search_cells`.
    blocks
        Queries as `search_cells` takes them, or pairs of queries and their ``exclude_batches``;
        taken one by one as answers come.

    Returns
    -------
    report
        `SearchReport`: versions, and how the genes met the corpus.
    hits
        `CellHits`, one a block and in order; take them to keep the stream going.

    Raises
    ------
    NotFoundError, InvalidArgumentError, GenesUnmatchedError, VersionMismatchError
        As `search_cells`; errors in a block when its answer is taken.
    """
    request = wire.StreamSearchCellsRequest
    return Stream(
        "CellService/StreamSearchCells",
        [request(header=search_header(index, k, filters, exact, genes, units, taxon, space))],
        blocks,
        lambda block: request(queries=queries_message(block)),
        lambda first: results.read_search_report(first.report),
        lambda answer: results.read_hits(answer.hits),
        pins=exactly(index=index),
    )


def explain_cell(
    index: str,
    genes: Sequence[str],
    cells: Any,
    *,
    units: ExpressionUnits,
    taxon: int = 0,
    space: str | None = None,
    label: str = "",
    n_genes: int = 20,
) -> Call[results.Explanations]:
    """Say which genes pull cells to a label; exact and additive.

    Source: ``CellService.ExplainCell``. The answer's ``versions`` name the data.

    Parameters
    ----------
    index, genes, units, taxon, space
        As for `predict_subtypes`.
    cells
        CSR matrix (n_cells, n_genes), up to 64 cells.
    label
        The subtype to explain; empty for the one whose mean is nearest to each cell.
    n_genes
        Genes to name of each cell, 1 to 1000.

    Returns
    -------
    Explanations
        One a cell, in order.

    Raises
    ------
    NotFoundError
        If there is no such index.
    InvalidArgumentError
        If there are too many cells, or the reference lacks the label.
    GenesUnmatchedError
        If too few genes match.
    VersionMismatchError
        If the answer is of another version than is pinned.
    """
    request = wire.ExplainCellRequest(
        header=query_header(index, genes, units, taxon, space=space),
        cells=to_message(cells),
        label=label,
        n_genes=n_genes,
    )
    return Call(
        "CellService/ExplainCell", request, results.read_explanations, of_answer,
        exactly(index=index),
    )  # fmt: skip


def get_cells(
    index: str, cell_ids: Sequence[str], *, return_vectors: bool = False
) -> Call[results.Cells]:
    """Describe up to 1000 reference cells by their names.

    Source: ``CellService.GetCells``. The answer's ``versions`` name the data.

    Parameters
    ----------
    index
        ``NAME[@VERSION_OR_ALIAS]``; of exactly one version, the answer must be of it.
    cell_ids
        Names of cells.
    return_vectors
        Whether to bring their (n_cells, dim) float32 vectors.

    Returns
    -------
    Cells
        In the order asked for.

    Raises
    ------
    NotFoundError
        If there is no such index, or it lacks a cell.
    InvalidArgumentError
        If there are too many names.
    VersionMismatchError
        If the answer is of another version than is pinned.
    """
    request = wire.GetCellsRequest(index=index, cell_ids=cell_ids, return_vectors=return_vectors)
    return Call(
        "CellService/GetCells", request, results.read_cells, of_answer, exactly(index=index)
    )
