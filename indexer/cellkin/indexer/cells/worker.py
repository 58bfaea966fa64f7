"""Worker of a cell job: counts, reads or places the cells of a shard, for every engine."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp

from cellkin.indexer.cells.devices import projector
from cellkin.matrices.cells import open_matrix
from cellkin.matrices.linear import LinearReader
from cellkin.matrices.matrix import Matrix
from cellkin.matrices.options import ReadOptions
from cellkin.matrices.units import UnitsFinding, all_whole
from cellkin.space import kernels
from cellkin.space.arrays import BoolVector, CsrMatrix, Float32Matrix, Int64Vector, frozen
from cellkin.space.classifier import Placed as PlacedCells
from cellkin.space.expression import ExpressionColumns, ExpressionPlacer, ExpressionSpace
from cellkin.space.projection import (
    CellSpace,
    GeneColumns,
    count_detected,
)
from cellkin.store.cell_rows import write_rows
from cellkin.wire.errors import InvalidArgumentError

_BLOCK_VALUES = 4_000_000
_BLOCK_CELLS = 4096


@dataclass(frozen=True)
class MatrixFile:
    """Matrix of one file and the genes of its columns.

    Parameters
    ----------
    path, how
        The file, and how it is read.
    units
        Detected units of its values.
    in_memory
        Whether opening the file loads all of it.
    columns
        Genes of the columns, as rows of the text space.
    gene_ids
        (n_columns,) int64, GeneIDs of the columns; 0 if not in the corpus.
    """

    path: Path
    how: ReadOptions
    units: UnitsFinding
    in_memory: bool
    columns: GeneColumns
    gene_ids: Int64Vector


@dataclass(frozen=True)
class Shard:
    """Consecutive cells of one file; the unit of work and of retries.

    Parameters
    ----------
    file
        Number of the file.
    start, stop
        Range of its cells.
    rows
        (stop - start,) table of ``id``, ``label`` and ``batch``.
    chosen
        (n,) int64, cells to read, relative to ``start``, ascending; None for all.
    """

    file: int
    start: int
    stop: int
    rows: pa.Table
    chosen: Int64Vector | None = None

    def __getstate__(self) -> dict[str, Any]:
        # Arrow would pickle the whole table of which the rows are a slice.
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, self.rows.schema) as writer:
            writer.write_table(self.rows)
        return {**self.__dict__, "rows": sink.getvalue().to_pybytes()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, rows=pa.ipc.open_stream(state["rows"]).read_all())


@dataclass(frozen=True)
class Work:
    """Description of a job, shared by all its workers.

    Parameters
    ----------
    files
        The files.
    n_genes
        Genes of the text space that the columns refer to; 0 without a text space.
    text, expression
        Spaces to place cells in; both None before they are fitted.
    table_uri, schema
        Table the rows are written to, and its columns.
    device
        Device that projects cells.
    """

    files: tuple[MatrixFile, ...]
    n_genes: int
    text: CellSpace | None
    expression: ExpressionSpace | None
    table_uri: str
    schema: pa.Schema
    device: str


@dataclass(frozen=True)
class Counted:
    """Gene counts of a shard.

    Parameters
    ----------
    n_cells
        Cells read.
    detected
        (n_genes,) int64, cells that express each gene.
    mass
        (n_columns,) float64, summed linear expression of each column of the file.
    """

    n_cells: int
    detected: Int64Vector
    mass: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Placed:
    """Result of placing a shard.

    Parameters
    ----------
    parts
        Files of the written rows, for `cellkin.store.cell_table.commit_rows`.
    n_cells
        Cells read.
    n_kept, n_empty
        Cells written; labeled cells without a usable gene.
    read_s, compute_s, write_s
        Seconds spent reading, computing and writing.
    """

    parts: list[str]
    n_cells: int
    n_kept: int
    n_empty: int
    read_s: float
    compute_s: float
    write_s: float


class CellWorker:
    """Worker that counts, reads or places cells; keeps one file open at a time.

    Parameters
    ----------
    work
        The job.
    n_threads
        CPU threads for projection.
    """

    def __init__(self, work: Work, n_threads: int = 1) -> None:
        self._work = work
        self._n_threads = n_threads
        self._checks = _Checks()
        self._opened: tuple[int, ExitStack, Matrix] | None = None

    def close(self) -> None:
        """Close the open file."""
        if self._opened is not None:
            self._opened[1].close()
            self._opened = None

    def count(self, shard: Shard) -> Counted:
        """Count the cells that express each gene, and sum the expression of each column."""
        file = self._work.files[shard.file]
        detected = np.zeros(self._work.n_genes, np.int64)
        mass = np.zeros(len(file.columns.rows))
        for block in self._blocks(shard):
            count_detected(block, file.columns, detected, mass)
        return Counted(shard.stop - shard.start, detected, mass)

    def take(self, shard: Shard) -> CsrMatrix:
        """Return the linear expression of the chosen cells, over all columns of their file."""
        blocks, done = [], 0
        for block in self._blocks(shard):
            if shard.chosen is None:
                blocks.append(block)
            else:
                first, last = np.searchsorted(shard.chosen, [done, done + block.shape[0]])
                blocks.append(block[shard.chosen[first:last] - done])
            done += block.shape[0]
        return sp.csr_matrix(sp.vstack(blocks, "csr"), dtype=np.float32)

    def place(self, shard: Shard) -> Placed:
        """Place the cells of a shard and write the rows of those with a label and a vector."""
        work, file = self._work, self._work.files[shard.file]
        if work.text is None and work.expression is None:
            raise RuntimeError("cells are placed after a space is fitted")
        clock = _Clock()
        blocks = clock.reading(self._blocks(shard))
        by_expression: list[PlacedCells] = []
        if work.expression is not None:
            blocks = self._expressing(blocks, file, work.expression, by_expression)
        vectors: list[Float32Matrix] = []
        if work.text is not None:
            means, empty = self._by_text(blocks, file, work.text, shard.stop - shard.start)
            vectors.append(means)
        else:
            for _ in blocks:  # `_expressing` places the cells as it passes them on
                pass
            empty = np.concatenate([placed.empty for placed in by_expression])
        if by_expression:
            vectors.append(np.concatenate([placed.z for placed in by_expression]))
        compute_s = clock.rest_s()
        labeled = pc.is_valid(shard.rows["label"]).to_numpy()
        kept = ~empty & labeled
        started = time.perf_counter()
        all_of = slice(None) if kept.all() else kept
        rows = shard.rows.filter(pa.array(kept))
        parts = self._write(rows, [part[all_of] for part in vectors]) if len(rows) else []
        return Placed(
            parts,
            len(empty),
            len(rows),
            int((empty & labeled).sum()),
            clock.read_s,
            compute_s,
            time.perf_counter() - started,
        )

    def _by_text(
        self, blocks: Iterator[CsrMatrix], file: MatrixFile, space: CellSpace, n_cells: int
    ) -> tuple[Float32Matrix, BoolVector]:
        """Return the weighted mean vectors of cells and a mask of cells without any."""
        device = projector(self._work.device, space, file.columns, self._n_threads)
        means = np.empty((n_cells, space.vectors.shape[1]), np.float32)
        empty = np.empty(n_cells, bool)
        done = 0
        for part, none in device.means(blocks):
            means[done : done + len(part)] = part
            empty[done : done + len(part)] = none
            done += len(part)
        return means, empty

    def _expressing(
        self,
        blocks: Iterator[CsrMatrix],
        file: MatrixFile,
        space: ExpressionSpace,
        found: list[PlacedCells],
    ) -> Iterator[CsrMatrix]:
        """Pass blocks on, appending their cells in the expression space to ``found``."""
        placer = ExpressionPlacer(ExpressionColumns.of(space.rows_of(file.gene_ids)), space)
        for block in blocks:
            found.append(placer.place(block, self._n_threads))
            yield block

    def _write(self, rows: pa.Table, vectors: list[npt.NDArray[np.float32]]) -> list[str]:
        schema = self._work.schema
        columns = [rows[name].combine_chunks() for name in ("id", "label", "batch")]
        for part, field in zip(vectors, list(schema)[3:], strict=True):
            flat = pa.array(np.ascontiguousarray(part).reshape(-1))
            columns.append(pa.FixedSizeListArray.from_arrays(flat, part.shape[1]).cast(field.type))
        batch = pa.RecordBatch.from_arrays(columns, schema=schema)
        return write_rows(self._work.table_uri, schema, [batch])

    def _blocks(self, shard: Shard) -> Iterator[CsrMatrix]:
        """Yield the linear expression of a shard's cells."""
        file = self._work.files[shard.file]
        matrix = self._matrix(shard.file)
        reader = LinearReader(file.units, str(file.path), self._checks.all_whole)
        start = shard.start
        for block in matrix.blocks(shard.start, shard.stop, _BLOCK_VALUES, _BLOCK_CELLS):
            yield reader.linear(block, start)
            start += block.shape[0]
        if reader.finding.caution and not file.units.caution:
            # A caution seen in the sample is reported before the job; values that first show up
            # here stop it, instead of silently spoiling the labels.
            raise InvalidArgumentError(
                f"{file.path}, cells {shard.start:,} to {shard.stop:,}: {reader.finding.caution}"
            )

    def _matrix(self, number: int) -> Matrix:
        if self._opened is None or self._opened[0] != number:
            self.close()
            file = self._work.files[number]
            stack = ExitStack()
            matrix = stack.enter_context(open_matrix(file.path, file.how))
            matrix.is_tidy = self._checks.is_tidy
            self._opened = number, stack, matrix
        return self._opened[2]


