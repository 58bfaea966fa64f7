"""The genes that files of cells have columns of."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cellkin.space.arrays import Int64Vector
from cellkin.store.catalog import Entry
from cellkin.store.corpus import read_gene_names
from cellkin.store.store import Store
from cellkin.wire.errors import GenesUnmatchedError


@dataclass(frozen=True)
class MeasuredGenes:
    """The genes of a corpus that files have columns of.

    Parameters
    ----------
    files
        Names of the files.
    gene_ids
        (n_genes,) int64 NCBI GeneIDs, ascending.
    """

    files: tuple[str, ...]
    gene_ids: Int64Vector


def measured_genes(store: Store, corpus: Entry, files: Sequence[Path]) -> MeasuredGenes:
    """Resolve the gene names of files of cells, each in the species that its names are of.

    Parameters
    ----------
    store, corpus
        The corpus that resolves the names.
    files
        The files; only their gene names are read.

    Raises
    ------
    InputFileError
        If a file cannot be read.
    GenesUnmatchedError
        If no name of a file resolves to a gene of the corpus.
    """
    # pandas and h5py, which the rest of embedding does not need.
    from cellkin.matrices.cells import open_cells

    names = read_gene_names(store, corpus)
    found = []
    for path in files:
        with open_cells(path) as cells:
            given, hint = cells.gene_names, cells.gene_hint()
        rows = names.resolver.resolve(given).rows
        if not (rows >= 0).any():
            raise GenesUnmatchedError(
                f"{path}: none of {len(given)} gene names is known to corpus {corpus.full_name}; "
                f"check var_names{f'. {hint}' if hint else ''}",
                {},
            )
        found.append(names.gene_ids[rows[rows >= 0]])
    return MeasuredGenes(tuple(path.name for path in files), np.unique(np.concatenate(found)))
