"""Options for reading a file: the matrix, its gene names and its units."""

from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True)
class ReadOptions:
    """The matrix of a file to read, with its gene names and units.

    Parameters
    ----------
    layer
        The layer to read instead of X.
    raw
        Whether to read ``.raw`` instead of X, with its genes.
    modality
        The modality to read in a file with several, such as ``rna``; None for gene expression.
    gene_column
        The column of ``var`` with the gene names; None for its index.
    units
        Units of the values: ``counts``, ``cp10k``, ``log1p`` or ``log2``; None infers them.
    """

    layer: str | None = None
    raw: bool = False
    modality: str | None = None
    gene_column: str | None = None
    units: str | None = None

    @classmethod
    def pop(cls, values: dict[str, Any]) -> "ReadOptions":
        """Remove these options from a command's values and return them."""
        return cls(**{field.name: values.pop(field.name) for field in fields(cls)})


X = ReadOptions()
"""Read X, with inferred units."""
