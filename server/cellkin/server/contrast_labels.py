"""Compare labels of a reference by their stored profiles, without its cells' expression."""

from collections.abc import Sequence

import numpy as np

from cellkin.server import calls
from cellkin.server.contrast_result import (
    MIN_DETECTED,
    Comparison,
    TestedGenes,
    finish,
    over_genes,
    warning,
)
from cellkin.server.loading import LoadedIndex
from cellkin.server.tested_sets import TestedSets
from cellkin.space.arrays import BoolVector, Int64Vector
from cellkin.space.contrasts import Float64Matrix, GroupMeans, welch
from cellkin.space.enrichment import (
    SetTester,
    SetTests,
    called,
    drawn_moments,
    false_discovery_rates,
    set_tests,
)
from cellkin.space.expression import ExpressionSpace
from cellkin.space.profiles import Profiles
from cellkin.space.projection import Float64Vector
from cellkin.space.separation import separate_expression
from cellkin.store.cell_index import EXPRESSION
from cellkin.v1 import gene_set_service_pb2 as wire
from cellkin.wire.errors import FailedPreconditionError, InvalidArgumentError

WELCH = "welch"
_MOST_CELLS = 20_000
_MIN_VARIABLE = 3
_AT_ONCE = 50


def compare_labels(
    comparison: Comparison, a: Sequence[str], b: Sequence[str], min_cells: int
) -> wire.ContrastResult:
    """Compare two groups of labels.

    Parameters
    ----------
    comparison
        What to compare them by.
    a, b
        The labels.
    min_cells
        Minimum cells of a group.

    Raises
    ------
    FailedPreconditionError
        If the index has no profiles.
    InvalidArgumentError
        If a group has too few cells.
    """
    loaded = comparison.loaded
    profiles = require_profiles(loaded)
    rows = [profiles.rows_of(labels) for labels in (a, b)]
    (means_a, var_a), (means_b, var_b) = (profiles.means(part) for part in rows)
    for field, means, labels in (("header.a", means_a, a), ("header.b", means_b, b)):
        if means.n_cells < min_cells:
            raise InvalidArgumentError(
                f"the reference has {means.n_cells} cells of {', '.join(labels)}; a contrast needs "
                f"at least {min_cells} in each group",
                field=field,
            )
    detected = means_a.detected * means_a.n_cells + means_b.detected * means_b.n_cells
    tested = np.flatnonzero(np.round(detected) >= MIN_DETECTED)
    statistics, p_values = welch(
        (means_a.log, var_a, means_a.n_cells), (means_b.log, var_b, means_b.n_cells)
    )
    pseudobulk = profiles.pseudobulk_p_values(*rows)
    gene_ids = profiles.gene_ids[tested]
    expression = loaded.reference.require_expression()
    space = expression.space
    z_a, z_b = (
        (over_genes(means.log, profiles.gene_ids, space.gene_ids)[space.variable] - space.means)
        / space.deviations
        for means in (means_a, means_b)
    )
    contributions, _ = separate_expression(z_a, z_b, space)
    genes = TestedGenes(
        gene_ids,
        profiles.gene_ids,
        statistics[tested],
        p_values[tested],
        None if pseudobulk is None else pseudobulk[tested],
        over_genes(contributions, space.gene_ids[space.variable], gene_ids),
        _part(means_a, tested),
        _part(means_b, tested),
    )
    notes = []
    n_cells = int(profiles.counts.sum())
    if n_cells < len(loaded.index.cells.labels):
        notes.append(
            warning(
                "PROFILES_OF_A_SAMPLE",
                f"profiles are of the {n_cells:,} cells that the index was fitted to, of "
                f"{len(loaded.index.cells.labels):,}",
            )
        )
    null = PermutedVectors(loaded, space, a, b)
    return finish(comparison, WELCH, genes, null, notes)


def require_profiles(loaded: LoadedIndex) -> Profiles:
    """Return the profiles of an index.

    Raises
    ------
    FailedPreconditionError
        If it has none, or no expression space.
    """
    if loaded.index.profiles is None or loaded.index.expression is None:
        raise FailedPreconditionError(
            f"{loaded.entry.full_name} has no expression profiles of its labels; make it again by "
            "`cellkin cells index` with an expression space, or send the cells of its reference "
            "with their groups"
        )
    return loaded.index.profiles


