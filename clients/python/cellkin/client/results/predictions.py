"""Labels as they come over the wire."""

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
from cellkin.client.results.tables import Tabular
from cellkin.client.results.versions import Versions
from cellkin.v1 import cell_service_pb2 as cell
from cellkin.wire import codec
from cellkin.wire.match import GeneMatch
from cellkin.wire.terms import MATCHED_ROUTES, UNKNOWN_LABEL, GeneRoute, UnknownReason


@dataclass(frozen=True)
class QueryReport:
    """What a query met before any cell was labelled.

    Parameters
    ----------
    versions
        What the answer is made from.
    recipe
        Name of the recipe.
    labels
        The subtypes that predictions refer to.
    match
        How each gene name met the corpus.
    min_probability
        A label less probable than this is not claimed.
    k
        Neighbors that vote.
    space
        ``text`` or ``expression``.
    shared_expression
        The share of the reference's expression that the query's genes have, in [0, 1].
    own_mean
        Whether the query's own mean is subtracted in the text space, and not the reference's.
    novelty_limit
        A cell of more novelty than this is unknown. Of foreign genes every label of
        ``sample_check`` has its own limit and this is the largest, infinite without a check.
    calibration_error
        Expected calibration error of the probabilities on cells of the reference that were held
        out; 0 where it was not measured, as for foreign genes.
    ancestors
        What fallbacks refer to, where labels are paths.
    foreign
        Whether cells are compared by text because the query's genes are foreign to the reference.
    background_cells
        Cells that the server wants as the background; 0 where it wants none or has it.
    warnings
        What weakens the answer.
    sample_check
        Whether a sample of foreign genes belongs to the reference; None where it was not checked.
    reference_depth
        How deep the reference's cells are; None where it was not measured, as in the text space.
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


@dataclass(frozen=True)
class Predictions(Tabular):
    """The labels of a block of cells, in order.

    Parameters
    ----------
    winners
        (n_cells,) int32 into the report's labels, the most probable one; -1 where no gene of the
        cell counts.
    probabilities
        (n_cells,) float32 in [0, 1], the winner's, calibrated on the reference.
    supports
        (n_cells,) float32 in [0, 1], the winner's share of the neighbors' vote. No probability.
    n_votes
        (n_cells,) uint8, neighbors that carry the winning label.
    novelties
        (n_cells,) float32, how much farther than its label's own cells the cell is, in their
        standard deviations.
    reasons
        (n_cells,) uint8, an `UnknownReason`; 0 where the winner is the label.
    fallbacks
        (n_cells,) int32 into the report's ancestors, the deepest one that is probable enough where
        the winner is not; -1 elsewhere.
    vectors
        (n_cells, dim) float32, zero where no gene matched; (n_cells, 0) unless asked for.
    route_shares
        (n_cells, n_routes) float32 in [0, 1], the share of the cell's linear expression that came
        in by each route, a column a `GeneRoute`; genes without a vector in the cell space count as
        unmatched. Rows add up to 1; they are zero where a cell expresses nothing, and NaN where the
        server is of a release that does not say.
    runners_up
        (n_cells,) int32 into the report's labels, the second most probable one; -1 where there is
        none.
    runner_up_probabilities
        (n_cells,) float32 in [0, 1], the runner-up's, calibrated; NaN where the server is of a
        release that does not say.
    label_probabilities
        (n_cells, n_labels) float32 in [0, 1], calibrated, a column a label of the report;
        (n_cells, 0) unless asked for.
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

    @property
    def known_probabilities(self) -> npt.NDArray[np.float32]:
        """(n_cells,) float32 in [0, 1], that of the label; NaN where none can be claimed."""
        known = self.reasons == UnknownReason.KNOWN
        return np.where(known, self.probabilities, np.float32(np.nan))

    @property
    def matched_shares(self) -> npt.NDArray[np.float32]:
        """(n_cells,) float32 in [0, 1], the share of the expression that came in by any route."""
        matched: npt.NDArray[np.float32] = self.route_shares[:, MATCHED_ROUTES].sum(axis=1)
        return np.minimum(matched, np.float32(1), out=matched)

    def columns(self) -> dict[str, Any]:
        """Return one row a cell, without vectors and matrices; of the routes the matched shares."""
        return {name: getattr(self, name) for name in _PER_CELL}

    @classmethod
    def join(cls, parts: "list[Predictions]") -> "Predictions":
        """Return the predictions of several blocks as one; of none, those of no cells."""
        # A block of no cells does not say how wide its matrices are.
        parts = [part for part in parts if len(part.winners)] or parts[:1]
        parts = parts or [read_predictions(cell.PredictionBlock())]
        names = cls.__dataclass_fields__
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


@dataclass(frozen=True)
class Prediction(Tabular):
    """The answer to one block of cells.

    Parameters
    ----------
    report
        What the query met.
    predictions
        One row a cell.
    """

    report: QueryReport
    predictions: Predictions

    @property
    def versions(self) -> Versions:
        """What the answer is made from."""
        return self.report.versions

    def columns(self) -> dict[str, Any]:
        """Return one row a cell, its label ``unknown`` and the probability NaN where none is."""
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
    """Return what a space is called in a client: ``text`` or ``expression``."""
    return "expression" if kind == cell.SPACE_KIND_EXPRESSION else "text"


def read_match(genes: cell.GeneMatch) -> GeneMatch:
    """Read how gene names met the corpus."""
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


def read_predictions(block: cell.PredictionBlock) -> Predictions:
    """Read the predictions of a block."""
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


def _read_route_shares(data: bytes, n_cells: int) -> npt.NDArray[np.float32]:
    if not data:
        return np.full((n_cells, len(GeneRoute)), np.nan, np.float32)
    sent = codec.decode(data, np.float32, "route_shares").reshape(n_cells, -1)
    # Another release may know other routes; they come last.
    n_known = min(sent.shape[1], len(GeneRoute))
    shares = np.zeros((n_cells, len(GeneRoute)), np.float32)
    shares[:, :n_known] = sent[:, :n_known]
    return shares


def read_prediction(message: cell.PredictSubtypesResponse) -> Prediction:
    """Read the answer to one block of cells."""
    return Prediction(read_report(message.report), read_predictions(message.predictions))
