"""The files of a cell index: the cell space, the reference cells, their neighbors' index."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from safetensors.numpy import load_file, save_file

from cellkin.space.arrays import Int32Vector
from cellkin.space.projection import CellSpace
from cellkin.space.recipe import Recipe
from cellkin.store.milvus import FILE as MILVUS
from cellkin.store.milvus import MilvusNeighbors
from cellkin.store.neighbors import NeighborIndex

SPACE = "space.safetensors"
_RECIPE = "recipe.json"
_CELLS = "cells.arrow"
_NEIGHBORS = "neighbors.faiss"


@dataclass(frozen=True)
class ReferenceCells:
    """The cells of a reference, in the order of the index.

    Parameters
    ----------
    ids
        (n_cells,) strings, cell names, unique.
    label_names
        The subtypes, ascending.
    labels
        (n_cells,) int32 into ``label_names``.
    batches
        (n_cells,) strings, donor or batch of each cell; empty where none was given.
    """

    ids: pa.ChunkedArray
    label_names: list[str]
    labels: Int32Vector
    batches: pa.ChunkedArray

    @classmethod
    def from_columns(
        cls, ids: pa.ChunkedArray, labels: pa.ChunkedArray, batches: pa.ChunkedArray
    ) -> "ReferenceCells":
        """Make one of the columns of a cell table."""
        names = sorted(labels.unique().to_pylist())
        codes = pc.index_in(labels, pa.array(names, pa.string()))
        return cls(ids, names, codes.to_numpy().astype("int32"), batches)


@dataclass(frozen=True)
class CellIndex:
    """A loaded cell index."""

    space: CellSpace
    cells: ReferenceCells
    neighbors: NeighborIndex | MilvusNeighbors


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
    save_file(arrays, folder / SPACE)
    (folder / _RECIPE).write_text(json.dumps(space.recipe.to_json(), indent=1, sort_keys=True))
    cells = index.cells
    names = pa.array(cells.label_names, pa.string())
    table = pa.table(
        {
            "id": cells.ids.combine_chunks(),
            "label": pa.DictionaryArray.from_arrays(pa.array(cells.labels, pa.int32()), names),
            "batch": cells.batches.combine_chunks(),
        }
    )
    with pa.ipc.new_file(str(folder / _CELLS), table.schema) as file:
        file.write_table(table)
    if isinstance(index.neighbors, MilvusNeighbors):
        index.neighbors.write(folder)
    else:
        index.neighbors.save(folder / _NEIGHBORS)


def read_space(folder: Path) -> CellSpace:
    """Load the cell space of a cell index."""
    recipe = Recipe.from_json(json.loads((folder / _RECIPE).read_text()))
    return CellSpace(recipe=recipe, **load_file(folder / SPACE))


def read_cell_index(folder: Path) -> CellIndex:
    """Load the files of a cell index; cells and neighbors are mapped into memory, not read."""
    with pa.memory_map(str(folder / _CELLS)) as source:
        table = pa.ipc.open_file(source).read_all()
    labels = table["label"].combine_chunks()
    cells = ReferenceCells(
        table["id"], labels.dictionary.to_pylist(), labels.indices.to_numpy(), table["batch"]
    )
    return CellIndex(read_space(folder), cells, read_neighbors(folder))


def read_neighbors(folder: Path) -> NeighborIndex | MilvusNeighbors:
    """Map the neighbors' index of a cell index into memory, or connect to where it is."""
    if (folder / MILVUS).exists():
        return MilvusNeighbors.load(folder)
    return NeighborIndex.load(folder / _NEIGHBORS)
