"""The files of a cell index: the cell space, the reference cells, their neighbors' index."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt
import pyarrow as pa
from safetensors.numpy import load_file, save_file

from cellkin.space.arrays import Int32Vector
from cellkin.space.projection import CellSpace
from cellkin.space.recipe import Recipe
from cellkin.store.neighbors import NeighborIndex

_SPACE = "space.safetensors"
_RECIPE = "recipe.json"
_CELLS = "cells.arrow"
_NEIGHBORS = "neighbors.faiss"


@dataclass(frozen=True)
class ReferenceCells:
    """The cells of a reference, in the order of the index.

    Parameters
    ----------
    ids
        Cell names, unique.
    label_names
        The subtypes, ascending.
    labels
        (n_cells,) int32 into ``label_names``.
    batches
        Donor or batch of each cell; empty strings where none was given.
    """

    ids: list[str]
    label_names: list[str]
    labels: Int32Vector
    batches: list[str]


@dataclass(frozen=True)
class CellIndex:
    """A loaded cell index."""

    space: CellSpace
    cells: ReferenceCells
    neighbors: NeighborIndex


def write_cell_index(folder: Path, index: CellIndex) -> None:
    """Write the files of a cell index into an empty folder."""
    space = index.space
    arrays: dict[str, npt.NDArray[Any]] = {
        "gene_ids": space.gene_ids,
        "taxa": space.taxa,
        "vectors": space.vectors,
        "weights": space.weights,
        "measured": space.measured,
        "center": space.center,
    }
    if space.head is not None:
        arrays["head"] = space.head
    save_file(arrays, folder / _SPACE)
    (folder / _RECIPE).write_text(json.dumps(space.recipe.to_json(), indent=1, sort_keys=True))
    cells = index.cells
    table = pa.table(
        {
            "id": pa.array(cells.ids, pa.string()),
            "label": pa.DictionaryArray.from_arrays(
                pa.array(cells.labels, pa.int32()), pa.array(cells.label_names, pa.string())
            ),
            "batch": pa.array(cells.batches, pa.string()),
        }
    )
    with pa.ipc.new_file(str(folder / _CELLS), table.schema) as file:
        file.write_table(table)
    index.neighbors.save(folder / _NEIGHBORS)


def read_cell_index(folder: Path) -> CellIndex:
    """Load the files of a cell index."""
    recipe = Recipe.from_json(json.loads((folder / _RECIPE).read_text()))
    space = CellSpace(recipe=recipe, **load_file(folder / _SPACE))
    with pa.memory_map(str(folder / _CELLS)) as source:
        table = pa.ipc.open_file(source).read_all().combine_chunks()
    labels = table["label"].chunk(0)
    cells = ReferenceCells(
        table["id"].to_pylist(),
        labels.dictionary.to_pylist(),
        labels.indices.to_numpy(),
        table["batch"].to_pylist(),
    )
    return CellIndex(space, cells, NeighborIndex.load(folder / _NEIGHBORS))
