"""A reference for labeling: its spaces, cells, and neighbor search."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from cellkin.space.arrays import BoolVector, Float32Matrix, Int32Vector, Int64Vector
from cellkin.space.classifier import LabelClassifier
from cellkin.space.expression import ExpressionSpace
from cellkin.space.gene_pairs import ForeignReference
from cellkin.space.projection import CellSpace
from cellkin.wire.errors import FailedPreconditionError

WITH_TEXT = (
    "An index with a text space is made by `cellkin genes import`, `cellkin genes embed` and "
    "`cellkin cells index`, without `--space expression`"
)
"""Advice in errors about a missing text space."""


class NeighborSearch(Protocol):
    """Search for nearest reference cells."""

    def search(
        self, queries: Float32Matrix, k: int, passing: BoolVector | None = None
    ) -> tuple[Float32Matrix, Int64Vector]:
        """Find the nearest reference cells of each query.

        Parameters
        ----------
        queries
            (n_queries, dim) float32 unit rows.
        k
            Neighbors per query.
        passing
            (n_cells,) bool, the reference cells that may be found; None for all.

        Returns
        -------
        similarities
            (n_queries, k) float32 cosines, best first; -inf if there are fewer cells.
        rows
            (n_queries, k) int64 rows of the reference; -1 if there are fewer cells.
        """


@dataclass(frozen=True)
class TextPart:
    """The text space of a reference.

    Parameters
    ----------
    space
        The space.
    neighbors
        Search among the reference's cells in the space.
    classifier
        The classifier of the space.
    refine
        Function applied to cell vectors, (n_cells, dim) float32 to (n_cells, out_dim) float32 unit
        rows; None in every index. `cells evaluate` uses it to measure the cost of a linear space.
    foreign
        Statistics for checking foreign samples; None if they are not checked.
    """

    space: CellSpace
    neighbors: NeighborSearch
    classifier: LabelClassifier
    refine: Callable[[Float32Matrix], Float32Matrix] | None = None
    foreign: ForeignReference | None = None


@dataclass(frozen=True)
class ExpressionPart:
    """The expression space of a reference.

    Parameters
    ----------
    space, neighbors, classifier
        As in `TextPart`.
    """

    space: ExpressionSpace
    neighbors: NeighborSearch
    classifier: LabelClassifier


@dataclass(frozen=True)
class Reference:
    """Labeled cells in one or two spaces.

    Parameters
    ----------
    name
        Name in error messages.
    label_names
        Names of the labels.
    labels
        (n_cells,) int32 label of each cell, in the order of the neighbor search.
    counts
        (n_labels,) int64 cells of each label.
    text, expression
        The spaces; at least one.
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
        """Return the labels of reference cells by row; -1 for row -1."""
        return np.where(rows >= 0, self.labels[np.maximum(rows, 0)], -1).astype(np.int32)
