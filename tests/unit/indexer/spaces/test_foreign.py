"""Foreign samples: genes paired by their vectors, labels confirmed by expression, cells reread."""

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
import scipy.sparse as sp

from cellkin.indexer.cells.fitting import Judging, fit_text_part
from cellkin.indexer.spaces.classifier import Votes
from cellkin.indexer.spaces.foreign import fit_foreign
from cellkin.indexer.spaces.novelty import nearest
from cellkin.indexer.spaces.sample import Sample, log_expression
from cellkin.indexer.spaces.text import FittedText
from cellkin.space.classifier import LabelClassifier, Placed, neighbor_vectors
from cellkin.space.foreign import PairedSample, Reading, _similarities, check_sample
from cellkin.space.gene_pairs import ForeignReference, Pairs
from cellkin.space.labels import Labels, read_labels
from cellkin.space.projection import CellSpace, gene_columns, place_means, weighted_means
from cellkin.space.recipe import TEXT_V2
from cellkin.space.vectors import NearestMeasured, carry_weights, unit_rows
from cellkin.store.cell_index import (
    CellIndex,
    ReferenceCells,
    TextIndex,
    read_cell_index,
    write_cell_index,
)
from cellkin.store.neighbors import NeighborIndex
from cellkin.wire.terms import UnknownReason

N_GENES, DIM, FOREIGN = 300, 48, 1_000
NAMES = ["a", "b", "c", "d", "e"]


def rates_of(seed: int, n_labels: int = len(NAMES)) -> npt.NDArray[np.float64]:
    """Return (n_labels, n_genes) expected counts: of each label some forty genes stand out."""
    rng = np.random.default_rng(seed)
    rates = np.tile(0.2 + rng.gamma(1.0, 0.5, N_GENES), (n_labels, 1))
    for row in rates:
        row[rng.permutation(N_GENES)[:40]] += 4.0
    return rates


