"""Splits into cells for fitting and cells for testing."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from cellkin.space.arrays import BoolVector, Int32Vector, Int64Vector
from cellkin.wire.errors import DimensionMismatchError, InvalidArgumentError

N_FOLDS = 5
SHOTS = (5, 10, 20, 50)
"""Cells per type in the few-shot curve."""


@dataclass(frozen=True)
class Split:
    """Cells for fitting and cells for testing.

    Parameters
    ----------
    name
        Name in reports, such as ``without donor H1``.
    train
        (n_train,) int64 rows of the reference, ascending.
    test
        (n_test,) int64, ascending; rows of the query file if ``across_files``, else of the
        reference, none of them in ``train``.
    hidden
        The type left out of ``train``, whose cells should be labeled unknown; None for none.
    reference_genes, query_genes
        (n_genes,) bool, genes that are kept in reference and query; None for all.
    across_files
        Whether ``test`` are rows of a query file.
    """

    name: str
    train: Int64Vector
    test: Int64Vector
    hidden: int | None = None
    reference_genes: BoolVector | None = None
    query_genes: BoolVector | None = None
    across_files: bool = False

    def truth(self, labels: Int32Vector, query_labels: Int32Vector | None = None) -> Int32Vector:
        """Return the types of the test cells; -1 for types that ``train`` lacks.

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
    """Return the index of each label in a list of names.

    Parameters
    ----------
    values
        The label of each cell, None for no label.
    names
        The types, each once.

    Returns
    -------
    Int32Vector
        (n_cells,) int32, -1 for labels that are not in the list.
    """
    at = {name: code for code, name in enumerate(names)}
    return np.array([-1 if v is None else at.get(v, -1) for v in values], np.int32)


def leave_batch_out(batches: Int32Vector, names: Sequence[str]) -> list[Split]:
    """Test on each batch in turn, and fit to all others.

    Parameters
    ----------
    batches
        (n_cells,) int32 batch of each cell.
    names
        Names of the batches, by code.

    Raises
    ------
    InvalidArgumentError
        If there are fewer than 2 batches.
    """
    there = np.unique(batches)
    if len(there) < 2:
        raise InvalidArgumentError(
            f"{len(there)} batch to leave out; at least 2 are needed, else use stratified folds"
        )
    return [_split(f"without {names[batch]}", batches == batch) for batch in there]


def stratified_folds(labels: Int32Vector, n_folds: int = N_FOLDS, seed: int = 0) -> list[Split]:
    """Test on each fold in turn, and fit to all others.

    The cells of each type are assigned to the folds in turn, so that neither the sizes of folds nor
    the number of cells of a type in them differ by more than one.

    Parameters
    ----------
    labels
        (n_cells,) int32 type of each cell.
    n_folds
        Number of folds, 2 to the number of cells.
    seed
        Seed of the assignment.

    Raises
    ------
    InvalidArgumentError
        If there are fewer than 2 folds, or fewer cells than folds.
    """
    n_cells = len(labels)
    if not 2 <= n_folds <= n_cells:
        raise InvalidArgumentError(f"{n_folds} folds of {n_cells} cells; give 2 to {n_cells}")
    order = _shuffled_by_type(labels, seed)
    fold = np.empty(n_cells, np.int64)
    fold[order] = np.arange(n_cells) % n_folds
    return [_split(f"fold {f + 1} of {n_folds}", fold == f) for f in range(n_folds)]


def few_shot(labels: Int32Vector, n_shots: int, seed: int = 0) -> Split:
    """Fit to a few cells of each type, and test on the rest.

    At most half of the cells of a type, rounded up, are drawn, so that all types with at least 2
    cells are tested. A larger draw with the same seed contains the smaller one.

    Parameters
    ----------
    labels
        (n_cells,) int32 type of each cell, -1 for cells to leave out.
    n_shots
        Cells per type, at least 1.
    seed
        Seed of the draw.

    Raises
    ------
    InvalidArgumentError
        If ``n_shots`` is less than 1, or no cells are left for testing.
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
    """Leave each type out in turn, in each of the given splits.

    Parameters
    ----------
    labels
        (n_cells,) int32 type of each cell.
    names
        Names of the types, by code.
    base
        Splits of one file, such as from `leave_batch_out`; cells of other types are also tested.
    min_cells
        A type with fewer test cells in a split is not left out there, as the AUROC would be noise.

    Returns
    -------
    list
        Splits by type, then by base split.
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
    """Give reference and query different random halves of the genes.

    Parameters
    ----------
    n_genes
        Number of genes of the file, at least 2.
    base
        Splits of one file.
    seed
        Seed of the halves, which are the same for all splits.

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
    """Fit to all cells of the reference file, and test on all cells of the query file.

    Parameters
    ----------
    name
        Name of the split, such as ``human to mouse``.
    n_reference, n_query
        Number of cells of each file.
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
