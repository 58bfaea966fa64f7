"""Which cells a method may learn from, and which it is asked about."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from cellkin.space.arrays import BoolVector, Int32Vector, Int64Vector
from cellkin.wire.errors import DimensionMismatchError, InvalidArgumentError

N_FOLDS = 5
SHOTS = (5, 10, 20, 50)
"""Cells a type of the few-shot curve."""


@dataclass(frozen=True)
class Split:
    """One question: learn from these cells, answer for those.

    Parameters
    ----------
    name
        Names it in reports, such as ``without donor H1``.
    train
        (n_train,) int64, ascending rows of the reference.
    test
        (n_test,) int64, ascending rows; of the query file if ``across_files``, else of the
        reference and none of ``train``.
    hidden
        The type taken out of ``train``, whose cells should be called unknown; None for none.
    reference_genes, query_genes
        (n_genes,) bool, the genes either side is given; None for all.
    across_files
        Whether ``test`` counts rows of a query file.
    """

    name: str
    train: Int64Vector
    test: Int64Vector
    hidden: int | None = None
    reference_genes: BoolVector | None = None
    query_genes: BoolVector | None = None
    across_files: bool = False

    def truth(self, labels: Int32Vector, query_labels: Int32Vector | None = None) -> Int32Vector:
        """Return the types of the test cells, -1 where no cell to learn from is of the type.

        Parameters
        ----------
        labels
            (n_reference,) int32 types of the reference cells, -1 for no type.
        query_labels
            (n_query,) int32 types of the query cells, of the same codes; only across files.
        """
        if self.across_files != (query_labels is not None):
            raise InvalidArgumentError(
                f"split {self.name!r} is {'' if self.across_files else 'not '}across files; give "
                "query_labels if and only if it is"
            )
        truth = (labels if query_labels is None else query_labels)[self.test]
        return np.where(np.isin(truth, labels[self.train]), truth, -1).astype(np.int32)


def label_codes(values: Sequence[str | None], names: Sequence[str]) -> Int32Vector:
    """Return the position of each label among names.

    Parameters
    ----------
    values
        A label a cell; None where there is none.
    names
        The types, each once.

    Returns
    -------
    Int32Vector
        (n_cells,) int32, -1 for labels that are no type.
    """
    at = {name: code for code, name in enumerate(names)}
    return np.array([-1 if v is None else at.get(v, -1) for v in values], np.int32)


def leave_batch_out(batches: Int32Vector, names: Sequence[str]) -> list[Split]:
    """Ask about each batch in turn, knowing the others.

    Parameters
    ----------
    batches
        (n_cells,) int32 batch of each cell.
    names
        Of the batches, by code.

    Raises
    ------
    InvalidArgumentError
        If there are not two batches.
    """
    there = np.unique(batches)
    if len(there) < 2:
        raise InvalidArgumentError(
            f"{len(there)} batch to leave out; at least 2 are needed, else use stratified folds"
        )
    return [_split(f"without {names[batch]}", batches == batch) for batch in there]


def stratified_folds(labels: Int32Vector, n_folds: int = N_FOLDS, seed: int = 0) -> list[Split]:
    """Ask about each of some equal parts in turn, knowing the others.

    Each type's cells are dealt to the parts one by one, so that neither the parts nor a type's
    shares of them differ by more than a cell.

    Parameters
    ----------
    labels
        (n_cells,) int32 type of each cell.
    n_folds
        Parts, 2 to the number of cells.
    seed
        Fixes who is dealt where.

    Raises
    ------
    InvalidArgumentError
        If there are fewer than 2 parts, or fewer cells than parts.
    """
    n_cells = len(labels)
    if not 2 <= n_folds <= n_cells:
        raise InvalidArgumentError(f"{n_folds} folds of {n_cells} cells; give 2 to {n_cells}")
    order = _shuffled_by_type(labels, seed)
    fold = np.empty(n_cells, np.int64)
    fold[order] = np.arange(n_cells) % n_folds
    return [_split(f"fold {f + 1} of {n_folds}", fold == f) for f in range(n_folds)]


def few_shot(labels: Int32Vector, n_shots: int, seed: int = 0) -> Split:
    """Know a few cells of each type and ask about the rest.

    At most half of a type's cells (rounded up) are drawn, so that all types but those of a single
    cell are asked about; a larger draw of the same seed contains the smaller.

    Parameters
    ----------
    labels
        (n_cells,) int32 type of each cell, -1 for cells to leave out.
    n_shots
        Cells a type, at least 1.
    seed
        Fixes the draw.

    Raises
    ------
    InvalidArgumentError
        If less than one cell a type is asked for, or nothing is left to ask about.
    """
    if n_shots < 1:
        raise InvalidArgumentError(f"{n_shots} cells a type; give at least 1")
    order = _shuffled_by_type(labels, seed)
    sorted_labels = labels[order]
    first = np.searchsorted(sorted_labels, sorted_labels)
    n_of_type = np.searchsorted(sorted_labels, sorted_labels, side="right") - first
    rank = np.arange(len(labels)) - first
    chosen = np.zeros(len(labels), bool)
    chosen[order[rank < np.minimum(n_shots, -(-n_of_type // 2))]] = True
    train = np.flatnonzero(chosen & (labels >= 0))
    test = np.flatnonzero(~chosen & (labels >= 0))
    if not len(test):
        raise InvalidArgumentError(
            "no type has 2 cells, so a draw leaves none to ask about; give a reference with more "
            "cells a type"
        )
    return Split(f"{n_shots} cells a type, draw {seed}", train, test)


def leave_type_out(
    labels: Int32Vector, names: Sequence[str], base: Sequence[Split], min_cells: int = 10
) -> list[Split]:
    """Hide each type in turn, in each of other splits.

    Parameters
    ----------
    labels
        (n_cells,) int32 type of each cell.
    names
        Of the types, by code.
    base
        Splits of one file, such as `leave_batch_out`: cells of other types are asked about too,
        and must not be known.
    min_cells
        A type of fewer cells to ask about in a split is not hidden there: the AUROC would be noise.

    Returns
    -------
    list
        By type, then by split.
    """
    return [
        replace(
            split,
            name=f"{split.name}, {names[hidden]} hidden",
            train=split.train[labels[split.train] != hidden],
            hidden=int(hidden),
        )
        for hidden in np.unique(labels[labels >= 0])
        for split in base
        if (labels[split.test] == hidden).sum() >= min_cells
        and len(np.setdiff1d(labels[split.train], [hidden])) > 1
        and (labels[split.test] != hidden).any()
    ]


def gene_halves(n_genes: int, base: Sequence[Split], seed: int = 0) -> list[Split]:
    """Give the reference one random half of the genes and the query the other.

    Parameters
    ----------
    n_genes
        Genes of the file, at least 2.
    base
        Splits of one file.
    seed
        Fixes the halves, the same for all splits.

    Raises
    ------
    InvalidArgumentError
        If there are fewer than 2 genes, or a split is across files.
    """
    if n_genes < 2 or any(split.across_files for split in base):
        raise InvalidArgumentError(
            f"halves of {n_genes} genes; give at least 2 genes of one file, and splits of that file"
        )
    reference_genes = np.zeros(n_genes, bool)
    reference_genes[np.random.default_rng(seed).permutation(n_genes)[: n_genes // 2]] = True
    return [
        replace(
            split,
            name=f"{split.name}, other half of genes",
            reference_genes=reference_genes,
            query_genes=~reference_genes,
        )
        for split in base
    ]


def across_files(name: str, n_reference: int, n_query: int) -> Split:
    """Know all cells of the reference file and ask about all of the query file.

    Parameters
    ----------
    name
        Such as ``human to mouse``.
    n_reference, n_query
        Cells of either.
    """
    return Split(
        name,
        np.arange(n_reference, dtype=np.int64),
        np.arange(n_query, dtype=np.int64),
        across_files=True,
    )


def _split(name: str, asked: BoolVector) -> Split:
    return Split(name, np.flatnonzero(~asked), np.flatnonzero(asked))


def _shuffled_by_type(labels: Int32Vector, seed: int) -> Int64Vector:
    if labels.ndim != 1:
        raise DimensionMismatchError(f"labels have shape {labels.shape}; give one a cell")
    order: Int64Vector = np.lexsort((np.random.default_rng(seed).permutation(len(labels)), labels))
    return order
