"""Readouts are judged by cells that had no part in them, and calibrated to what is measured."""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import norm
from tests.unit.indexer.spaces.folds import hold_out
from tests.unit.indexer.spaces.made import held_out, sample_of

from cellkin.indexer.cells.fitting import Judging, fit_expression_part
from cellkin.indexer.cells.report import NOT_LEFT_OUT, cautions
from cellkin.indexer.spaces.classifier import (
    MIXES,
    HeldOut,
    Votes,
    calibrate,
    draft,
    novelty_note,
    probability_report,
)
from cellkin.indexer.spaces.expression import fit_expression
from cellkin.indexer.spaces.left_out import leave_labels_out
from cellkin.indexer.spaces.novelty import nearest, with_novelty
from cellkin.space.classifier import KINDS, RATES, LabelClassifier, neighbor_vectors
from cellkin.space.labels import combine, read_labels
from cellkin.space.novelty import closeness, limit_at, novelty
from cellkin.space.vectors import unit_rows
from cellkin.wire.terms import UnknownReason

N_LABELS = 4
HOW = Votes()


def chances(
    truth: npt.NDArray[np.int32], accuracy: float, sure: float, seed: int
) -> npt.NDArray[np.float64]:
    """Return probabilities whose first is right so often, and that say to be so sure."""
    rng = np.random.default_rng(seed)
    wrong = (truth + rng.integers(1, N_LABELS, len(truth))) % N_LABELS
    said = np.where(rng.random(len(truth)) < accuracy, truth, wrong)
    found = np.full((len(truth), N_LABELS), (1 - sure) / (N_LABELS - 1))
    found[np.arange(len(truth)), said] = sure
    return found


def told(accuracy: dict[str, float], n: int = 2000, sure: float = 0.7, **changed: Any) -> HeldOut:
    truth = (np.arange(n) % N_LABELS).astype(np.int32)
    fields: dict[str, Any] = {
        "truth": truth,
        "kinds": [chances(truth, accuracy[kind], sure, i) for i, kind in enumerate(KINDS)],
        "novelty": np.random.default_rng(3).normal(0, 1, n),
        "batches": np.zeros(n, np.int32),
        "n_left": np.full(n, 20),
    }
    return HeldOut(**{**fields, **changed})


def plain() -> LabelClassifier:
    sample = sample_of([20] * N_LABELS)
    fitted = fit_expression(sample)
    return draft(fitted, sample, fitted.place(sample.cells), HOW, refine=False)


PLAIN = replace(plain(), mix=np.array(MIXES["combined"]))
COUNTS = np.full(N_LABELS, 500)
OWN = np.zeros(3, np.float32)


def test_the_usual_mix_is_taken_unless_another_is_clearly_better() -> None:
    alike = told({"votes": 0.9, "prototypes": 0.9, "contrast": 0.9, "logistic": 0.915})
    classifier, macro_f1 = calibrate(PLAIN, alike, OWN, COUNTS, HOW)
    assert classifier.mix.tolist() == list(MIXES["combined"])
    assert set(macro_f1) == set(MIXES)
    worse = told({"votes": 0.99, "prototypes": 0.3, "contrast": 0.3, "logistic": 0.3})
    classifier, macro_f1 = calibrate(PLAIN, worse, OWN, COUNTS, HOW)
    assert classifier.mix.tolist() == [1, 0, 0, 0]
    assert macro_f1["votes"] == max(macro_f1.values())


def test_a_mix_that_is_better_for_rare_labels_alone_is_not_taken() -> None:
    # Votes find the ten cells of a rare label, and call a tenth of a common one another.
    truth = np.array([0] * 1000 + [1] * 10 + [2] * 500 + [3] * 490, np.int32)
    said = np.where(np.arange(2000) < 100, 2, truth)
    votes = np.eye(N_LABELS)[said]
    others = np.eye(N_LABELS)[np.where(truth == 1, 0, truth)]
    held = replace(told(dict.fromkeys(KINDS, 0.9)), truth=truth, kinds=[votes, *[others] * 3])
    classifier, macro_f1 = calibrate(PLAIN, held, OWN, np.bincount(truth), HOW)
    assert macro_f1["votes"] > macro_f1["combined"] + 0.03
    assert classifier.mix.tolist() == list(MIXES["combined"])


