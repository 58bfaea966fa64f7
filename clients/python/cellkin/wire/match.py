"""The match report: how the gene names of a matrix were matched to the corpus."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cellkin.wire.species import taxon_name
from cellkin.wire.terms import MATCHED_ROUTES, GeneRoute, TextRung


@dataclass(frozen=True, repr=False)
class GeneMatch:
    """How each gene name of a matrix was matched to the corpus, in the order given.

    Parameters
    ----------
    taxon, taxon_inferred
        The species the names were read in, and whether it was inferred from them; taxon 0 if
        undetermined.
    gene_ids
        (n_names,) int64 NCBI GeneIDs, 0 for names without a match.
    routes
        (n_names,) uint8, a `GeneRoute`.
    rungs
        (n_names,) uint8, a `TextRung`, 0 for names without a match.
    in_space
        (n_names,) uint8, 1 if the gene has a vector in the cell space and is used.
    """

    taxon: int
    taxon_inferred: bool
    gene_ids: npt.NDArray[np.int64]
    routes: npt.NDArray[np.uint8]
    rungs: npt.NDArray[np.uint8]
    in_space: npt.NDArray[np.uint8]

    def __repr__(self) -> str:
        species = taxon_name(self.taxon) if self.taxon else "no species"
        return f"<GeneMatch: {self.n_used:,} of {self.n_given:,} names used, {species}>"

    @property
    def n_given(self) -> int:
        """Number of names given."""
        return len(self.routes)

    @property
    def n_matched(self) -> int:
        """Number of names matched to exactly one gene."""
        return int(np.count_nonzero(self.gene_ids))

    @property
    def n_used(self) -> int:
        """Number of names whose gene has a vector."""
        return int(np.count_nonzero(self.in_space))

    @property
    def n_genes(self) -> int:
        """Number of distinct genes with a vector."""
        return len(np.unique(self.gene_ids[self.in_space > 0]))

    @property
    def counted_routes(self) -> npt.NDArray[np.uint8]:
        """(n_names,) uint8, `routes` with UNMATCHED for names whose gene has no vector."""
        counts = (self.in_space > 0) | (self.routes == GeneRoute.AMBIGUOUS)
        return np.where(counts, self.routes, np.uint8(GeneRoute.UNMATCHED))

    def to_metadata(self) -> dict[str, str]:
        """Return the counts as strings, for errors and manifests."""
        counts = {
            "genes_given": self.n_given,
            "genes_matched": self.n_matched,
            "genes_used": self.n_used,
            "genes_distinct": self.n_genes,
            "taxon": self.taxon,
        }
        counts |= {f"route_{r.name.lower()}": n for r, n in self.by_route().items()}
        counts |= {f"rung_{r.name.lower()}": n for r, n in self.by_rung().items()}
        return {key: str(value) for key, value in counts.items()}

    def by_route(self) -> dict[GeneRoute, int]:
        """Return the number of names by route, without unused routes."""
        return {r: n for r in GeneRoute if (n := int(np.count_nonzero(self.routes == r)))}

    def by_rung(self) -> dict[TextRung, int]:
        """Return the number of matched names by rung of text, without empty rungs."""
        return {r: n for r in TextRung if (n := int(np.count_nonzero(self.rungs == r)))}

    def route_shares(self, cells: Any) -> npt.NDArray[np.float32]:
        """Return the share of each cell's expression by route.

        Parameters
        ----------
        cells
            (n_cells, n_names) matrix, CSR or dense, of linear expression: finite and non-negative.

        Returns
        -------
        NDArray
            (n_cells, n_routes) float32 in [0, 1], one column per `GeneRoute`, by `counted_routes`.
            Rows sum to 1; they are zero for cells that express nothing.
        """
        members = np.zeros((self.n_given, len(GeneRoute)))
        members[np.arange(self.n_given), self.counted_routes] = 1
        return row_shares(cells @ members)

    def lines(self, mass: npt.NDArray[np.float64] | None = None) -> list[tuple[str, int, str]]:
        """Return the report as rows of description, number of names, share of expression.

        Parameters
        ----------
        mass
            (n_names,) float64, the summed linear expression of each name; if None, shares are
            empty.
        """

        def row(what: str, where: npt.NDArray[np.bool_]) -> tuple[str, int, str]:
            share = ""
            if mass is not None and mass.sum() > 0:
                share = f"{mass[where].sum() / mass.sum():.1%}"
            return what, int(np.count_nonzero(where)), share

        inferred = " (inferred from the names)" if self.taxon_inferred and self.taxon else ""
        # Names can match even if the species is undetermined.
        unknown = "an unknown species" if self.n_matched else "none"
        species = taxon_name(self.taxon) if self.taxon else unknown
        rows = [row(f"given, read as {species}{inferred}", np.ones(self.n_given, bool))]
        rows += [
            row(f"by {r.label}" if r in MATCHED_ROUTES else r.label, self.routes == r)
            for r in self.by_route()
        ]
        rows += [row(f"text: {r.label}", self.rungs == r) for r in self.by_rung()]
        n_genes = self.n_genes
        repeated = "" if n_genes == self.n_used else f", {n_genes:,} distinct genes"
        rows.append(row(f"used{repeated}", self.in_space > 0))
        return rows


def row_shares(sums: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Divide each value by the sum of its row.

    Parameters
    ----------
    sums
        (n_rows, n_columns) float64, non-negative.

    Returns
    -------
    NDArray
        (n_rows, n_columns) float32 in [0, 1]; rows sum to 1, or stay zero.
    """
    totals = sums.sum(axis=1, keepdims=True)
    shares = np.zeros(sums.shape, np.float32)
    np.divide(sums, totals, out=shares, where=totals > 0)
    return shares
