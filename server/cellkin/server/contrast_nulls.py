"""Nulls of a contrast in which the group labels of cells are permuted."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from cellkin.server import calls
from cellkin.server.loading import LoadedIndex
from cellkin.server.tested_sets import TestedSets
from cellkin.space.arrays import BoolVector, Int64Vector
from cellkin.space.contrasts import Float64Matrix, GeneRanks
from cellkin.space.enrichment import SetTester, called, false_discovery_rates
from cellkin.space.expression import ExpressionSpace
from cellkin.space.permutation_tests import SETS_AT_ONCE, SetTests, against_cells, chosen_cells
from cellkin.space.projection import Float64Vector
from cellkin.store.cell_index import EXPRESSION

_MIN_VARIABLE = 3
_AT_ONCE = 100
"""Permutations at once, which bounds the memory."""


class PermutedLabels(ABC):
    """Test sets against permuted group labels, and count the sets called under them.

    Parameters
    ----------
    in_a
        (n_cells,) bool; other cells are in group b.
    batches
        (n_cells,) int64; labels are permuted within each batch.
    """

    def __init__(self, in_a: BoolVector, batches: Int64Vector) -> None:
        self._in_a = in_a
        self._cells_of = [np.flatnonzero(batches == batch) for batch in np.unique(batches)]

    @abstractmethod
    def _values(self, groups: BoolVector) -> Float64Matrix:
        """Return (n_genes, n_groups) statistics of the genes for (n_cells, n_groups) groups."""

    @abstractmethod
    def _tester(self, part: TestedSets) -> tuple[SetTester, Int64Vector]:
        """Return the sets that can be tested over these genes, and their rows in the part."""

    @abstractmethod
    def _tests(self, tester: SetTester, groups: BoolVector) -> SetTests:
        """Test sets for (n_cells, n_groups) groups of as many cells of each batch."""

    def p_values(self, part: TestedSets) -> Float64Vector:
        """Return the (n_sets,) p-values of sets; 1 for those that cannot be tested."""
        tester, rows = self._tester(part)
        found = np.ones(len(part))
        if len(rows):
            found[rows] = self._tests(tester, self._in_a[:, None]).p_values[:, 0]
        return found

    def called(self, sets: Sequence[TestedSets], n_permutations: int) -> float:
        """Return the mean number of sets that are called when group labels are permuted."""
        rng = np.random.default_rng(0)
        testers = [tester for tester, rows in map(self._tester, sets) if len(rows)]
        n_called = 0
        for start in range(0, n_permutations, _AT_ONCE):
            calls.check()
            n = min(_AT_ONCE, n_permutations - start)
            groups = np.stack([self._permuted(rng) for _ in range(n)], axis=1)
            values = self._values(groups)
            for tester in testers:
                tests = tester.against_genes(values), self._tests(tester, groups)
                rates = [false_discovery_rates(test.p_values) for test in tests]
                n_called += int(np.count_nonzero(called(*rates)))
        return n_called / n_permutations

    def _permuted(self, rng: np.random.Generator) -> BoolVector:
        group = np.empty_like(self._in_a)
        for cells in self._cells_of:
            group[cells] = rng.permutation(self._in_a[cells])
        return group


class PermutedCells(PermutedLabels):
    """The null of exchangeable cells.

    Parameters
    ----------
    ranks
        The cells.
    in_a
        (n_cells,) bool. Of very many cells evenly spaced ones are tested.
    """

    def __init__(self, ranks: GeneRanks, in_a: BoolVector) -> None:
        self._ranks, self._chosen = ranks, chosen_cells(in_a)
        # Permuted apart from the others, so that as many of them are in group a.
        others = np.ones(len(in_a), np.int64)
        others[self._chosen] = 0
        super().__init__(in_a, others)

    def _values(self, groups: BoolVector) -> Float64Matrix:
        return self._ranks.statistics(groups)

    def _tester(self, part: TestedSets) -> tuple[SetTester, Int64Vector]:
        return part.tester, np.arange(len(part))

    def _tests(self, tester: SetTester, groups: BoolVector) -> SetTests:
        parts = tester.of_cells(self._ranks, self._chosen)
        return against_cells(parts, groups[self._chosen], check=calls.check)


class PermutedVectors(PermutedLabels):
    """The null of exchangeable cells within each batch, by their vectors in the expression space.

    A cell's variable genes are the loadings times its components, so a permutation of the vectors
    keeps the correlation of genes that the components have.

    Parameters
    ----------
    loaded
        The index.
    space
        Its expression space.
    a, b
        The labels of the groups; of very many cells evenly spaced ones are used.
    """

    def __init__(
        self, loaded: LoadedIndex, space: ExpressionSpace, a: Sequence[str], b: Sequence[str]
    ) -> None:
        cells = loaded.index.cells
        codes = [np.flatnonzero(np.isin(cells.label_names, list(labels))) for labels in (a, b)]
        rows = np.flatnonzero(np.isin(cells.labels, np.concatenate(codes)))
        rows = rows[chosen_cells(np.isin(cells.labels[rows], codes[0]))]
        calls.check()
        vectors = loaded.vectors[EXPRESSION].queries(rows).astype(np.float64)
        batches = cells.batches.combine_chunks().dictionary_encode().indices
        self._batches = batches.to_numpy(zero_copy_only=False)[rows]
        super().__init__(np.isin(cells.labels[rows], codes[0]), self._batches)
        # Within each batch the mean is subtracted: batches are no part of the difference.
        for own in self._cells_of:
            vectors[own] -= vectors[own].mean(axis=0)
        self._vectors = vectors
        loadings = space.loadings.astype(np.float64)
        spread = np.sqrt(np.einsum("vd,de,ve->v", loadings, vectors.T @ vectors, loadings))
        self._loadings = loadings / np.maximum(spread, 1e-12)[:, None] * np.sqrt(len(rows))
        self._gene_ids = space.gene_ids[space.variable]

    def _values(self, groups: BoolVector) -> Float64Matrix:
        return np.asarray(self._loadings @ (self._vectors.T @ groups))

    def _tester(self, part: TestedSets) -> tuple[SetTester, Int64Vector]:
        """Return the sets with enough variable genes, and their rows."""
        at = TestedSets.of(part.loaded, self._gene_ids, _MIN_VARIABLE, len(self._gene_ids))
        both = np.isin(at.rows, part.rows)
        tester = SetTester(at.tester.members[np.flatnonzero(both)])
        return tester, np.searchsorted(part.rows, at.rows[both])

    def _tests(self, tester: SetTester, groups: BoolVector) -> SetTests:
        directions = tester.differences(self._loadings)
        parts = (
            directions[start : start + SETS_AT_ONCE] @ self._vectors.T
            for start in range(0, len(directions), SETS_AT_ONCE)
        )
        return against_cells(parts, groups, self._batches, calls.check)
