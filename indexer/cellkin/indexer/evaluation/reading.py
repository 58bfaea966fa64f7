"""Read all cells of a file into memory, with GeneIDs as genes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from cellkin.indexer.evaluation.run import Cells
from cellkin.indexer.evaluation.splits import label_codes
from cellkin.matrices.cells import open_cells
from cellkin.matrices.options import ReadOptions, X
from cellkin.store.corpus import GeneNames
from cellkin.wire.errors import GenesUnmatchedError, InvalidArgumentError


def read_labeled(
    path: Path,
    genes: GeneNames,
    label: str,
    batch: str | None = None,
    taxon: int = 0,
    types: Sequence[str] | None = None,
    *,
    how: ReadOptions = X,
    literal_labels: bool = False,
) -> tuple[Cells, list[str], list[str]]:
    """Read labeled cells.

    Parameters
    ----------
    path
        A file in any format that `cellkin.matrices` reads.
    genes
        Names of the corpus, by which genes are resolved.
    label, batch
        Columns of obs; without ``batch`` all cells are of one batch.
    taxon
        NCBI taxonomy id; 0 infers it.
    types
        The reference's types if the file is a query; None for a reference: all its labels are
        types, and cells without a label are left out.
    how
        Matrix to read, and its units.
    literal_labels
        Whether words such as ``unknown`` and ``nan`` are labels; see `read_labels`.

    Returns
    -------
    cells
        The cells; duplicate genes are summed.
    types, batches
        Names by code.

    Raises
    ------
    GenesUnmatchedError
        If no gene is known.
    InvalidArgumentError
        If the file has no cells.
    """
    with open_cells(path, how) as file:
        if not file.n_cells:
            raise InvalidArgumentError(f"{path}: the file has no cells; give one with cells")
        found = file.labels(label, literal=literal_labels)
        labels = found.values
        batches = [b or "" for b in file.column(batch, "batch")] if batch else [""] * file.n_cells
        counts = sp.vstack(list(file.blocks()), format="csr")
        names, hint = file.gene_names, file.gene_hint()
        notes = (*file.notes, *found.notes)
    resolution = genes.resolver.resolve(names, taxon)
    met = np.flatnonzero(resolution.rows >= 0)
    if not len(met):
        raise GenesUnmatchedError(
            f"{path}: none of {len(names)} gene names is known to the corpus; check var_names"
            f"{f'. {hint}' if hint else ''}",
            {},
        )
    ids, column = np.unique(genes.gene_ids[resolution.rows[met]], return_inverse=True)
    ones = np.ones(len(met), np.float32)
    merged = counts @ sp.csr_matrix((ones, (met, column)), (len(names), len(ids)))
    if types is None:
        types = sorted({x for x in labels if x is not None})
        kept = np.flatnonzero([x is not None for x in labels])
        merged, labels = merged[kept], [labels[i] for i in kept]
        batches = [batches[i] for i in kept]
    batch_names = sorted(set(batches))
    cells = Cells(
        sp.csr_matrix(merged, dtype=np.float32),
        [str(gene_id) for gene_id in ids],
        label_codes(labels, types),
        label_codes(batches, batch_names),
        notes,
    )
    return cells, list(types), batch_names
