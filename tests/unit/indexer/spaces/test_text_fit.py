"""Fitting a text space: genes weigh by how they tell labels apart, the head draws labels apart."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
from tests.unit.indexer.spaces.made import N_GENES, held_out, sample_of, text_space

from cellkin.indexer.spaces.sample import Sample, log_expression
from cellkin.indexer.spaces.text import FittedText, fit_text, label_dispersion
from cellkin.indexer.spaces.thinning import molecules, thin
from cellkin.space.recipe import PAPER, TEXT_V1, TEXT_V1_NT_XENT, TEXT_V2
from cellkin.space.vectors import unit_rows
from cellkin.wire.errors import InvalidArgumentError

SAMPLE = sample_of([40, 30, 20, 2])


def defined(sample: Sample) -> list[float]:
    """Return eta squared of each gene, label by label."""
    logs = log_expression(sample.cells).toarray()
    found = []
    for gene in logs.T:
        parts = [gene[sample.labels == i] for i in range(sample.n_labels)]
        parts = [p for p in parts if len(p) >= min(3, max(map(len, parts)))]
        between = np.var([p.mean() for p in parts])
        within = np.mean([p.var() for p in parts])
        found.append(between / (between + within + 1e-3))
    return found


def test_dispersion_is_that_of_a_loop() -> None:
    found = label_dispersion(SAMPLE)
    np.testing.assert_allclose(found, defined(SAMPLE), atol=1e-5)
    assert ((found >= 0) & (found < 1)).all()
    # The markers of the three labels that have enough cells.
    assert found[:30].min() > found[40:-1].max()


def test_labels_of_a_few_cells_count_where_there_are_no_others() -> None:
    few = sample_of([2, 2, 1])
    np.testing.assert_allclose(label_dispersion(few), defined(few), atol=1e-5)


@pytest.mark.parametrize("few", [1, 2])
def test_one_label_of_enough_cells_leaves_genes_that_weigh(few: int) -> None:
    found = label_dispersion(sample_of([30, few]))
    assert np.median(found[:20]) > np.median(found[20:])
    fitted = fit_text(text_space(TEXT_V2), sample_of([30, few]))
    assert not fitted.place(sample_of([30, few]).cells).empty.any()


def test_labels_weigh_alike_however_many_cells_they_have() -> None:
    # Every cell of a label twice changes nothing.
    twice = np.sort(np.concatenate([np.arange(SAMPLE.n_cells), np.flatnonzero(SAMPLE.labels == 0)]))
    np.testing.assert_allclose(
        label_dispersion(SAMPLE.take(twice)), label_dispersion(SAMPLE), atol=1e-6
    )


def test_the_weights_are_the_dispersions_and_other_genes_borrow_them() -> None:
    fitted = fit_text(text_space(TEXT_V2), SAMPLE)
    np.testing.assert_array_equal(fitted.space.weights[:N_GENES], label_dispersion(SAMPLE))
    borrowed = fitted.space.weights[N_GENES:]
    assert (borrowed > 0).all()
    assert (borrowed < 1).all()


def test_without_carrying_cells_of_the_same_genes_lie_where_they_would() -> None:
    carried, plain = (fit_text(text_space(TEXT_V2), SAMPLE, carry=carry) for carry in (True, False))
    assert not plain.space.weights[N_GENES:].any()
    np.testing.assert_array_equal(
        plain.place(SAMPLE.cells).z, carried.place(SAMPLE.cells).z, strict=True
    )


def test_weights_that_no_label_had_part_in_are_left() -> None:
    fitted = fit_text(text_space(TEXT_V1), SAMPLE)
    assert (fitted.space.weights == 1).all()
    assert fitted.space.head is None


def test_the_center_is_the_mean_of_the_whole_reference() -> None:
    space = text_space(TEXT_V1)
    fitted = fit_text(space, SAMPLE)
    raw = fit_text(text_space(replace(TEXT_V1, centered=False)), SAMPLE)
    assert not raw.space.center.any()
    means, _ = raw.means(SAMPLE.cells)
    np.testing.assert_allclose(fitted.space.center, means.mean(axis=0), atol=1e-6)
    # The sample has as many cells of label c as of a; the reference a hundred times as many.
    counts = np.array([40, 30, 2000, 2])
    weighed = fit_text(space, SAMPLE, counts)
    by_label = [means[SAMPLE.labels == i].mean(axis=0) for i in range(4)]
    want = (counts / counts.sum()) @ np.array(by_label)
    np.testing.assert_allclose(weighed.space.center, want, atol=1e-6)


def test_the_head_draws_apart_cells_it_has_not_seen() -> None:
    train, asked = held_out(sample_of([60, 60, 60]))
    plain = fit_text(text_space(replace(TEXT_V2, head="none")), train)
    refined = fit_text(text_space(TEXT_V2), train)
    assert refined.space.head is not None

    def apart(z: np.ndarray) -> float:
        cosines = unit_rows(z) @ unit_rows(z).T
        alike = asked.labels[:, None] == asked.labels[None]
        return float(cosines[alike].mean() - cosines[~alike].mean())

    assert apart(refined.place(asked.cells).z) > apart(plain.place(asked.cells).z) + 0.1


def test_a_head_by_views_draws_cells_to_themselves_seen_again_and_needs_no_labels() -> None:
    train, asked = held_out(sample_of([60, 60, 60]))
    plain, refined = (fit_text(text_space(r), train) for r in (TEXT_V1, TEXT_V1_NT_XENT))
    assert refined.space.head is not None
    rng = np.random.default_rng(9)
    one, other = (thin(molecules(asked.cells), 0.5, rng) for _ in range(2))

    def to_themselves(fitted: FittedText) -> float:
        cosines = fitted.place(one).z @ fitted.place(other).z.T
        return float(np.diag(cosines).mean() - cosines.mean())

    assert to_themselves(refined) > to_themselves(plain) + 0.05
    shuffled = replace(train, labels=train.labels[::-1].copy())
    unlabeled = fit_text(text_space(TEXT_V1_NT_XENT), shuffled)
    assert unlabeled.space.head is not None
    assert unlabeled.space.head.tobytes() == refined.space.head.tobytes()


def test_a_head_by_views_is_that_of_the_counts_behind_scaled_expression() -> None:
    per_cell = sp.diags(1e4 / np.asarray(SAMPLE.cells.sum(axis=1)).ravel())
    scaled = replace(SAMPLE, cells=sp.csr_matrix(per_cell @ SAMPLE.cells, dtype=np.float32))
    one, same = (fit_text(text_space(TEXT_V1_NT_XENT), s) for s in (SAMPLE, scaled))
    assert one.space.head is not None
    assert same.space.head is not None
    np.testing.assert_allclose(one.space.head, same.space.head, atol=1e-3)


def test_a_head_by_views_is_refused_what_is_no_count() -> None:
    smooth = replace(SAMPLE, cells=SAMPLE.cells.multiply(0.7).power(1.3).tocsr())
    with pytest.raises(InvalidArgumentError, match="not counts of molecules"):
        fit_text(text_space(TEXT_V1_NT_XENT), smooth)


def test_a_single_cell_has_no_head_by_views() -> None:
    fitted = fit_text(text_space(TEXT_V1_NT_XENT), SAMPLE.take(np.arange(1)))
    assert fitted.space.head is None


def test_an_empty_cell_is_nowhere_and_moves_no_center() -> None:
    counts = SAMPLE.cells.tolil()
    counts[5] = 0
    hollow = replace(SAMPLE, cells=counts.tocsr())
    fitted = fit_text(text_space(TEXT_V1), hollow)
    placed = fitted.place(hollow.cells)
    assert placed.empty.tolist() == [i == 5 for i in range(SAMPLE.n_cells)]
    assert not placed.z[5].any()
    others = fit_text(text_space(TEXT_V1), hollow.take(np.delete(np.arange(SAMPLE.n_cells), 5)))
    np.testing.assert_allclose(fitted.space.center, others.space.center, atol=1e-6)


def test_one_label_needs_no_head() -> None:
    fitted = fit_text(text_space(TEXT_V2), sample_of([30]))
    assert fitted.space.head is None
    assert (fitted.space.weights == 1).all()
    assert np.isfinite(fitted.place(SAMPLE.cells).z).all()


def test_cells_without_a_gene_that_has_text_leave_the_center() -> None:
    space = text_space(TEXT_V2)
    strangers = replace(SAMPLE, gene_ids=SAMPLE.gene_ids + 1000)
    fitted = fit_text(replace(space, weights=np.zeros_like(space.weights)), sample_of([9]))
    assert not fitted.space.center.any()
    assert fit_text(replace(space, recipe=TEXT_V1), strangers).place(SAMPLE.cells).empty.all()


def test_the_mean_of_the_paper_is_left_where_it_is() -> None:
    fitted = fit_text(text_space(PAPER), SAMPLE)
    assert not fitted.space.center.any()
    assert fitted.n_components == 16
    assert len(fitted.coefficients) == len(fitted.intercepts) == 0
    lengths = np.linalg.norm(fitted.place(SAMPLE.cells).z, axis=1)
    assert lengths == pytest.approx(np.ones(SAMPLE.n_cells), abs=1e-5)
