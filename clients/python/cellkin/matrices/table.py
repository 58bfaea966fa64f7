"""Annotation of cells or genes, with columns read lazily."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cellkin.matrices.matrix import Matrix

# Prefixed by the genome in files of several: GRCh38_ENSG00000254647.
_ENSEMBL_GENE = re.compile(r"(?:.*_)?ENS[A-Z]*G\d{6,}(?:\.\d+)?")


@dataclass(frozen=True)
class Table:
    """The names and columns of one axis of a file.

    Parameters
    ----------
    columns
        Names of the columns.
    read_names
        Returns the row names: a sequence of strings or bytes.
    read_column
        Returns a column by its name.
    kept
        (n_kept,) int64, the rows to return; None for all.
    index_name
        The file's name of the index, or None.
    """

    columns: list[str]
    read_names: Callable[[], Any]
    read_column: Callable[[str], Any]
    kept: npt.NDArray[np.int64] | None = None
    index_name: str | None = None

    def names(self) -> list[str]:
        """Return the row names."""
        return texts(self._kept(self.read_names()))

    def column(self, name: str) -> Any:
        """Return a column as a pandas or numpy array."""
        return self._kept(self.read_column(name))

    def frame(self) -> pd.DataFrame:
        """Return all columns as a data frame."""
        columns = {name: self.column(name) for name in self.columns}
        return pd.DataFrame(columns, index=self._index())

    def _index(self) -> pd.Index:
        return pd.Index(self.names(), dtype=object, name=self.index_name)

    def _kept(self, values: Any) -> Any:
        return values if self.kept is None else values[self.kept]


@dataclass(frozen=True)
class Opened:
    """An open file: its matrix, and readers of its annotation."""

    matrix: Matrix
    read_obs: Callable[[], Table]
    read_var: Callable[[], Table]


def name_table(names: Sequence[str]) -> Table:
    """Return a table of names without columns."""
    return Table([], lambda: names, dict[str, Any]().__getitem__)


def texts(values: Any) -> list[str]:
    """Return values as strings; bytes are UTF-8."""
    listed = np.asarray(values).tolist()
    return [v.decode() if isinstance(v, bytes) else str(v) for v in listed]


def is_ensembl(name: str) -> bool:
    """Return whether a name is an Ensembl gene id, with or without a genome prefix."""
    return _ENSEMBL_GENE.fullmatch(name) is not None


def gene_names(ids: Sequence[str], names: Sequence[str]) -> list[str]:
    """Return the Ensembl id of each gene, or its name if its id is not from Ensembl."""
    return [i if is_ensembl(i) else name for i, name in zip(ids, names, strict=True)]