def test_a_mix_that_is_better_by_chance_is_not_taken() -> None:
    # Of 40 cells votes are right of three more.
    truth = (np.arange(40) % N_LABELS).astype(np.int32)
    votes = np.eye(N_LABELS)[np.where(np.arange(40) < 4, (truth + 1) % N_LABELS, truth)]
    others = np.eye(N_LABELS)[np.where(np.arange(40) < 7, (truth + 1) % N_LABELS, truth)]
    few = replace(told(dict.fromkeys(KINDS, 0.9), n=40), truth=truth, kinds=[votes, *[others] * 3])
    classifier, macro_f1 = calibrate(PLAIN, few, OWN, np.bincount(truth), HOW)
    assert macro_f1["votes"] > macro_f1["combined"] + 0.03
    assert classifier.mix.tolist() == list(MIXES["combined"])
    many = replace(
        told(dict.fromkeys(KINDS, 0.9), n=400), truth=np.tile(truth, 10),
        kinds=[np.tile(kind, (10, 1)) for kind in few.kinds],
    )  # fmt: skip
    classifier, _ = calibrate(PLAIN, many, OWN, np.bincount(many.truth), HOW)
    assert classifier.mix.tolist() == list(MIXES["votes"])


def test_a_kind_that_was_not_fitted_takes_no_part() -> None:
    held = told(dict.fromkeys(KINDS, 0.9))
    none = np.empty((0, N_LABELS))
    held = replace(held, kinds=[held.kinds[0], held.kinds[1], none, none])
    classifier, macro_f1 = calibrate(
        replace(PLAIN, mix=np.array([0.5, 0.5, 0, 0])), held, OWN, COUNTS, HOW
    )
    assert set(macro_f1) == {"combined", "votes", "prototypes"}
    assert classifier.mix.tolist() == [0.5, 0.5, 0, 0]


@pytest.mark.parametrize(("sure", "softer"), [(0.97, True), (0.45, False)])
def test_probabilities_become_shares_of_right_answers(sure: float, softer: bool) -> None:
    # Every kind says the same and is right in 80 %, and says to be surer than that, or less sure.
    held = told(dict.fromkeys(KINDS, 0.8))
    one = chances(held.truth, 0.8, sure, 5)
    held = replace(held, kinds=[one] * 4)
    before = probability_report(held, PLAIN)
    classifier, _ = calibrate(PLAIN, held, OWN, COUNTS, HOW)
    assert (classifier.sharpness < 1) == softer
    assert (classifier.votes_sharpness < 1) == softer
    after = probability_report(held, classifier)
    assert before["ece"] > 0.1
    assert after["ece"] < 0.02
    assert after["accuracy"] == before["accuracy"] == pytest.approx(0.8, abs=0.03)
    assert sum(n for n, _, _ in after["reliability"]) == 2000
    assert after["ece"] == pytest.approx(
        sum(n / 2000 * abs(mean - share) for n, mean, share in after["reliability"])
    )
    fresh = replace(held, kinds=[chances(held.truth, 0.8, sure, 6)] * 4)
    assert probability_report(fresh, classifier)["ece"] < 0.05


@pytest.mark.parametrize("false_alarms", [0.05, 0.2])
@pytest.mark.parametrize(
    ("n", "n_batches", "of_them"),
    [(4000, 2, 1.2), (1000, 2, 1.2), (300, 2, 0.5), (4000, 1, 0.25), (300, 1, 0.25)],
)
def test_the_limit_keeps_false_alarms_at_what_was_asked(
    false_alarms: float, n: int, n_batches: int, of_them: float
) -> None:
    """Donors are read by fewer donors than a query is; parts of one by that very donor."""
    held = told(dict.fromkeys(KINDS, 1.0), n=n, batches=np.arange(n, dtype=np.int32) % n_batches)
    held = replace(held, novelty=norm.ppf((np.arange(n) + 0.5) / n))
    classifier, _ = calibrate(PLAIN, held, OWN, COUNTS, replace(HOW, false_alarms=false_alarms))
    fresh = np.random.default_rng(9).normal(0, 1, 4000)
    share = (fresh > classifier.novelty_limit).mean()
    assert share == pytest.approx(of_them * false_alarms, abs=0.015)


