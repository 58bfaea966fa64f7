"""Reference cells, search hits, and explanations of labels."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cellkin.client.results.predictions import read_match, space_name
from cellkin.client.results.tables import Shown, Tabular
from cellkin.client.results.versions import Versions
from cellkin.v1 import cell_service_pb2 as wire
from cellkin.wire import codec
from cellkin.wire.match import GeneMatch


@dataclass(frozen=True, repr=False)
class CellHits(Tabular):
    """The nearest reference cells of each query, concatenated over queries.

    Best first, ties by ascending row. A query without matched genes has no hits.

    Parameters
    ----------
    counts
        (n_queries,) int32, number of hits per query: k, or fewer if fewer pass the filters.
    cell_ids, labels
        Names and labels of the n_hits cells.
    batches
        Donor or batch of each; empty strings if the reference has none.
    similarities
        (n_hits,) float32 cosine similarities in [-1, 1].
    rows
        (n_hits,) int64 rows of the reference.
    """

    counts: npt.NDArray[np.int32]
    cell_ids: tuple[str, ...]
    labels: tuple[str, ...]
    batches: tuple[str, ...]
    similarities: npt.NDArray[np.float32]
    rows: npt.NDArray[np.int64]

    def columns(self) -> dict[str, Any]:
        """Return one row per hit; ``query`` is the position of its query, ``rank`` starts at 1."""
        starts = np.cumsum(self.counts) - self.counts
        return {
            "query": np.repeat(np.arange(len(self.counts)), self.counts),
            "rank": np.arange(len(self.rows)) - np.repeat(starts, self.counts) + 1,
            "cell_id": list(self.cell_ids),
            "label": list(self.labels),
            "batch": list(self.batches),
            "similarity": self.similarities,
            "row": self.rows,
        }

    @classmethod
    def join(cls, parts: "list[CellHits]") -> "CellHits":
        """Return the hits of several blocks, concatenated; there may be no block."""
        parts = parts or [read_hits(wire.CellHits())]
        return cls(
            np.concatenate([part.counts for part in parts]),
            tuple(name for part in parts for name in part.cell_ids),
            tuple(label for part in parts for label in part.labels),
            tuple(batch for part in parts for batch in part.batches),
            np.concatenate([part.similarities for part in parts]),
            np.concatenate([part.rows for part in parts]),
        )


@dataclass(frozen=True, repr=False)
class SearchReport(Shown):
    """Report of a search, sent before its hits.

    Parameters
    ----------
    versions
        Versions of the response.
    match
        Match of each gene to the corpus; None if vectors were given.
    space
        Space of the comparison: ``text`` or ``expression``.
    """

    versions: Versions
    match: GeneMatch | None
    space: str


@dataclass(frozen=True, repr=False)
class FoundCells(Shown):
    """Results of one block of queries.

    Parameters
    ----------
    versions
        Versions of the response.
    hits
        The nearest cells.
    match
        Match of each gene to the corpus; None if vectors were given.
    space
        Space of the comparison: ``text`` or ``expression``.
    """

    versions: Versions
    hits: CellHits
    match: GeneMatch | None
    space: str


@dataclass(frozen=True, repr=False)
class Cells(Tabular):
    """Reference cells, in the requested order.

    Parameters
    ----------
    cell_ids, labels, batches
        Names, labels, and donors or batches (empty if the reference has none).
    rows
        (n_cells,) int64 rows of the reference.
    vectors
        (n_cells, dim) float32 of the text space, unit length; (n_cells, 0) unless requested.
    versions
        Versions of the response.
    """

    cell_ids: tuple[str, ...]
    labels: tuple[str, ...]
    batches: tuple[str, ...]
    rows: npt.NDArray[np.int64]
    vectors: npt.NDArray[np.float32]
    versions: Versions

    def columns(self) -> dict[str, Any]:
        """Return one row per cell, without the vectors."""
        return {
            "cell_id": list(self.cell_ids),
            "label": list(self.labels),
            "batch": list(self.batches),
            "row": self.rows,
        }


@dataclass(frozen=True, repr=False)
class CellExplanation(Tabular):
    """Gene contributions to one cell's score for a label.

    ``score`` is the sum of ``contributions`` and ``remainder``, up to rounding. In the expression
    space the remainder includes the part of the reference's mean cell. If ``against`` was given,
    all are those of the label minus those of the other.

    Parameters
    ----------
    label
        The explained label; empty if no gene of the cell matched.
    score
        ``<z, p_c>``, the projection of the cell vector ``z`` on the direction of the label.
    similarity
        Cosine similarity of the cell and the label's mean, in [-1, 1].
    gene_ids, symbols
        (n_genes,) int64 and their symbols: the genes of the largest contributions of either sign,
        largest first.
    weights
        (n_genes,) float32 in [0, 1], each gene's share of the cell's weight; in the expression
        space, its z-score.
    contributions
        (n_genes,) float32, each gene's part of the score.
    remainder, n_remaining
        Sum of the contributions of all other genes, and their number.
    """

    label: str
    score: float
    similarity: float
    gene_ids: npt.NDArray[np.int64]
    symbols: tuple[str, ...]
    weights: npt.NDArray[np.float32]
    contributions: npt.NDArray[np.float32]
    remainder: float
    n_remaining: int

    def columns(self) -> dict[str, Any]:
        """Return one row per listed gene, largest contribution first; see ``remainder``."""
        return {
            "gene_id": self.gene_ids,
            "symbol": list(self.symbols),
            "weight": self.weights,
            "contribution": self.contributions,
        }


@dataclass(frozen=True, repr=False)
class Explanations(Tabular):
    """Explanations of the labels of cells.

    Parameters
    ----------
    versions
        Versions of the response.
    cells
        One per cell, in order.
    space
        Space of the explanation: ``text`` or ``expression``.
    """

    versions: Versions
    cells: tuple[CellExplanation, ...]
    space: str

    def columns(self) -> dict[str, Any]:
        """Return one row per cell and gene; ``cell`` is the cell's position."""
        counts = [len(cell.gene_ids) for cell in self.cells]
        empty = CellExplanation("", 0, 0, np.empty(0, np.int64), (), *_no_floats(), 0, 0)
        parts = [cell.columns() for cell in self.cells] or [empty.columns()]
        return {
            "cell": np.repeat(np.arange(len(counts)), counts),
            "label": [cell.label for cell in self.cells for _ in cell.symbols],
            "gene_id": np.concatenate([part["gene_id"] for part in parts]),
            "symbol": [symbol for part in parts for symbol in part["symbol"]],
            "weight": np.concatenate([part["weight"] for part in parts]),
            "contribution": np.concatenate([part["contribution"] for part in parts]),
        }

    def cell_columns(self) -> dict[str, Any]:
        """Return one row per cell: its label, and the sums over its genes."""
        return {
            "label": [cell.label for cell in self.cells],
            "score": np.array([cell.score for cell in self.cells], np.float64),
            "similarity": np.array([cell.similarity for cell in self.cells], np.float64),
            "remainder": np.array([cell.remainder for cell in self.cells], np.float64),
            "n_remaining": np.array([cell.n_remaining for cell in self.cells], np.int64),
        }


