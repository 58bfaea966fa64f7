"""Choose the space to compare a query in: expression if genes are shared, else text."""

from dataclasses import dataclass

import numpy as np

from cellkin.space.arrays import Int64Vector
from cellkin.space.expression import ExpressionColumns
from cellkin.space.reference import WITH_TEXT, ExpressionPart, Reference
from cellkin.wire.errors import FailedPreconditionError

ENOUGH_SHARED = 0.5
"""Minimum share of the reference's expression in genes of the query to use the expression space."""


@dataclass(frozen=True)
class SharedGenes:
    """Genes shared by a query and the cells of a reference.

    Parameters
    ----------
    columns
        The query's columns whose gene is in the expression space.
    share
        The share of these genes in the reference's expression, in [0, 1]; without an expression
        space, in the genes that the text space was fitted to.
    own_share
        The share of the query's genes that were measured in the reference, in [0, 1].
    """

    columns: ExpressionColumns
    share: float
    own_share: float

    @property
    def are_foreign(self) -> bool:
        """Whether the query has other genes than the reference, as another species has.

        A panel of a few of the reference's genes is not foreign: it is compared by these genes.
        """
        return self.share < ENOUGH_SHARED and self.own_share < ENOUGH_SHARED

    @classmethod
    def of(cls, reference: Reference, gene_ids: Int64Vector) -> "SharedGenes":
        """Compare the genes of a query with those of a reference.

        Parameters
        ----------
        reference
            The reference.
        gene_ids
            (n_columns,) int64 NCBI GeneIDs of the query's columns; 0 for a column without a gene.
        """
        genes = np.unique(gene_ids[gene_ids != 0])
        n_genes = max(len(genes), 1)
        if reference.expression is not None:
            space = reference.expression.space
            rows = space.rows_of(gene_ids)
            met = np.unique(rows[rows >= 0])
            share = float(space.shares[met].sum(dtype=np.float64))
            return cls(ExpressionColumns.of(rows), share, len(met) / n_genes)
        none = ExpressionColumns.of(np.full(len(gene_ids), -1))
        if reference.text is None:
            return cls(none, 0.0, 0.0)
        fitted = reference.text.space.gene_ids[reference.text.space.measured]
        n_met = int(np.isin(fitted, genes).sum())
        return cls(none, n_met / max(len(fitted), 1), n_met / n_genes)

    def choose(self, reference: Reference, space: str | None) -> ExpressionPart | None:
        """Return the expression space if cells are compared in it, None for text.

        Parameters
        ----------
        reference
            The reference.
        space
            ``text`` or ``expression``; None chooses by the shared genes.

        Raises
        ------
        FailedPreconditionError
            If the reference lacks the space, or the query shares no gene with the expression space.
        """
        alone = reference.expression is None
        if space == "text" or (space is None and (alone or self._need_text(reference))):
            reference.require_text()
            return None
        expression = reference.require_expression()
        if not self.share:
            instead = "Ask for the text space" if reference.text is not None else WITH_TEXT
            raise FailedPreconditionError(
                f"{reference.name} and the query share no gene by identifier. {instead}",
                {"shared_expression": f"{self.share:.3f}"},
            )
        return expression

    def _need_text(self, reference: Reference) -> bool:
        return self.are_foreign and reference.text is not None
