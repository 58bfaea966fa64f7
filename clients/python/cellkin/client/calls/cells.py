"""The requests of CellService."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from cellkin.client.calls.messages import (
    CellFilter,
    queries_message,
    query_header,
    search_header,
    some,
    to_message,
)
from cellkin.client.core import Blocks, Call, Stream, of_answer
from cellkin.client.results import cells as results
from cellkin.client.results import predictions
from cellkin.client.results.versions import exactly
from cellkin.v1 import cell_service_pb2 as wire
from cellkin.wire.errors import InvalidArgumentError
from cellkin.wire.terms import ExpressionUnits

Background: TypeAlias = Callable[[int], Any]
"""Returns cells drawn evenly from a query, about as many as are wanted, as a CSR matrix (n_cells,
n_genes); None if the query has too few."""


def predict_subtypes(
    index: str,
    genes: Sequence[str],
    cells: Any,
    *,
    units: ExpressionUnits,
    taxon: int | str = 0,
    min_probability: float | None = None,
    return_vectors: bool = False,
    space: str | None = None,
    own_mean: bool = False,
    exclude_batches: Sequence[str] = (),
    novelty_limit: float | None = None,
    false_alarms: float | None = None,
    return_probabilities: bool = False,
) -> Call[predictions.Prediction]:
    """Label one block of cells.

    Where the genes are foreign to the reference and there are at least 200 cells, the server checks
    whether they belong to it, and subtracts their own mean.

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
        Species, by NCBI taxonomy id or name (``"mouse"``); 0 infers it from the names.
    min_probability
        The least probability of a label, in (0, 1]; None for that stored with the index.
    return_vectors
        Whether to bring the cells' vectors.
    space
        ``text`` or ``expression``; None lets the server choose by the genes that are shared.
    own_mean
        Whether to subtract the mean of these cells, at least 200, in the text space whatever their
        genes; otherwise the server chooses.
    exclude_batches
        Batches of the reference that do not vote; then neighbors alone decide.
    novelty_limit
        A cell of more novelty than this is unknown; None for the limit stored with the index.
    false_alarms
        The share of known cells that may be called unknown for their novelty, in [0.001, 0.5]; it
        is given instead of a limit.
    return_probabilities
        Whether to bring the probability of every label.

    Returns
    -------
    Prediction
        The report, and one row a cell.

    Raises
    ------
    NotFoundError
        If there is no such index.
    InvalidArgumentError
        If there is no such space or batch, the block is no expression, or an option is out of
        range.
    GenesUnmatchedError
        If too few genes match; its metadata is the match report.
    VersionMismatchError
        If the answer is of another version than is pinned.
    """
    header = query_header(
        index, genes, units, taxon, min_probability, return_vectors, space, own_mean,
        exclude_batches, novelty_limit, false_alarms, return_probabilities,
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
    taxon: int | str = 0,
    min_probability: float | None = None,
    return_vectors: bool = False,
    space: str | None = None,
    background: Any = None,
    exclude_batches: Sequence[str] = (),
    novelty_limit: float | None = None,
    false_alarms: float | None = None,
    return_probabilities: bool = False,
    n_ahead: int = 0,
) -> Stream[predictions.QueryReport, predictions.Predictions]:
    """Label a stream of cells, all from one version.

    Source: ``CellService.StreamPredictSubtypes``. The report's ``versions`` name the data.

    Parameters
    ----------
    index, genes, units, taxon, min_probability, return_vectors, space, exclude_batches
        As for `predict_subtypes`.
    novelty_limit, false_alarms, return_probabilities
        As for `predict_subtypes`.
    blocks
        CSR matrices (n_cells, n_genes), taken one by one as answers come; an asynchronous client
        takes asynchronous iterables, too.
    background
        Cells drawn evenly from the whole query, by which the server checks whether a sample of
        foreign genes belongs to the reference, and whose mean it subtracts in the text space.
        A function is called only if the server wants them, with the number it wants, and returns a
        CSR matrix (n_cells, n_genes), or None if the query has fewer than 200. A matrix is always
        used: its mean is subtracted whatever the genes. With None the reference's mean is
        subtracted and a foreign sample is not checked.
    n_ahead
        Blocks to send with the header, before the report is there, so that a small query takes one
        round trip; up to 4. They cannot be used with a function as the background.

    Returns
    -------
    report
        `QueryReport`: what the query met, after the background if one was sent.
    predictions
        `Predictions`, one a block and in order; take them to keep the stream going.

    Raises
    ------
    NotFoundError, InvalidArgumentError, GenesUnmatchedError, VersionMismatchError
        As `predict_subtypes`; errors in a block when its answer is taken.
    """
    asked, given = (background, None) if callable(background) else (None, background)
    if n_ahead and asked is not None:
        raise InvalidArgumentError(
            f"n_ahead is {n_ahead}, and the background is a function: the report says whether it "
            "is wanted before any block; leave out one of them"
        )
    header = query_header(
        index, genes, units, taxon, min_probability, return_vectors, space, given is not None,
        exclude_batches, novelty_limit, false_alarms, return_probabilities,
    )  # fmt: skip
    request = wire.StreamPredictSubtypesRequest
    opening = [request(header=header)]
    if given is not None:
        opening.append(request(background=to_message(given)))
    return Stream(
        "CellService/StreamPredictSubtypes",
        opening,
        blocks,
        lambda block: request(cells=to_message(block)),
        lambda first: predictions.read_report(first.report),
        lambda answer: predictions.read_predictions(answer.predictions),
        pins=exactly(index=index),
        then=lambda report: _background_message(report, asked),
        n_ahead=n_ahead,
    )


def _background_message(
    report: predictions.QueryReport, draw: Background | None
) -> wire.StreamPredictSubtypesRequest | None:
    """Return the background that a report asks for, None if it asks for none or there is none."""
    if draw is None or not report.background_cells:
        return None
    cells = draw(report.background_cells)
    if cells is None:
        return None
    return wire.StreamPredictSubtypesRequest(background=to_message(cells))


def search_cells(
    index: str,
    queries: Any,
    *,
    k: int = 10,
    filters: Sequence[CellFilter] = (),
    exact: bool = False,
    genes: Sequence[str] = (),
    units: ExpressionUnits | None = None,
    taxon: int | str = 0,
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
    taxon: int | str = 0,
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
    taxon: int | str = 0,
    space: str | None = None,
    label: str = "",
    against: str = "",
    mean: bool = False,
    n_genes: int = 20,
) -> Call[results.Explanations]:
    """Say which genes pull cells to a label; exact and additive.

    Source: ``CellService.ExplainCell``. The answer's ``versions`` name the data.

    Parameters
    ----------
    index, genes, units, taxon, space
        As for `predict_subtypes`.
    cells
        CSR matrix (n_cells, n_genes), up to 64 cells; up to 4096 for their mean.
    label
        The subtype to explain; empty for the one whose mean is nearest to each cell.
    against
        The subtype to compare it with: contributions, score and remainder are then those of
        ``label`` less those of this one. Empty for none.
    mean
        Whether to explain the mean of the cells instead of each cell.
    n_genes
        Genes to name of each cell, 1 to 1000.

    Returns
    -------
    Explanations
        One a cell, in order; of the mean a single one.

    Raises
    ------
    NotFoundError
        If there is no such index.
    InvalidArgumentError
        If there are too many cells, or the reference lacks a label.
    GenesUnmatchedError
        If too few genes match.
    VersionMismatchError
        If the answer is of another version than is pinned.
    """
    request = wire.ExplainCellRequest(
        header=query_header(index, genes, units, taxon, space=space),
        cells=to_message(cells),
        label=label,
        against=against,
        mean=mean,
        n_genes=some("n_genes", n_genes),
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
