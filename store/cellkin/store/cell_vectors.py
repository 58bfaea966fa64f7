"""The vectors of the cells of a reference, from their table, as an index holds them."""

from collections.abc import Callable, Iterator
from functools import partial

from cellkin.space.arrays import Float32Matrix, Int64Vector
from cellkin.space.projection import CellSpace, place_means
from cellkin.space.readout import neighbor_vectors
from cellkin.store.catalog import Entry
from cellkin.store.cell_index import (
    EXPRESSION,
    TEXT,
    read_readout,
    read_text_space,
    space_digests,
)
from cellkin.store.cell_rows import vector_matrix
from cellkin.store.cell_table import CellTable, cell_table
from cellkin.store.store import Store
from cellkin.wire.errors import FailedPreconditionError


class CellVectors:
    """The vectors of the cells of a reference as an index holds them, read in batches.

    Parameters
    ----------
    cells
        The rows.
    column
        The column of the vectors.
    dim
        Width of a vector in the index.
    place
        Turns stored vectors into those of the index: (n, dim) float32 unit rows.
    query
        Turns stored vectors into those that a search for them takes; None for ``place``.

    Attributes
    ----------
    n, dim
        Cells, and the width of a vector.
    """

    def __init__(
        self,
        cells: CellTable,
        column: str,
        dim: int,
        place: Callable[[Float32Matrix], Float32Matrix],
        query: Callable[[Float32Matrix], Float32Matrix] | None = None,
    ) -> None:
        self._cells = cells
        self._column = column
        self._place, self._query = place, query or place
        self.n = cells.n_cells
        self.dim = dim

    @classmethod
    def of_text(cls, cells: CellTable, space: CellSpace) -> "CellVectors":
        """Return the vectors of the text space."""
        return cls(cells, "vector", space.dim, lambda means: place_means(means, space))

    @classmethod
    def of_expression(cls, cells: CellTable, n_components: int) -> "CellVectors":
        """Return the vectors of the expression space that neighbors are looked for by."""
        place = partial(neighbor_vectors, n_components=n_components)
        # Whoever searches gives all dimensions; the regression is read from the others.
        return cls(cells, "expression", n_components, place, lambda z: z)

    def batches(self) -> Iterator[Float32Matrix]:
        """Yield the (n, dim) float32 unit rows in order, some thousand at a time."""
        for batch in self._cells.batches([self._column]):
            yield self._place(vector_matrix(batch[self._column]))

    def named(self) -> Iterator[tuple[list[str], list[str], Float32Matrix]]:
        """Yield ids and labels beside the rows of `batches`."""
        for batch in self._cells.batches(["id", "label", self._column]):
            vectors = self._place(vector_matrix(batch[self._column]))
            yield batch["id"].to_pylist(), batch["label"].to_pylist(), vectors

    def take(self, rows: Int64Vector) -> Float32Matrix:
        """Return the (n_rows, dim) float32 unit rows of some cells, by ascending row number."""
        return self._place(self._cells.take_vectors(rows, self._column))

    def queries(self, rows: Int64Vector) -> Float32Matrix:
        """Return some cells as a search takes them: all dimensions of their space, float32."""
        return self._query(self._cells.take_vectors(rows, self._column))


def read_vectors(store: Store, entry: Entry, space: str = TEXT) -> CellVectors:
    """Return the vectors of the cells of a published index, exactly as they were indexed.

    Parameters
    ----------
    store
        Where it is.
    entry
        The version.
    space
        `TEXT` or `EXPRESSION`.

    Raises
    ------
    FailedPreconditionError
        If the index has no such space.
    """
    folder, cells = store.index_folder(entry), cell_table(store, entry)
    if space not in space_digests(entry):
        raise FailedPreconditionError(f"{entry.full_name} has no {space} space")
    if space == EXPRESSION:
        return CellVectors.of_expression(cells, read_readout(folder, EXPRESSION).n_components)
    text = read_text_space(folder)
    assert text is not None  # its file is among the digests
    return CellVectors.of_text(cells, text)
