"""Principal components."""

from collections.abc import Callable

import numpy as np
from scipy.linalg import eigh, qr

from cellkin.indexer.threads import blas_threads
from cellkin.space.arrays import Float32Matrix
from cellkin.space.classifier import Float64Matrix
from cellkin.space.projection import Float64Vector

# Width of the blocks of a Krylov subspace for 100 axes, and how many blocks it has.
_WIDTH, _DEPTH, _DEPTH_OF_PARTS = 40, 12, 6
# Larger subspaces take as long as the whole matrix.
_LARGEST_SHARE = 0.5
# A Gram matrix was measured to take less time than the products of a subspace up to this many times
# the dimensions of that.
_GRAM_UP_TO = 6


def principal_axes(
    centered: Float32Matrix, n: int, approximate: bool = False
) -> tuple[Float64Vector, Float64Matrix]:
    """Return the leading principal axes.

    `sklearn.decomposition.PCA` returns the same axes. They are those of the smaller of the two Gram
    matrices. A small one is decomposed; in a larger one the axes are searched in a Krylov subspace,
    and a very large one is not even made. The solvers of scikit-learn take longer (ADR 32, ADR 42).

    Parameters
    ----------
    centered
        (n_cells, n_genes) float32, columns of mean 0.
    n
        Number of axes, at most the smaller of both dimensions.
    approximate
        Whether half as large a subspace will do. The leading half of the axes are then the same to
        within a hundredth, and all together have 99 % of the sum of squares; otherwise they have
        all of it to within a part in 100,000.

    Returns
    -------
    squares
        (n,) float64, the sum of squares along each axis, largest first.
    axes
        (n, n_genes) float64. Axes of a positive sum of squares are orthonormal; all others are
        rounding noise.
    """
    width, depth = -(-n * _WIDTH // 100), _DEPTH_OF_PARTS if approximate else _DEPTH
    size, wide = min(centered.shape), centered.shape[0] < centered.shape[1]
    if size > _GRAM_UP_TO * width * depth:
        squares, axes = _in_krylov_subspace(
            lambda block: centered.T @ (centered @ block), centered.shape[1], n, width, depth
        )
    else:
        gram = centered @ centered.T if wide else centered.T @ centered
        if width * depth <= _LARGEST_SHARE * size:
            with blas_threads(1):  # small products, for which several wait for each other
                squares, axes = _in_krylov_subspace(gram.__matmul__, size, n, width, depth)
        else:
            squares, axes = _decomposed(gram, n)
        if wide:
            axes = (axes @ centered) / np.sqrt(np.maximum(squares, 1e-12))[:, None]
    # The sign of an eigenvector depends on the machine: make its largest entry positive.
    largest = axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)]
    return squares, np.asarray(axes * np.where(largest < 0, -1.0, 1.0)[:, None], np.float64)


def _decomposed(gram: Float32Matrix, n: int) -> tuple[Float64Vector, Float64Matrix]:
    """Return the n largest eigenvalues of a matrix, and the eigenvectors as rows."""
    values, found = eigh(
        gram.astype(np.float64),
        subset_by_index=(len(gram) - n, len(gram) - 1),
        overwrite_a=True,
        check_finite=False,
    )
    return values[::-1], found[:, ::-1].T


def _in_krylov_subspace(
    times: Callable[[Float32Matrix], Float32Matrix], size: int, n: int, width: int, depth: int
) -> tuple[Float64Vector, Float64Matrix]:
    """Return the same within a block Krylov subspace (arXiv:1504.05477).

    Parameters
    ----------
    times
        Multiplies the (size, size) matrix by (size, width) float32.
    size, n
        Dimension of the matrix, and number of eigenvalues.
    width, depth
        Columns of a block, and number of blocks.
    """
    basis = np.empty((size, width * depth), np.float32, order="F")
    along = np.empty_like(basis)
    block = times(np.random.default_rng(0).standard_normal((size, width), np.float32))
    for begin in range(0, width * depth, width):
        before = basis[:, :begin]
        for _ in range(2 if begin else 1):  # twice, because of rounding
            block = qr(block - before @ (before.T @ block), mode="economic", check_finite=False)[0]
        basis[:, begin : begin + width] = block
        along[:, begin : begin + width] = block = times(block)
    values, within = eigh((basis.T @ along).astype(np.float64), check_finite=False)
    top = within[:, ::-1][:, :n].astype(np.float32)
    return values[::-1][:n], np.asarray((basis @ top).T, np.float64)
