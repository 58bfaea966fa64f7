"""Labels from the server."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cellkin.client.results.depth import ReferenceDepth, read_depth
from cellkin.client.results.sample import (
    ReportWarning,
    SampleCheck,
    read_sample_check,
    read_warnings,
)
from cellkin.client.results.tables import Shown, Tabular
from cellkin.client.results.versions import Versions
from cellkin.v1 import cell_service_pb2 as cell
from cellkin.wire import codec
from cellkin.wire.errors import UnimplementedError
from cellkin.wire.match import GeneMatch
from cellkin.wire.terms import MATCHED_ROUTES, UNKNOWN_LABEL, GeneRoute, UnknownReason


@dataclass(frozen=True, repr=False)
class QueryReport(Shown):
    """Report of a query, sent before its labels.

    Parameters
    ----------
    versions
        Versions of the response.
    recipe
        Name of the recipe.
    labels
        The labels that predictions refer to.
    match
        Match of each gene name to the corpus.
    min_probability
        Cells with a less probable label are unknown.
    k
        Number of neighbors that vote.
    space
        ``text`` or ``expression``.
    shared_expression
        Share of the reference's expression in genes of the query, in [0, 1].
    own_mean
        Whether the query's own mean is subtracted in the text space instead of the reference's.
    novelty_limit
        Cells of higher novelty are unknown. For foreign genes, every label of ``sample_check`` has
        its own limit and this is the largest; infinite without a check.
    calibration_error
        Expected calibration error of the probabilities on held-out cells of the reference; 0 if not
        measured, as for foreign genes.
    ancestors
        The ancestors that fallbacks refer to, if labels are paths.
    foreign
        Whether cells are compared by text because the query's genes are foreign to the reference.
    background_cells
        Number of background cells that the server wants; 0 if none, or if it has them.
    warnings
        Warnings about the results.
    sample_check
        Whether a sample of foreign genes belongs to the reference; None if it was not checked.
    reference_depth
        Depth of the reference's cells; None if not measured, as in the text space.
    """

    versions: Versions
    recipe: str
    labels: list[str]
    match: GeneMatch
    min_probability: float
    k: int
    space: str
    shared_expression: float
    own_mean: bool
    novelty_limit: float
    calibration_error: float
    ancestors: list[str]
    foreign: bool = False
    background_cells: int = 0
    warnings: tuple[ReportWarning, ...] = ()
    sample_check: SampleCheck | None = None
    reference_depth: ReferenceDepth | None = None


@dataclass(frozen=True, repr=False)
class Predictions(Tabular):
    """The labels of a block of cells, in order.

    Parameters
    ----------
    winners
        (n_cells,) int32, index of the most probable label in the report's labels; -1 if no gene of
        the cell is used.
    probabilities
        (n_cells,) float32 in [0, 1], probability of that label, calibrated on the reference.
    supports
        (n_cells,) float32 in [0, 1], that label's share of the neighbors' vote. Not a probability.
    n_votes
        (n_cells,) uint8, number of neighbors with that label.
    novelties
        (n_cells,) float32, how much farther the cell is than its label's own cells, in their
        standard deviations.
    reasons
        (n_cells,) uint8, an `UnknownReason`; 0 if the cell has a label.
    fallbacks
        (n_cells,) int32, index in the report's ancestors of the deepest one that is probable enough
        if the label is not; -1 otherwise.
    vectors
        (n_cells, dim) float32, zero if no gene matched; (n_cells, 0) unless requested.
    route_shares
        (n_cells, n_routes) float32 in [0, 1], share of the cell's linear expression by route, one
        column per `GeneRoute`; genes without a vector in the cell space count as unmatched. Rows
        sum to 1; they are zero for cells that express nothing, and NaN if the server's release does
        not report them.
    runners_up
        (n_cells,) int32, index of the second most probable label in the report's labels; -1 if
        there is none.
    runner_up_probabilities
        (n_cells,) float32 in [0, 1], calibrated probability of that label; NaN if the server's
        release does not report it.
    label_probabilities
        (n_cells, n_labels) float32 in [0, 1], calibrated, one column per label of the report;
        (n_cells, 0) unless requested.
    positions
        (n_cells, 2) float32, positions in the index's layout; NaN if no gene matched; (n_cells, 0)
        unless requested.
    """

    winners: npt.NDArray[np.int32]
    probabilities: npt.NDArray[np.float32]
    supports: npt.NDArray[np.float32]
    n_votes: npt.NDArray[np.uint8]
    novelties: npt.NDArray[np.float32]
    reasons: npt.NDArray[np.uint8]
    fallbacks: npt.NDArray[np.int32]
    vectors: npt.NDArray[np.float32]
    route_shares: npt.NDArray[np.float32]
    runners_up: npt.NDArray[np.int32]
    runner_up_probabilities: npt.NDArray[np.float32]
    label_probabilities: npt.NDArray[np.float32]
    positions: npt.NDArray[np.float32]

    @property
    def known_probabilities(self) -> npt.NDArray[np.float32]:
        """(n_cells,) float32 in [0, 1], probability of the label; NaN for unknown cells."""
        known = self.reasons == UnknownReason.KNOWN
        return np.where(known, self.probabilities, np.float32(np.nan))

    @property
    def matched_shares(self) -> npt.NDArray[np.float32]:
        """(n_cells,) float32 in [0, 1], share of the expression in matched genes."""
        matched: npt.NDArray[np.float32] = self.route_shares[:, MATCHED_ROUTES].sum(axis=1)
        return np.minimum(matched, np.float32(1), out=matched)

    def columns(self) -> dict[str, Any]:
        """Return one row per cell, without matrices; route shares as their matched share."""
        return {name: getattr(self, name) for name in _PER_CELL}

    @classmethod
    def join(cls, parts: "list[Predictions]") -> "Predictions":
        """Return the predictions of several blocks, concatenated; there may be no block."""
        # The width of matrices is unknown for a block without cells.
        parts = [part for part in parts if len(part.winners)] or parts[:1]
        parts = parts or [read_predictions(cell.PredictionBlock())]
        names = cls.__dataclass_fields__
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


@dataclass(frozen=True, repr=False)
class Prediction(Tabular):
    """Results of one block of cells.

    Parameters
    ----------
    report
        Report of the query.
    predictions
        One row per cell.
    """

    report: QueryReport
    predictions: Predictions

    @property
    def versions(self) -> Versions:
        """Versions of the response."""
        return self.report.versions

    def columns(self) -> dict[str, Any]:
        """Return one row per cell; without a label, ``unknown`` with probability NaN."""
        found, labels = self.predictions, self.report.labels
        winners = [labels[at] if at >= 0 else "" for at in found.winners.tolist()]
        known = (found.reasons == UnknownReason.KNOWN).tolist()
        return {
            "label": [w if k else UNKNOWN_LABEL for w, k in zip(winners, known, strict=True)],
            "winner": winners,
            "probability": found.known_probabilities,
            "winner_probability": found.probabilities,
            "runner_up": [labels[at] if at >= 0 else "" for at in found.runners_up.tolist()],
            "runner_up_probability": found.runner_up_probabilities,
            "support": found.supports,
            "n_votes": found.n_votes,
            "novelty": found.novelties,
            "reason": [UnknownReason(reason).label for reason in found.reasons.tolist()],
            "matched_share": found.matched_shares,
        }


_PER_CELL = (
    "winners", "probabilities", "supports", "n_votes", "novelties", "reasons", "fallbacks",
    "matched_shares", "runners_up", "runner_up_probabilities",
)  # fmt: skip


def space_name(kind: int) -> str:
    """Return the name of a space: ``text`` or ``expression``."""
    return "expression" if kind == cell.SPACE_KIND_EXPRESSION else "text"


def read_match(genes: cell.GeneMatch) -> GeneMatch:
    """Read the match of gene names."""
    return GeneMatch(
        genes.taxon,
        genes.taxon_inferred,
        codec.decode(genes.gene_ids, np.int64, "gene_ids"),
        codec.decode(genes.routes, np.uint8, "routes"),
        codec.decode(genes.rungs, np.uint8, "rungs"),
        codec.decode(genes.in_space, np.uint8, "in_space"),
    )


def read_report(report: cell.QueryReport) -> QueryReport:
    """Read the report of a query."""
    return QueryReport(
        Versions.from_message(report.versions),
        report.recipe,
        list(report.labels),
        read_match(report.genes),
        report.min_probability,
        report.k,
        space_name(report.space),
        report.shared_expression,
        report.center == cell.CENTER_QUERY,
        report.novelty_limit,
        report.calibration_error,
        list(report.ancestors),
        report.foreign,
        report.background_cells,
        read_warnings(report.warnings),
        read_sample_check(report.sample_check) if report.HasField("sample_check") else None,
        read_depth(report.reference_depth) if report.HasField("reference_depth") else None,
    )


def read_predictions(block: cell.PredictionBlock, with_positions: bool = False) -> Predictions:
    """Read the predictions of a block.

    Raises
    ------
    UnimplementedError
        If positions were requested, and the server is of an earlier release.
    """
    winners = codec.decode(block.winners, np.int32, "winners")
    return Predictions(
        winners,
        codec.decode(block.probabilities, np.float32, "probabilities"),
        codec.decode(block.supports, np.float32, "supports"),
        codec.decode(block.n_votes, np.uint8, "n_votes"),
        codec.decode(block.novelties, np.float32, "novelties"),
        codec.decode(block.unknown_reasons, np.uint8, "unknown_reasons"),
        codec.decode(block.fallbacks, np.int32, "fallbacks"),
        codec.decode(block.vectors, np.float32, "vectors").reshape(len(winners), block.dim),
        _read_route_shares(block.route_shares, len(winners)),
        *_read_runners_up(block, len(winners)),
        _read_label_probabilities(block.label_probabilities, len(winners)),
        _read_positions(block.positions, len(winners), with_positions),
    )


def _read_runners_up(
    block: cell.PredictionBlock, n_cells: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    if not block.runners_up:
        return np.full(n_cells, -1, np.int32), np.full(n_cells, np.nan, np.float32)
    return (
        codec.decode(block.runners_up, np.int32, "runners_up"),
        codec.decode(block.runner_up_probabilities, np.float32, "runner_up_probabilities"),
    )


def _read_label_probabilities(data: bytes, n_cells: int) -> npt.NDArray[np.float32]:
    found = codec.decode(data, np.float32, "label_probabilities")
    return found.reshape(n_cells, len(found) // max(1, n_cells))


def _read_positions(data: bytes, n_cells: int, requested: bool) -> npt.NDArray[np.float32]:
    if requested and n_cells and not data:  # a server of an earlier release ignores the request
        raise UnimplementedError(
            "the server returned no positions: it runs an earlier release; label the cells without "
            "them, or ask its operator to upgrade it"
        )
    return codec.decode(data, np.float32, "positions").reshape(n_cells, 2 if data else 0)


def _read_route_shares(data: bytes, n_cells: int) -> npt.NDArray[np.float32]:
    if not data:
        return np.full((n_cells, len(GeneRoute)), np.nan, np.float32)
    sent = codec.decode(data, np.float32, "route_shares").reshape(n_cells, -1)
    # Another release may have other routes; they come last.
    n_known = min(sent.shape[1], len(GeneRoute))
    shares = np.zeros((n_cells, len(GeneRoute)), np.float32)
    shares[:, :n_known] = sent[:, :n_known]
    return shares


def read_prediction(
    message: cell.PredictSubtypesResponse, with_positions: bool = False
) -> Prediction:
    """Read the results of one block of cells; raises as `read_predictions`."""
    found = read_predictions(message.predictions, with_positions)
    return Prediction(read_report(message.report), found)
