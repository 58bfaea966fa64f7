"""Asking for the labels of any number of cells: one way for files, AnnData and blocks."""

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

from cellkin.client.checkpoint import Checkpoint, Kept, Memory
from cellkin.client.client import Client
from cellkin.client.connection import MAX_IN_FLIGHT
from cellkin.client.queries import Block, Query
from cellkin.client.results.predictions import Predictions, QueryReport
from cellkin.matrices.features import ColumnsRead
from cellkin.matrices.matrix import MAX_CELLS
from cellkin.matrices.units import UnitsFinding
from cellkin.wire.species import taxon_id
from cellkin.wire.terms import BACKGROUND_CELLS, ExpressionUnits

# Below this share of names that are used, better names are looked for.
_FEW_MATCH = 0.2

Progress: TypeAlias = Callable[[int, int], None]
"""Called with the cells done and the cells there are."""


@dataclass(frozen=True)
class Settings:
    """What is asked about cells.

    Parameters
    ----------
    index
        ``NAME[@VERSION_OR_ALIAS]`` of the cell index.
    taxon
        Species of the cells, by NCBI taxonomy id or name (``"mouse"``); 0 infers it from the gene
        names.
    min_probability
        The least probability of a label; None for that stored with the index.
    space
        ``text`` or ``expression``; None lets the server choose by the genes that are shared.
    exclude_batches
        Batches of the reference that do not vote.
    vectors
        Whether the cells' vectors are wanted.
    novelty_limit
        A cell of more novelty is unknown; None for the limit stored with the index.
    false_alarms
        The share of known cells that may be called unknown for their novelty, in [0.001, 0.5];
        given instead of a limit.
    probabilities
        Whether the probability of every label is wanted.
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

    def __post_init__(self) -> None:
        object.__setattr__(self, "taxon", taxon_id(self.taxon))

    def options(self) -> dict[str, Any]:
        """Return them as `Client.stream_predict_subtypes` takes them, without the index."""
        asked = asdict(self)
        del asked["index"]
        asked["return_vectors"] = asked.pop("vectors")
        asked["return_probabilities"] = asked.pop("probabilities")
        return asked


@dataclass(frozen=True)
class Labelled:
    """The answers to a query.

    Parameters
    ----------
    settings
        What was asked.
    report
        What the query met; its match is of every gene that was given.
    units
        What the values were found to be.
    cell_ids
        Names of the cells, the order of everything else.
    predictions
        One row a cell; of a resumed run on disk until it is read.
    mass
        (n_genes,) float64, the summed linear expression of each column.
    median_genes
        How many of the genes that are used the median cell has values of; NaN without cells.
    columns_read
        Which columns of the matrix the genes are.
    notes
        Sentences for the user on how the cells were read.
    gene_hint
        Where few names are used, a sentence on columns of better names; else empty.
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
) -> Labelled:
    """Label cells by one request, reading, sending and keeping them in blocks.

    Parameters
    ----------
    client
        The connection.
    query
        The cells.
    settings
        What is asked.
    resume
        Folder in which answers are kept as they come. Where an interrupted run left some, its
        cells are read again and compared, but not sent. None keeps them in memory.
    progress
        Called with the cells done and the cells there are, of an unknown number those done.

    Raises
    ------
    GenesUnmatchedError
        If too few genes match; no cell is labelled then.
    CheckpointError
        If the folder is of another query, of other versions or settings.
    InvalidArgumentError
        If values are no expression.
    """
    sent, drawn = _Sent(query.blocks(MAX_CELLS), len(query.gene_names)), _Drawn(query)
    few = query.n_cells is not None and query.n_cells < BACKGROUND_CELLS
    # So few are never asked for a background, and need not wait for the report; but a run that
    # goes on must know from it what is answered already.
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
    return Labelled(
        settings, report, query.units, names, kept.answers(), mass,
        sent.median_genes(report.match.in_space > 0), query.columns_read,
        query.notes, query.gene_hint() if few_match else "",
    )  # fmt: skip


class _Sent:
    """Blocks on their way, each kept until it is answered."""

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
        for block in blocks:
            self._n_genes.append(np.diff(block.cells.indptr))
            self._n_cells += np.bincount(block.cells.indices, minlength=len(self._n_cells))
            yield block

    def median_genes(self, used: npt.NDArray[np.bool_]) -> float:
        """Return how many of the genes that are used the median cell has, but for rounding."""
        n_genes = np.concatenate([np.empty(0, np.int32), *self._n_genes])
        if not len(n_genes):
            return float("nan")
        return float(np.median(n_genes) * self._n_cells[used].sum() / max(self._n_cells.sum(), 1))

    def answered(self) -> Block:
        """Return the block that was sent first of those not answered yet."""
        return self._waiting.popleft()


class _Drawn:
    """The background of a query, if the server asks for one."""

    def __init__(self, query: Query) -> None:
        self._query = query
        self.digest: str | None = None

    def cells(self, n_wanted: int) -> sp.csr_matrix | None:
        """Draw it, and remember its digest."""
        cells = self._query.background(n_wanted)
        if cells is not None:
            self.digest = _digest(cells.indptr, cells.indices, cells.data)
        return cells


def _mass(cells: sp.csr_matrix) -> npt.NDArray[np.float64]:
    """Return the sum of each column."""
    return np.bincount(cells.indices, cells.data, cells.shape[1]).astype(np.float64, copy=False)


def _identity(
    query: Query, settings: Settings, report: QueryReport, background: str | None
) -> dict[str, Any]:
    """Return what must be the same for a run to go on."""
    versions = asdict(report.versions)
    del versions["server"]
    asked = asdict(settings)
    # Names and numbers that the server chose stand for what was left to it.
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
