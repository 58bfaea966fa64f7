"""The requests of CellService."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

from cellkin.client.calls.messages import (
    CellFilter,
    queries_message,
    query_header,
    search_header,
    some,
    to_message,
)
from cellkin.client.results import cells as results
from cellkin.client.results import predictions
from cellkin.client.results.versions import exactly
from cellkin.client.transport.core import Blocks, Call, Stream, of_answer
from cellkin.v1 import cell_service_pb2 as wire
from cellkin.wire.errors import InvalidArgumentError, UnimplementedError
from cellkin.wire.terms import ExpressionUnits

Background: TypeAlias = Callable[[int], Any]
"""Returns about the given number of evenly spaced cells of a query, as a CSR matrix (n_cells,
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
    return_positions: bool = False,
) -> Call[predictions.Prediction]:
    """Label one block of cells.

    If the genes are foreign to the reference and there are at least 200 cells, the server checks
    whether the cells belong to it, and subtracts their own mean.

    Source: ``CellService.PredictSubtypes``. The ``versions`` of the result name the data.

    Parameters
    ----------
    index
        ``NAME[@VERSION_OR_ALIAS]``; an exact version also pins the response.
    genes
        Names of the columns.
    cells
        CSR matrix (n_cells, n_genes), up to 4096 cells, finite and non-negative.
    units
        Units of the values: linear (counts), or log1p of them.
    taxon
        Species, by NCBI taxonomy id or name (``"mouse"``); 0 infers it from the names.
    min_probability
        Minimum probability of a label, in (0, 1]; None for the value stored with the index.
    return_vectors
        Whether to return the cell vectors.
    space
        ``text`` or ``expression``; None lets the server choose by the shared genes.
    own_mean
        Whether to subtract the mean of these cells (at least 200) in the text space, whatever their
        genes; otherwise the server chooses.
    exclude_batches
        Batches of the reference that do not vote; labels then depend on neighbors alone.
    novelty_limit
        Cells of higher novelty are unknown; None for the limit stored with the index.
    false_alarms
        Share of known cells that may be called unknown for their novelty, in [0.001, 0.5]; given
        instead of a limit.
    return_probabilities
        Whether to return the probability of every label.
    return_positions
        Whether to return the positions of the cells in the index's layout, see `get_layout`.

    Returns
    -------
    Prediction
        The report, and one row per cell.

    Raises
    ------
    NotFoundError
        If the index does not exist.
    InvalidArgumentError
        If the space or batch does not exist, the block is not valid expression, or an option is out
        of range.
    GenesUnmatchedError
        If too few genes match; its metadata is the match report.
    FailedPreconditionError
        If positions are requested and the index has no layout.
    UnimplementedError
        If positions are requested and the server is of an earlier release.
    VersionMismatchError
        If the response is from another version than pinned.
    """
    header = query_header(
        index, genes, units, taxon, min_probability, return_vectors, space, own_mean,
        exclude_batches, novelty_limit, false_alarms, return_probabilities, return_positions,
    )  # fmt: skip
    return Call(
        "CellService/PredictSubtypes",
        wire.PredictSubtypesRequest(header=header, cells=to_message(cells)),
        partial(predictions.read_prediction, with_positions=return_positions),
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
    return_positions: bool = False,
    n_ahead: int = 0,
) -> Stream[predictions.QueryReport, predictions.Predictions]:
    """Label a stream of cells, all by one version.

    Source: ``CellService.StreamPredictSubtypes``. The report's ``versions`` name the data.

    Parameters
    ----------
    index, genes, units, taxon, min_probability, return_vectors, space, exclude_batches
        As for `predict_subtypes`.
    novelty_limit, false_alarms, return_probabilities, return_positions
        As for `predict_subtypes`.
    blocks
        CSR matrices (n_cells, n_genes), consumed one by one as responses arrive; an asynchronous
        client also takes asynchronous iterables.
    background
        Evenly spaced cells of the whole query, by which the server checks whether a sample of
        foreign genes belongs to the reference, and whose mean it subtracts in the text space. A
        function is called only if the server wants them, with the number it wants, and returns a
        CSR matrix (n_cells, n_genes), or None if the query has fewer than 200. A matrix is always
        used: its mean is subtracted whatever the genes. With None, the reference's mean is
        subtracted and a foreign sample is not checked.
    n_ahead
        Number of blocks to send with the header, before the report arrives, so that a small query
        takes one round trip; up to 4. Not with a function as the background.

    Returns
    -------
    report
        `QueryReport`, made after the background if one was sent.
    predictions
        `Predictions`, one per block, in order; consume them to keep the stream going.

    Raises
    ------
    NotFoundError, InvalidArgumentError, GenesUnmatchedError, VersionMismatchError
        As `predict_subtypes`; errors in a block are raised when its result is consumed.
    """
    asked, given = (background, None) if callable(background) else (None, background)
    if n_ahead and asked is not None:
        raise InvalidArgumentError(
            f"n_ahead is {n_ahead}, and the background is a function: the report says whether it "
            "is wanted before any block; leave out one of them"
        )
    header = query_header(
        index, genes, units, taxon, min_probability, return_vectors, space, given is not None,
        exclude_batches, novelty_limit, false_alarms, return_probabilities, return_positions,
    )  # fmt: skip
    request, sent = wire.StreamPredictSubtypesRequest, _Blocks()
    opening = [request(header=header)]
    if given is not None:
        opening.append(request(background=to_message(given)))
    return Stream(
        "CellService/StreamPredictSubtypes",
        opening,
        blocks,
        sent.message,
        lambda first: predictions.read_report(sent.told(first.report)),
        lambda answer: predictions.read_predictions(
            answer.predictions, with_positions=return_positions
        ),
        pins=exactly(index=index),
        then=lambda report: _background_message(report, asked),
        n_ahead=n_ahead,
    )


