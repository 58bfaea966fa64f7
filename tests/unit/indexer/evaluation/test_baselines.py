"""Baselines: what they learn, what they say, what they refuse."""

from collections.abc import Callable

import numpy as np
import pytest
import scipy.sparse as sp
from tests.unit.indexer.evaluation.cells import GENES, made_up_cells

from cellkin.indexer.evaluation.baselines import (
    Baseline,
    HvgPrototypes,
    LogisticRegressionExpression,
    Majority,
    PcaKnn,
)
from cellkin.indexer.evaluation.preprocess import Features
from cellkin.wire.errors import DimensionMismatchError, GenesUnmatchedError, InvalidArgumentError

LEARNERS: list[Callable[[], Baseline]] = [PcaKnn, HvgPrototypes, LogisticRegressionExpression]


@pytest.mark.parametrize("make", LEARNERS)
def test_types_are_told_apart_and_probabilities_are_such(make: Callable[[], Baseline]) -> None:
    counts, labels = made_up_cells(150)
    queries, truth = made_up_cells(60, seed=1)
    answer = make().fit(counts, GENES, labels).predict(queries, GENES)
    assert answer.codes.dtype == np.int32
    assert (answer.codes == truth).mean() > 0.95
    assert answer.probability is not None
    assert answer.probability.min() > 0.33
    assert answer.probability.max() <= 1 + 1e-6
    assert answer.novelty is not None
    assert np.isfinite(answer.novelty).all()


@pytest.mark.parametrize("make", [*LEARNERS, Majority])
def test_an_answer_is_of_a_cell_and_not_of_its_company(make: Callable[[], Baseline]) -> None:
    counts, labels = made_up_cells(150)
    queries, _ = made_up_cells(30, seed=2)
    fitted = make().fit(counts, GENES, labels)
    whole = fitted.predict(queries, GENES)
    order = np.random.default_rng(0).permutation(30)
    parts = [fitted.predict(queries[[row]], GENES) for row in order]
    assert [int(part.codes[0]) for part in parts] == whole.codes[order].tolist()
    assert whole.probability is not None
    assert np.ravel([part.probability for part in parts]) == pytest.approx(
        whole.probability[order], abs=1e-4
    )


@pytest.mark.parametrize("make", LEARNERS)
def test_cells_of_a_type_never_seen_look_newer(make: Callable[[], Baseline]) -> None:
    counts, labels = made_up_cells(200)
    queries, truth = made_up_cells(80, seed=3)
    fitted = make().fit(counts[labels != 2], GENES, labels[labels != 2])
    answer = fitted.predict(queries, GENES)
    assert answer.novelty is not None
    assert np.median(answer.novelty[truth == 2]) > np.median(answer.novelty[truth != 2])
    assert set(answer.codes) <= {0, 1}


def test_codes_need_not_be_consecutive() -> None:
    counts, labels = made_up_cells(120)
    for make in LEARNERS:
        answer = make().fit(counts, GENES, labels * 3).predict(counts, GENES)
        assert set(answer.codes) <= {0, 3, 6}


def test_the_majority_is_what_most_cells_are() -> None:
    counts, _ = made_up_cells(5)
    answer = Majority().fit(counts, GENES, np.array([1, 0, 1, 2, 1], np.int32)).predict(counts, [])
    assert answer.codes.tolist() == [1] * 5
    assert answer.probability == pytest.approx(0.6)
    assert answer.novelty is None


@pytest.mark.parametrize("make", LEARNERS)
def test_genes_are_found_by_name_wherever_they_stand(make: Callable[[], Baseline]) -> None:
    counts, labels = made_up_cells(150)
    queries, _ = made_up_cells(40, seed=4)
    fitted = make().fit(counts, GENES, labels)
    order = np.random.default_rng(1).permutation(len(GENES))
    moved = fitted.predict(queries[:, order], [GENES[i] for i in order])
    assert moved.codes.tolist() == fitted.predict(queries, GENES).codes.tolist()
    with pytest.raises(GenesUnmatchedError, match="variable genes is among the query's 120"):
        fitted.predict(queries, [name.upper() for name in GENES])


