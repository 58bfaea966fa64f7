"""Add a layout in two dimensions to an index."""

import shutil
from dataclasses import replace
from pathlib import Path

from cellkin.indexer.cells.publish import Spaces, Stages
from cellkin.indexer.spaces.layout import extend_layout, fit_layout
from cellkin.store.catalog import Entry
from cellkin.store.cell_index import LAYOUT, read_reference_cells, write_layout
from cellkin.store.cell_table import CellTable, check_rows
from cellkin.store.cell_vectors import CellVectors
from cellkin.store.store import Store


def add_layout(store: Store, base: Entry, stages: Stages) -> Entry:
    """Publish a version of an index with a layout; everything else is copied.

    Parameters
    ----------
    store
        The store.
    base
        A version of an index. A layout that it has is replaced.
    stages
        Shows progress.

    Raises
    ------
    FailedPreconditionError
        If it has fewer than three cells.
    MissingDependencyError
        If umap-learn is not installed.
    """
    folder, cells = store.index_folder(base), check_rows(store, base)
    spaces = Spaces.of(folder)
    labels = read_reference_cells(folder).labels
    with stages("fitting the layout") as progress:
        layout, certificate = fit_layout(_vectors(spaces, cells), labels, progress)

    def write(new: Path) -> None:
        for name in set(base.manifest["files"]) - {LAYOUT}:
            shutil.copyfile(folder / name, new / name)
        write_layout(new, layout)

    kept = {name: value for name, value in base.manifest.items() if name not in ("path", "files")}
    return store.publish_index(base.name, write, {**kept, "layout": certificate.to_json()})


def with_layout(spaces: Spaces, cells: CellTable) -> Spaces:
    """Return spaces whose layout, if they have one, has the cells that were appended.

    Parameters
    ----------
    spaces
        The spaces and the layout of the cells before.
    cells
        All cells.
    """
    if spaces.layout is None:
        return spaces
    labels = cells.column("label").combine_chunks().dictionary_encode().indices.to_numpy()
    return replace(spaces, layout=extend_layout(spaces.layout, _vectors(spaces, cells), labels))


def _vectors(spaces: Spaces, cells: CellTable) -> dict[str, CellVectors]:
    found = zip(spaces.names, spaces.searched(cells), strict=True)
    return {name: vectors for name, (vectors, _) in found}
