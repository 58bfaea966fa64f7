"""From a cell's place to its label: evidence, a calibrated probability, and whether it is unknown.

Evidence comes in four kinds, each a probability for every label:

* ``votes``: the nearest reference cells, each with ``1 / max(1 - cosine, epsilon)``;
* ``prototypes``: softmax of the cosines to the labels' mean vectors, over a temperature;
* ``contrast``: the same after a linear head trained by supervised contrast;
* ``logistic``: a multinomial logistic regression.

All but the votes are linear in the cell before the softmax, so what a gene adds to a label can be
said exactly. Their logarithms are averaged with fixed weights, and sharpened or softened by one
temperature fitted on cells of donors that had no part in the fit.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from cellkin.space.arrays import (
    BoolVector,
    Float32Matrix,
    Float32Vector,
    Int32Vector,
    Int64Vector,
    UInt8Vector,
)
from cellkin.space.vectors import unit_rows
from cellkin.wire.terms import UnknownReason

KINDS = ("votes", "prototypes", "contrast", "logistic")
"""The kinds of evidence, in the order of their weights."""
TEMPERATURE = 0.1
"""What cosines to prototypes are divided by."""
FLOOR = 1e-3
"""No evidence makes a label less likely than this: one kind cannot veto what the others say."""

# Where a reference is so small that its cells lie wholly inside, others do not; that is no news.
_LEAST_OUTSIDE = 0.05

Float64Matrix: TypeAlias = npt.NDArray[np.float64]
BoolMatrix: TypeAlias = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Readout:
    """What turns the vectors of one cell space into labels; fitted on a reference.

    Parameters
    ----------
    k, n_novelty
        Neighbors that vote, and those whose mean cosine says how far a cell is.
    vote_epsilon, class_balance
        The least distance; a vote counts ``n_c ** -class_balance``, with ``n_c`` reference cells of
        its label.
    n_components
        Leading dimensions that neighbors and prototypes are compared in.
    prototypes
        (n_labels, n_components) float32, unit rows: the mean direction of each label's cells.
    head
        (out_dim, dim) float32 of the contrastive refinement; of 0 rows where there is none.
    head_prototypes
        (n_labels, out_dim) float32, unit rows.
    coefficients, intercepts
        (n_labels, dim) and (n_labels,) float32 of the logistic regression; of 0 rows without one.
    mix
        (4,) float64 by `KINDS`, adding up to 1.
    sharpness, votes_sharpness
        What the averaged logarithms are multiplied by, and those of the votes where they are asked
        for alone; above 1 for more certain answers.
    novelty_means, novelty_deviations
        (n_ways, n_labels) float32 of the rows of `closeness`, by label, of the reference's own
        cells.
    novelty_limit
        A cell whose novelty is above this is unknown.
    min_probability
        A label less probable than this is not claimed.
    """

    k: int
    n_novelty: int
    vote_epsilon: float
    class_balance: float
    n_components: int
    prototypes: Float32Matrix
    head: Float32Matrix
    head_prototypes: Float32Matrix
    coefficients: Float32Matrix
    intercepts: Float32Vector
    mix: npt.NDArray[np.float64]
    sharpness: float
    votes_sharpness: float
    novelty_means: Float32Matrix
    novelty_deviations: Float32Matrix
    novelty_limit: float
    min_probability: float

    @property
    def n_labels(self) -> int:
        """Labels there are."""
        return len(self.prototypes)

    @property
    def n_neighbors(self) -> int:
        """Neighbors to look for."""
        return max(self.k, self.n_novelty)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return its arrays, for storage."""
        return {name: value for name, value in vars(self).items() if hasattr(value, "shape")}

    def numbers(self) -> dict[str, float]:
        """Return its numbers, for storage."""
        return {name: value for name, value in vars(self).items() if not hasattr(value, "shape")}


def neighbor_vectors(z: Float32Matrix, n_components: int) -> Float32Matrix:
    """Return (n_cells, n_components) float32 unit rows: what an index holds of cells."""
    return unit_rows(np.ascontiguousarray(z[:, :n_components]))


