"""Labels by expression alone: what any method of this project has to be compared with.

All of them see log1p of counts per 10,000 of the 2,000 most variable genes of the reference,
z-scored by the reference (`Features`).
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from scipy.sparse.linalg import ArpackNoConvergence, eigsh
from scipy.special import logsumexp, softmax

from cellkin.indexer.evaluation.measures import FloatVector
from cellkin.indexer.evaluation.preprocess import Features
from cellkin.indexer.neighbors.gpu import nearest
from cellkin.space.arrays import (
    BoolVector,
    CsrMatrix,
    Float32Matrix,
    Float32Vector,
    Int32Vector,
    UInt8Vector,
)
from cellkin.space.vectors import unit_rows
from cellkin.space.votes import vote_shares
from cellkin.wire.errors import DimensionMismatchError, InvalidArgumentError, MissingDependencyError

N_COMPONENTS = 50
N_NEIGHBORS = 10
TEMPERATURE = 0.1
"""Of the softmax over prototype cosines."""

# The least distance of a vote, so that an identical cell does not outvote all others.
_EPSILON = 1e-4
_N_RESTARTS = 60


@dataclass(frozen=True)
class Answer:
    """What a method says of each cell.

    Parameters
    ----------
    codes
        (n_cells,) int32 label.
    probability
        (n_cells,) float in [0, 1] of the label; None for a method that states none.
    novelty
        (n_cells,) float, higher for cells unlike the reference; None for a method without.
    unknown
        (n_cells,) bool, cells called unknown; None for a method that calls none.
    reasons
        (n_cells,) uint8 `UnknownReason`; None for a method that gives none.
    """

    codes: Int32Vector
    probability: FloatVector | None
    novelty: FloatVector | None
    unknown: BoolVector | None = None
    reasons: UInt8Vector | None = None


class Fitted(Protocol):
    """A method that has seen its reference."""

    def predict(self, counts: CsrMatrix, genes: Sequence[str]) -> Answer:
        """Label cells.

        Parameters
        ----------
        counts
            (n_cells, n_genes) CSR of linear expression.
        genes
            The columns' names; compared letter by letter with the reference's, so match them
            before.

        Raises
        ------
        GenesUnmatchedError
            If no gene is shared that the method uses.
        """
        ...


class Baseline(Protocol):
    """A method with nothing learned yet."""

    @property
    def name(self) -> str:
        """What reports call it."""
        ...

    def fit(
        self,
        counts: CsrMatrix,
        genes: Sequence[str],
        labels: Int32Vector,
        batches: Int32Vector | None = None,
    ) -> Fitted:
        """Learn from a reference.

        Parameters
        ----------
        counts
            (n_cells, n_genes) CSR of linear expression.
        genes
            The columns' names.
        labels
            (n_cells,) int32, at least 0.
        batches
            (n_cells,) int32, or None; no method here corrects for batches.
        """
        ...


def check_reference(counts: CsrMatrix, genes: Sequence[str], labels: Int32Vector) -> None:
    """Refuse a reference whose parts do not fit together, or whose cells lack labels."""
    if counts.shape != (len(labels), len(genes)):
        raise DimensionMismatchError(
            f"expression of shape {counts.shape}, {len(labels)} labels, {len(genes)} gene names; "
            "give a label a row and a name a column"
        )
    if not len(labels) or labels.min() < 0:
        raise InvalidArgumentError(
            f"{int((labels < 0).sum())} of {len(labels)} reference cells have no label; give only "
            "labeled cells, and at least one"
        )


@dataclass(frozen=True)
class Majority:
    """Calls every cell what most reference cells are."""

    name: str = "majority"

    def fit(
        self,
        counts: CsrMatrix,
        genes: Sequence[str],
        labels: Int32Vector,
        batches: Int32Vector | None = None,
    ) -> "FittedMajority":
        """Count the labels; see `Baseline.fit`."""
        check_reference(counts, genes, labels)
        n_cells = np.bincount(labels)
        return FittedMajority(int(n_cells.argmax()), float(n_cells.max() / len(labels)))


@dataclass(frozen=True)
class FittedMajority:
    """The most frequent label and its share of the reference."""

    code: int
    share: float

    def predict(self, counts: CsrMatrix, genes: Sequence[str]) -> Answer:
        """Answer without looking; see `Fitted.predict`."""
        n_cells = counts.shape[0]
        return Answer(np.full(n_cells, self.code, np.int32), np.full(n_cells, self.share), None)


@dataclass(frozen=True)
class PcaKnn:
    """The 10 nearest reference cells by cosine of 50 principal components, near ones first.

    The probability is the winner's share of the votes, each ``1 / (1 - cosine)``; the novelty the
    mean distance of the neighbors.
    """

    name: str = "PCA-50, cosine 10-NN"

    def fit(
        self,
        counts: CsrMatrix,
        genes: Sequence[str],
        labels: Int32Vector,
        batches: Int32Vector | None = None,
    ) -> "FittedPcaKnn":
        """Place the reference cells; see `Baseline.fit`."""
        check_reference(counts, genes, labels)
        features = Features.fit(counts, genes)
        z = features.z_scores(counts, genes)
        mean = z.mean(axis=0)
        axes = principal_axes(z - mean, N_COMPONENTS)
        return FittedPcaKnn(features, mean, axes, unit_rows((z - mean) @ axes), labels)


@dataclass(frozen=True)
class FittedPcaKnn:
    """Principal axes and the reference cells on them.

    Parameters
    ----------
    features
        Of the reference.
    mean
        (n_genes,) float32 of its z-scores.
    axes
        (n_genes, n_components) float32.
    cells
        (n_reference, n_components) float32, unit rows.
    labels
        (n_reference,) int32.
    """

    features: Features
    mean: Float32Vector
    axes: Float32Matrix
    cells: Float32Matrix
    labels: Int32Vector

    def predict(self, counts: CsrMatrix, genes: Sequence[str]) -> Answer:
        """Let the nearest cells vote; see `Fitted.predict`."""
        z = self.features.z_scores(counts, genes)
        queries = unit_rows(np.asarray((z - self.mean) @ self.axes, np.float32))
        cosines, rows = nearest(queries, self.cells, min(N_NEIGHBORS, len(self.cells)))
        counts = np.bincount(self.labels)
        shares, _ = vote_shares(cosines, self.labels[rows], counts, _EPSILON)
        winners = shares.argmax(axis=1).astype(np.int32)
        supports = shares.max(axis=1).astype(np.float32)
        return Answer(winners, supports, 1.0 - cosines.mean(axis=1))


def principal_axes(centered: Float32Matrix, n_components: int) -> Float32Matrix:
    """Return the axes of most variance, to the accuracy of float32.

    Cells and genes meet in a matrix of the fewer of the two; Lanczos iterations find its largest
    eigenvectors ten times as fast as a full decomposition, and from a fixed start.

    Parameters
    ----------
    centered
        (n_cells, n_genes) float32, columns of mean 0.
    n_components
        Axes wanted; fewer come where cells or genes span fewer.

    Returns
    -------
    Float32Matrix
        (n_genes, n_axes) float32, orthonormal columns, most variance first.
    """
    n_cells, n_genes = centered.shape
    wide = n_cells < n_genes
    gram = centered @ centered.T if wide else centered.T @ centered
    values, vectors = _largest(gram, n_components)
    # Directions of no variance are noise of the arithmetic.
    order = np.argsort(-values)[:n_components]
    kept = order[values[order] > 1e-6 * max(values.max(), 1e-12)]
    axes = vectors[:, kept]
    if wide:
        axes = centered.T @ axes / np.sqrt(values[kept])
    return np.ascontiguousarray(axes, np.float32)


def _largest(gram: Float32Matrix, n: int) -> tuple[Float32Vector, Float32Matrix]:
    """Return the largest eigenvalues of a symmetric matrix, and vectors; more where it is small."""
    if len(gram) > 2 * n:
        # Varied, for a constant start is at right angles to all axes of centered cells.
        start = np.random.default_rng(0).standard_normal(len(gram), np.float32)
        # Where less than n directions vary, the rest is noise on which the iteration never ends.
        with contextlib.suppress(ArpackNoConvergence):
            values, vectors = eigsh(gram, n, v0=start, maxiter=_N_RESTARTS)
            return values, vectors
    values, vectors = np.linalg.eigh(gram)
    return values, vectors


@dataclass(frozen=True)
class HvgPrototypes:
    """The type whose mean z-scores have the largest cosine to the cell's.

    The probability is the softmax of the cosines over 0.1; the novelty 1 minus the largest.
    """

    name: str = "HVG-z prototypes"

    def fit(
        self,
        counts: CsrMatrix,
        genes: Sequence[str],
        labels: Int32Vector,
        batches: Int32Vector | None = None,
    ) -> "FittedPrototypes":
        """Average the cells of each type; see `Baseline.fit`."""
        check_reference(counts, genes, labels)
        features = Features.fit(counts, genes)
        z = features.z_scores(counts, genes)
        codes = np.unique(labels)
        means = np.stack([z[labels == code].mean(axis=0) for code in codes])
        return FittedPrototypes(features, unit_rows(np.asarray(means, np.float32)), codes)


@dataclass(frozen=True)
class FittedPrototypes:
    """One unit vector a type.

    Parameters
    ----------
    features
        Of the reference.
    prototypes
        (n_types, n_genes) float32, unit rows.
    codes
        (n_types,) int32, their labels.
    """

    features: Features
    prototypes: Float32Matrix
    codes: Int32Vector

    def predict(self, counts: CsrMatrix, genes: Sequence[str]) -> Answer:
        """Compare with each type; see `Fitted.predict`."""
        cosines = unit_rows(self.features.z_scores(counts, genes)) @ self.prototypes.T
        probability = softmax(cosines.astype(np.float64) / TEMPERATURE, axis=1)
        return Answer(
            self.codes[cosines.argmax(axis=1)],
            probability.max(axis=1),
            1.0 - cosines.max(axis=1),
        )


@dataclass(frozen=True)
class LogisticRegressionExpression:
    """Multinomial logistic regression on the z-scores, by scikit-learn.

    The probability is its own; the novelty minus the log-sum-exp of the decision values (energy).
    """

    name: str = "logistic regression"

    def fit(
        self,
        counts: CsrMatrix,
        genes: Sequence[str],
        labels: Int32Vector,
        batches: Int32Vector | None = None,
    ) -> "FittedRegression":
        """Fit the regression; see `Baseline.fit`.

        Raises
        ------
        MissingDependencyError
            If scikit-learn is not installed.
        """
        check_reference(counts, genes, labels)
        if len(np.unique(labels)) < 2:
            raise InvalidArgumentError("reference cells of one type; a regression needs 2 types")
        try:
            from sklearn.linear_model import LogisticRegression
        except ImportError as error:
            raise MissingDependencyError(
                'logistic regression needs scikit-learn; pip install "cellkin[evaluate]"'
            ) from error
        features = Features.fit(counts, genes)
        model = LogisticRegression(max_iter=1000)
        model.fit(features.z_scores(counts, genes), labels)
        return FittedRegression(features, model)


@dataclass(frozen=True)
class FittedRegression:
    """A fitted `sklearn.linear_model.LogisticRegression` and its features."""

    features: Features
    model: Any

    def predict(self, counts: CsrMatrix, genes: Sequence[str]) -> Answer:
        """Ask the regression; see `Fitted.predict`."""
        z = self.features.z_scores(counts, genes)
        decision: npt.NDArray[np.float64] = self.model.decision_function(z)
        if decision.ndim == 1:
            # Two types share one value: the odds of the second.
            decision = np.stack([-decision / 2, decision / 2], axis=1)
        probability = softmax(decision.astype(np.float64), axis=1)
        codes = self.model.classes_[decision.argmax(axis=1)].astype(np.int32)
        return Answer(codes, probability.max(axis=1), -logsumexp(decision, axis=1))
