"""What labels are read from: the spaces of a reference, its cells, and a search for neighbors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from cellkin.space.arrays import BoolVector, Float32Matrix, Int32Vector, Int64Vector
from cellkin.space.expression import ExpressionSpace
from cellkin.space.gene_pairs import ForeignReference
from cellkin.space.projection import CellSpace
from cellkin.space.readout import Readout
from cellkin.wire.errors import FailedPreconditionError

WITH_TEXT = (
    "An index with a text space is made by `cellkin genes import`, `cellkin genes embed` and "
    "`cellkin cells index`, without `--space expression`"
)
"""What to do where an index would need a text space."""


class NeighborSearch(Protocol):
    """Finds the nearest reference cells of vectors."""

    def search(
        self, queries: Float32Matrix, k: int, passing: BoolVector | None = None
    ) -> tuple[Float32Matrix, Int64Vector]:
        """Find the nearest reference cells of each query.

        Parameters
        ----------
        queries
            (n_queries, dim) float32 unit rows.
        k
            Neighbors a query.
        passing
            (n_cells,) bool, the reference cells that may be found; None for all.

        Returns
        -------
        similarities
            (n_queries, k) float32 cosines, best first; -inf where there are fewer cells.
        rows
            (n_queries, k) int64 rows of the reference; -1 where there are fewer.
        """


@dataclass(frozen=True)
class TextPart:
    """The text space of a reference.

    Parameters
    ----------
    space
        The space.
    neighbors
        The search among the reference's cells in it.
    readout
        What turns vectors of it into labels.
    refine
        Applied to the vectors of cells, (n_cells, dim) float32 to (n_cells, out_dim) float32 unit
        rows; None in every index. `cells evaluate` measures by it what a linear space costs.
    foreign
        What foreign samples are checked by; None where they are not checked.
    """

    space: CellSpace
    neighbors: NeighborSearch
    readout: Readout
    refine: Callable[[Float32Matrix], Float32Matrix] | None = None
    foreign: ForeignReference | None = None


@dataclass(frozen=True)
class ExpressionPart:
    """The expression space of a reference.

    Parameters
    ----------
    space, neighbors, readout
        As in `TextPart`.
    """

    space: ExpressionSpace
    neighbors: NeighborSearch
    readout: Readout


@dataclass(frozen=True)
class Reference:
    """Labelled cells in one or two spaces.

    Parameters
    ----------
    name
        What errors call it.
    label_names
        The labels.
    labels
        (n_cells,) int32 label of each cell, the order of what is searched.
    counts
        (n_labels,) int64 cells of each label.
    text, expression
        Its spaces; at least one.
    """

    name: str
    label_names: Sequence[str]
    labels: Int32Vector
    counts: Int64Vector
    text: TextPart | None = None
    expression: ExpressionPart | None = None

    def require_expression(self) -> ExpressionPart:
        """Return the expression space.

        Raises
        ------
        FailedPreconditionError
            If there is none.
        """
        if self.expression is None:
            raise FailedPreconditionError(
                f"{self.name} has no expression space; ask for the text space",
                {"shared_expression": "0"},
            )
        return self.expression

    def require_text(self) -> TextPart:
        """Return the text space.

        Raises
        ------
        FailedPreconditionError
            If there is none.
        """
        if self.text is None:
            raise FailedPreconditionError(
                f"{self.name} has no text space, by which cells of other genes are compared: it "
                f"was made by expression alone. {WITH_TEXT}"
            )
        return self.text

    def labels_of(self, rows: Int64Vector) -> Int32Vector:
        """Return the labels of reference cells by row; -1 where there is no cell."""
        return np.where(rows >= 0, self.labels[np.maximum(rows, 0)], -1).astype(np.int32)
