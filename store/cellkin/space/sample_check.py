"""How a sample of foreign genes compares with a reference as a whole."""

from dataclasses import dataclass

from cellkin.space.arrays import Float32Vector


@dataclass(frozen=True)
class LabelCheck:
    """How a sample's cells of one label compare with the reference's.

    Parameters
    ----------
    label
        The label, a row of the reference's.
    n_cells
        Cells of the background with it.
    similarity
        How alike their expression of paired genes is, in [-1, 1].
    confirmed
        Whether that is enough.
    """

    label: int
    n_cells: int
    similarity: float
    confirmed: bool


@dataclass(frozen=True)
class SampleCheck:
    """Whether a sample belongs to a reference.

    Parameters
    ----------
    belongs
        Whether it does; None where there are too few cells or genes to tell.
    n_cells
        Cells of the background that were looked at.
    n_genes
        Genes of the sample that were paired with genes of the reference.
    confirmed_share
        The share of these cells whose label was confirmed, in [0, 1].
    labels
        The labels that were predicted, most cells first.
    limits
        (n_labels,) float32, the limit of novelty of each label; minus infinity for a label that is
        not confirmed.
    """

    belongs: bool | None
    n_cells: int
    n_genes: int
    confirmed_share: float
    labels: tuple[LabelCheck, ...]
    limits: Float32Vector
