"""Baselines that label cells by expression, which all other methods are compared with.

All of them use the z-scores of `Features`: log1p of counts per 10,000 of the reference's 2,000
highly variable genes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp, softmax
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from cellkin.indexer.evaluation.preprocess import Features
from cellkin.indexer.measures import FloatVector
from cellkin.indexer.spaces.components import principal_axes
from cellkin.space.arrays import (
    BoolVector,
    CsrMatrix,
    Float32Matrix,
    Float32Vector,
    Int32Vector,
    UInt8Vector,
)
from cellkin.space.vectors import unit_rows
from cellkin.wire.errors import DimensionMismatchError, InvalidArgumentError

N_COMPONENTS = 50
N_NEIGHBORS = 10
TEMPERATURE = 0.1
"""Temperature of the softmax over prototype cosines."""

_EPSILON = 1e-4


@dataclass(frozen=True)
class Answer:
    """Predictions of a method.

    Parameters
    ----------
    codes
        (n_cells,) int32 predicted label.
    probability
        (n_cells,) float in [0, 1], probability of the label; None if the method has none.
    novelty
        (n_cells,) float, higher for cells unlike the reference; None if the method has none.
    unknown
        (n_cells,) bool, cells labeled unknown; None if the method never does so.
    reasons
        (n_cells,) uint8 `UnknownReason`; None if the method has none.
    """

    codes: Int32Vector
    probability: FloatVector | None
    novelty: FloatVector | None
    unknown: BoolVector | None = None
    reasons: UInt8Vector | None = None


class Fitted(Protocol):
    """A method fitted to its reference."""

    def predict(self, counts: CsrMatrix, genes: Sequence[str]) -> Answer:
        """Label cells.

        Parameters
        ----------
        counts
            (n_cells, n_genes) CSR of linear expression.
        genes
            Names of the columns; compared exactly with those of the reference.

        Raises
        ------
        GenesUnmatchedError
            If the query has none of the genes that the method uses.
        """
        ...


class Baseline(Protocol):
    """A method before fitting."""

    @property
    def name(self) -> str:
        """Name in reports."""
        ...

    def fit(
        self,
        counts: CsrMatrix,
        genes: Sequence[str],
        labels: Int32Vector,
        batches: Int32Vector | None = None,
    ) -> Fitted:
        """Fit to a reference.

        Parameters
        ----------
        counts
            (n_cells, n_genes) CSR of linear expression.
        genes
            Names of the columns.
        labels
            (n_cells,) int32, at least 0.
        batches
            (n_cells,) int32, or None; no baseline corrects for batches.
        """
        ...


def check_reference(counts: CsrMatrix, genes: Sequence[str], labels: Int32Vector) -> None:
    """Raise an error if shapes do not match or cells lack labels."""
    if counts.shape != (len(labels), len(genes)):
        raise DimensionMismatchError(
            f"expression of shape {counts.shape}, {len(labels)} labels, {len(genes)} gene names; "
            "give a label for each row and a name for each column"
        )
    if not len(labels) or labels.min() < 0:
        raise InvalidArgumentError(
            f"{int((labels < 0).sum())} of {len(labels)} reference cells have no label; give only "
            "labeled cells, and at least one"
        )


@dataclass(frozen=True)
class Majority:
    """Gives every cell the most frequent label of the reference."""

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
        """Return the same for every cell; see `Fitted.predict`."""
        n_cells = counts.shape[0]
        return Answer(np.full(n_cells, self.code, np.int32), np.full(n_cells, self.share), None)


@dataclass(frozen=True)
class PcaKnn:
    """The 10 nearest reference cells by cosine of 50 principal components, weighted by distance.

    The probability is the label's share of the votes, each ``1 / (1 - cosine)``; the novelty is the
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
        squares, axes = principal_axes(z - mean, min(N_COMPONENTS, *z.shape))
        axes = axes[squares > 1e-6 * squares.max()].T.astype(np.float32)
        neighbors = KNeighborsClassifier(
            min(N_NEIGHBORS, len(labels)), weights=_inverse, metric="cosine"
        )
        return FittedPcaKnn(features, mean, axes, neighbors.fit((z - mean) @ axes, labels))


def _inverse(distances: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.floating[Any]]:
    """Return the weights of votes, limited so that identical cells do not outvote all others."""
    return np.asarray(1.0 / np.maximum(distances, _EPSILON))


@dataclass(frozen=True)
class FittedPcaKnn:
    """Principal axes and the classifier of the reference cells along them.

    Parameters
    ----------
    features
        Features of the reference.
    mean
        (n_genes,) float32 mean of its z-scores.
    axes
        (n_genes, n_components) float32.
    neighbors
        A fitted `sklearn.neighbors.KNeighborsClassifier`.
    """

    features: Features
    mean: Float32Vector
    axes: Float32Matrix
    neighbors: Any

    def predict(self, counts: CsrMatrix, genes: Sequence[str]) -> Answer:
        """Let the nearest cells vote; see `Fitted.predict`."""
        queries = (self.features.z_scores(counts, genes) - self.mean) @ self.axes
        shares = self.neighbors.predict_proba(queries)
        distances, _ = self.neighbors.kneighbors(queries)
        codes = self.neighbors.classes_[shares.argmax(axis=1)].astype(np.int32)
        return Answer(codes, shares.max(axis=1), distances.mean(axis=1))


@dataclass(frozen=True)
class HvgPrototypes:
    """The type whose mean z-scores have the largest cosine to those of the cell.

    The probability is the softmax of the cosines at temperature 0.1; the novelty is 1 minus the
    largest cosine.
    """

    name: str = "HVG-z prototypes"

    def fit(
        self,
        counts: CsrMatrix,
        genes: Sequence[str],
        labels: Int32Vector,
        batches: Int32Vector | None = None,
    ) -> "FittedPrototypes":
        """Compute the mean of each type; see `Baseline.fit`."""
        check_reference(counts, genes, labels)
        features = Features.fit(counts, genes)
        z = features.z_scores(counts, genes)
        codes = np.unique(labels)
        means = np.stack([z[labels == code].mean(axis=0) for code in codes])
        return FittedPrototypes(features, unit_rows(np.asarray(means, np.float32)), codes)


@dataclass(frozen=True)
class FittedPrototypes:
    """One unit vector per type.

    Parameters
    ----------
    features
        Features of the reference.
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

    The novelty is the energy: minus the log-sum-exp of the decision values.
    """

    name: str = "logistic regression"

    def fit(
        self,
        counts: CsrMatrix,
        genes: Sequence[str],
        labels: Int32Vector,
        batches: Int32Vector | None = None,
    ) -> "FittedRegression":
        """Fit the regression; see `Baseline.fit`."""
        check_reference(counts, genes, labels)
        if len(np.unique(labels)) < 2:
            raise InvalidArgumentError("reference cells of one type; a regression needs 2 types")
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
        """Apply the regression; see `Fitted.predict`."""
        z = self.features.z_scores(counts, genes)
        decision: npt.NDArray[np.float64] = self.model.decision_function(z)
        if decision.ndim == 1:
            # For two types scikit-learn returns one value: the log odds of the second.
            decision = np.stack([-decision / 2, decision / 2], axis=1)
        probability = softmax(decision.astype(np.float64), axis=1)
        codes = self.model.classes_[decision.argmax(axis=1)].astype(np.int32)
        return Answer(codes, probability.max(axis=1), -logsumexp(decision, axis=1))
