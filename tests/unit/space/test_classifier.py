"""Votes, evidence and what is read from them: beside loops, at the edges, and through storage."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellkin.space.classifier import (
    FLOOR,
    KINDS,
    RATES,
    LabelClassifier,
    Placed,
    neighbor_vectors,
    read_classifier,
)
from cellkin.space.labels import combine, evidence, read_labels, softmax
from cellkin.space.novelty import closeness, limit_at, novelty
from cellkin.space.vectors import unit_rows
from cellkin.space.votes import vote_shares
from cellkin.wire.errors import FailedPreconditionError, InvalidArgumentError
from cellkin.wire.terms import UnknownReason

N_LABELS, DIM = 3, 5
NONE = np.zeros((0, DIM), np.float32)


def classifier_of(**given: Any) -> LabelClassifier:
    rng = np.random.default_rng(0)
    fields: dict[str, Any] = {
        "k": 4,
        "n_novelty": 3,
        "vote_epsilon": 1e-4,
        "class_balance": 0.0,
        "n_components": DIM,
        "prototypes": np.eye(N_LABELS, DIM, dtype=np.float32),
        "head_prototypes": unit_rows(rng.standard_normal((N_LABELS, 2)).astype(np.float32)),
        "coefficients": rng.standard_normal((N_LABELS, DIM)).astype(np.float32),
        "intercepts": rng.standard_normal(N_LABELS).astype(np.float32),
        "discriminants": rng.standard_normal((N_LABELS, DIM)).astype(np.float32),
        "leading_prototypes": unit_rows(rng.standard_normal((N_LABELS, 4)).astype(np.float32)),
        "leading_discriminants": rng.standard_normal((N_LABELS, 4)).astype(np.float32),
        "mix": np.array([0.1, 0.1, 0.3, 0.5]),
        "sharpness": 1.5,
        "votes_sharpness": 0.8,
        "novelty_means": np.array([[0.9, 0.8, 0.7], [0.6, 0.5, 0.4]], np.float32),
        "novelty_deviations": np.array([[0.1, 0.2, 0.3], [0.3, 0.2, 0.1]], np.float32),
        "novelty_limit": 3.0,
        "novelty_limits": np.linspace(6, 1, len(RATES)).astype(np.float32),
        "min_probability": 0.5,
    }
    return LabelClassifier(**{**fields, **given})


@given(
    st.integers(1, 6), st.integers(1, 5), st.sampled_from([1e-4, 0.1, 2.0]),
    st.sampled_from([0.0, 0.5, 1.0]), st.integers(0, 10**6),
)  # fmt: skip
def test_votes_are_those_of_a_loop(
    n_cells: int, k: int, epsilon: float, balance: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    similarities = -np.sort(-rng.uniform(-1, 1, (n_cells, k)).astype(np.float32), axis=1)
    similarities[0, 0] = 1
    voted = rng.integers(-1, N_LABELS, (n_cells, k)).astype(np.int32)
    counts = np.array([1, 10, 1000])
    shares, n_votes = vote_shares(similarities, voted, counts, epsilon, balance)
    for cell in range(n_cells):
        totals, cast = [0.0] * N_LABELS, [0] * N_LABELS
        for similarity, label in zip(similarities[cell], voted[cell], strict=True):
            if label >= 0:
                weight = 1 / max(1 - float(similarity), epsilon)
                totals[label] += weight * counts[label] ** -balance
                cast[label] += 1
        whole = sum(totals) or 1.0
        np.testing.assert_allclose(shares[cell], [t / whole for t in totals], atol=1e-12)
        assert n_votes[cell].tolist() == cast


def test_rare_labels_survive_many_neighbors_by_their_distance_alone() -> None:
    # Five kin at the cell's side, and five hundred cells of a common label far away.
    similarities = np.array([[0.999] * 5 + [0.5] * 500], np.float32)
    voted = np.array([[1] * 5 + [0] * 500], np.int32)
    counts = np.array([500_000, 5])
    uniform, _ = vote_shares(similarities, voted, counts, epsilon=2.0)
    assert uniform[0, 1] < 0.01
    weighted, _ = vote_shares(similarities, voted, counts, epsilon=1e-4)
    assert weighted[0, 1] > 0.8


def probabilities(n: int, seed: int) -> npt.NDArray[np.float64]:
    return np.random.default_rng(seed).dirichlet(np.full(N_LABELS, 0.3), n)


@given(st.integers(0, 10**6), st.floats(0.2, 8), st.integers(0, 14))
def test_combined_probabilities_add_up(seed: int, sharpness: float, without: int) -> None:
    mix = np.array([0.1, 0.2, 0.3, 0.4]) * [not without & 1 << i for i in range(4)]
    mix /= mix.sum()
    kinds = [probabilities(7, seed + i) for i in range(4)]
    chances = combine(kinds, mix, sharpness)
    np.testing.assert_allclose(chances.sum(axis=1), 1, atol=1e-12)
    assert ((chances >= 0) & (chances <= 1)).all()
    logs = sum(w * np.log(np.maximum(kind, FLOOR)) for w, kind in zip(mix, kinds, strict=True))
    assert (chances.argmax(axis=1) == np.asarray(logs).argmax(axis=1)).all()
    sharper = combine(kinds, mix, 2 * sharpness)
    assert (sharper.max(axis=1) >= chances.max(axis=1) - 1e-12).all()


def test_a_kind_that_does_not_count_is_not_looked_at() -> None:
    nothing = np.full((7, N_LABELS), np.nan)
    votes = probabilities(7, 0)
    for other in (nothing, np.empty((0, N_LABELS))):
        alone = combine([votes, other, other, other], np.array([1.0, 0, 0, 0]), 1.0)
        floored = np.maximum(votes, FLOOR)
        np.testing.assert_allclose(alone, floored / floored.sum(axis=1, keepdims=True))


def test_one_kind_cannot_veto_the_others() -> None:
    votes = np.array([[1.0, 0.0, 0.0]])
    others = np.array([[0.001, 0.998, 0.001]])
    chances = combine([votes, others, others, others], np.array([0.1, 0.3, 0.3, 0.3]), 1.0)
    assert chances.argmax() == 1
    assert chances[0, 1] > 0.9


def test_a_single_kind_is_given_back_by_sharpness_one() -> None:
    given_back = softmax(np.log(np.array([[0.2, 0.3, 0.5]])))
    np.testing.assert_allclose(given_back, [[0.2, 0.3, 0.5]])
    assert softmax(np.array([[1e4, 0.0]])).tolist() == [[1.0, 0.0]]


def cells(n: int = 6, seed: int = 0) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((n, DIM)).astype(np.float32)


def test_evidence_is_linear_in_the_cell_before_the_softmax() -> None:
    classifier, z = classifier_of(n_components=2), cells()
    refined = np.random.default_rng(7).standard_normal((6, 2)).astype(np.float32)
    shares = probabilities(6, 1)
    placed = Placed(z, np.zeros(6, bool), refined)
    votes, prototypes, contrast, logistic = evidence(placed, shares, classifier)
    assert votes is shares
    # In all dimensions: only neighbors are compared in the leading ones.
    cosines = (z / np.linalg.norm(z, axis=1, keepdims=True)) @ classifier.prototypes.T
    np.testing.assert_allclose(prototypes, softmax(cosines / 0.1), atol=1e-5)
    refined /= np.linalg.norm(refined, axis=1, keepdims=True)
    np.testing.assert_allclose(
        contrast, softmax(refined @ classifier.head_prototypes.T / 0.1), 1e-4
    )
    logits = z @ classifier.coefficients.T + classifier.intercepts
    np.testing.assert_allclose(logistic, softmax(logits), atol=1e-6)


def test_a_classifier_without_head_and_regression_says_nothing_of_them() -> None:
    bare = classifier_of(
        head_prototypes=np.zeros((N_LABELS, 0), np.float32), coefficients=NONE,
        intercepts=np.zeros(0, np.float32),
    )  # fmt: skip
    kinds = evidence(Placed(cells(), np.zeros(6, bool)), probabilities(6, 1), bare)
    assert [len(kind) for kind in kinds] == [6, 6, 0, 0]
    assert len(kinds) == len(KINDS)


def test_what_the_head_says_of_a_cell_without_place_is_nothing() -> None:
    placed = Placed(cells(), np.zeros(6, bool), np.zeros((6, 2), np.float32))
    contrast = evidence(placed, probabilities(6, 1), classifier_of())[2]
    np.testing.assert_allclose(contrast, 1 / N_LABELS)


def test_limits_are_linear_in_the_logarithm_of_the_rate() -> None:
    classifier = classifier_of()
    for rate, limit in zip(RATES, classifier.novelty_limits, strict=True):
        assert limit_at(classifier, rate) == pytest.approx(float(limit))
    between = limit_at(classifier, float(np.sqrt(RATES[3] * RATES[4])))
    assert between == pytest.approx(float(classifier.novelty_limits[3:5].mean()))
    for rate in (0.0, RATES[0] / 2, 0.51, 1.0, float("nan")):
        with pytest.raises(InvalidArgumentError, match=r"from 0.001 to 0.5"):
            limit_at(classifier, rate)
    uncalibrated = classifier_of(novelty_limits=np.full(len(RATES), np.inf, np.float32))
    assert limit_at(uncalibrated, 0.04) == np.inf


def test_neighbors_are_compared_in_leading_dimensions() -> None:
    z = cells()
    compared = neighbor_vectors(z, 2)
    np.testing.assert_allclose(np.linalg.norm(compared, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(compared[:, 0] * z[:, 1], compared[:, 1] * z[:, 0], atol=1e-6)


def test_novelty_counts_the_deviations_from_ones_own() -> None:
    classifier = classifier_of()
    close = np.array([[0.9, 0.4, 0.7], [0.6, 0.1, 0.9]])
    found = novelty(close, np.array([0, 1, 2], np.int32), classifier)
    # Label 1: (0.8 - 0.4) / 0.2 = 2 and (0.5 - 0.1) / 0.2 = 2.  Label 2: 0 and -5, which is -1.
    np.testing.assert_allclose(found, [0, 2, -0.5], atol=1e-5)
    by_neighbors = novelty(
        close, np.array([0, 1, 2], np.int32), replace(classifier, discriminants=NONE)
    )
    np.testing.assert_allclose(by_neighbors, [0, 2, -2.5], atol=1e-5)


@given(st.floats(-1e3, 1e3), st.floats(0, 1e3))
def test_no_measure_vouches_for_a_cell_and_more_fit_is_never_more_novel(
    first: float, more: float
) -> None:
    classifier, winners = classifier_of(), np.zeros(2, np.int32)
    close = np.array([[first, first + more], [0.6, 0.6]])
    less_fit, more_fit = novelty(close, winners, classifier).tolist()
    assert more_fit <= less_fit
    assert more_fit >= -0.5


def test_closeness_is_by_discriminants_where_there_are_any_else_by_neighbors() -> None:
    classifier = classifier_of()
    similarities = np.array([[0.9, 0.6, 0.3, 0.1], [0.9, 0.6, 0.3, 0.1]], np.float32)
    found = np.array([[True] * 4, [True, False, False, True]])
    winners = np.array([1, 0], np.int32)
    z = cells(2)
    leading = np.random.default_rng(5).standard_normal((2, 4)).astype(np.float32)
    lengths = np.linalg.norm(z, axis=1)
    of_label = ((0, 1), (1, 0))
    cosines = [(z / lengths[:, None] @ classifier.prototypes.T)[at] for at in of_label]
    scores = [(z @ classifier.discriminants.T)[at] for at in of_label]
    ahead = [
        [(unit_rows(leading) @ of_each.T)[at] for at in of_label]
        for of_each in (classifier.leading_prototypes, classifier.leading_discriminants)
    ]
    expected = np.array([cosines, scores, *ahead, -np.log(lengths)])
    close = closeness(z, similarities, found, winners, classifier, leading=leading)
    np.testing.assert_allclose(close, expected, atol=1e-5)
    headless = replace(
        classifier, leading_prototypes=np.zeros((N_LABELS, 0), np.float32),
        leading_discriminants=np.zeros((N_LABELS, 0), np.float32),
    )  # fmt: skip
    three = closeness(z, similarities, found, winners, headless, leading=leading[:, :0])
    np.testing.assert_allclose(three, expected[[0, 1, 4]], atol=1e-5)
    bare = replace(classifier, discriminants=NONE)
    near = closeness(z, similarities, found, winners, bare)
    own = [(z / lengths[:, None] @ classifier.prototypes.T)[at] for at in of_label]
    np.testing.assert_allclose(near, np.array([own, [0.6, 0.9]]), atol=1e-6)
    none = closeness(z, similarities, np.zeros((2, 4), bool), winners, bare)
    assert none[1].tolist() == [-1, -1]


def test_a_cell_without_length_is_no_error() -> None:
    nothing, leading = np.zeros((2, DIM), np.float32), np.zeros((2, 4), np.float32)
    winners = np.array([1, 0], np.int32)
    none = np.empty((2, 0), np.float32)
    close = closeness(nothing, none, none > 0, winners, classifier_of(), leading=leading)
    assert np.isfinite(close).all()


def read(classifier: LabelClassifier, votes_only: bool = False, **changed: Any) -> Any:
    z = np.array([[5, 0, 0, 0, 0], [0, 5, 0, 0, 0], [1, 1, 1, 0, 0], [0, 0, 0, 0, 0]], np.float32)
    given: dict[str, Any] = {
        "placed": Placed(z, np.array([False, False, False, True])),
        "similarities": np.full((4, 4), 0.9, np.float32),
        "voted": np.array([[0] * 4, [1] * 4, [0, 1, 2, 2], [-1] * 4], np.int32),
        **changed,
    }
    return read_labels(
        **given, counts=np.array([5, 5, 5]), classifier=classifier, votes_only=votes_only
    )


PLAIN = classifier_of(
    mix=np.array([0.5, 0.5, 0, 0]), sharpness=1.0, votes_sharpness=1.0,
    coefficients=NONE, intercepts=np.zeros(0, np.float32), discriminants=NONE,
    head_prototypes=np.zeros((N_LABELS, 0), np.float32),
    leading_prototypes=np.zeros((N_LABELS, 0), np.float32),
    leading_discriminants=np.zeros((N_LABELS, 0), np.float32),
    novelty_means=np.full((2, 3), 0.9, np.float32),
    novelty_deviations=np.full((2, 3), 0.1, np.float32),
)  # fmt: skip


def test_labels_are_read_with_their_reasons() -> None:
    labels = read(PLAIN)
    assert labels.winners.tolist() == [0, 1, 2, -1]
    np.testing.assert_allclose(labels.by_label.sum(axis=1), 1)
    assert labels.probabilities[:2].min() > 0.9
    np.testing.assert_allclose(labels.probabilities[:3], labels.by_label.max(axis=1)[:3])
    assert labels.supports.tolist() == pytest.approx([1, 1, 0.5, 0])
    assert labels.n_votes.tolist() == [4, 4, 2, 0]
    known, low, none = (
        UnknownReason.KNOWN, UnknownReason.LOW_PROBABILITY, UnknownReason.NO_GENE_MATCHED,
    )  # fmt: skip
    assert labels.reasons.tolist() == [known, known, low, none]
    assert labels.probabilities[3] == 0
    sure = read(replace(PLAIN, min_probability=float(labels.probabilities[2])))
    assert sure.reasons[2] == known


def test_a_cell_that_is_far_is_unknown_however_probable() -> None:
    similarities = np.array([[0.9] * 4, [0.1] * 4, [0.1] * 4, [0.9] * 4], np.float32)
    labels = read(replace(PLAIN, novelty_limit=3.0), similarities=similarities)
    assert labels.reasons[:3].tolist() == [0, UnknownReason.TOO_FAR, UnknownReason.TOO_FAR]
    assert labels.probabilities[1] > 0.9
    assert (labels.novelties[:3] > 3).tolist() == [False, True, True]
    assert not read(replace(PLAIN, novelty_limit=np.inf), similarities=similarities).reasons[1]


def test_votes_alone_decide_where_the_rest_has_seen_what_is_excluded() -> None:
    # All that was fitted says label 0 of the first cell; its neighbors say 2.
    voted = np.array([[2] * 4, [-1] * 4, [0, 1, 2, 2], [0] * 4], np.int32)
    fitted = replace(PLAIN, mix=np.array([0.1, 0.9, 0, 0]))
    assert read(fitted, voted=voted).winners[0] == 0
    labels = read(fitted, votes_only=True, voted=voted)
    assert labels.winners.tolist() == [2, -1, 2, -1]
    assert labels.reasons[1] == UnknownReason.NO_GENE_MATCHED, "nobody voted"
    np.testing.assert_allclose(labels.by_label[2], [0.25, 0.25, 0.5])
    softer = read(replace(fitted, votes_sharpness=0.5), votes_only=True, voted=voted)
    assert softer.probabilities[0] < labels.probabilities[0]


def test_no_cells() -> None:
    nothing = Placed(np.empty((0, DIM), np.float32), np.empty(0, bool))
    labels = read(
        PLAIN, placed=nothing, similarities=np.empty((0, 4), np.float32),
        voted=np.empty((0, 4), np.int32),
    )  # fmt: skip
    assert len(labels.winners) == len(labels.reasons) == 0


def test_what_is_stored_is_what_was_fitted() -> None:
    classifier = classifier_of(novelty_limit=np.inf)
    numbers = json.loads(json.dumps(classifier.numbers()))
    again = read_classifier(classifier.arrays(), numbers)
    assert set(classifier.arrays()) | set(classifier.numbers()) == set(vars(classifier))
    for name, value in vars(classifier).items():
        stored = getattr(again, name)
        assert np.array_equal(stored, value), name
        assert type(stored) is type(value), name
    assert (again.n_labels, again.n_neighbors) == (N_LABELS, 4)


def test_an_index_without_what_is_read_now_is_to_be_made_again() -> None:
    classifier = classifier_of()
    arrays = classifier.arrays()
    del arrays["novelty_limits"], arrays["discriminants"]
    with pytest.raises(FailedPreconditionError, match="discriminants and novelty_limits; make it"):
        read_classifier(arrays, classifier.numbers())


def test_what_is_read_of_a_cell_is_the_same_in_any_block() -> None:
    rng = np.random.default_rng(7)
    n, dim, n_labels = 200, 97, 7

    def drawn(*shape: int) -> npt.NDArray[np.float32]:
        return rng.standard_normal(shape).astype(np.float32)

    classifier = classifier_of(
        prototypes=unit_rows(drawn(n_labels, dim)), coefficients=drawn(n_labels, dim) / 8,
        head_prototypes=unit_rows(drawn(n_labels, 31)), intercepts=drawn(n_labels),
        discriminants=drawn(n_labels, dim), leading_prototypes=unit_rows(drawn(n_labels, 23)),
        leading_discriminants=drawn(n_labels, 23), n_novelty=20, k=20,
        novelty_means=drawn(5, n_labels), novelty_deviations=np.ones((5, n_labels), np.float32),
    )  # fmt: skip
    near = -np.sort(-rng.random((n, 20)).astype(np.float32), axis=1)
    voted = rng.integers(0, n_labels, (n, 20)).astype(np.int32)
    every = drawn(n, dim), drawn(n, 31), drawn(n, 23)

    def block(rows: slice) -> Any:
        z, refined, leading = (part[rows] for part in every)
        placed = Placed(z, np.zeros(len(z), bool), refined, leading)
        return read_labels(placed, near[rows], voted[rows], np.full(n_labels, 9), classifier)

    whole = block(slice(None))
    for begin, end in ((0, 1), (199, 200), (3, 5), (64, 80), (50, 83), (0, 130)):
        part = block(slice(begin, end))
        for name in ("by_label", "probabilities", "novelties", "supports", "winners"):
            assert getattr(part, name).tobytes() == getattr(whole, name)[begin:end].tobytes(), name


def test_the_only_cell_of_one_of_two_labels_keeps_its_label() -> None:
    # Its ceiling is the probability of a guess between two labels.
    classifier = classifier_of(
        prototypes=np.eye(2, DIM, dtype=np.float32),
        head_prototypes=np.empty((2, 0), np.float32),
        coefficients=NONE,
        discriminants=NONE,
        novelty_means=np.zeros((2, 2), np.float32),
        novelty_deviations=np.ones((2, 2), np.float32),
        ceilings=np.array([1, 0.5], np.float32),
    )
    placed = Placed(np.eye(2, DIM, dtype=np.float32), np.zeros(2, bool))
    near, voted = np.ones((2, 1), np.float32), np.array([[0], [1]], np.int32)
    labels = read_labels(placed, near, voted, np.array([30, 1]), classifier, votes_only=True)
    assert labels.winners.tolist() == [0, 1]
    assert labels.by_label.astype(np.float32).argmax(axis=1).tolist() == [0, 1]
    assert labels.probabilities[1] == pytest.approx(0.5, abs=2e-3)
    assert labels.reasons.tolist() == [UnknownReason.KNOWN, UnknownReason.LOW_PROBABILITY]
    # A least probability that is given replaces that of labels with a ceiling.
    asked = replace(classifier, least_of_capped=0.5)
    labels = read_labels(placed, near, voted, np.array([30, 1]), asked, votes_only=True)
    assert labels.winners.tolist() == [0, 1]
    assert not labels.reasons.any()


def test_a_classifier_of_a_newer_release_is_refused() -> None:
    classifier = classifier_of()
    for arrays, numbers in (({"novel": np.ones(1)}, {}), ({}, {"novel": 1.0})):
        with pytest.raises(FailedPreconditionError, match="novel") as refused:
            read_classifier({**classifier.arrays(), **arrays}, {**classifier.numbers(), **numbers})
        assert "newer" in str(refused.value)
