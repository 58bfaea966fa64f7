"""Standard expression features: log1p of counts per 10,000, variable genes, z-scores."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cellkin.indexer.spaces.sample import log_expression
from cellkin.indexer.spaces.variable_genes import highly_variable, moments
from cellkin.space.arrays import CsrMatrix, Float32Matrix, Float32Vector
from cellkin.wire.errors import DimensionMismatchError, GenesUnmatchedError, InvalidArgumentError

_CLIP = 10.0


@dataclass(frozen=True)
class Features:
    """Highly variable genes of a reference, with means and deviations for z-scores.

    Parameters
    ----------
    genes
        Names of the chosen genes.
    mean, sd
        (n_chosen,) float32, mean and standard deviation over the reference of log1p of counts per
        10,000.
    """

    genes: tuple[str, ...]
    mean: Float32Vector
    sd: Float32Vector

    @classmethod
    def fit(cls, counts: CsrMatrix, genes: Sequence[str]) -> "Features":
        """Choose genes from a reference.

        Parameters
        ----------
        counts
            (n_cells, n_genes) CSR of linear expression; at least 2 cells.
        genes
            Names of the columns.
        """
        _check(counts, genes)
        if counts.shape[0] < 2:
            raise InvalidArgumentError(
                f"{counts.shape[0]} reference cells; z-scores need at least 2"
            )
        logs = log_expression(counts)
        chosen = highly_variable(logs)
        if not len(chosen):
            raise InvalidArgumentError(
                f"none of {len(genes)} genes varies over the {counts.shape[0]} reference cells; "
                "check that the matrix holds expression"
            )
        logs = logs[:, chosen]
        mean, variance = moments(logs, logs.data)
        return cls(
            tuple(genes[column] for column in chosen),
            mean.astype(np.float32),
            np.sqrt(variance).astype(np.float32),
        )

    def z_scores(self, counts: CsrMatrix, genes: Sequence[str]) -> Float32Matrix:
        """Return z-scores of the chosen genes, clipped to ±10.

        Genes that the query lacks are 0, the mean of the reference. Of columns with the same name
        the first is used.

        Parameters
        ----------
        counts
            (n_cells, n_genes) CSR of linear expression.
        genes
            Names of the columns.

        Returns
        -------
        Float32Matrix
            (n_cells, n_chosen) float32.

        Raises
        ------
        GenesUnmatchedError
            If the query has none of the chosen genes.
        """
        _check(counts, genes)
        column: dict[str, int] = {}
        for at, name in enumerate(genes):
            column.setdefault(name, at)
        there = np.array([at for at, name in enumerate(self.genes) if name in column], np.int64)
        if not len(there):
            raise GenesUnmatchedError(
                f"none of the reference's {len(self.genes)} variable genes is among the query's "
                f"{len(genes)}, compared letter by letter; expression can be compared only after "
                "genes are matched",
                {"n_variable_genes": str(len(self.genes)), "n_query_genes": str(len(genes))},
            )
        logs = log_expression(counts)[:, [column[self.genes[at]] for at in there]]
        z = np.zeros((counts.shape[0], len(self.genes)), np.float32)
        z[:, there] = (logs.toarray() - self.mean[there]) / self.sd[there]
        return np.clip(z, -_CLIP, _CLIP, out=z)


def _check(counts: CsrMatrix, genes: Sequence[str]) -> None:
    if counts.shape[1] != len(genes):
        raise DimensionMismatchError(
            f"{counts.shape[1]} columns of expression and {len(genes)} gene names; give a name a "
            "column"
        )