class _Blocks:
    """Makes the messages of blocks, compact ones once a server has said that it reads them."""

    def __init__(self) -> None:
        self._compact = False

    def told(self, report: wire.QueryReport) -> wire.QueryReport:
        """Look at the report of a server, and return it."""
        self._compact = report.reads_compact_blocks
        return report

    def message(self, block: Any) -> wire.StreamPredictSubtypesRequest:
        """Return the message of a block."""
        message = wire.StreamPredictSubtypesRequest()
        to_message(block, message.cells, compact=self._compact)
        return message


def _background_message(
    report: predictions.QueryReport, draw: Background | None
) -> wire.StreamPredictSubtypesRequest | None:
    """Return the background that a report asks for, None if not asked for or not available."""
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
    """Find the reference cells nearest to cell vectors, or to cells by their expression.

    Source: ``CellService.SearchCells``. The ``versions`` of the result name the data.

    Parameters
    ----------
    index
        ``NAME[@VERSION_OR_ALIAS]``; an exact version also pins the response.
    queries
        (n_queries, dim) float32 vectors of the space, of any length but 0; or a CSR matrix
        (n_cells, n_genes) of expression. Up to 4096.
    k
        Neighbors per query, 1 to 1000.
    filters
        Only reference cells that pass all filters are hits.
    exact
        Whether to compare with every reference cell, exactly; slow on a large reference.
    genes, units, taxon
        For expression: names of the columns, units of the values, and the species (0 infers it).
    space
        ``text`` or ``expression``; None means text for vectors, and for cells lets the server
        choose by the shared genes.
    exclude_batches
        One per query: the batch whose cells are not hits, or an empty string.

    Returns
    -------
    FoundCells
        The hits, best first, with float32 cosine similarities in [-1, 1].

    Raises
    ------
    NotFoundError
        If the index does not exist.
    InvalidArgumentError
        If k or the number of queries is out of range, or vectors have another dimension.
    GenesUnmatchedError
        If too few genes match.
    VersionMismatchError
        If the response is from another version than pinned.
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
        Queries as for `search_cells`, or pairs of queries and their ``exclude_batches``; consumed
        one by one as responses arrive.

    Returns
    -------
    report
        `SearchReport`: versions, and the match of the genes to the corpus.
    hits
        `CellHits`, one per block, in order; consume them to keep the stream going.

    Raises
    ------
    NotFoundError, InvalidArgumentError, GenesUnmatchedError, VersionMismatchError
        As `search_cells`; errors in a block are raised when its result is consumed.
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
    """Explain the labels of cells by exact, additive gene contributions.

    Source: ``CellService.ExplainCell``. The ``versions`` of the result name the data.

    Parameters
    ----------
    index, genes, units, taxon, space
        As for `predict_subtypes`.
    cells
        CSR matrix (n_cells, n_genes), up to 64 cells; up to 4096 for their mean.
    label
        The label to explain; empty for the one whose mean is nearest to each cell.
    against
        The label to compare with: contributions, score and remainder are then those of ``label``
        minus those of this one. Empty for none.
    mean
        Whether to explain the mean of the cells instead of each cell.
    n_genes
        Genes to list per cell, 1 to 1000.

    Returns
    -------
    Explanations
        One per cell, in order; a single one for the mean.

    Raises
    ------
    NotFoundError
        If the index does not exist.
    InvalidArgumentError
        If there are too many cells, or the reference lacks a label.
    GenesUnmatchedError
        If too few genes match.
    VersionMismatchError
        If the response is from another version than pinned.
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
    index: str,
    cell_ids: Sequence[str] = (),
    *,
    rows: Sequence[int] = (),
    return_vectors: bool = False,
) -> Call[results.Cells]:
    """Describe up to 1000 reference cells by name or row.

    Source: ``CellService.GetCells``. The ``versions`` of the result name the data.

    Parameters
    ----------
    index
        ``NAME[@VERSION_OR_ALIAS]``; an exact version also pins the response.
    cell_ids
        Names of the cells.
    rows
        Rows of the reference instead of names, such as those of hits or of a layout.
    return_vectors
        Whether to return their (n_cells, dim) float32 vectors.

    Returns
    -------
    Cells
        The cells, in the order of ``cell_ids`` or ``rows``.

    Raises
    ------
    NotFoundError
        If the index does not exist, or lacks a cell.
    InvalidArgumentError
        If there are too many, or names and rows are given.
    UnimplementedError
        If rows are given, and the server is of an earlier release.
    VersionMismatchError
        If the response is from another version than pinned.
    """
    request = wire.GetCellsRequest(
        index=index, cell_ids=cell_ids, return_vectors=return_vectors, rows=rows
    )
    return Call(
        "CellService/GetCells", request, partial(_read_cells, len(rows)), of_answer,
        exactly(index=index),
    )  # fmt: skip


def _read_cells(n_rows: int, message: wire.GetCellsResponse) -> results.Cells:
    if len(message.cells) < n_rows:  # a server of an earlier release ignores rows
        raise UnimplementedError(
            "the server ignored the rows: it runs an earlier release; name the cells, or ask its "
            "operator to upgrade it"
        )
    return results.read_cells(message)
