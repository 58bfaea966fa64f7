"""Depth of a reference's cells, and label quality at lower depth."""

from dataclasses import dataclass

from cellkin.client.results.tables import Shown
from cellkin.v1 import cell_service_pb2 as wire

_SHALLOW = 0.25


@dataclass(frozen=True, repr=False)
class DepthCost(Shown):
    """Label quality in one range of depths, on held-out cells of the reference.

    Parameters
    ----------
    at_least, below
        The range of relative depth.
    n_cells
        Number of cells, with molecules thinned to that depth.
    wrong
        Share of wrong labels among cells with a label, in [0, 1].
    unknown
        Share of unknown cells, in [0, 1].
    """

    at_least: float
    below: float
    n_cells: int
    wrong: float
    unknown: float


@dataclass(frozen=True, repr=False)
class ReferenceDepth(Shown):
    """Number of genes that the cells of a reference detect.

    Parameters
    ----------
    expected_genes
        Number of the query's genes that a reference cell detects on average. A cell's relative
        depth is the number of these genes that it detects, divided by this.
    costs
        Label quality by depth, deepest first; empty if it was not measured.
    """

    expected_genes: float
    costs: tuple[DepthCost, ...] = ()

    def caution(self, n_genes: float) -> str:
        """Return a warning for cells much shallower than the reference's; empty for others.

        Parameters
        ----------
        n_genes
            Number of used genes that the median cell detects.
        """
        depth = n_genes / max(self.expected_genes, 1e-9)
        if not depth < _SHALLOW:  # also without cells, as NaN
            return ""
        said = (
            f"cells detect a median of {n_genes:,.0f} genes, those of the reference "
            f"{self.expected_genes:,.0f} of the same"
        )
        cost = next((c for c in self.costs if c.at_least <= depth < c.below), None)
        if cost is None:
            return f"{said}; what labels of so shallow cells are worth was not measured"
        return (
            f"{said}: of {cost.n_cells} held-out cells of the reference, thinned as much, "
            f"{cost.unknown:.0%} were unknown and {cost.wrong:.0%} of the labels claimed wrong"
        )


def read_depth(message: wire.ReferenceDepth) -> ReferenceDepth:
    """Read the depth of a reference."""
    return ReferenceDepth(
        message.expected_genes,
        tuple(DepthCost(c.at_least, c.below, c.n_cells, c.wrong, c.unknown) for c in message.costs),
    )