def vote_shares(
    similarities: Float32Matrix,
    voted: Int32Vector,
    counts: Int64Vector,
    epsilon: float,
    class_balance: float = 0.0,
) -> tuple[Float64Matrix, npt.NDArray[np.int32]]:
    """Let the neighbors vote.

    Parameters
    ----------
    similarities
        (n_cells, k) float32 cosine similarities, best first.
    voted
        (n_cells, k) int32 labels of the neighbors; -1 where there is none.
    counts
        (n_labels,) int64 reference cells of each label.
    epsilon, class_balance
        See `Readout`.

    Returns
    -------
    shares
        (n_cells, n_labels) float64; zero rows where nobody voted.
    n_votes
        (n_cells, n_labels) int32 votes cast.
    """
    found = voted >= 0
    weights = 1.0 / np.maximum(1.0 - similarities.astype(np.float64), epsilon)
    safe = np.where(found, voted, 0)
    weights *= found * (np.maximum(counts, 1) ** -float(class_balance))[safe]
    n_cells, n_labels = len(voted), len(counts)
    slot = (np.arange(n_cells)[:, None] * n_labels + safe).ravel()
    size = n_cells * n_labels
    # Of no cells at all it would count whole numbers.
    totals = np.bincount(slot, weights.ravel(), size).astype(np.float64)
    totals = totals.reshape(n_cells, n_labels)
    n_votes = np.bincount(slot, found.ravel(), size).reshape(n_cells, n_labels)
    cast = totals.sum(axis=1, keepdims=True)
    shares = np.divide(totals, cast, out=np.zeros(totals.shape), where=cast > 0)
    return shares, n_votes.astype(np.int32)


def evidence(z: Float32Matrix, shares: Float64Matrix, readout: Readout) -> list[Float64Matrix]:
    """Return what each of `KINDS` says: (n_cells, n_labels) probabilities, or of 0 rows.

    Parameters
    ----------
    z
        (n_cells, dim) float32, as the space places cells.
    shares
        (n_cells, n_labels) float64, from `vote_shares`.
    readout
        The fitted readout.
    """
    none = np.empty((0, readout.n_labels))
    cosines = neighbor_vectors(z, readout.n_components) @ readout.prototypes.T
    contrast = logistic = none
    if len(readout.head):
        refined = unit_rows(z @ readout.head.T)
        contrast = softmax(refined @ readout.head_prototypes.T / TEMPERATURE)
    if len(readout.coefficients):
        logistic = softmax(z @ readout.coefficients.T + readout.intercepts)
    return [shares, softmax(cosines / TEMPERATURE), contrast, logistic]


def combine(
    kinds: list[Float64Matrix], mix: npt.NDArray[np.float64], sharpness: float
) -> Float64Matrix:
    """Return (n_cells, n_labels) calibrated probabilities; see the module.

    Parameters
    ----------
    kinds
        By `KINDS`, (n_cells, n_labels) probabilities.
    mix
        (4,) weights; a kind of weight 0 is not looked at.
    sharpness
        Multiplies the averaged logarithms.
    """
    used = [(weight, kind) for weight, kind in zip(mix, kinds, strict=True) if weight > 0]
    logs = sum(weight * np.log(np.maximum(kind, FLOOR)) for weight, kind in used)
    return softmax(sharpness * np.asarray(logs))


def closeness(
    placed: "Placed",
    similarities: Float32Matrix,
    found: BoolMatrix,
    winners: Int32Vector,
    readout: Readout,
) -> Float64Matrix:
    """Return in several ways how well cells fit their labels.

    Parameters
    ----------
    placed
        The cells.
    similarities, found
        (n_cells, n_neighbors) float32 cosines, best first, and whether there is such a neighbor.
    winners
        (n_cells,) int32, their labels.
    readout
        The fitted readout.

    Returns
    -------
    Float64Matrix
        (n_ways, n_cells). Where there is a logistic regression: the cosine to the label's
        prototype, the label's logit, by how much the greatest logit is above the next, and minus
        the logarithm of what of the cell lies outside the space. Else that cosine, and the mean
        cosine to the `Readout.n_novelty` nearest neighbors, -1 where there are none.
    """
    at = np.arange(len(winners)), winners
    own = (neighbor_vectors(placed.z, readout.n_components) @ readout.prototypes.T)[at]
    if len(readout.coefficients):
        logits = placed.z @ readout.coefficients.T + readout.intercepts
        highest = np.partition(logits, -2, axis=1)[:, -2:] if logits.shape[1] > 1 else logits
        outside = -np.log(np.maximum(placed.outside, _LEAST_OUTSIDE))
        ways = own, logits[at], highest[:, -1] - highest[:, 0], outside
        return np.stack(ways).astype(np.float64)
    near = found[:, : readout.n_novelty]
    total = np.where(near, similarities[:, : readout.n_novelty], 0).sum(axis=1, dtype=np.float64)
    n_found = near.sum(axis=1)
    mean = np.divide(total, n_found, out=np.full(len(winners), -1.0), where=n_found > 0)
    return np.stack([own.astype(np.float64), mean])


