"""Labeling of any number of cells, from files, AnnData or blocks."""

import hashlib
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from cellkin.client.client import Client
from cellkin.client.labels.checkpoint import Checkpoint, Kept, Memory
from cellkin.client.queries import Block, Query
from cellkin.client.results.predictions import Predictions, QueryReport
from cellkin.client.results.tables import Shown
from cellkin.client.transport.connection import MAX_IN_FLIGHT
from cellkin.matrices.features import ColumnsRead
from cellkin.matrices.matrix import MAX_CELLS
from cellkin.matrices.units import UnitsFinding
from cellkin.wire.species import taxon_id
from cellkin.wire.terms import BACKGROUND_CELLS, ExpressionUnits

# Below this share of used names, other columns are searched for better names.
_FEW_MATCH = 0.2
# Of so many blocks one is looked at for the genes of its values.
_COUNTED = 8

Progress: TypeAlias = Callable[[int, int], None]
"""Called with the number of finished cells and the total."""


@dataclass(frozen=True)
class Settings:
    """Settings of a request for labels.

    Parameters
    ----------
    index
        ``NAME[@VERSION_OR_ALIAS]`` of the cell index.
    taxon
        Species of the cells, by NCBI taxonomy id or name (``"mouse"``); 0 infers it from the gene
        names.
    min_probability
        Minimum probability of a label; None for the value stored with the index.
    space
        ``text`` or ``expression``; None lets the server choose by the shared genes.
    exclude_batches
        Batches of the reference that do not vote.
    vectors
        Whether to return the cell vectors.
    novelty_limit
        Cells of higher novelty are unknown; None for the limit stored with the index.
    false_alarms
        Share of known cells that may be called unknown for their novelty, in [0.001, 0.5]; given
        instead of a limit.
    probabilities
        Whether to return the probability of every label.
    positions
        Whether to return the positions of the cells in the index's layout.
    """

    index: str
    taxon: int | str = 0
    min_probability: float | None = None
    space: str | None = None
    exclude_batches: tuple[str, ...] = ()
    vectors: bool = False
    novelty_limit: float | None = None
    false_alarms: float | None = None
    probabilities: bool = False
    positions: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "taxon", taxon_id(self.taxon))

    def options(self) -> dict[str, Any]:
        """Return the arguments of `Client.stream_predict_subtypes`, without the index."""
        asked = asdict(self)
        del asked["index"]
        asked["return_vectors"] = asked.pop("vectors")
        asked["return_probabilities"] = asked.pop("probabilities")
        asked["return_positions"] = asked.pop("positions")
        return asked


@dataclass(frozen=True, repr=False)
class Labeled(Shown):
    """The results of a query.

    Parameters
    ----------
    settings
        Settings of the request.
    report
        The server's report; its match covers every given gene.
    units
        Units that were found for the values.
    cell_ids
        Names of the cells, in the order of all other results.
    predictions
        One row per cell; memory-mapped for a run with a checkpoint.
    mass
        (n_genes,) float64, the summed linear expression of each column.
    median_genes
        Estimated number of used genes that the median cell detects; NaN without cells.
    columns_read
        The columns of the matrix that were read as genes.
    notes
        Sentences for the user on how the cells were read.
    gene_hint
        A sentence on columns with better gene names if few names are used; else empty.
    """

    settings: Settings
    report: QueryReport
    units: UnitsFinding
    cell_ids: list[str]
    predictions: Predictions
    mass: npt.NDArray[np.float64]
    median_genes: float
    columns_read: ColumnsRead
    notes: list[str]
    gene_hint: str