def read_hits(message: wire.CellHits) -> CellHits:
    """Read the hits of a block."""
    return CellHits(
        np.array(message.counts, np.int32),
        tuple(message.cell_ids),
        tuple(message.labels),
        tuple(message.batches),
        np.array(message.similarities, np.float32),
        np.array(message.rows, np.int64),
    )


def read_found(message: wire.SearchCellsResponse) -> FoundCells:
    """Read the results of a block of queries."""
    match = read_match(message.genes) if message.HasField("genes") else None
    return FoundCells(
        Versions.from_message(message.versions),
        read_hits(message.hits),
        match,
        space_name(message.space),
    )


def read_search_report(message: wire.SearchReport) -> SearchReport:
    """Read the report of a search."""
    match = read_match(message.genes) if message.HasField("genes") else None
    return SearchReport(Versions.from_message(message.versions), match, space_name(message.space))


def read_cells(message: wire.GetCellsResponse) -> Cells:
    """Read the description of reference cells."""
    flat = codec.decode(b"".join(c.vector for c in message.cells), np.float32, "vector")
    n = len(message.cells)
    return Cells(
        tuple(c.cell_id for c in message.cells),
        tuple(c.label for c in message.cells),
        tuple(c.batch for c in message.cells),
        np.array([c.row for c in message.cells], np.int64),
        flat.reshape(n, len(flat) // max(1, n)),
        Versions.from_message(message.versions),
    )


def read_explanations(message: wire.ExplainCellResponse) -> Explanations:
    """Read explanations."""
    return Explanations(
        Versions.from_message(message.versions),
        tuple(map(_explanation, message.explanations)),
        space_name(message.space),
    )


def _explanation(message: wire.CellExplanation) -> CellExplanation:
    genes = message.contributions
    return CellExplanation(
        message.label,
        message.score,
        message.similarity,
        np.array([g.gene_id for g in genes], np.int64),
        tuple(g.symbol for g in genes),
        np.array([g.weight for g in genes], np.float32),
        np.array([g.contribution for g in genes], np.float32),
        message.remainder,
        message.n_remaining,
    )


def _no_floats() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    return np.empty(0, np.float32), np.empty(0, np.float32)
