"""What of a file is read, and as what."""

from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True)
class ReadOptions:
    """Which matrix of a file is read, and what its columns and values are.

    Parameters
    ----------
    layer
        The layer to read instead of X.
    raw
        Whether to read ``.raw`` instead of X, with its genes.
    modality
        The modality to read of a file that has several, such as ``rna``; None for the one that has
        gene expression.
    gene_column
        The column of ``var`` that has the gene names; None for the names of ``var``.
    units
        What the values are: ``counts``, ``cp10k``, ``log1p`` or ``log2``; None infers it.
    """

    layer: str | None = None
    raw: bool = False
    modality: str | None = None
    gene_column: str | None = None
    units: str | None = None

    @classmethod
    def pop(cls, values: dict[str, Any]) -> "ReadOptions":
        """Take these options out of a command's values."""
        return cls(**{field.name: values.pop(field.name) for field in fields(cls)})


X = ReadOptions()
"""The matrix X, whatever it has."""