def test_missing_genes_say_nothing() -> None:
    counts, _ = made_up_cells(50)
    features = Features.fit(counts, GENES)
    z = features.z_scores(counts[:, :60], GENES[:60])
    absent = [at for at, name in enumerate(features.genes) if name not in GENES[:60]]
    assert absent
    assert (z[:, absent] == 0).all()


def test_z_scores_are_of_the_reference_and_clipped() -> None:
    counts, _ = made_up_cells(200)
    features = Features.fit(counts, GENES)
    z = features.z_scores(counts, GENES)
    logs = np.log1p(1e4 * counts.toarray() / counts.toarray().sum(axis=1, keepdims=True))
    at = [GENES.index(name) for name in features.genes]
    expected = (logs[:, at] - logs[:, at].mean(axis=0)) / logs[:, at].std(axis=0, ddof=1)
    assert z == pytest.approx(np.clip(expected, -10, 10), abs=1e-4)
    # Of a gene seen once in 400 cells, a cell that holds nothing else is far out.
    rare = sp.csr_matrix(np.repeat([[0, 5], [1, 5]], [399, 1], axis=0).astype(np.float32))
    alone = sp.csr_matrix(np.array([[9, 0]], np.float32))
    assert Features.fit(rare, ["x", "y"]).z_scores(alone, ["x", "y"])[0, 0] == 10


def test_a_cell_without_counts_is_no_error() -> None:
    counts, labels = made_up_cells(60)
    empty = sp.csr_matrix((1, len(GENES)), dtype=np.float32)
    for make in LEARNERS:
        answer = make().fit(counts, GENES, labels).predict(empty, GENES)
        assert answer.probability is not None
        assert np.isfinite(answer.probability).all()


def test_neighbors_vote_by_their_distance() -> None:
    counts, labels = made_up_cells(150)
    queries, _ = made_up_cells(40, seed=5)
    fitted = PcaKnn().fit(counts, GENES, labels)
    answer = fitted.predict(queries, GENES)

    def unit(cells: sp.csr_matrix) -> np.ndarray:
        placed = (fitted.features.z_scores(cells, GENES) - fitted.mean) @ fitted.axes
        return np.asarray(placed / np.linalg.norm(placed, axis=1, keepdims=True))

    distances = 1 - unit(queries) @ unit(counts).T
    for row, far in enumerate(distances):
        near = np.argsort(far)[:10]
        votes = np.bincount(labels[near], 1 / np.maximum(far[near], 1e-4))
        assert answer.codes[row] == votes.argmax()
        assert answer.probability is not None
        assert answer.probability[row] == pytest.approx(votes.max() / votes.sum(), rel=1e-3)
        assert answer.novelty is not None
        assert answer.novelty[row] == pytest.approx(far[near].mean(), rel=1e-3)


def test_no_axis_is_rounding_noise() -> None:
    counts, labels = made_up_cells(30)
    assert PcaKnn().fit(counts, GENES, labels).axes.shape == (120, 29)


def test_references_that_do_not_fit_together_are_refused() -> None:
    counts, labels = made_up_cells(20)
    for make in (*LEARNERS, Majority):
        with pytest.raises(DimensionMismatchError, match="a label for each row"):
            make().fit(counts, GENES[1:], labels)
        with pytest.raises(InvalidArgumentError, match="1 of 20 reference cells have no label"):
            make().fit(counts, GENES, np.where(np.arange(20) == 3, -1, labels).astype(np.int32))
    with pytest.raises(InvalidArgumentError, match="of one type"):
        LogisticRegressionExpression().fit(counts, GENES, np.zeros(20, np.int32))
    with pytest.raises(InvalidArgumentError, match="none of 120 genes varies"):
        PcaKnn().fit(sp.csr_matrix((20, 120), dtype=np.float32), GENES, labels)
    with pytest.raises(InvalidArgumentError, match="at least 2"):
        PcaKnn().fit(counts[:1], GENES, labels[:1])
