"""Fit the statistics of novelty: how well the reference's own cells fit their labels."""

from dataclasses import replace

import numpy as np

from cellkin.indexer.spaces.sample import Sample, label_sums
from cellkin.space.arrays import Float32Matrix, Float32Vector, Int64Vector
from cellkin.space.classifier import LabelClassifier, Placed, neighbor_vectors
from cellkin.space.kernels import keep_best
from cellkin.space.novelty import closeness, novelty
from cellkin.space.vectors import unit_rows

# The discriminant is shrunk by this times the mean variance of a dimension.
_RIDGE = 0.3
_SHRINKAGE = 10
_LEAST_DEVIATION = 0.02
# Simulated cells and cells of one type have similar lengths; a tenth of a difference is normal.
_LEAST_LENGTH_DEVIATION = 0.1
_BLOCK = 1024


def with_novelty(
    classifier: LabelClassifier, placed: Placed, sample: Sample
) -> tuple[LabelClassifier, Float32Vector]:
    """Estimate the means and deviations of novelty from the sample's own cells.

    These cells took part in the fit of their label, and the fewer they are the better they fit.
    This is intended: on other donors a label of few cells would fit poorly and with high variance,
    so that unknown cells would be assigned to it.

    Parameters
    ----------
    classifier
        A classifier before calibration.
    placed
        The placed sample.
    sample
        The labeled cells.

    Returns
    -------
    classifier
        The classifier with means and deviations.
    own
        (n_cells,) float32, novelty of the sample's cells.
    """
    by_fit = len(classifier.discriminants) > 0
    # The nearest neighbor of a cell of the sample is the cell itself.
    others = np.empty((sample.n_cells, 0), np.float32)
    if not by_fit:
        compared = neighbor_vectors(placed.z, classifier.n_components)
        others = nearest(compared, compared, classifier.n_novelty + 1)[0][:, 1:]
    near = np.ones(others.shape, bool)
    close = closeness(placed.z, others, near, sample.labels, classifier, leading=placed.leading)
    counts = sample.counts()
    means = np.stack([np.bincount(sample.labels, row, sample.n_labels) for row in close]) / counts
    off = (close - means[:, sample.labels]) ** 2
    squares = np.stack([np.bincount(sample.labels, row, sample.n_labels) for row in off])
    pooled = squares.sum(axis=1, keepdims=True) / counts.sum()
    deviations = np.sqrt((squares + _SHRINKAGE * pooled) / (counts + _SHRINKAGE))
    if by_fit:
        # Lengths standardized within labels separate unknown cells less well (ADR 19).
        means[-1], deviations[-1] = close[-1].mean(), max(close[-1].std(), _LEAST_LENGTH_DEVIATION)
    learned = replace(
        classifier,
        novelty_means=means.astype(np.float32),
        novelty_deviations=np.maximum(deviations, _LEAST_DEVIATION).astype(np.float32),
    )
    return learned, novelty(close, sample.labels, learned)


def discriminants(z: Float32Matrix, sample: Sample) -> Float32Matrix:
    """Fit one-against-rest least squares, all labels with the same weight.

    Parameters
    ----------
    z
        (n_cells, dim) float32, the placed sample.
    sample
        The labeled cells.

    Returns
    -------
    Float32Matrix
        (n_labels, dim) float32 coefficients, shrunk. There are no intercepts: scores are only
        compared with those of the label's own cells.
    """
    counts, n = sample.counts(), sample.n_labels
    means = label_sums(z, sample) / counts[:, None]
    center = means.mean(axis=0)
    off = (z - center) / np.sqrt(n * counts[sample.labels])[:, None]
    spread = off.T @ off
    shrinkage = _RIDGE * max(float(np.trace(spread)) / len(spread), 1e-12)
    spread[np.diag_indices_from(spread)] += shrinkage
    return np.asarray(np.linalg.solve(spread, (means - center).T).T / n, np.float32)


def mean_directions(vectors: Float32Matrix, sample: Sample) -> Float32Matrix:
    """Return (n_labels, dim) float32 unit rows: mean directions of (n_cells, dim) vectors."""
    sums = label_sums(vectors, sample)
    return unit_rows((sums / sample.counts()[:, None]).astype(np.float32))


def nearest(
    queries: Float32Matrix, reference: Float32Matrix, k: int
) -> tuple[Float32Matrix, Int64Vector]:
    """Return (n, k) cosines and rows of the exact nearest reference cells, best first."""
    k = min(k, len(reference))
    similarities = np.empty((len(queries), k), np.float32)
    neighbors = np.empty((len(queries), k), np.int64)
    for start in range(0, len(queries), _BLOCK):
        stop = min(start + _BLOCK, len(queries))
        cosines = queries[start:stop] @ reference.T
        keep_best(cosines, similarities[start:stop], neighbors[start:stop])
    return similarities, neighbors
