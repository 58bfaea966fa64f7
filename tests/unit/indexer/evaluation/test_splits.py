"""Splits: who is known, who is asked about, and that nobody is both."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cellkin.indexer.evaluation.splits import (
    Split,
    across_files,
    few_shot,
    gene_halves,
    label_codes,
    leave_batch_out,
    leave_type_out,
    stratified_folds,
)
from cellkin.wire.errors import InvalidArgumentError

MANY = settings(max_examples=40, deadline=None)
LABELS = hnp.arrays(np.int32, st.integers(10, 80), elements=st.integers(0, 5))


def is_partition(splits: list[Split], n_cells: int) -> bool:
    asked = np.concatenate([split.test for split in splits])
    whole = [np.union1d(split.train, split.test).tolist() for split in splits]
    return sorted(asked) == list(range(n_cells)) and all(w == sorted(asked) for w in whole)


@MANY
@given(LABELS)
def test_every_batch_is_asked_about_once(batches: np.ndarray) -> None:
    names = [f"donor {i}" for i in range(6)]
    there = np.unique(batches)
    if len(there) == 1:
        with pytest.raises(InvalidArgumentError, match="use stratified folds"):
            leave_batch_out(batches, names)
        return
    splits = leave_batch_out(batches, names)
    assert is_partition(splits, len(batches))
    assert [split.name for split in splits] == [f"without donor {b}" for b in there]
    for split in splits:
        assert len(np.unique(batches[split.test])) == 1
        assert not np.isin(batches[split.train], batches[split.test]).any()
        assert not np.intersect1d(split.train, split.test).size


@MANY
@given(LABELS, st.integers(2, 10), st.integers(0, 3))
def test_folds_are_even_in_size_and_types(labels: np.ndarray, n_folds: int, seed: int) -> None:
    splits = stratified_folds(labels, n_folds, seed)
    assert len(splits) == n_folds
    assert is_partition(splits, len(labels))
    table = np.array([np.bincount(labels[split.test], minlength=6) for split in splits])
    assert np.ptp(table.sum(axis=1)) <= 1
    assert (np.ptp(table, axis=0) <= 1).all()


def test_folds_are_fixed_by_the_seed() -> None:
    labels = np.repeat(np.arange(3, dtype=np.int32), 20)
    first = [split.test.tolist() for split in stratified_folds(labels, seed=1)]
    assert first == [split.test.tolist() for split in stratified_folds(labels, seed=1)]
    assert first != [split.test.tolist() for split in stratified_folds(labels, seed=2)]
    with pytest.raises(InvalidArgumentError, match="1 folds of 60 cells; give 2 to 60"):
        stratified_folds(labels, 1)


@MANY
@given(LABELS, st.integers(1, 12), st.integers(0, 3))
def test_few_shots_leave_half_of_a_rare_type(labels: np.ndarray, n: int, seed: int) -> None:
    split = few_shot(labels, n, seed)
    assert not np.intersect1d(split.train, split.test).size
    assert len(split.train) + len(split.test) == len(labels)
    for code, n_cells in zip(*np.unique(labels, return_counts=True), strict=True):
        assert (labels[split.train] == code).sum() == min(n, -(-n_cells // 2))
    assert np.isin(split.train, few_shot(labels, n + 3, seed).train).all()


def test_few_shots_leave_out_cells_without_a_label() -> None:
    split = few_shot(np.array([-1, 0, 0, 1, 1, -1], np.int32), 1)
    assert not np.isin([0, 5], [*split.train, *split.test]).any()
    with pytest.raises(InvalidArgumentError, match="no type has 2 cells"):
        few_shot(np.array([0, 1], np.int32), 1)
    with pytest.raises(InvalidArgumentError, match="give at least 1"):
        few_shot(np.array([0, 0], np.int32), 0)


def test_a_hidden_type_is_never_known_and_is_asked_about() -> None:
    labels = np.repeat(np.array([0, 1, 2], np.int32), [40, 30, 6])
    base = stratified_folds(labels, 2)
    splits = leave_type_out(labels, ["alpha", "beta", "rare"], base)
    assert [split.name for split in splits] == [
        f"fold {fold} of 2, {name} hidden" for name in ("alpha", "beta") for fold in (1, 2)
    ]
    for split in splits:
        assert split.hidden not in labels[split.train]
        assert ((split.truth(labels) == -1) == (labels[split.test] == split.hidden)).all()
    assert len(leave_type_out(labels, ["a", "b", "c"], base, min_cells=3)) == 6


def test_gene_halves_share_no_gene() -> None:
    base = stratified_folds(np.zeros(4, np.int32), 2)
    splits = gene_halves(7, base, seed=3)
    for split in splits:
        assert split.reference_genes is not None
        assert split.query_genes is not None
        assert (split.reference_genes ^ split.query_genes).all()
        assert (split.reference_genes.sum(), split.query_genes.sum()) == (3, 4)
        assert (split.reference_genes == gene_halves(7, base, seed=3)[0].reference_genes).all()
    with pytest.raises(InvalidArgumentError, match="at least 2 genes of one file"):
        gene_halves(7, [across_files("human to mouse", 2, 3)])


def test_truth_across_files_is_of_the_query() -> None:
    split = across_files("human to mouse", 3, 2)
    reference, query = np.array([0, 1, 1], np.int32), np.array([1, 2], np.int32)
    assert split.truth(reference, query).tolist() == [1, -1]
    with pytest.raises(InvalidArgumentError, match="is across files"):
        split.truth(reference)
    with pytest.raises(InvalidArgumentError, match="is not across files"):
        stratified_folds(reference, 2)[0].truth(reference, query)


def test_labels_that_are_no_type_have_no_code() -> None:
    assert label_codes(["b", None, "a", "x"], ["a", "b"]).tolist() == [1, -1, 0, -1]
