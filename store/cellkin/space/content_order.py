"""Order cells by what they express, so that results do not depend on the order they came in."""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

import numpy as np

from cellkin.space.arrays import BoolVector, CsrMatrix, Int64Vector
from cellkin.space.compiled import compiled


def content_order(
    cells: CsrMatrix, gene_ids: Int64Vector, in_a: BoolVector, batches: Int64Vector
) -> Int64Vector:
    """Return the order of cells by batch, group, and a hash of their expression.

    Only equal cells keep the order they came in. Within a batch and group the order is that of the
    hash, so that evenly spaced cells are as good as drawn ones.

    Parameters
    ----------
    cells
        (n_cells, n_genes) CSR float32, each gene at most once in a cell.
    gene_ids
        (n_genes,) int64 NCBI GeneIDs of the columns.
    in_a, batches
        (n_cells,) bool and int64.
    """
    hashes = np.empty(cells.shape[0], np.uint64)
    bits = np.ascontiguousarray(cells.data, np.float32).view(np.uint32)
    _hash(cells.indptr, cells.indices, bits, gene_ids.astype(np.uint64), hashes)
    order: Int64Vector = np.lexsort((hashes, in_a, batches))
    return order


@compiled
def _hash(indptr, indices, bits, gene_ids, hashes):
    """Write the sum over the genes of a cell of a hash of gene and value; zeros do not count."""
    for cell in range(len(hashes)):
        total = np.uint64(0)
        for at in range(indptr[cell], indptr[cell + 1]):
            if bits[at] != 0:
                # SplitMix64
                x = (gene_ids[indices[at]] << np.uint64(32)) ^ np.uint64(bits[at])
                x += np.uint64(0x9E3779B97F4A7C15)
                x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
                x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
                total += x ^ (x >> np.uint64(31))
        hashes[cell] = total