def test_fewer_cells_of_several_donors_make_a_higher_limit() -> None:
    limits = []
    for n in (100, 300, 400, 700, 1000, 4000):
        far, batches = norm.ppf((np.arange(n) + 0.5) / n), np.arange(n, dtype=np.int32) % 3
        held = told(dict.fromkeys(KINDS, 1.0), n=n, novelty=far, batches=batches)
        limits.append(calibrate(PLAIN, held, OWN, COUNTS, HOW)[0].novelty_limit)
    assert (np.diff(limits[1:-1]) < 0).all()
    assert limits[-1] == pytest.approx(limits[-2], abs=0.02)


def test_the_limit_is_not_below_what_the_own_cells_of_the_reference_ask_for() -> None:
    held = told(dict.fromkeys(KINDS, 1.0))
    own = np.linspace(2, 3, 1001, dtype=np.float32)
    classifier, _ = calibrate(PLAIN, held, own, COUNTS, replace(HOW, false_alarms=0.1))
    assert classifier.novelty_limit == pytest.approx(2.93, abs=1e-3)


def test_a_limit_of_few_cells_lets_fewer_be_beyond_than_asked_for() -> None:
    held = told(dict.fromkeys(KINDS, 1.0), n=40)
    classifier, _ = calibrate(PLAIN, held, OWN, COUNTS, HOW)
    assert classifier.novelty_limit == held.novelty.max(), "0.25 x 0.07 x 40 is less than one cell"
    classifier, _ = calibrate(PLAIN, held, OWN, COUNTS, replace(HOW, false_alarms=0.3))
    assert (held.novelty > classifier.novelty_limit).sum() <= 0.25 * 0.3 * 40


def test_it_is_said_where_a_limit_finds_few_unknown_cells() -> None:
    held = told(dict.fromkeys(KINDS, 0.9))
    assert novelty_note(held) == ""
    assert probability_report(held, PLAIN)["novelty_note"] == ""
    assert "only 40 cells" in novelty_note(told(dict.fromkeys(KINDS, 0.9), n=40))
    farther = replace(held, novelty=held.novelty + 2)
    assert "2.0 deviations farther" in probability_report(farther, PLAIN)["novelty_note"]


def test_a_limit_is_kept_for_every_rate_of_false_alarms() -> None:
    held = told(dict.fromkeys(KINDS, 1.0), n=4000)
    for rate in (0.01, 0.07, 0.5):
        classifier, _ = calibrate(PLAIN, held, OWN, COUNTS, replace(HOW, false_alarms=rate))
        assert limit_at(classifier, rate) == pytest.approx(classifier.novelty_limit, rel=1e-6)
    assert len(classifier.novelty_limits) == len(RATES)
    assert (np.diff(classifier.novelty_limits) <= 0).all()


SAMPLE = sample_of([80, 70, 60, 50], seed=4, n_batches=2)


@pytest.fixture(scope="module")
def held() -> HeldOut:
    return hold_out(SAMPLE, fit_expression, HOW)


def test_held_out_cells_are_asked_once_and_named_right(held: HeldOut) -> None:
    assert sorted(held.truth.tolist()) == sorted(SAMPLE.labels.tolist())
    assert [kind.shape for kind in held.kinds] == [(260, 4)] * 4
    for kind in held.kinds:
        np.testing.assert_allclose(kind.sum(axis=1), 1, atol=1e-6)
        assert (kind.argmax(axis=1) == held.truth).mean() > 0.9
    assert held.novelty.shape == held.batches.shape == (260,)


def test_folds_do_not_depend_on_the_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    found, few = [], SAMPLE.take(np.arange(0, SAMPLE.n_cells, 3))
    for n_cores in (1, 2):
        monkeypatch.setattr("cellkin.indexer.threads.n_cores", lambda n=n_cores: n)
        found.append(hold_out(few, fit_expression, HOW))
    one, two = found
    np.testing.assert_array_equal(one.truth, two.truth)
    np.testing.assert_array_equal(one.novelty, two.novelty)
    np.testing.assert_array_equal(one.kinds, two.kinds)


def test_what_is_not_refined_is_read_without_a_head() -> None:
    plain = hold_out(SAMPLE, fit_expression, HOW, refine=False)
    assert [len(kind) for kind in plain.kinds] == [260, 260, 0, 260]


