"""Fit the two-dimensional layout of a reference."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.metadata import version

import numpy as np
import numpy.typing as npt

from cellkin.indexer.spaces.sample import balanced
from cellkin.space.arrays import (
    BoolVector,
    Float32Matrix,
    Int32Vector,
    Int64Vector,
    UInt8Vector,
)
from cellkin.space.largest import largest_products
from cellkin.space.layout import PLACED_BY, Layout, among
from cellkin.store.cell_index import EXPRESSION, TEXT
from cellkin.store.cell_vectors import CellVectors
from cellkin.store.certificate import LayoutCertificate
from cellkin.wire.errors import FailedPreconditionError, MissingDependencyError

FITTED_CELLS = 20_000
"""Maximum number of cells that a layout is fitted to; rare labels are kept whole."""
_MEASURED_CELLS = 2_000
_TRUST_K = 15
_SEED = 0
_EPOCHS = 200
# The position of a point in UMAP's layout is that of its cell up to this: less, and the points of a
# group lie upon each other.
_MIN_DISTANCE = 0.3
_BLOCK = 4096
_FEWEST = 3
_NOISE = 1e-4


def fit_layout(
    vectors: Mapping[str, CellVectors],
    labels: Int32Vector,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Layout, LayoutCertificate]:
    """Lay a reference out in two dimensions by UMAP.

    It is fitted to at most `FITTED_CELLS` cells; the others are placed as cells of a query are.

    Parameters
    ----------
    vectors
        The vectors of the cells, by name of the space. Neighbors are those of the expression space
        if there is one.
    labels
        (n_cells,) int32.
    progress
        Called with the number of placed cells and the total.

    Returns
    -------
    layout, certificate
        The layout, and how well it keeps neighbors.

    Raises
    ------
    FailedPreconditionError
        If there are fewer than three cells.
    MissingDependencyError
        If umap-learn is not installed.
    """
    if len(labels) < _FEWEST:
        raise FailedPreconditionError(
            f"{len(labels)} cells have no neighbors to lay out; give {_FEWEST} or more"
        )
    space = _compared_in(vectors)
    fitted = balanced(labels, FITTED_CELLS)
    landmarks = {name: found.take(fitted) for name, found in vectors.items()}
    progress(0, len(labels))
    at = _embedded(landmarks[space])
    placed, n_same = _place_from(0, at, landmarks[space], fitted, vectors[space], labels, progress)
    positions = placed.copy()
    positions[fitted] = at
    layout = Layout(positions, n_same, fitted, landmarks)
    return layout, _certificate(layout, placed, vectors[space], space)


def extend_layout(
    layout: Layout, vectors: Mapping[str, CellVectors], labels: Int32Vector
) -> Layout:
    """Place the cells that were appended to a reference in its layout.

    Parameters
    ----------
    layout
        The layout of the cells before.
    vectors, labels
        As for `fit_layout`, of all cells.
    """
    space = _compared_in(vectors)
    at, n_old = layout.positions[layout.fitted], len(layout.positions)
    placed, n_same = _place_from(
        n_old, at, layout.vectors[space], layout.fitted, vectors[space], labels
    )
    positions = np.concatenate([layout.positions, placed])
    return replace(layout, positions=positions, n_same=np.concatenate([layout.n_same, n_same]))


def _compared_in(vectors: Mapping[str, CellVectors]) -> str:
    return EXPRESSION if EXPRESSION in vectors else TEXT


def _place_from(
    first: int, at: Float32Matrix, landmarks: Float32Matrix, fitted: Int64Vector,
    vectors: CellVectors, labels: Int32Vector,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Float32Matrix, UInt8Vector]:  # fmt: skip
    """Place the cells from a row on among the fitted ones, each without itself.

    Returns
    -------
    positions, n_same
        As of a `Layout`, of these cells.
    """
    n = len(labels)
    placed, n_same = np.empty((n, 2), np.float32), np.empty(n, np.uint8)
    done = 0
    for batch in vectors.batches():
        for start in range(0, len(batch), _BLOCK):
            z = batch[start : start + _BLOCK]
            rows = np.arange(done, done + len(z))
            done += len(z)
            z, rows = z[rows >= first], rows[rows >= first]
            similarities, nearest = _others(landmarks, z, rows, fitted)
            placed[rows] = among(at, similarities, nearest)
            n_same[rows] = (labels[fitted][nearest] == labels[rows][:, None]).sum(axis=1)
            progress(done, n)
    return placed[first:], n_same[first:]


def _embedded(vectors: Float32Matrix) -> Float32Matrix:
    """Return the (n, 2) float32 positions that UMAP gives to unit rows, centered."""
    n = len(vectors)
    if n <= PLACED_BY:  # too few for a graph
        return _principal(vectors)
    try:
        from umap.umap_ import find_ab_params, fuzzy_simplicial_set, simplicial_set_embedding
    except ImportError as error:
        raise MissingDependencyError(
            f"a layout needs {error.name}, which is not installed; pip install 'cellkin[layout]'"
        ) from error
    own = np.arange(n)
    similarities, others = _others(vectors, vectors, own, own)
    # UMAP counts a cell as its own nearest neighbor.
    indices = np.column_stack([own, others])
    distances = np.sqrt(np.maximum(2 - 2 * similarities, 0))
    distances = np.column_stack([np.zeros(n, np.float32), distances])
    state = np.random.RandomState(_SEED)
    graph, _, _ = fuzzy_simplicial_set(
        vectors, indices.shape[1], state, "euclidean", knn_indices=indices, knn_dists=distances
    )
    a, b = find_ab_params(1.0, _MIN_DISTANCE)
    start = _principal(vectors)
    start /= max(float(np.abs(start).max()), 1e-6)
    # UMAP divides by the range of each dimension, which is 0 if all cells are equal.
    start += state.normal(scale=_NOISE, size=start.shape).astype(np.float32)
    at, _ = simplicial_set_embedding(
        vectors, graph, 2, 1.0, a, b, 1.0, 5, _EPOCHS, start, state, "euclidean", {},
        False, {}, False,
    )  # fmt: skip
    return np.asarray(at - at.mean(axis=0), np.float32)


def _principal(vectors: Float32Matrix) -> Float32Matrix:
    """Return the (n, 2) float32 principal components, with signs that do not depend on LAPACK."""
    centered = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    _, axes = np.linalg.eigh(centered.T @ centered)
    axes = axes[:, :-3:-1]
    axes *= np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    found = np.zeros((len(vectors), 2), np.float32)
    found[:, : axes.shape[1]] = centered @ axes
    return found


def _others(
    landmarks: Float32Matrix, z: Float32Matrix, rows: Int64Vector, fitted: Int64Vector
) -> tuple[Float32Matrix, Int64Vector]:
    """Return the cosines and positions of the fitted cells nearest to cells, without themselves.

    Parameters
    ----------
    landmarks, fitted
        (n_fitted, dim) float32 unit rows, and (n_fitted,) int64 rows of the fitted cells.
    z, rows
        The same of cells of the reference.
    """
    k = min(PLACED_BY, len(landmarks) - 1)
    similarities, nearest = largest_products(landmarks, z, k + 1)
    own: BoolVector = fitted[nearest] == rows[:, None]
    own[~own.any(axis=1), -1] = True  # of another cell, or behind k equal ones
    return similarities[~own].reshape(-1, k), nearest[~own].reshape(-1, k)


def _certificate(
    layout: Layout, placed: Float32Matrix, vectors: CellVectors, space: str
) -> LayoutCertificate:
    """Measure a layout on cells drawn from all."""
    rng = np.random.default_rng(_SEED)
    n = len(placed)
    rows = np.sort(rng.permutation(n)[:_MEASURED_CELLS])
    z, at = vectors.take(rows), layout.positions[rows]
    k = min(_TRUST_K, max(1, (len(rows) - 1) // 2))
    permuted = at[rng.permutation(len(rows))]
    has_graph = len(layout.fitted) > PLACED_BY
    method, library = ("umap", "umap-learn") if has_graph else ("principal components", "numpy")
    return LayoutCertificate(
        method,
        f"{library} {version(library)}",
        _SEED,
        space,
        len(layout.fitted),
        trustworthiness=_trustworthiness(z, at, k),
        placed_trustworthiness=_trustworthiness(z, placed[rows], k),
        permuted_trustworthiness=_trustworthiness(z, permuted, k),
        trust_k=k,
        n_measured=len(rows),
    )


def _trustworthiness(vectors: Float32Matrix, at: npt.NDArray[np.float32], k: int) -> float:
    from sklearn.manifold import trustworthiness

    return float(trustworthiness(vectors, at, n_neighbors=k))