def novelty(close: Float64Matrix, winners: Int32Vector, readout: Readout) -> Float32Vector:
    """Return how much farther than its label's own cells a cell is, in their deviations.

    Parameters
    ----------
    close
        (n_ways, n_cells) from `closeness`.
    winners
        (n_cells,) int32, the most probable label.
    readout
        The fitted readout.

    Returns
    -------
    Float32Vector
        (n_cells,) float32; the mean over the ways.
    """
    means, deviations = readout.novelty_means[:, winners], readout.novelty_deviations[:, winners]
    return np.asarray(((means - close) / deviations).mean(axis=0), np.float32)


@dataclass(frozen=True)
class Placed:
    """Cells in a space.

    Parameters
    ----------
    z
        (n_cells, dim) float32.
    outside
        (n_cells,) float32, the mean square of the cell's z-scores that is outside of the space; 0
        in a space without z-scores.
    empty
        (n_cells,) bool, cells none of whose genes has a vector.
    """

    z: Float32Matrix
    outside: Float32Vector
    empty: BoolVector


@dataclass(frozen=True)
class Labels:
    """The labels of cells.

    Parameters
    ----------
    winners
        (n_cells,) int32, the most probable label, among equals the lowest; -1 for an empty cell.
    probabilities
        (n_cells,) float32, calibrated, of the winner.
    supports
        (n_cells,) float32 in [0, 1], the winner's share of the neighbors' vote. No probability.
    n_votes
        (n_cells,) uint8, neighbors that carry the winning label.
    novelties
        (n_cells,) float32, see `novelty`.
    reasons
        (n_cells,) uint8, an `UnknownReason`; 0 where the winner is the label.
    by_label
        (n_cells, n_labels) float64 probabilities of all labels.
    """

    winners: Int32Vector
    probabilities: Float32Vector
    supports: Float32Vector
    n_votes: UInt8Vector
    novelties: Float32Vector
    reasons: UInt8Vector
    by_label: Float64Matrix


def read_labels(
    placed: Placed,
    similarities: Float32Matrix,
    voted: Int32Vector,
    counts: Int64Vector,
    readout: Readout,
    votes_only: bool = False,
) -> Labels:
    """Label placed cells.

    Parameters
    ----------
    placed
        The cells.
    similarities, voted
        (n_cells, n_neighbors) float32 cosines, best first, and int32 labels of the neighbors; -1
        where there is none.
    counts
        (n_labels,) int64 reference cells of each label.
    readout
        The fitted readout.
    votes_only
        Whether only neighbors count, as where some of the reference is excluded: it took part in
        all other evidence.
    """
    k = readout.k
    shares, n_votes = vote_shares(
        similarities[:, :k], voted[:, :k], counts, readout.vote_epsilon, readout.class_balance
    )
    kinds = evidence(placed.z, shares, readout)
    mix = np.array([1.0, 0, 0, 0]) if votes_only else readout.mix
    by_label = combine(kinds, mix, readout.votes_sharpness if votes_only else readout.sharpness)
    winners = by_label.argmax(axis=1).astype(np.int32)
    at = np.arange(len(winners)), winners
    probabilities = by_label[at].astype(np.float32)
    close = closeness(placed, similarities, voted >= 0, winners, readout)
    far = novelty(close, winners, readout)
    reasons = np.full(len(winners), UnknownReason.KNOWN, np.uint8)
    reasons[probabilities < readout.min_probability] = UnknownReason.LOW_PROBABILITY
    reasons[far > readout.novelty_limit] = UnknownReason.TOO_FAR
    nobody = placed.empty if not votes_only else placed.empty | (voted[:, :k] < 0).all(axis=1)
    reasons[nobody] = UnknownReason.NO_GENE_MATCHED
    winners[nobody] = -1
    probabilities[nobody] = 0
    return Labels(
        winners, probabilities, shares[at].astype(np.float32), n_votes[at].astype(np.uint8),
        far, reasons, by_label,
    )  # fmt: skip


def foreign_limit(limit: float, novelties: Float32Vector) -> float:
    """Return the limit of novelty for cells of foreign genes.

    All cells of another species or technology are farther from the reference than its own. Most of
    a sample is taken to be of known labels, so the limit moves by the median of the sample.

    Parameters
    ----------
    limit
        That of the reference.
    novelties
        (n,) float32 of cells drawn evenly from the query, none of them empty; at least one.
    """
    return limit + max(0.0, float(np.median(novelties)))


def softmax(logits: npt.NDArray[Any]) -> Float64Matrix:
    """Return (n, n_labels) float64 rows that add up to 1."""
    logits = np.asarray(logits, np.float64)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def read_readout(arrays: Mapping[str, npt.NDArray[Any]], numbers: Mapping[str, float]) -> Readout:
    """Make a readout of what `Readout.arrays` and `Readout.numbers` returned."""
    return Readout(**arrays, **numbers)  # type: ignore[arg-type]  # the fields say their types