def _part(means: GroupMeans, genes: Int64Vector) -> GroupMeans:
    return GroupMeans(means.n_cells, means.log[genes], means.linear[genes], means.detected[genes])


class PermutedVectors:
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
        if len(rows) > _MOST_CELLS:
            rows = rows[np.linspace(0, len(rows) - 1, _MOST_CELLS).astype(np.int64)]
        calls.check()
        vectors = loaded.vectors[EXPRESSION].queries(rows).astype(np.float64)
        batches = cells.batches.combine_chunks().dictionary_encode().indices
        self._batches = batches.to_numpy(zero_copy_only=False)[rows]
        self._in_a = np.isin(cells.labels[rows], codes[0])
        # Within each batch the mean is subtracted: batches are no part of the difference.
        for batch in np.unique(self._batches):
            own = self._batches == batch
            vectors[own] -= vectors[own].mean(axis=0)
        self._vectors = vectors
        loadings = space.loadings.astype(np.float64)
        spread = np.sqrt(np.einsum("vd,de,ve->v", loadings, vectors.T @ vectors, loadings))
        self._loadings = loadings / np.maximum(spread, 1e-12)[:, None] * np.sqrt(len(rows))
        self._gene_ids = space.gene_ids[space.variable]

    def p_values(self, part: TestedSets) -> Float64Vector:
        """Return the p-values of sets; 1 for sets with too few variable genes."""
        tester, rows = self._variable(part)
        found = np.ones(len(part))
        if len(rows):
            found[rows] = self._tests(tester, self._in_a[:, None]).p_values[:, 0]
        return found

    def called(self, sets: Sequence[TestedSets], n_permutations: int) -> float:
        """Return the mean number of sets of variable genes called when vectors are permuted."""
        rng = np.random.default_rng(0)
        n_called = 0
        for start in range(0, n_permutations, _AT_ONCE):
            calls.check()
            n = min(_AT_ONCE, n_permutations - start)
            groups = np.stack([self._permuted(rng) for _ in range(n)], axis=1)
            values = self._loadings @ (self._vectors.T @ groups)
            for part in sets:
                tester, rows = self._variable(part)
                if not len(rows):
                    continue
                both = tester.against_genes(values), self._tests(tester, groups)
                rates = [false_discovery_rates(test.p_values) for test in both]
                n_called += int(np.count_nonzero(called(*rates)))
        return n_called / n_permutations

    def _variable(self, part: TestedSets) -> tuple[SetTester, Int64Vector]:
        """Return the sets with enough variable genes, and their rows."""
        at = TestedSets.of(part.loaded, self._gene_ids, _MIN_VARIABLE, len(self._gene_ids))
        both = np.isin(at.rows, part.rows)
        tester = SetTester(at.tester.members[np.flatnonzero(both)])
        return tester, np.searchsorted(part.rows, at.rows[both])

    def _tests(self, tester: SetTester, groups: BoolVector) -> SetTests:
        """Test sets for (n_cells, n_groups) memberships of as many cells in each batch."""
        directions = tester.differences(self._loadings)
        parts: Float64Matrix = self._vectors @ directions.T
        sums = parts.T @ groups
        variance, third = np.zeros(len(directions)), np.zeros(len(directions))
        for batch in np.unique(self._batches):
            own = self._batches == batch
            n = int(own.sum())
            if n > 1:
                squares, cubes = (parts[own] ** 2).sum(axis=0), (parts[own] ** 3).sum(axis=0)
                more = drawn_moments(int(self._in_a[own].sum()), n, squares, cubes)
                variance, third = variance + more[0], third + more[1]
        return set_tests(sums, variance[:, None], third[:, None])

    def _permuted(self, rng: np.random.Generator) -> BoolVector:
        group = np.empty_like(self._in_a)
        for batch in np.unique(self._batches):
            own = self._batches == batch
            group[own] = rng.permutation(self._in_a[own])
        return group
