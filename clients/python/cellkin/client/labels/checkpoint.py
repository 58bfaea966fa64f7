"""Storage of results as they arrive: in memory, or on disk so that a run can be resumed.

The folder of a run has one file per column, to which results are appended, and ``manifest.json``,
which is replaced atomically after every part: the request, the versions, and for each part its
number of cells, the SHA-256 of these cells and that of their results. Data beyond the manifest was
not finished, and is truncated.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from cellkin.client.queries import Block
from cellkin.client.results.predictions import Predictions
from cellkin.wire.errors import CellkinError, CheckpointError, InputFileError
from cellkin.wire.failures import machine_failure

PART_CELLS = 16_384
_FORMAT = 5
_MANIFEST = "manifest.json"
_PARTIAL = ".manifest.json.partial"
_COLUMNS = tuple(Predictions.__dataclass_fields__)
_MASS = "mass"
"""The summed linear expression of each column of the matrix, one row per part."""


class Kept(Protocol):
    """Storage for the results of one run until it is complete."""

    def skip(self, blocks: Iterator[Block]) -> list[str]:
        """Read past the cells that have results, and return their names."""

    def add(self, block: Block, answers: Predictions, mass: npt.NDArray[np.float64]) -> None:
        """Store the results of a block, and its summed linear expression in each column."""

    def write(self) -> None:
        """Write the results that are still buffered."""

    def answers(self) -> Predictions:
        """Return all results."""

    def mass(self, n_genes: int) -> npt.NDArray[np.float64]:
        """Return the (n_genes,) summed linear expression of all cells."""


class Memory:
    """Results in memory: about 60 bytes per cell, plus its vector and label probabilities."""

    def __init__(self) -> None:
        self._answers: list[Predictions] = []
        self._mass: npt.NDArray[np.float64] | None = None

    def skip(self, blocks: Iterator[Block]) -> list[str]:
        """Return an empty list: a new run has no results."""
        return []

    def add(self, block: Block, answers: Predictions, mass: npt.NDArray[np.float64]) -> None:
        """Store the results of a block, and its summed linear expression in each column."""
        self._answers.append(answers)
        self._mass = mass if self._mass is None else self._mass + mass

    def write(self) -> None:
        """Do nothing: results stay in memory."""

    def answers(self) -> Predictions:
        """Return all results."""
        return Predictions.join(self._answers)

    def mass(self, n_genes: int) -> npt.NDArray[np.float64]:
        """Return the (n_genes,) summed linear expression of all cells."""
        return np.zeros(n_genes) if self._mass is None else self._mass


class Checkpoint:
    """A checkpoint folder, created or resumed.

    Parameters
    ----------
    folder
        Path of the folder.
    identity
        What must be equal to resume a run: the query, the settings and the versions, as JSON
        values.

    Raises
    ------
    CheckpointError
        If the folder holds another run, or other files.
    InputFileError, PermissionDeniedError, ResourceExhaustedError
        If it cannot be read or written.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        self._folder = folder
        self._identity = json.loads(json.dumps(identity))
        try:
            self._state = self._opened()
        except OSError as error:
            raise _failure(f"checkpoint {folder} cannot be used", error) from error
        self._waiting: list[tuple[Block, Predictions, npt.NDArray[np.float64]]] = []
        self._n_waiting = 0

    @property
    def n_cells(self) -> int:
        """Number of cells with stored results."""
        return sum(part["n_cells"] for part in self._state["parts"])

    def skip(self, blocks: Iterator[Block]) -> list[str]:
        """Read past the cells that have results, and return their names.

        Parameters
        ----------
        blocks
            The query's blocks, from the first cell.

        Raises
        ------
        CheckpointError
            If the cells differ from those with results.
        """
        names: list[str] = []
        for part in self._state["parts"]:
            digest, n_cells = hashlib.sha256(), 0
            while n_cells < part["n_cells"]:
                block = next(blocks, None)
                if block is None:
                    break
                _digest_cells(digest, block)
                n_cells += len(block.names)
                names += block.names
            if n_cells != part["n_cells"] or digest.hexdigest() != part["cells"]:
                raise CheckpointError(
                    f"checkpoint {self._folder} is of other cells: those up to cell {len(names)} "
                    "are not the ones that were answered; give the same query, or another folder"
                )
        return names

    def add(self, block: Block, answers: Predictions, mass: npt.NDArray[np.float64]) -> None:
        """Store the results of a block.

        Parameters
        ----------
        block
            The cells.
        answers
            Results, one row per cell.
        mass
            (n_genes,) summed linear expression of the cells in each column.
        """
        self._waiting.append((block, answers, mass))
        self._n_waiting += len(block.names)
        if self._n_waiting >= PART_CELLS:
            self.write()

    def write(self) -> None:
        """Write the buffered results.

        Raises
        ------
        InputFileError, PermissionDeniedError, ResourceExhaustedError
            If it cannot be written.
        """
        if not self._waiting:
            return
        cells = hashlib.sha256()
        for block, _, _ in self._waiting:
            _digest_cells(cells, block)
        joined = Predictions.join([answers for _, answers, _ in self._waiting])
        added: dict[str, npt.NDArray[Any]] = {name: getattr(joined, name) for name in _COLUMNS}
        added[_MASS] = np.sum([[mass] for _, _, mass in self._waiting], axis=0)
        part = {
            "n_cells": self._n_waiting,
            "cells": cells.hexdigest(),
            "answers": _digest_arrays(list(added.values())),
        }
        try:
            self._append(added)
            kept = {name: [a.dtype.str, *a.shape[1:]] for name, a in added.items()}
            self._save({**self._state, "columns": kept, "parts": [*self._state["parts"], part]})
        except OSError as error:
            raise _failure(f"checkpoint {self._folder} cannot be written", error) from error
        self._waiting, self._n_waiting = [], 0

    def answers(self) -> Predictions:
        """Return all stored results, memory-mapped."""
        if not self._state["parts"]:
            return Predictions.join([])
        return Predictions(*(self._column(name) for name in _COLUMNS))

    def mass(self, n_genes: int) -> npt.NDArray[np.float64]:
        """Return the (n_genes,) summed linear expression of all cells."""
        if not self._state["parts"]:
            return np.zeros(n_genes)
        return np.asarray(self._column(_MASS).sum(axis=0), np.float64)

    def _opened(self) -> dict[str, Any]:
        path = self._folder / _MANIFEST
        if not path.exists():
            self._folder.mkdir(parents=True, exist_ok=True)
            if any(file.name != _PARTIAL for file in self._folder.iterdir()):
                raise CheckpointError(
                    f"{self._folder} holds something that is no checkpoint; give an empty folder"
                )
            state: dict[str, Any] = {
                "format": _FORMAT,
                "identity": self._identity,
                "columns": {},
                "parts": [],
            }
            self._save(state)
            return state
        try:
            state = dict(json.loads(path.read_text(encoding="utf-8")))
            self._require_same(state)
            self._cut(state)
            self._require_whole(state)
        except (ValueError, KeyError, TypeError) as error:
            raise CheckpointError(
                f"checkpoint {self._folder} is damaged ({error}); remove it and begin anew"
            ) from error
        return state

    def _require_same(self, state: dict[str, Any]) -> None:
        if state["format"] != _FORMAT:
            raise CheckpointError(
                f"checkpoint {self._folder} is of format {state['format']}, this release writes "
                f"{_FORMAT}; remove it and begin anew"
            )
        was, now = state["identity"], self._identity
        other = [key for key in sorted({*was, *now}) if was.get(key) != now.get(key)]
        if other:
            raise CheckpointError(
                f"checkpoint {self._folder} is of another run: "
                + "; ".join(f"{key} was {_shown(was.get(key))}, is {_shown(now.get(key))}"
                            for key in other)
                + ". Ask as before, or give another folder",
                {"different": ", ".join(other)},
            )  # fmt: skip

    def _cut(self, state: dict[str, Any]) -> None:
        """Truncate data that was written after the manifest."""
        for name in (*_COLUMNS, _MASS):
            path = self._folder / f"{name}.bin"
            if name not in state["columns"]:
                path.unlink(missing_ok=True)
                continue
            size = self._row_bytes(state, name) * self._n_rows(state, name)
            if not path.exists() or path.stat().st_size < size:
                raise CheckpointError(
                    f"checkpoint {self._folder}: {path.name} is cut short; begin anew"
                )
            os.truncate(path, size)

    def _require_whole(self, state: dict[str, Any]) -> None:
        self._state = state
        if not state["parts"]:
            return
        columns, mass = [self._column(name) for name in _COLUMNS], self._column(_MASS)
        start = 0
        for at, part in enumerate(state["parts"]):
            stop = start + part["n_cells"]
            results = [*(column[start:stop] for column in columns), mass[at]]
            if _digest_arrays(results) != part["answers"]:
                raise CheckpointError(
                    f"checkpoint {self._folder}: the answers to cells {start} to {stop} are not "
                    "those that were written; remove it and begin anew"
                )
            start = stop

    def _append(self, added: dict[str, npt.NDArray[Any]]) -> None:
        for name, array in added.items():
            with (self._folder / f"{name}.bin").open("ab") as file:
                file.write(np.ascontiguousarray(array).data)
                self._flush(file)

    def _save(self, state: dict[str, Any]) -> None:
        partial = self._folder / _PARTIAL
        with partial.open("w", encoding="utf-8") as file:
            json.dump(state, file, indent=1)
            self._flush(file)
        partial.replace(self._folder / _MANIFEST)
        self._state = state

    def _flush(self, file: Any) -> None:
        # Survive a crash of the machine.
        file.flush()
        os.fsync(file.fileno())

    def _column(self, name: str) -> npt.NDArray[Any]:
        dtype, *width = self._state["columns"][name]
        shape = (self._n_rows(self._state, name), *width)
        if 0 in shape:
            return np.empty(shape, dtype)
        return np.asarray(np.memmap(self._folder / f"{name}.bin", dtype, "r", shape=shape))

    def _row_bytes(self, state: dict[str, Any], name: str) -> int:
        dtype, *width = state["columns"][name]
        return int(np.dtype(dtype).itemsize * np.prod(width, dtype=np.int64))

    def _n_rows(self, state: dict[str, Any], name: str) -> int:
        counts = [part["n_cells"] for part in state["parts"]]
        return len(counts) if name == _MASS else sum(counts)


def _failure(what: str, error: OSError) -> CellkinError:
    return machine_failure(error, what) or InputFileError(f"{what}: {error}")


def _digest_cells(digest: Any, block: Block) -> None:
    cells = block.cells
    digest.update("\n".join(block.names).encode())
    for array in (cells.indptr, cells.indices, cells.data):
        digest.update(np.ascontiguousarray(array).data)


def _digest_arrays(arrays: list[npt.NDArray[Any]]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _shown(value: object) -> str:
    # Messages are float32, in which 0.9 is 0.8999999761581421.
    text = f"{value:.6g}" if isinstance(value, float) else json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