def label(
    client: Client,
    query: Query,
    settings: Settings,
    *,
    resume: Path | None = None,
    progress: Progress = lambda done, total: None,
) -> Labeled:
    """Label cells by one request, reading and sending them in blocks.

    Parameters
    ----------
    client
        The client.
    query
        The cells.
    settings
        The settings of the request.
    resume
        Checkpoint folder for the results. Cells with results from an interrupted run are read again
        and compared, but not sent. None keeps results in memory.
    progress
        Called with the number of finished cells and the total; the former twice if the total is
        unknown.

    Raises
    ------
    GenesUnmatchedError
        If too few genes match; no cell is labeled.
    CheckpointError
        If the checkpoint is from another query, other versions or other settings.
    InvalidArgumentError
        If values are not valid expression.
    """
    sent, drawn = _Sent(query.blocks(MAX_CELLS), len(query.gene_names)), _Drawn(query)
    few = query.n_cells is not None and query.n_cells < BACKGROUND_CELLS
    # No background is requested for so few cells, so blocks need not wait for the report; but a
    # resumed run needs the report to find which cells have results.
    report, answers = client.stream_predict_subtypes(
        settings.index, query.gene_names, sent, units=ExpressionUnits.LINEAR,
        background=None if few else drawn.cells,
        n_ahead=MAX_IN_FLIGHT if few and resume is None else 0, **settings.options(),
    )  # fmt: skip
    with closing(answers):
        kept: Kept = Memory()
        if resume is not None:
            kept = Checkpoint(resume, _identity(query, settings, report, drawn.digest))
        names = kept.skip(sent.blocks)
        progress(len(names), query.n_cells or len(names))
        for answer in answers:
            block = sent.answered()
            kept.add(block, answer, _mass(block.cells))
            names += block.names
            progress(len(names), query.n_cells or len(names))
        kept.write()
    mass = kept.mass(len(query.gene_names))
    few_match = report.match.n_used < _FEW_MATCH * report.match.n_given
    return Labeled(
        settings, report, query.units, names, kept.answers(), mass,
        sent.median_genes(report.match.in_space > 0), query.columns_read,
        query.notes, query.gene_hint() if few_match else "",
    )  # fmt: skip


class _Sent:
    """Sent blocks, each kept until its response arrives."""

    def __init__(self, blocks: Iterator[Block], n_genes: int) -> None:
        self.blocks = self._counted(blocks)
        self._waiting: deque[Block] = deque()
        self._n_genes: list[npt.NDArray[np.int32]] = []
        self._n_cells = np.zeros(n_genes, np.int64)

    def __iter__(self) -> Iterator[sp.csr_matrix]:
        for block in self.blocks:
            self._waiting.append(block)
            yield block.cells

    def _counted(self, blocks: Iterator[Block]) -> Iterator[Block]:
        for number, block in enumerate(blocks):
            self._n_genes.append(np.diff(block.cells.indptr))
            if number % _COUNTED == 0:
                self._n_cells += np.bincount(block.cells.indices, minlength=len(self._n_cells))
            yield block

    def median_genes(self, used: npt.NDArray[np.bool_]) -> float:
        """Estimate the used genes of the median cell: its genes times the share of used values."""
        n_genes = np.concatenate([np.empty(0, np.int32), *self._n_genes])
        if not len(n_genes):
            return float("nan")
        return float(np.median(n_genes) * self._n_cells[used].sum() / max(self._n_cells.sum(), 1))

    def answered(self) -> Block:
        """Return the oldest block without a response."""
        return self._waiting.popleft()


class _Drawn:
    """Draws the background of a query if the server asks for one."""

    def __init__(self, query: Query) -> None:
        self._query = query
        self.digest: str | None = None

    def cells(self, n_wanted: int) -> sp.csr_matrix | None:
        """Draw the background, and store its digest."""
        cells = self._query.background(n_wanted)
        if cells is not None:
            self.digest = _digest(cells.indptr, cells.indices, cells.data)
        return cells


def _mass(cells: sp.csr_matrix) -> npt.NDArray[np.float64]:
    """Return the sum of each column."""
    found: npt.NDArray[np.float64] = cells.T @ np.ones(cells.shape[0])  # faster than numpy.bincount
    return found


def _identity(
    query: Query, settings: Settings, report: QueryReport, background: str | None
) -> dict[str, Any]:
    """Return what must be equal to resume a run."""
    versions = asdict(report.versions)
    del versions["server"]
    asked = asdict(settings)
    # Settings left to the server are replaced by its choices.
    chosen = {name: getattr(report, name) for name in _CHOSEN}
    return {
        "n_cells": query.n_cells,
        "genes": _digest("\n".join(query.gene_names).encode()),
        "units": query.units.scale.name,
        "background": background,
        **asked,
        "taxon": report.match.taxon,
        **versions,
        **chosen,
    }


_CHOSEN = (
    "recipe", "labels", "ancestors", "k", "space", "foreign", "own_mean", "min_probability",
)  # fmt: skip


def _digest(*parts: bytes | npt.NDArray[Any]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part if isinstance(part, bytes) else np.ascontiguousarray(part).data)
    return digest.hexdigest()
