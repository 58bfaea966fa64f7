"""The vectors of reference cells as an index holds them, read from the cell table."""

from collections.abc import Callable, Iterator
from functools import partial

from cellkin.space.arrays import Float32Matrix, Int64Vector
from cellkin.space.classifier import neighbor_vectors
from cellkin.space.projection import CellSpace, place_means
from cellkin.store.catalog import Entry
from cellkin.store.cell_index import (
    EXPRESSION,
    TEXT,
    read_classifier,
    read_text_space,
    space_digests,
)
from cellkin.store.cell_rows import vector_matrix
from cellkin.store.cell_table import CellTable, cell_table
from cellkin.store.store import Store
from cellkin.wire.errors import FailedPreconditionError


class CellVectors:
    """The vectors of reference cells as an index holds them, read in blocks.

    Parameters
    ----------
    cells
        The cell table.
    column
        The column of the vectors.
    dim
        Dimension of a vector in the index.
    place
        Converts stored vectors to those of the index: (n, dim) float32 unit rows.
    query
        Converts stored vectors to queries for a search; None for ``place``.

    Attributes
    ----------
    n, dim
        Number of cells, and dimension of a vector.
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
        """Return the expression vectors used for the neighbor search."""
        place = partial(neighbor_vectors, n_components=n_components)
        # Queries have all dimensions: the classifier uses more than the first n_components.
        return cls(cells, "expression", n_components, place, lambda z: z)

    def batches(self) -> Iterator[Float32Matrix]:
        """Yield the (n, dim) float32 unit rows in order, a few thousand at a time."""
        for batch in self._cells.batches([self._column]):
            yield self._place(vector_matrix(batch[self._column]))

    def named(self) -> Iterator[tuple[list[str], list[str], Float32Matrix]]:
        """Yield ids and labels along with the rows of `batches`."""
        for batch in self._cells.batches(["id", "label", self._column]):
            vectors = self._place(vector_matrix(batch[self._column]))
            yield batch["id"].to_pylist(), batch["label"].to_pylist(), vectors

    def take(self, rows: Int64Vector) -> Float32Matrix:
        """Return the (n_rows, dim) float32 unit rows of cells, given by ascending row number."""
        return self._place(self._cells.take_vectors(rows, self._column))

    def queries(self, rows: Int64Vector) -> Float32Matrix:
        """Return cells as search queries: float32, with all dimensions of their space."""
        return self._query(self._cells.take_vectors(rows, self._column))


def read_vectors(store: Store, entry: Entry, space: str = TEXT) -> CellVectors:
    """Return the cell vectors of a published index exactly as indexed.

    Parameters
    ----------
    store
        The store of the index.
    entry
        The version of the index.
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
        return CellVectors.of_expression(cells, read_classifier(folder, EXPRESSION).n_components)
    text = read_text_space(folder)
    assert text is not None  # its digest exists, so its file does
    return CellVectors.of_text(cells, text)
