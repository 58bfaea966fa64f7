"""Result of the check of a foreign sample against a reference."""

from dataclasses import dataclass

from cellkin.space.arrays import Float32Vector


@dataclass(frozen=True)
class LabelCheck:
    """Comparison of a sample's cells of one label with the reference's.

    Parameters
    ----------
    label
        The label, a row of the reference's labels.
    n_cells
        Number of background cells with the label.
    similarity
        Correlation of the expression of paired genes, corrected for noise.
    confirmed
        Whether the label is confirmed.
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
        Whether it does; None if undecided: too few cells or genes, or a share of confirmed cells
        that is neither high nor low.
    n_cells
        Number of background cells that were checked.
    n_genes
        Number of genes of the sample paired with genes of the reference.
    confirmed_share
        The share of these cells with a confirmed label, in [0, 1].
    labels
        The checked labels, most cells first.
    limits
        (n_labels,) float32, the novelty limit of each label; minus infinity for a label that is not
        confirmed.
    """

    belongs: bool | None
    n_cells: int
    n_genes: int
    confirmed_share: float
    labels: tuple[LabelCheck, ...]
    limits: Float32Vector
