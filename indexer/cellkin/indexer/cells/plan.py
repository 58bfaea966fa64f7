"""Match genes, cut files into shards and count the genes of a sample, before cells are placed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cellkin.indexer.cells.engines import Engine, Finished
from cellkin.indexer.cells.fit import GeneStatistics
from cellkin.indexer.cells.sources import SourceFile
from cellkin.indexer.cells.worker import Counted, MatrixFile, Shard, Work
from cellkin.matrices.features import hinting
from cellkin.matrices.options import ReadOptions
from cellkin.space.arrays import Int64Vector
from cellkin.space.genes import Resolution
from cellkin.space.matching import match_genes, match_measured, require_enough
from cellkin.space.projection import CellSpace, gene_columns
from cellkin.store.corpus import GeneNames
from cellkin.wire.match import GeneMatch

SHARD_CELLS = 8192
"""Cells per shard: some seconds of work, and a few megabytes of vectors."""


@dataclass(frozen=True)
class MatchedFile:
    """A file of the reference and the matching of its genes.

    Parameters
    ----------
    source
        The file.
    match
        Report on the matching.
    rows
        (n_names,) int64 rows of the text space, -1 for names without one.
    """

    source: SourceFile
    match: GeneMatch
    rows: Int64Vector


def match_files(
    sources: Sequence[SourceFile],
    resolutions: Sequence[Resolution],
    genes: GeneNames,
    text: CellSpace | None,
    measured: Int64Vector | None = None,
) -> list[MatchedFile]:
    """Match the genes of every file.

    Parameters
    ----------
    sources, resolutions
        The files, and the genes that their gene names resolve to.
    genes
        Gene names of the corpus.
    text
        The text space, or None.
    measured
        (n_measured,) int64, GeneIDs to use without a text space; None for all.

    Raises
    ------
    GenesUnmatchedError
        If too few genes of a file match.
    """
    matched = []
    for source, resolution in zip(sources, resolutions, strict=True):
        if text is not None:
            match, rows = match_genes(resolution, genes.gene_ids, genes.rungs, text)
        else:
            match = match_measured(resolution, genes.gene_ids, measured)
            rows = np.full(match.n_given, -1, np.int64)
        _require_enough(match, source)
        matched.append(MatchedFile(source, match, rows))
    return matched


def _require_enough(match: GeneMatch, source: SourceFile) -> None:
    with hinting(lambda: source.gene_hint):
        require_enough(match, source.gene_names)


def matrix_files(
    matched: Sequence[MatchedFile], how: ReadOptions, n_genes: int
) -> tuple[MatrixFile, ...]:
    """Describe the files for workers; ``n_genes`` is the number of genes of the text space."""
    return tuple(
        MatrixFile(
            file.source.path,
            how,
            file.source.units,
            file.source.in_memory,
            gene_columns(file.rows, n_genes),
            file.match.gene_ids,
        )
        for file in matched
    )


def shards_of(sources: Sequence[SourceFile]) -> list[Shard]:
    """Cut the files into shards, the same on every machine."""
    return [
        Shard(number, start, min(start + SHARD_CELLS, source.n_cells),
              source.rows.slice(start, SHARD_CELLS))
        for number, source in enumerate(sources)
        for start in range(0, source.n_cells, SHARD_CELLS)
    ]  # fmt: skip


def sample_of(shards: Sequence[Shard], n_cells: int) -> list[Shard]:
    """Return a sample: the same share of cells from the start of each shard.

    Parameters
    ----------
    shards
        All shards.
    n_cells
        Cells to sample; slightly more as shares are rounded up, or all if there are fewer.
    """
    total = sum(shard.stop - shard.start for shard in shards)
    share = min(1.0, n_cells / total)
    sample = []
    for shard in shards:
        stop = shard.start + int(np.ceil(share * (shard.stop - shard.start)))
        sample.append(Shard(shard.file, shard.start, stop, shard.rows.slice(0, 0)))
    return sample


@dataclass(frozen=True)
class Sampled:
    """Gene counts of a sample of the cells.

    Parameters
    ----------
    statistics
        Gene statistics, by row of the embedding.
    mass
        For each file, (n_names,) float64 summed linear expression of each gene name.
    """

    statistics: GeneStatistics
    mass: list[npt.NDArray[np.float64]]


def count_genes(engine: Engine, work: Work, sample: Sequence[Shard], finished: Finished) -> Sampled:
    """Count the genes of a sample of the cells."""
    counted: list[Counted] = engine.run(work, "count", sample, finished)
    detected = np.zeros(work.n_genes, np.int64)
    n_cells = np.zeros(work.n_genes, np.int64)
    expression = np.zeros(work.n_genes)
    masses = [np.zeros(len(file.columns.rows)) for file in work.files]
    cells_of = [0] * len(work.files)
    for shard, part in zip(sample, counted, strict=True):
        detected += part.detected
        masses[shard.file] += part.mass
        cells_of[shard.file] += part.n_cells
    for file, mass, n in zip(work.files, masses, cells_of, strict=True):
        met = file.columns.rows >= 0
        genes = file.columns.rows[met]
        np.add.at(expression, genes, mass[met])
        # Only cells of files that measure a gene count as without it.
        n_cells[np.unique(genes)] += n
    return Sampled(GeneStatistics(n_cells, detected, expression, n_cells > 0), masses)
