"""The vote: weights, ties, missing neighbors, the floor."""

import numpy as np

from cellkin.space.votes import Votes, vote
from cellkin.wire.terms import UnknownReason

LABELS = np.array([0, 0, 1, 1, 2], np.int32)


def votes(similarities: list[float], neighbors: list[int], floor: float = 0.5) -> Votes:
    return vote(
        np.array([similarities], np.float32),
        LABELS,
        np.array([neighbors]),
        3,
        np.array([False]),
        1e-4,
        floor,
    )


def test_near_neighbors_outvote_many_far_ones() -> None:
    # 1 / .01 = 100 against 1 / .2 + 1 / .2 = 10.
    got = votes([0.99, 0.8, 0.8], [4, 0, 1])
    assert got.winners.tolist() == [2]
    assert got.n_votes.tolist() == [1]
    np.testing.assert_allclose(got.supports, 100 / 110, rtol=1e-4)


def test_among_equal_votes_the_lowest_label_wins_and_support_says_so() -> None:
    got = votes([0.5, 0.5], [2, 0], floor=0.6)
    assert got.winners.tolist() == [0]
    np.testing.assert_allclose(got.supports, 0.5)
    assert got.reasons.tolist() == [UnknownReason.LOW_SUPPORT]


def test_a_vote_at_the_floor_is_a_label() -> None:
    assert votes([0.5, 0.5], [2, 0], floor=0.5).reasons.tolist() == [UnknownReason.KNOWN]


def test_an_identical_neighbor_does_not_make_the_vote_infinite() -> None:
    got = votes([1.0, 0.9], [0, 2])
    assert np.isfinite(got.supports).all()
    assert 0.99 < got.supports[0] < 1


def test_missing_neighbors_do_not_vote() -> None:
    got = votes([0.9, -np.inf], [3, -1])
    assert got.winners.tolist() == [1]
    assert got.supports.tolist() == [1.0]
    assert got.n_votes.tolist() == [1]


def test_an_empty_cell_has_no_winner() -> None:
    got = vote(
        np.array([[0.9, 0.8]], np.float32),
        LABELS,
        np.array([[0, 1]]),
        3,
        np.array([True]),
        1e-4,
        0.5,
    )
    assert got.winners.tolist() == [-1]
    assert got.supports.tolist() == [0]
    assert got.n_votes.tolist() == [0]
    assert got.reasons.tolist() == [UnknownReason.NO_GENE_MATCHED]
