"""Which space a query is compared in: expression where genes are shared, else text."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from cellkin.server.loading import LoadedIndex
from cellkin.space.expression import ExpressionColumns
from cellkin.store.cell_index import CellIndex, ExpressionIndex
from cellkin.v1 import cell_service_pb2 as wire
from cellkin.wire.errors import FailedPreconditionError, InvalidArgumentError
from cellkin.wire.match import GeneMatch
from cellkin.wire.terms import ENOUGH_SHARED


@dataclass(frozen=True)
class SharedGenes:
    """How a query's genes meet those that the cells of an index were measured for.

    Parameters
    ----------
    columns
        The genes that meet one of the expression space.
    share
        The share of the reference's expression that these have, in [0, 1]; where there is no
        expression space, the share of the genes the text space was fitted to.
    """

    columns: ExpressionColumns
    share: float

    @property
    def are_foreign(self) -> bool:
        """Whether they are too few to compare cells by expression."""
        return self.share < ENOUGH_SHARED

    @classmethod
    def of(cls, index: CellIndex, match: GeneMatch) -> "SharedGenes":
        """Meet the genes of a query."""
        if index.expression is None:
            none = ExpressionColumns.of(np.full(len(match.gene_ids), -1))
            fitted = index.space.gene_ids[index.space.measured]
            return cls(none, float(np.isin(fitted, match.gene_ids).sum()) / max(len(fitted), 1))
        rows = index.expression.space.rows_of(match.gene_ids)
        met = np.unique(rows[rows >= 0])
        share = float(index.expression.space.shares[met].sum(dtype=np.float64))
        return cls(ExpressionColumns.of(rows), share)

    def choose(self, loaded: LoadedIndex, wanted: int) -> ExpressionIndex | None:
        """Return the expression space of an index where cells are to be compared there.

        Raises
        ------
        FailedPreconditionError
            If it is asked for and no gene is shared.
        """
        if wanted == wire.SPACE_KIND_EXPRESSION:
            require_expression(loaded)
            if not self.share:
                raise FailedPreconditionError(
                    f"{loaded.entry.full_name} and the query share no gene by identifier; ask for "
                    "the text space",
                    {"shared_expression": f"{self.share:.3f}"},
                )
        if wanted == wire.SPACE_KIND_TEXT or (not wanted and self.are_foreign):
            return None
        return loaded.index.expression


def require_expression(loaded: LoadedIndex) -> ExpressionIndex:
    """Return the expression space of an index.

    Raises
    ------
    FailedPreconditionError
        If it has none.
    """
    if loaded.index.expression is None:
        raise FailedPreconditionError(
            f"{loaded.entry.full_name} has no expression space; ask for the text space",
            {"shared_expression": "0"},
        )
    return loaded.index.expression


def require_known(kind: Any, number: int, field: str) -> None:
    """Refuse a number that has no name: another release may mean anything by it."""
    if number not in kind.values():
        raise InvalidArgumentError(
            f"{field} is {number}; give one of {', '.join(kind.keys())}", field=f"header.{field}"
        )