class _Checks:
    """Compiled checks of the blocks of a matrix, in one pass over each."""

    def __init__(self) -> None:
        self._whole = False

    def is_tidy(
        self,
        indptr: Int64Vector,
        indices: npt.NDArray[np.int32],
        data: npt.NDArray[np.float32],
        n_columns: int,
    ) -> bool:
        """Check a block that was read; see `Matrix.is_tidy`."""
        arrays = frozen(indptr), frozen(indices), frozen(data)
        tidy, self._whole = kernels.check_cells(*arrays, n_columns)
        return bool(tidy)

    def all_whole(self, values: npt.NDArray[np.float32]) -> bool:
        """Return whether the values of the block that was checked last are whole numbers."""
        return self._whole or all_whole(values)


class _Clock:
    """Stopwatch that separates the time spent reading from the rest."""

    def __init__(self) -> None:
        self.read_s = 0.0
        self._started = time.perf_counter()

    def reading(self, blocks: Iterator[CsrMatrix]) -> Iterator[CsrMatrix]:
        """Pass blocks on, measuring the time spent waiting for them."""
        while True:
            started = time.perf_counter()
            block = next(blocks, None)
            self.read_s += time.perf_counter() - started
            if block is None:
                return
            yield block

    def rest_s(self) -> float:
        """Return the seconds since the start that were not spent reading."""
        return time.perf_counter() - self._started - self.read_s