def cells_of(
    rates: npt.NDArray[np.float64], sizes: list[int], seed: int, foreign: bool = False
) -> Sample:
    """Draw cells; those of another species differ in every gene."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(sizes)), sizes)).astype(np.int32)
    if foreign:
        rates = rates * np.exp(rng.normal(0, 0.4, N_GENES))
    ids = np.arange(N_GENES, dtype=np.int64) + 1 + FOREIGN * foreign
    counts = sp.csr_matrix(rng.poisson(rates[labels]), dtype=np.float32)
    return Sample(counts, ids, labels, NAMES[: len(sizes)], np.zeros(len(labels), np.int32))


def text_space() -> CellSpace:
    """A space of two species, where the vectors of a gene and its like are near."""
    rng = np.random.default_rng(0)
    own = unit_rows(rng.standard_normal((N_GENES, DIM)).astype(np.float32))
    noise = unit_rows(rng.standard_normal((N_GENES, DIM)).astype(np.float32))
    ids = np.arange(N_GENES, dtype=np.int64) + 1
    return CellSpace(
        TEXT_V2,
        np.concatenate([ids, ids + FOREIGN]),
        np.repeat(np.array([9606, 10090], np.int32), N_GENES),
        np.concatenate([own, unit_rows(own + 0.6 * noise)]),
        np.ones(2 * N_GENES, np.float32),
        np.repeat([True, False], N_GENES),
        np.zeros(DIM, np.float32),
    )


@dataclass(frozen=True)
class Made:
    """A fitted reference."""

    sample: Sample
    space: CellSpace
    classifier: LabelClassifier
    vectors: npt.NDArray[np.float32]
    foreign: ForeignReference

    def text(self, query: Sample) -> Reading:
        """Read cells as a labeler does, the mean of all subtracted."""
        columns = gene_columns(self.space.rows_of(query.gene_ids), len(self.space.gene_ids))
        means, empty = weighted_means(query.cells, columns, self.space)
        own = means[~empty].mean(axis=0, dtype=np.float64).astype(np.float32)
        z = place_means(means, replace(self.space, center=own))
        z[empty] = 0
        compared = neighbor_vectors(z, self.classifier.n_components)
        similarities, rows = nearest(compared, self.vectors, self.classifier.n_neighbors)
        voted = self.sample.labels[rows]
        voted[empty] = -1
        unlimited = replace(self.classifier, novelty_limit=np.inf)
        counts = self.sample.counts()
        labels = read_labels(Placed(z, empty), similarities, voted, counts, unlimited)
        return Reading(Placed(z, empty), similarities, voted, labels)

    def check(self, query: Sample) -> tuple[PairedSample, Labels]:
        """Check a sample by all of its cells, and read them again."""
        text = self.text(query)
        columns = gene_columns(self.space.rows_of(query.gene_ids), len(self.space.gene_ids))
        paired = check_sample(query.cells, columns, text, self.foreign, self.classifier)
        return paired, paired.read(query.cells, text, self.sample.counts(), self.classifier)


@cache
def made(n_labels: int = len(NAMES)) -> Made:
    """Fit to the first labels."""
    sample = cells_of(rates_of(0)[:n_labels], [60] * n_labels, 1)
    fitted, classifier, _ = fit_text_part(
        text_space(), sample, sample.counts(), Votes(), Judging.CELLS
    )
    vectors = neighbor_vectors(fitted.place(sample.cells).z, classifier.n_components)
    return Made(sample, fitted.space, classifier, vectors, fit_foreign(fitted, sample))


def test_partners_are_the_measured_genes_that_are_nearest() -> None:
    space, found = made().space, made().foreign
    measured = np.arange(N_GENES)
    cosines = space.vectors[N_GENES:] @ space.vectors[:N_GENES].T
    np.testing.assert_array_equal(found.partners[:N_GENES], measured)
    np.testing.assert_array_equal(found.partners[N_GENES:], cosines.argmax(axis=1))
    np.testing.assert_allclose(found.cosines[N_GENES:], cosines.max(axis=1), rtol=1e-5)


def test_profiles_are_the_means_of_labels() -> None:
    sample, found = made().sample, made().foreign
    logs = log_expression(sample.cells).toarray()
    means = [logs[sample.labels == label].mean(axis=0) for label in range(sample.n_labels)]
    np.testing.assert_allclose(found.profiles, means, rtol=1e-5)
    np.testing.assert_array_equal(found.weights, made().space.weights[:N_GENES])


def test_an_index_keeps_it(tmp_path: Path) -> None:
    names = pa.chunked_array([[str(i) for i in range(made().sample.n_cells)]])
    labels = pa.chunked_array([[NAMES[i] for i in made().sample.labels]])
    cells = ReferenceCells.from_columns(names, labels, names)
    neighbors = NeighborIndex.build(made().vectors)
    for kept in (made().foreign, None):
        folder = tmp_path / str(kept is None)
        folder.mkdir()
        text = TextIndex(made().space, neighbors, made().classifier, kept)
        write_cell_index(folder, CellIndex(cells, text, None))
        read = read_cell_index(folder)
        found = read.text
        assert found is not None
        assert read.reference("made").require_text().foreign is found.foreign
        if kept is None:
            assert found.foreign is None
            continue
        assert found.foreign is not None
        for name, value in vars(kept).items():
            np.testing.assert_array_equal(vars(found.foreign)[name], value, strict=True)


def unfitted(space: CellSpace, sample: Sample) -> FittedText:
    """Return a space as if it was fitted to the sample."""
    none = np.zeros((sample.n_cells, space.vectors.shape[1]), np.float32)
    return FittedText(space, sample.gene_ids, none, np.ones(sample.n_cells, bool))


def test_without_a_gene_that_has_a_text_there_are_no_partners() -> None:
    other = replace(made().sample, gene_ids=made().sample.gene_ids + 10 * FOREIGN)
    found = fit_foreign(unfitted(made().space, other), other)
    assert (found.partners == -1).all()
    assert found.profiles.shape == (len(NAMES), 0)
    pairs = Pairs.of(gene_columns(np.arange(N_GENES), 2 * N_GENES), found)
    assert (pairs.n, pairs.are_enough) == (0, False)


def test_only_genes_that_tell_labels_apart_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cellkin.indexer.spaces.foreign.KEPT", 20)
    found = fit_foreign(unfitted(made().space, made().sample), made().sample)
    assert found.profiles.shape == (len(NAMES), 20)
    kept = np.flatnonzero(found.partners[:N_GENES] >= 0)
    np.testing.assert_array_equal(found.partners[kept], np.arange(20))
    weights = made().space.weights[:N_GENES]
    assert weights[kept].min() >= np.sort(weights)[-20]


def test_weights_are_carried_from_what_is_nearest() -> None:
    space = made().space
    rng = np.random.default_rng(3)
    weights = rng.random(N_GENES).astype(np.float32)
    near = NearestMeasured.of(space.vectors, np.arange(N_GENES), 5)
    np.testing.assert_array_equal(
        near.carry(weights, 0.03),
        carry_weights(space.vectors, np.arange(N_GENES), weights, 5, 0.03),
    )


def test_of_several_genes_with_one_partner_the_nearest_has_it() -> None:
    reference = ForeignReference(
        np.array([0, 0, 1, -1, 1], np.int32),
        np.array([0.5, 0.7, 0.9, 0.9, 0.2], np.float32),
        np.array([[1, 2], [3, 2]], np.float32),
        np.array([0.25, 0.75], np.float32),
    )
    # Two columns are of gene 1, one is of none, and gene 2 has no column.
    pairs = Pairs.of(gene_columns(np.array([1, 0, 4, -1, 3, 1]), 5), reference)
    np.testing.assert_array_equal(pairs.positions, [0, -1, 1, -1, -1, 0])
    np.testing.assert_allclose(pairs.weights, [0.175 / 0.325, 0.15 / 0.325], rtol=1e-6)
    np.testing.assert_array_equal(pairs.profiles, [[1, 2], [3, 2]])
    np.testing.assert_allclose(pairs.deviations, [1.1, 0.1])
    cells = sp.csr_matrix(np.array([[1, 5, 2, 3, 0, 1], [0] * 6], np.float32))
    expected = np.log1p(np.array([[2, 2], [0, 0]]) * 10_000 / 12)
    np.testing.assert_allclose(pairs.log_expression(cells), expected, rtol=1e-6)
    assert not pairs.are_enough


def test_cells_of_the_same_tissue_keep_their_labels() -> None:
    query = cells_of(rates_of(0), [120, 80, 60, 40, 20], 2, foreign=True)
    paired, labels = made().check(query)
    check = paired.check
    assert check.belongs
    assert check.confirmed_share == 1
    assert (check.n_cells, check.n_genes) == (320, N_GENES)
    assert [found.label for found in check.labels] == [0, 1, 2, 3, 4]
    assert all(found.confirmed and found.similarity > 0.6 for found in check.labels)
    assert np.isfinite(check.limits).all()
    known = labels.reasons == UnknownReason.KNOWN
    assert known.mean() > 0.85
    assert (labels.winners == query.labels)[known].mean() > 0.97
    at = np.arange(len(known)), labels.winners
    np.testing.assert_allclose(labels.probabilities, labels.by_label[at], rtol=1e-6)


def test_expression_corrects_labels_of_the_text() -> None:
    query = cells_of(rates_of(0) * 0.15, [120, 80, 60, 40, 20], 3, foreign=True)
    text = made().text(query).labels
    _, labels = made().check(query)
    right = [(found.winners == query.labels).mean() for found in (text, labels)]
    assert right[1] > right[0]


def test_cells_of_another_tissue_are_all_unknown() -> None:
    query = cells_of(rates_of(9), [120, 80, 60, 40, 20], 2, foreign=True)
    paired, labels = made().check(query)
    assert paired.check.belongs is False
    assert paired.check.confirmed_share < 0.2
    assert (paired.check.limits == -np.inf).all()
    assert (labels.reasons == UnknownReason.NOT_CONFIRMED).all()
    np.testing.assert_array_equal(labels.winners, made().text(query).labels.winners)


def test_without_texts_that_pair_genes_nothing_is_confirmed() -> None:
    query = cells_of(rates_of(0), [120, 80, 60, 40, 20], 2, foreign=True)
    shuffled = np.random.default_rng(0).permutation(N_GENES)
    partners = made().foreign.partners.copy()
    partners[N_GENES:] = partners[N_GENES:][shuffled]
    paired, _ = replace(made(), foreign=replace(made().foreign, partners=partners)).check(query)
    assert paired.check.belongs is False


def test_of_a_mixed_sample_the_foreign_cells_are_unknown() -> None:
    query = cells_of(np.concatenate([rates_of(0), rates_of(9, 1)]), [120, 80, 60, 40, 20, 60], 2,
                     foreign=True)  # fmt: skip
    paired, labels = made().check(query)
    assert paired.check.belongs
    known = labels.reasons == UnknownReason.KNOWN
    assert known[query.labels < 5].mean() > 0.8
    assert known[query.labels == 5].mean() < 0.1


def test_cells_of_a_type_that_the_reference_lacks_are_unknown() -> None:
    query = cells_of(rates_of(0), [60, 60, 60, 60, 60], 2, foreign=True)
    paired, labels = made(4).check(query)
    assert paired.check.belongs
    known = labels.reasons == UnknownReason.KNOWN
    assert known[query.labels < 4].mean() > 0.8
    assert known[query.labels == 4].mean() < 0.2


def test_a_label_of_a_few_cells_is_judged_cell_by_cell() -> None:
    query = cells_of(rates_of(0), [120, 80, 60, 40, 6], 2, foreign=True)
    paired, labels = made().check(query)
    assert 4 not in [found.label for found in paired.check.labels]
    assert np.isfinite(paired.check.limits[4])
    rare = query.labels == 4
    assert (labels.winners[rare] == 4).mean() > 0.5


@pytest.mark.parametrize(("n_genes", "n_labels"), [(30, 5), (N_GENES, 1)])
def test_of_few_genes_or_one_label_nothing_is_told(n_genes: int, n_labels: int) -> None:
    query = cells_of(rates_of(0), [120, 80, 60, 40, 20], 2, foreign=True)
    query = replace(query, cells=query.cells[:, :n_genes], gene_ids=query.gene_ids[:n_genes])
    paired, labels = made(n_labels).check(query)
    assert paired.check.belongs is None
    assert paired.check.labels == ()
    # Then no label is claimed; the winners are those of the text.
    assert (paired.check.limits == -np.inf).all()
    assert (labels.reasons == UnknownReason.NOT_CONFIRMED).all()
    text = made(n_labels).text(query).labels
    np.testing.assert_array_equal(labels.winners, text.winners)
    # Unless a limit is given by who knows that the sample belongs.
    assert (paired.limited_to(3.0).check.limits == 3).all()


def test_empty_cells_have_no_label_and_no_part() -> None:
    query = cells_of(rates_of(0), [120, 80, 60, 40, 20], 2, foreign=True)
    cells = query.cells.tolil()
    cells[[3, 50]] = 0
    paired, labels = made().check(replace(query, cells=sp.csr_matrix(cells)))
    assert paired.check.n_cells == 318
    np.testing.assert_array_equal(labels.winners[[3, 50]], -1)
    np.testing.assert_array_equal(labels.reasons[[3, 50]], UnknownReason.NO_GENE_MATCHED)
    assert not labels.probabilities[[3, 50]].any()


def test_cells_are_read_alike_in_any_block() -> None:
    query = cells_of(rates_of(0), [120, 80, 60, 40, 20], 2, foreign=True)
    paired, whole = made().check(query)
    text = made().text(query)
    for rows in (np.arange(7), np.arange(100, 230)):
        arrays: dict[str, Any] = {
            k: v[rows] for k, v in vars(text.labels).items() if isinstance(v, np.ndarray)
        }
        labels = replace(text.labels, **arrays)
        placed = Placed(text.placed.z[rows], text.placed.empty[rows])
        part = Reading(placed, text.similarities[rows], text.voted[rows], labels)
        found = paired.read(query.cells[rows], part, made().sample.counts(), made().classifier)
        np.testing.assert_array_equal(found.winners, whole.winners[rows])
        np.testing.assert_array_equal(found.reasons, whole.reasons[rows])
        assert found.by_label.tobytes() == whole.by_label[rows].tobytes()


def test_a_label_with_a_ceiling_keeps_to_it_in_a_foreign_sample() -> None:
    query = cells_of(rates_of(0), [120, 80, 60, 40, 20], 2, foreign=True)
    paired, free = made().check(query)
    ceilings = np.array([0.5, 1, 1, 1, 1], np.float32)
    held = replace(made(), classifier=replace(made().classifier, ceilings=ceilings))
    capped = paired.read(query.cells, made().text(query), held.sample.counts(), held.classifier)
    np.testing.assert_array_equal(capped.winners, free.winners)
    rare = capped.winners == 0
    assert free.probabilities[rare].max() > 0.9
    assert capped.probabilities[rare].max() <= 0.5
    assert (capped.reasons[rare] != UnknownReason.KNOWN).all()
    np.testing.assert_array_equal(capped.reasons[~rare], free.reasons[~rare])


def test_similarities_corrected_for_noise_are_at_most_one() -> None:
    rng = np.random.default_rng(0)
    contrasts = rng.standard_normal((2, 200)).astype(np.float32)
    contrasts -= contrasts.mean(axis=0)
    pairs = Pairs(
        np.arange(200, dtype=np.int32), np.full(200, 1 / 200, np.float32), contrasts,
        np.ones(200, np.float32),
    )  # fmt: skip
    # The noise of the cells cancels in their mean, so that the correction for it is too large.
    noise = 20 * rng.standard_normal((10, 200)).astype(np.float32)
    cells = np.concatenate([contrasts[0] + noise, contrasts[0] - noise])
    cells = np.concatenate([cells, contrasts[1] + noise, contrasts[1] - noise])
    winners = np.repeat([0, 1], 20).astype(np.int32)
    patched = pytest.MonkeyPatch()
    with patched.context() as patch:
        patch.setattr("cellkin.space.foreign._CORE", -np.inf)
        similarities, possible, _ = _similarities(
            cells, contrasts, pairs, winners, np.array([0, 1])
        )
    assert possible.all()
    assert similarities.tolist() == [1, 1]