def test_labels_hardly_any_other_donor_has_are_not_asked() -> None:
    # Label a is in batch 0 alone but for two cells.
    alone = (SAMPLE.labels == 0) & (SAMPLE.batches == 1)
    sample = SAMPLE.take(np.flatnonzero(~alone | (np.cumsum(alone) <= 2)))
    held = hold_out(sample, fit_expression, HOW, refine=False)
    of_a = held.batches[held.truth == 0]
    assert set(of_a.tolist()) == {1}, "cells of the other donor had all but two of their kin"
    assert (held.truth > 0).sum() == (sample.labels > 0).sum()


def test_donors_without_a_label_in_common_leave_nothing_to_judge_by() -> None:
    apart = SAMPLE.take(np.flatnonzero(SAMPLE.labels % 2 == SAMPLE.batches))
    held = hold_out(apart, fit_expression, HOW, refine=False)
    assert len(held.truth) == len(held.novelty) == 0
    assert [kind.shape for kind in held.kinds] == [(0, 4)] * 4


def test_known_cells_are_seldom_and_labels_left_out_are_mostly_called_unknown(
    held: HeldOut,
) -> None:
    fitted = fit_expression(SAMPLE)
    placed = fitted.place(SAMPLE.cells)
    classifier = draft(fitted, SAMPLE, placed, HOW, refine=True)
    classifier, own = with_novelty(classifier, placed, SAMPLE)
    classifier, _ = calibrate(classifier, held, own, SAMPLE.counts(), HOW)
    found = leave_labels_out(SAMPLE, fit_expression, classifier, HOW)
    assert [left.label for left in found] == SAMPLE.label_names
    for left in found:
        assert left.n_cells >= 20
        assert left.auroc > 0.95
        assert left.found > 0.8
    # Cells that nothing has seen.
    fresh = sample_of([80, 70, 60, 50], seed=5, n_batches=2)
    asked = fitted.place(fresh.cells)
    compared, reference = (
        neighbor_vectors(z, classifier.n_components) for z in (asked.z, placed.z)
    )
    similarities, rows = nearest(compared, reference, 10)
    labels = read_labels(asked, similarities, SAMPLE.labels[rows], SAMPLE.counts(), classifier)
    assert (labels.winners == fresh.labels).mean() > 0.95
    assert (labels.reasons == UnknownReason.TOO_FAR).mean() < 0.12


def test_of_two_labels_none_can_be_left_out() -> None:
    two = sample_of([40, 40], n_batches=2)
    fitted = fit_expression(two)
    classifier = draft(fitted, two, fitted.place(two.cells), HOW, refine=False)
    assert leave_labels_out(two, fit_expression, classifier, HOW) == []


def test_a_draft_has_all_it_reads_labels_by() -> None:
    train, asked = held_out(SAMPLE)
    fitted = fit_expression(train)
    classifier = draft(fitted, train, fitted.place(train.cells), HOW, refine=True)
    assert classifier.mix.tolist() == list(MIXES["combined"])
    placed = fitted.place(asked.cells)
    refined = unit_rows(placed.refined)
    said = (refined @ classifier.head_prototypes.T).argmax(axis=1)
    assert (said == asked.labels).mean() > 0.9
    assert classifier.novelty_limit == np.inf
    assert (classifier.novelty_limits == np.inf).all()
    near = np.ones((asked.n_cells, 10), np.float32)
    close = closeness(placed.z, near, near > 0, asked.labels, classifier, leading=placed.leading)
    assert not (novelty(close, asked.labels, classifier) > classifier.novelty_limit).any()
    shares = combine([np.eye(4)[asked.labels]] * 4, classifier.mix, classifier.sharpness)
    assert (shares.argmax(axis=1) == asked.labels).all()


@pytest.mark.parametrize("judging", [Judging.CELLS, Judging.LEAVE_OUT], ids=["quick", "all"])
def test_an_index_says_that_no_label_was_left_out(judging: Judging) -> None:
    _, _, quality = fit_expression_part(SAMPLE, HOW, judging)
    quick = judging is Judging.CELLS
    assert bool(quality.get("left_out")) != quick
    said = cautions({"quality": {"expression": quality}}, control=False)
    assert said == ([NOT_LEFT_OUT] if quick else [])
