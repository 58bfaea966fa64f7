"""Placing cells by expression, with genes in the reference's order and in another; see project.py.

The baseline brings the genes into the reference's order by a product with a sparse matrix, as one
would without kernels, and then places the cells in the same way.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from report import Figure, at_least, interleaved, speedup, wall_s

from cellkin.space.expression import ExpressionColumns, ExpressionSpace, place_expression

_N_VARIABLE, _DIM, _N_WEIGHTED, _REFINED_DIM, _LEADING_DIM = 2000, 128, 1000, 64, 20


def expression(
    by_gene: sp.csr_matrix, cells: sp.csr_matrix, order: npt.NDArray[np.integer], n_rounds: int
) -> list[Figure]:
    """Measure one thread.

    Parameters
    ----------
    by_gene, cells
        The same cells with the columns in the order of the genes, and in another one.
    order
        The gene of each column of ``cells``.
    n_rounds
        Number of timed rounds.
    """
    n_cells, n_genes = by_gene.shape
    space = _space(n_genes)
    own = ExpressionColumns.of(np.arange(n_genes))
    other = ExpressionColumns.of(order.astype(np.int64))
    ones = np.ones(n_genes, np.float32)
    turned = sp.csr_matrix((ones, (np.arange(n_genes), order)), shape=(n_genes, n_genes))

    def by_product() -> object:
        found = cells @ turned
        found.sort_indices()
        return place_expression(found, own, space)

    ways: dict[str, Callable[[], object]] = {
        "genes in the reference's order": lambda: place_expression(by_gene, own, space),
        "genes in another order": lambda: place_expression(cells, other, space),
        "genes in another order, by a sparse product": by_product,
    }
    took = interleaved(ways, n_rounds)
    inorder, kernel, product = took.values()
    return [
        *(
            Figure(f"by expression, {name}", n_cells / wall_s(times), "cells/s")
            for name, times in took.items()
        ),
        at_least("another order: against a sparse product", speedup(product, kernel), "x", 3),
        Figure("another order: against the reference's order", speedup(inorder, kernel), "x"),
    ]


def _space(n_genes: int) -> ExpressionSpace:
    """Return a space of the usual size, with random loadings."""
    rng = np.random.default_rng(2)
    shares = rng.uniform(0.1, 1, n_genes)

    def some(n: int) -> npt.NDArray[np.int32]:
        return np.sort(rng.permutation(n_genes)[:n]).astype(np.int32)

    def normal(*shape: int) -> npt.NDArray[np.float32]:
        return rng.standard_normal(shape, np.float32)

    return ExpressionSpace(
        np.arange(1, n_genes + 1), (shares / shares.sum()).astype(np.float32),
        some(_N_VARIABLE), rng.uniform(0, 1, _N_VARIABLE).astype(np.float32),
        rng.uniform(0.2, 2, _N_VARIABLE).astype(np.float32),
        np.linalg.qr(normal(_N_VARIABLE, _DIM))[0], normal(_DIM),
        some(_N_WEIGHTED), rng.uniform(0, 1, _N_WEIGHTED).astype(np.float32),
        normal(_N_WEIGHTED, _REFINED_DIM), normal(_N_WEIGHTED, _LEADING_DIM),
    )  # fmt: skip
