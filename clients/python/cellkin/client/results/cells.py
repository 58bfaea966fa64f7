"""Reference cells: those nearest to queries, those named, and why a cell has its label."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cellkin.client.results.predictions import read_match, space_name
from cellkin.client.results.tables import Tabular
from cellkin.client.results.versions import Versions
from cellkin.v1 import cell_service_pb2 as wire
from cellkin.wire import codec
from cellkin.wire.match import GeneMatch


@dataclass(frozen=True)
class CellHits(Tabular):
    """The nearest reference cells of each query, one query after the other.

    Best first, ties by ascending row. A query without any matched gene has none.

    Parameters
    ----------
    counts
        (n_queries,) int32, hits of each query: k, or fewer where fewer pass the filters.
    cell_ids, labels
        Names and subtypes of the n_hits cells.
    batches
        Donor or batch of each; empty strings where the reference has none.
    similarities
        (n_hits,) float32 cosines in [-1, 1].
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
        """Return one row a hit; ``query`` is the place of its query, ``rank`` begins with 1."""
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
        """Return the hits of several blocks as one; of none, those of no queries."""
        parts = parts or [read_hits(wire.CellHits())]
        return cls(
            np.concatenate([part.counts for part in parts]),
            tuple(name for part in parts for name in part.cell_ids),
            tuple(label for part in parts for label in part.labels),
            tuple(batch for part in parts for batch in part.batches),
            np.concatenate([part.similarities for part in parts]),
            np.concatenate([part.rows for part in parts]),
        )


@dataclass(frozen=True)
class SearchReport:
    """What a search met before any query was answered.

    Parameters
    ----------
    versions
        What the answer is made from.
    match
        How each gene met the corpus; None where vectors are given.
    space
        ``text`` or ``expression``: what cells are compared in.
    """

    versions: Versions
    match: GeneMatch | None
    space: str


@dataclass(frozen=True)
class FoundCells:
    """An answer to one block of queries.

    Parameters
    ----------
    versions
        What the answer is made from.
    hits
        The nearest cells.
    match
        How each gene met the corpus; None where vectors were given.
    space
        ``text`` or ``expression``: what cells are compared in.
    """

    versions: Versions
    hits: CellHits
    match: GeneMatch | None
    space: str


@dataclass(frozen=True)
class Cells(Tabular):
    """Reference cells, in the order asked for.

    Parameters
    ----------
    cell_ids, labels, batches
        Names, subtypes, donors or batches (empty where the reference has none).
    rows
        (n_cells,) int64 rows of the reference.
    vectors
        (n_cells, dim) float32 of the text space, unit length; (n_cells, 0) unless asked for.
    versions
        What the answer is made from.
    """

    cell_ids: tuple[str, ...]
    labels: tuple[str, ...]
    batches: tuple[str, ...]
    rows: npt.NDArray[np.int64]
    vectors: npt.NDArray[np.float32]
    versions: Versions

    def columns(self) -> dict[str, Any]:
        """Return one row a cell, without the vectors."""
        return {
            "cell_id": list(self.cell_ids),
            "label": list(self.labels),
            "batch": list(self.batches),
            "row": self.rows,
        }


@dataclass(frozen=True)
class CellExplanation(Tabular):
    """The sum that one cell's closeness to a label is made of.

    ``score`` is the sum of ``contributions`` and of ``remainder``, but for rounding. In the
    expression space the remainder also has what the mean cell of the reference has. Where another
    label was asked about with ``against``, they are those of the label less those of the other.

    Parameters
    ----------
    label
        The subtype explained; empty where no gene of the cell matched.
    score
        ``<z, p_c>``, with ``z`` the cell's place: how far it lies in the direction of the class.
    similarity
        Cosine of the cell and the class mean, in [-1, 1].
    gene_ids, symbols
        (n_genes,) int64 and their symbols: those of the largest contributions of either sign,
        largest first.
    weights
        (n_genes,) float32 in [0, 1], each gene's share of the cell's weight; in the expression
        space its z-score.
    contributions
        (n_genes,) float32, each gene's part of the score.
    remainder, n_remaining
        The sum of the contributions of all other genes, and how many these are.
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
        """Return one row a gene."""
        return {
            "gene_id": self.gene_ids,
            "symbol": list(self.symbols),
            "weight": self.weights,
            "contribution": self.contributions,
        }


@dataclass(frozen=True)
class Explanations(Tabular):
    """Why cells have their labels.

    Parameters
    ----------
    versions
        What the answer is made from.
    cells
        One a cell, in order.
    space
        ``text`` or ``expression``: what is explained.
    """

    versions: Versions
    cells: tuple[CellExplanation, ...]
    space: str

    def columns(self) -> dict[str, Any]:
        """Return one row a gene of a cell; ``cell`` is the cell's place."""
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
        """Return one row a cell: its label, and what its genes add up to."""
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
    """Read the answer to a block of queries."""
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
    """Read why cells have their labels."""
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
