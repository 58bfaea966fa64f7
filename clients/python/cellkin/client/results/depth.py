"""How deep the cells of a reference are, and what less depth costs."""

from dataclasses import dataclass

from cellkin.v1 import cell_service_pb2 as wire

_SHALLOW = 0.25


@dataclass(frozen=True)
class DepthCost:
    """What labels are worth at one range of depths, on held-out cells of the reference.

    Parameters
    ----------
    at_least, below
        The range.
    n_cells
        Cells that were asked, their molecules thinned.
    wrong
        The share of wrong labels among those claimed, in [0, 1].
    unknown
        The share of cells that were unknown, in [0, 1].
    """

    at_least: float
    below: float
    n_cells: int
    wrong: float
    unknown: float


@dataclass(frozen=True)
class ReferenceDepth:
    """How many genes the cells of a reference detect.

    Parameters
    ----------
    expected_genes
        How many of the query's genes a cell of the reference detects on average. The depth of a
        cell is the number of these that it detects, over this.
    costs
        What less depth costs, the deepest first; empty where it was not measured.
    """

    expected_genes: float
    costs: tuple[DepthCost, ...] = ()

    def caution(self, n_genes: float) -> str:
        """Say what cells cost that are much shallower than the reference's; empty of others.

        Parameters
        ----------
        n_genes
            What the median cell detects of the genes that are used.
        """
        depth = n_genes / max(self.expected_genes, 1e-9)
        if not depth < _SHALLOW:  # nor where there are no cells
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
    """Read how deep the cells of a reference are."""
    return ReferenceDepth(
        message.expected_genes,
        tuple(DepthCost(c.at_least, c.below, c.n_cells, c.wrong, c.unknown) for c in message.costs),
    )
