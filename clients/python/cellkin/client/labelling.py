"""Asking for the labels of any number of cells: one way for files, AnnData and blocks."""

import hashlib
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from cellkin.client.checkpoint import Checkpoint
from cellkin.client.client import Client
from cellkin.client.queries import Block, Query
from cellkin.client.results.predictions import Predictions, QueryReport
from cellkin.client.results.versions import Versions
from cellkin.matrices.matrix import MAX_CELLS
from cellkin.matrices.units import UnitsFinding
from cellkin.wire.match import GeneMatch
from cellkin.wire.terms import ENOUGH_SHARED, ExpressionUnits

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
        NCBI taxonomy id of the cells; 0 infers it from the gene names.
    min_probability
        The least probability of a label; None for that stored with the index.
    space
        ``text`` or ``expression``; None chooses by the genes that are shared.
    exclude_batches
        Batches of the reference that do not vote.
    vectors
        Whether the cells' vectors are wanted.
    """

    index: str
    taxon: int = 0
    min_probability: float | None = None
    space: str | None = None
    exclude_batches: tuple[str, ...] = ()
    vectors: bool = False


@dataclass(frozen=True)
class KnownGenes:
    """The columns of a query that mean a gene, and how all of them were read.

    Parameters
    ----------
    match
        The report on every name that was given.
    columns
        (n_known,) int64, the columns that are sent.
    names
        Their names.
    versions
        What this was looked up in.
    """

    match: GeneMatch
    columns: npt.NDArray[np.int64]
    names: list[str]
    versions: Versions

    def of(self, cells: sp.csr_matrix) -> sp.csr_matrix:
        """Return the columns of a block that are sent."""
        return cells if len(self.columns) == cells.shape[1] else cells[:, self.columns]


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
        One row a cell, on disk until it is read.
    mass
        (n_genes,) float64, the summed linear expression of each column.
    """

    settings: Settings
    report: QueryReport
    units: UnitsFinding
    cell_ids: list[str]
    predictions: Predictions
    mass: npt.NDArray[np.float64]


def known_genes(client: Client, query: Query, index: str, taxon: int) -> KnownGenes:
    """Ask which columns of a query mean a gene.

    Raises
    ------
    GenesUnmatchedError
        If too few do; its metadata is the match report.
    """
    resolved = client.resolve_genes(query.gene_names, taxon=taxon, index=index)
    resolved.match.require_enough(query.gene_names)
    columns = np.flatnonzero(resolved.match.gene_ids)
    names = [query.gene_names[at] for at in columns.tolist()]
    return KnownGenes(resolved.match, columns, names, resolved.versions)


def label(
    client: Client,
    query: Query,
    settings: Settings,
    *,
    resume: Path | None = None,
    progress: Progress = lambda done, total: None,
) -> Labelled:
    """Label cells, reading, sending and keeping them in blocks.

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
        cells are read again and compared, but not sent.
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
    genes = known_genes(client, query, settings.index, settings.taxon)
    asked: dict[str, Any] = {
        "units": query.units.units,
        "taxon": genes.match.taxon,
        "min_probability": settings.min_probability,
        "return_vectors": settings.vectors,
        "exclude_batches": settings.exclude_batches,
    }
    index = genes.versions.index
    nothing = sp.csr_matrix((0, len(genes.names)), dtype=np.float32)
    report = client.predict_subtypes(
        index, genes.names, nothing, space=settings.space, **asked
    ).report
    # From here on what the server chose is asked for by name.
    asked["space"] = report.space
    foreign = report.space == "text" and report.shared_expression < ENOUGH_SHARED
    background = query.background() if foreign else None
    if background is not None:
        background = genes.of(background)
    report = replace(report, match=genes.match, own_mean=background is not None)
    # What is mapped stays readable when the folder is gone; where it cannot go, it stays.
    with TemporaryDirectory(prefix="cellkin-", ignore_cleanup_errors=True) as scratch:
        checkpoint = Checkpoint(
            resume or Path(scratch),
            _identity(query, settings, report, background),
            lasting=resume is not None,
        )
        blocks = query.blocks(MAX_CELLS)
        names = checkpoint.skip(blocks)
        opened, answers = client.stream_predict_subtypes(
            index, genes.names, (sent := _Sent(blocks, genes)), background=background, **asked
        )
        # The background moves it.
        report = replace(report, novelty_limit=opened.novelty_limit)
        progress(len(names), query.n_cells or len(names))
        for answer in answers:
            block = sent.answered()
            linear = _linear(block.cells, query.units.units)
            # The server knows the genes that were sent, and not what is expressed of all others.
            answer = replace(answer, route_shares=genes.match.route_shares(linear))
            checkpoint.add(block, answer, _mass(linear))
            names += block.names
            progress(len(names), query.n_cells or len(names))
        checkpoint.write()
        return Labelled(
            settings, report, query.units, names, checkpoint.answers(),
            checkpoint.mass(len(query.gene_names)),
        )  # fmt: skip


class _Sent:
    """Blocks on their way, each kept until it is answered."""

    def __init__(self, blocks: Iterator[Block], genes: KnownGenes) -> None:
        self._blocks, self._genes = blocks, genes
        self._waiting: deque[Block] = deque()

    def __iter__(self) -> Iterator[sp.csr_matrix]:
        for block in self._blocks:
            self._waiting.append(block)
            yield self._genes.of(block.cells)

    def answered(self) -> Block:
        """Return the block that was sent first of those not answered yet."""
        return self._waiting.popleft()


def _linear(cells: sp.csr_matrix, units: ExpressionUnits) -> sp.csr_matrix:
    """Return the linear expression of a block."""
    if units is not ExpressionUnits.LOG1P:
        return cells
    return sp.csr_matrix((np.expm1(cells.data), cells.indices, cells.indptr), shape=cells.shape)


def _mass(cells: sp.csr_matrix) -> npt.NDArray[np.float64]:
    """Return the sum of each column."""
    return np.bincount(cells.indices, cells.data, cells.shape[1]).astype(np.float64, copy=False)


def _identity(
    query: Query, settings: Settings, report: QueryReport, background: sp.csr_matrix | None
) -> dict[str, Any]:
    versions = asdict(report.versions)
    del versions["server"]
    said = {name: value for name, value in asdict(report).items() if name not in _NOT_SETTINGS}
    genes = _digest("\n".join(query.gene_names).encode())
    drawn = None
    if background is not None:
        drawn = _digest(background.indptr, background.indices, background.data)
    return {
        "n_cells": query.n_cells,
        "genes": genes,
        "units": query.units.units.name,
        "background": drawn,
        "taxon": report.match.taxon,
        "exclude_batches": settings.exclude_batches,
        "vectors": settings.vectors,
        **versions,
        **said,
    }


_NOT_SETTINGS = ("versions", "match")


def _digest(*parts: bytes | npt.NDArray[Any]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part if isinstance(part, bytes) else np.ascontiguousarray(part).data)
    return digest.hexdigest()
