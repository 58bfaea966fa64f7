"""Gene embeddings: centering, whitening, and imputed weights of genes that were not measured."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cellkin.space.arrays import Float32Matrix, Float32Vector, Int64Vector, frozen
from cellkin.space.compiled import compiled_brief
from cellkin.space.kernels import keep_best

# Cosines of this many genes with all others about fit the last-level cache.
_BLOCK_ROWS = 256


def unit_rows(matrix: Float32Matrix) -> Float32Matrix:
    """Return the rows scaled to unit length; a zero row stays zero.

    Parameters
    ----------
    matrix
        (n, dim) float32.
    """
    norms = np.sqrt(np.einsum("ij,ij->i", matrix, matrix, dtype=np.float64))
    scale = np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)
    return np.asarray(matrix * scale[:, None], np.float32)


def directions(matrix: Float32Matrix) -> tuple[Float32Matrix, int]:
    """Scale rows of unchecked input to unit length, up to the first that is invalid.

    Parameters
    ----------
    matrix
        (n, dim) float32, C-contiguous, of any values.

    Returns
    -------
    unit
        (n, dim) float32; the first ``n_good`` rows are unit rows, the others are uninitialized.
    n_good
        The first row that is all zero or not finite; n if there is none.
    """
    unit = np.empty(matrix.shape, np.float32)
    return unit, int(_scale(frozen(matrix), unit))


@compiled_brief
def _scale(matrix, unit):  # type: ignore[no-untyped-def]  # numba infers them
    for row in range(len(matrix)):
        square = 0.0
        for value in matrix[row]:
            # Squares of the largest float32 stay finite in double precision.
            square += np.float64(value) * np.float64(value)
        if not 0 < square < np.inf:
            return row
        length = np.sqrt(square)
        for j in range(matrix.shape[1]):
            unit[row, j] = np.float32(np.float64(matrix[row, j]) / length)
    return len(matrix)


def centered_unit_rows(matrix: Float32Matrix) -> Float32Matrix:
    """Return the rows minus their mean, scaled to unit length.

    Text embeddings of a language model share a large common part; without it cosines spread out.
    """
    return unit_rows(np.asarray(matrix - matrix.mean(axis=0, dtype=np.float64), np.float32))


def whiten(matrix: Float32Matrix, shrinkage: float) -> Float32Matrix:
    """Return the rows centered, whitened and scaled to unit length.

    Parameters
    ----------
    matrix
        (n_genes, dim) float32, one row per gene.
    shrinkage
        The covariance is ``(1 - shrinkage) C + shrinkage * mean(eigenvalues) I``.

    Returns
    -------
    Float32Matrix
        (n_genes, dim) float32.
    """
    x = matrix.astype(np.float64)
    x -= x.mean(axis=0)
    eigenvalues, axes = np.linalg.eigh(x.T @ x / len(x))
    shrunk = (1 - shrinkage) * eigenvalues + shrinkage * eigenvalues.mean()
    # With fewer genes than dimensions, or repeated texts, some directions have zero variance: they
    # stay zero.
    scale = np.divide(1.0, np.sqrt(np.abs(shrunk)), out=np.zeros_like(shrunk), where=shrunk > 1e-12)
    return unit_rows(np.asarray(x @ (axes * scale) @ axes.T, np.float32))


def inverse_detection(n_cells: int | Int64Vector, n_detected: Int64Vector) -> Float32Vector:
    """Weight genes by how few cells express them: ``ln((1 + n) / (1 + n_detected))``.

    Parameters
    ----------
    n_cells
        Number of reference cells, one for all genes or (n_genes,) int64.
    n_detected
        (n_genes,) int64, number of cells with a count above zero.
    """
    return np.asarray(np.log((1.0 + n_cells) / (1.0 + n_detected)), np.float32)


@dataclass(frozen=True)
class NearestMeasured:
    """The nearest measured genes of every gene that was not measured.

    Parameters
    ----------
    measured, rest
        (n_measured,) and (n_rest,) int64 rows of the measured genes and of the others, ascending.
    cosines
        (n_rest, k) float32, best first.
    places
        (n_rest, k) int64 into ``measured``.
    """

    measured: Int64Vector
    rest: Int64Vector
    cosines: Float32Matrix
    places: npt.NDArray[np.int64]

    @classmethod
    def of(cls, vectors: Float32Matrix, measured: Int64Vector, k: int) -> "NearestMeasured":
        """Search the k nearest measured genes.

        Parameters
        ----------
        vectors
            (n_genes, dim) float32, unit rows.
        measured
            (n_measured,) int64, rows of the measured genes, ascending.
        k
            Number of neighbors; all measured genes if there are fewer.
        """
        known = np.ascontiguousarray(vectors[measured])
        k = min(k, len(measured))
        rest = np.setdiff1d(np.arange(len(vectors)), measured, assume_unique=True)
        cosines, places = np.empty((len(rest), k), np.float32), np.empty((len(rest), k), np.int64)
        block = np.empty((_BLOCK_ROWS, len(measured)), np.float32)
        for start in range(0, len(rest), _BLOCK_ROWS):
            stop = min(start + _BLOCK_ROWS, len(rest))
            n = stop - start
            np.matmul(vectors[rest[start:stop]], known.T, out=block[:n])
            keep_best(block[:n], cosines[start:stop], places[start:stop])
        return cls(measured, rest, cosines, places)

    def carry(self, weights: Float32Vector, temperature: float) -> Float32Vector:
        """Impute the weights of genes that were not measured.

        A gene of another species or panel has no statistics in the reference. It gets those of the
        measured genes with the nearest texts.

        Parameters
        ----------
        weights
            (n_measured,) float32, the weights of the measured genes.
        temperature
            The mean over the nearest genes is weighted by ``softmax(cosine / temperature)``.

        Returns
        -------
        Float32Vector
            (n_genes,) float32; measured genes keep their own. All 0 if no gene was measured.
        """
        carried = np.zeros(len(self.rest) + len(self.measured), np.float32)
        carried[self.measured] = weights
        if len(self.rest) and len(self.measured):
            softmax = np.exp((self.cosines - self.cosines[:, :1]) / temperature)
            total = (softmax * weights[self.places]).sum(axis=1)
            carried[self.rest] = total / softmax.sum(axis=1)
        return carried


def carry_weights(
    vectors: Float32Matrix,
    measured: Int64Vector,
    weights: Float32Vector,
    k: int,
    temperature: float,
) -> Float32Vector:
    """Impute the weights of genes that were not measured.

    Parameters
    ----------
    vectors
        (n_genes, dim) float32, unit rows.
    measured
        (n_measured,) int64, rows of the measured genes, ascending.
    weights
        (n_measured,) float32, their weights.
    k, temperature
        The mean is over the ``k`` nearest, see `NearestMeasured.carry`.

    Returns
    -------
    Float32Vector
        (n_genes,) float32; measured genes keep their own.
    """
    return NearestMeasured.of(vectors, measured, k).carry(weights, temperature)
