"""The files of a cell index: its spaces, reference cells and neighbor indexes."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from safetensors.numpy import load_file

from cellkin.space.arrays import Int32Vector, Int64Vector
from cellkin.space.classifier import LabelClassifier
from cellkin.space.classifier import read_classifier as make_classifier
from cellkin.space.expression import ExpressionSpace
from cellkin.space.gene_pairs import ForeignReference
from cellkin.space.layout import Layout
from cellkin.space.profiles import Profiles
from cellkin.space.projection import CellSpace
from cellkin.space.recipe import Recipe
from cellkin.space.reference import ExpressionPart, Reference, TextPart
from cellkin.store.array_files import save_arrays
from cellkin.store.catalog import Entry
from cellkin.store.milvus import MilvusNeighbors
from cellkin.store.neighbor_search import Neighbors
from cellkin.store.neighbors import NeighborIndex

TEXT, EXPRESSION = "text", "expression"
"""The spaces an index may have."""
_SPACES = {TEXT: "space.safetensors", EXPRESSION: "expression.safetensors"}
_RECIPE = "recipe.json"
_FOREIGN = "text-foreign.safetensors"
_CELLS = "cells.arrow"
_PROFILES = "profiles.safetensors"
LAYOUT = "layout.safetensors"
"""The file of the layout of an index, which need not exist."""
_VECTORS = "vectors."


@dataclass(frozen=True)
class ReferenceCells:
    """The cells of a reference, in the order of the index.

    Parameters
    ----------
    ids
        (n_cells,) strings, cell names, unique.
    label_names
        The labels, sorted.
    labels
        (n_cells,) int32 into ``label_names``.
    batches
        (n_cells,) strings, donor or batch of each cell; empty if not given.
    """

    ids: pa.ChunkedArray
    label_names: list[str]
    labels: Int32Vector
    batches: pa.ChunkedArray

    @classmethod
    def from_columns(
        cls,
        ids: pa.ChunkedArray,
        labels: pa.ChunkedArray,
        batches: pa.ChunkedArray,
        known: Iterable[str] = (),
    ) -> "ReferenceCells":
        """Create from the columns of a cell table.

        Labels must be numbered as in the spaces, so ``known`` lists the labels these were fitted
        to, whether or not any cell has them.
        """
        names = sorted({*labels.unique().to_pylist(), *known})
        codes = pc.index_in(labels, pa.array(names, pa.string()))
        return cls(ids, names, codes.to_numpy().astype("int32"), batches)


@dataclass(frozen=True)
class TextIndex:
    """The text space of a cell index, with its neighbor index and classifier.

    Parameters
    ----------
    space, neighbors, classifier
        The space, the neighbor index of the reference cells in it, and the classifier.
    foreign
        Reference for detecting foreign samples; None if the index was made without.
    """

    space: CellSpace
    neighbors: Neighbors
    classifier: LabelClassifier
    foreign: ForeignReference | None = None


@dataclass(frozen=True)
class ExpressionIndex:
    """The expression space of a cell index, with its neighbor index and classifier."""

    space: ExpressionSpace
    neighbors: Neighbors
    classifier: LabelClassifier


@dataclass(frozen=True)
class CellIndex:
    """A loaded cell index.

    Parameters
    ----------
    cells
        The reference cells.
    text, expression
        Its spaces; at least one is not None.
    profiles
        Expression profiles of the labels, of the cells that the spaces were fitted to; None for an
        index without.
    layout
        The layout of the reference cells in two dimensions; None for an index without.
    """

    cells: ReferenceCells
    text: TextIndex | None
    expression: ExpressionIndex | None
    profiles: Profiles | None = None
    layout: Layout | None = None

    @property
    def parts(self) -> dict[str, TextIndex | ExpressionIndex]:
        """The available spaces by name: `TEXT`, then `EXPRESSION`."""
        both = {TEXT: self.text, EXPRESSION: self.expression}
        return {name: part for name, part in both.items() if part is not None}

    @property
    def label_counts(self) -> Int64Vector:
        """(n_labels,) int64, number of reference cells of each label."""
        return np.bincount(self.cells.labels, minlength=len(self.cells.label_names))

    def reference(self, name: str) -> Reference:
        """Return the reference for a `Labeler`.

        Parameters
        ----------
        name
            Name of the index in errors.
        """
        text, expression = self.text, self.expression
        return Reference(
            name,
            self.cells.label_names,
            self.cells.labels,
            self.label_counts,
            None
            if text is None
            else TextPart(text.space, text.neighbors, text.classifier, foreign=text.foreign),
            None
            if expression is None
            else ExpressionPart(expression.space, expression.neighbors, expression.classifier),
        )


def write_cell_index(folder: Path, index: CellIndex) -> None:
    """Write the files of a cell index into an empty folder."""
    if index.text is not None:
        _write_text_space(folder, index.text.space)
        if index.text.foreign is not None:
            save_arrays(_arrays(index.text.foreign), folder / _FOREIGN)
    if index.expression is not None:
        save_arrays(_arrays(index.expression.space), folder / _SPACES[EXPRESSION])
    for name, part in index.parts.items():
        part.neighbors.write(folder, name)
        _write_classifier(folder, part.classifier, name)
    if index.profiles is not None:
        _write_profiles(folder, index.profiles, index.cells.label_names)
    if index.layout is not None:
        write_layout(folder, index.layout)
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


def _write_profiles(folder: Path, profiles: Profiles, label_names: list[str]) -> None:
    codes = {name: code for code, name in enumerate(label_names)}
    arrays = {name: value for name, value in vars(profiles).items() if name != "labels"}
    arrays["labels"] = np.array([codes[label] for label in profiles.labels], np.int32)
    save_arrays(arrays, folder / _PROFILES)


def read_profiles(folder: Path, label_names: list[str]) -> Profiles | None:
    """Load the profiles of the labels of a cell index; None if it has none."""
    path = folder / _PROFILES
    if not path.exists():
        return None
    arrays = load_file(path)
    labels = [label_names[code] for code in arrays.pop("labels").tolist()]
    return Profiles(labels=labels, **arrays)


def write_layout(folder: Path, layout: Layout) -> None:
    """Write the layout of a cell index into its folder."""
    arrays = {name: value for name, value in vars(layout).items() if name != "vectors"}
    by_space = {f"{_VECTORS}{space}": vectors for space, vectors in layout.vectors.items()}
    save_arrays({**arrays, **by_space}, folder / LAYOUT)


def read_layout(folder: Path) -> Layout | None:
    """Load the layout of a cell index; None if it has none."""
    path = folder / LAYOUT
    if not path.exists():
        return None
    arrays = load_file(path)
    names = [name for name in arrays if name.startswith(_VECTORS)]
    vectors = {name.removeprefix(_VECTORS): arrays.pop(name) for name in names}
    return Layout(vectors=vectors, **arrays)


def _write_text_space(folder: Path, space: CellSpace) -> None:
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
    save_arrays(arrays, folder / _SPACES[TEXT])
    (folder / _RECIPE).write_text(json.dumps(space.recipe.to_json(), indent=1, sort_keys=True))


def _arrays(space: ExpressionSpace | ForeignReference) -> dict[str, npt.NDArray[Any]]:
    return {field.name: np.ascontiguousarray(getattr(space, field.name)) for field in fields(space)}


def _write_classifier(folder: Path, classifier: LabelClassifier, space: str) -> None:
    save_arrays(
        {name: np.ascontiguousarray(array) for name, array in classifier.arrays().items()},
        folder / f"{space}-readout.safetensors",
    )
    numbers = json.dumps(classifier.numbers(), indent=1, sort_keys=True)
    (folder / f"{space}-readout.json").write_text(numbers)


def read_reference_cells(folder: Path) -> ReferenceCells:
    """Memory-map the cells of an index of any format."""
    with pa.memory_map(str(folder / _CELLS)) as source:
        table = pa.ipc.open_file(source).read_all()
    labels = table["label"].combine_chunks()
    return ReferenceCells(
        table["id"], labels.dictionary.to_pylist(), labels.indices.to_numpy(), table["batch"]
    )


def read_cell_index(folder: Path) -> CellIndex:
    """Load the files of a cell index; cells and neighbor indexes are memory-mapped."""
    cells = read_reference_cells(folder)

    def searched(name: str) -> tuple[Neighbors, LabelClassifier]:
        return read_neighbors(folder, name), read_classifier(folder, name)

    text_space, expression_space = read_text_space(folder), read_expression_space(folder)
    text, expression = None, None
    if text_space is not None:
        text = TextIndex(text_space, *searched(TEXT), read_foreign(folder))
    if expression_space is not None:
        expression = ExpressionIndex(expression_space, *searched(EXPRESSION))
    profiles = read_profiles(folder, cells.label_names)
    return CellIndex(cells, text, expression, profiles, read_layout(folder))


def space_digests(entry: Entry) -> dict[str, str]:
    """Return the SHA-256 of the file of each space of an index, by name of the space.

    Parameters
    ----------
    entry
        A version of a cell index.
    """
    files = entry.manifest["files"]
    return {name: files[file] for name, file in _SPACES.items() if file in files}


def read_text_space(folder: Path) -> CellSpace | None:
    """Load the text space of a cell index; None if it has none."""
    path = folder / _SPACES[TEXT]
    if not path.exists():
        return None
    recipe = Recipe.from_json(json.loads((folder / _RECIPE).read_text()))
    return CellSpace(recipe=recipe, **load_file(path))


def read_expression_space(folder: Path) -> ExpressionSpace | None:
    """Load the expression space of a cell index; None if it has none."""
    path = folder / _SPACES[EXPRESSION]
    return ExpressionSpace(**load_file(path)) if path.exists() else None


def read_foreign(folder: Path) -> ForeignReference | None:
    """Load the reference for detecting foreign samples; None if a cell index has none."""
    path = folder / _FOREIGN
    return ForeignReference(**load_file(path)) if path.exists() else None


def read_classifier(folder: Path, space: str) -> LabelClassifier:
    """Load the classifier of a space, `TEXT` or `EXPRESSION`."""
    numbers = json.loads((folder / f"{space}-readout.json").read_text())
    return make_classifier(load_file(folder / f"{space}-readout.safetensors"), numbers)


def read_neighbors(folder: Path, space: str) -> Neighbors:
    """Memory-map the neighbor index of a space, or connect to its Milvus collection."""
    if MilvusNeighbors.path(folder, space).exists():
        return MilvusNeighbors.load(folder, space)
    return NeighborIndex.read(folder, space)
