"""A cell space follows its recipe, choice by choice."""

from dataclasses import replace

import numpy as np

from cellkin.indexer.cells.fit import GeneStatistics, deepest_rung, fit_space
from cellkin.space.recipe import TEXT_V1
from cellkin.space.vectors import centered_unit_rows, whiten
from cellkin.store.store import GeneEmbedding
from cellkin.wire.terms import TextRung

N_GENES, DIM = 40, 8
RNG = np.random.default_rng(0)
VECTORS = RNG.standard_normal((N_GENES, DIM)).astype(np.float32) + 1
EMBEDDING = GeneEmbedding(
    np.arange(N_GENES, dtype=np.int64) * 3,
    np.full(N_GENES, 9606, np.int32),
    [""] * N_GENES,
    VECTORS,
)
STATISTICS = GeneStatistics(
    np.full(N_GENES, 99),
    RNG.integers(0, 100, N_GENES),
    np.ones(N_GENES),
    np.arange(N_GENES) % 4 != 0,
)
KEEP = np.arange(0, N_GENES, 2)


def test_text_v1_whitens_and_weighs_by_inverse_detection() -> None:
    space = fit_space(TEXT_V1, EMBEDDING, KEEP, STATISTICS)
    np.testing.assert_array_equal(space.vectors, whiten(VECTORS[KEEP], 0.05))
    measured = KEEP % 4 != 0
    np.testing.assert_array_equal(space.measured, measured)
    want = np.log(100 / (1 + STATISTICS.n_detected[KEEP]))
    np.testing.assert_allclose(space.weights[measured], want[measured], rtol=1e-6)
    assert (space.weights >= 0).all()
    assert not space.center.any()


def test_without_whitening_vectors_are_only_centered() -> None:
    space = fit_space(replace(TEXT_V1, whitening_shrinkage=None), EMBEDDING, KEEP, STATISTICS)
    np.testing.assert_array_equal(space.vectors, centered_unit_rows(VECTORS[KEEP]))


def test_without_weighting_every_gene_counts_alike() -> None:
    space = fit_space(replace(TEXT_V1, gene_weighting="none"), EMBEDDING, KEEP, STATISTICS)
    np.testing.assert_array_equal(space.weights, np.ones(len(KEEP), np.float32))


def test_a_gene_weighs_by_the_cells_it_was_looked_for_in() -> None:
    n_cells = np.full(N_GENES, 99)
    n_cells[2] = 300
    space = fit_space(TEXT_V1, EMBEDDING, KEEP, replace(STATISTICS, n_cells=n_cells))
    alike = fit_space(TEXT_V1, EMBEDDING, KEEP, STATISTICS)
    changed = np.flatnonzero(space.measured & (space.weights != alike.weights))
    assert changed.tolist() == [1]
    assert space.weights[1] == np.float32(np.log(301 / (1 + STATISTICS.n_detected[2])))


def test_names_take_part_only_where_they_are_needed() -> None:
    rungs = np.array([TextRung.OWN_SUMMARY, TextRung.DESIGNATIONS], np.uint8)
    assert deepest_rung(rungs, np.array([5.0, 4.0])) == TextRung.ORTHOLOG_SUMMARY
    assert deepest_rung(rungs, np.array([4.0, 5.0])) == TextRung.DESIGNATIONS
