"""The result of a contrast: statistics of genes, sets and regulators, and what weakens them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cellkin.server import calls
from cellkin.server.contrast_nulls import PermutedCells, PermutedLabels
from cellkin.server.contrast_warnings import contrast_warnings, prior_warnings, warning
from cellkin.server.loaded_sets import LoadedGeneSets
from cellkin.server.loading import LoadedIndex
from cellkin.server.messages import gene_records, index_versions
from cellkin.server.tested_sets import (
    MAX_SIZE,
    MIN_SIZE,
    Results,
    TestedSets,
    collections_of,
    few_sets_warnings,
    messages,
)
from cellkin.space.arrays import BoolVector, CsrMatrix, Int64Vector
from cellkin.space.content_order import content_order
from cellkin.space.contrasts import (
    GeneRanks,
    GroupMeans,
    log2_fold_changes,
    normal_p_values,
    per_ten_thousand,
    pseudobulk_p_values,
)
from cellkin.space.enrichment import activities, false_discovery_rates
from cellkin.space.expression import ExpressionColumns, by_gene
from cellkin.space.projection import Float64Vector, gene_columns
from cellkin.space.separation import (
    mean_shares,
    mean_z_scores,
    separate_expression,
    separate_text,
)
from cellkin.space.text_prior import TextPrior, predict_from_text
from cellkin.v1 import cell_service_pb2
from cellkin.v1 import gene_set_service_pb2 as wire
from cellkin.wire.match import GeneMatch
from cellkin.wire.terms import GeneSetKind

WILCOXON = "wilcoxon"
MIN_DETECTED = 3
"""Genes detected in fewer cells of both groups are not tested."""
_PREDICTED = 50
"""Genes predicted from text to return, the strongest of each direction."""
_MIN_TEXTS = 200
_CODING = "protein-coding"


@dataclass(frozen=True)
class Comparison:
    """What to compare groups by.

    Parameters
    ----------
    loaded
        The index.
    match
        The genes of the columns of cells; None for labels of the reference.
    taxon
        Species of the genes; 0 if undetermined.
    sets, regulons
        Collections to test, and to estimate activities by.
    n_permutations
        Permutations to count the sets called by chance.
    n_genes, n_sets
        Genes to return of each direction, and sets of each collection.
    """

    loaded: LoadedIndex
    match: GeneMatch | None
    taxon: int
    sets: Sequence[LoadedGeneSets]
    regulons: Sequence[LoadedGeneSets]
    n_permutations: int
    n_genes: int
    n_sets: int


@dataclass(frozen=True)
class GroupedCells:
    """Cells of two groups.

    Parameters
    ----------
    cells
        (n_cells, n_columns) CSR float32 linear expression.
    in_a
        (n_cells,) bool; other cells are in group b.
    batches
        (n_cells,) int64 codes of donors or batches, -1 for none.
    """

    cells: CsrMatrix
    in_a: BoolVector
    batches: Int64Vector

    def ordered(self, order: Int64Vector) -> "GroupedCells":
        """Return the cells in another order."""
        return GroupedCells(self.cells[order], self.in_a[order], self.batches[order])


@dataclass(frozen=True)
class TestedGenes:
    """The genes tested, each (n_genes,).

    Parameters
    ----------
    gene_ids
        int64 NCBI GeneIDs, ascending.
    measured
        (n_measured,) int64 GeneIDs of all genes that were measured.
    statistics, p_values, pseudobulk
        float64; no pseudobulk with too few batches.
    contributions
        float64.
    a, b
        Means of the groups.
    """

    __test__ = False  # no class of tests

    gene_ids: Int64Vector
    measured: Int64Vector
    statistics: Float64Vector
    p_values: Float64Vector
    pseudobulk: Float64Vector | None
    contributions: Float64Vector
    a: GroupMeans
    b: GroupMeans


def compare(comparison: Comparison, grouped: GroupedCells) -> wire.ContrastResult:
    """Compare two groups of cells.

    Parameters
    ----------
    comparison
        What to compare them by.
    grouped
        The cells.
    """
    match = comparison.match
    assert match is not None
    gene_ids = np.unique(match.gene_ids[match.gene_ids != 0])
    columns = np.where(match.gene_ids != 0, np.searchsorted(gene_ids, match.gene_ids), -1)
    cells, rows = by_gene(grouped.cells, ExpressionColumns.of(columns))
    order = content_order(cells, gene_ids[rows], grouped.in_a, grouped.batches)
    cells, grouped, in_a = cells[order], grouped.ordered(order), grouped.in_a[order]
    scaled = per_ten_thousand(cells)
    detected = np.bincount(scaled.indices, minlength=scaled.shape[1]) >= MIN_DETECTED
    tested = np.flatnonzero(detected)
    calls.check()
    ranks = GeneRanks.of(scaled[:, tested])
    statistics = ranks.statistics(in_a[:, None])[:, 0]
    calls.check()
    pseudobulk = pseudobulk_p_values(cells, grouped.batches, in_a)
    contributions, notes = _contributions(comparison, grouped, gene_ids[rows[tested]])
    genes = TestedGenes(
        gene_ids[rows[tested]],
        gene_ids,
        statistics,
        normal_p_values(statistics),
        None if pseudobulk is None else pseudobulk[tested],
        contributions,
        GroupMeans.of(scaled[:, tested], in_a),
        GroupMeans.of(scaled[:, tested], ~in_a),
    )
    null = PermutedCells(ranks, in_a)
    return finish(comparison, WILCOXON, genes, null, notes)


def finish(
    comparison: Comparison,
    gene_test: str,
    genes: TestedGenes,
    null: PermutedLabels,
    notes: Sequence[cell_service_pb2.Warning],
) -> wire.ContrastResult:
    """Test sets and regulators by the statistics of genes, and return all results.

    Parameters
    ----------
    comparison
        What to compare by.
    gene_test
        Name of the test of genes.
    genes
        The genes.
    null
        The second null of sets.
    notes
        What weakens the statistics of genes.
    """
    statistics = genes.statistics
    sets = [_tested(part, genes.gene_ids) for part in comparison.sets]
    sets = [part for part in sets if len(part)]
    regulons = [TestedSets.of(r, genes.gene_ids, MIN_SIZE, 10**9) for r in comparison.regulons]
    results = []
    for part in sets:
        tests = part.tester.against_genes(statistics)
        pair = tests.p_values, null.p_values(part)
        results.append(
            Results(
                tests.scores,
                pair[0],
                false_discovery_rates(pair[0]),
                pair[1],
                false_discovery_rates(pair[1]),
            )
        )
    by_chance = null.called(sets, comparison.n_permutations) if sets else 0.0
    prior, predicted_ids = _predict(comparison, genes)
    names = comparison.loaded.genes
    leading = statistics, -statistics
    untested = [
        part
        for part in [*(_tested(s, genes.gene_ids) for s in comparison.sets), *regulons]
        if not len(part)
    ]
    return wire.ContrastResult(
        versions=index_versions(comparison.loaded.entry),
        n_a=genes.a.n_cells,
        n_b=genes.b.n_cells,
        gene_test=gene_test,
        genes=_gene_messages(comparison, genes, prior, predicted_ids),
        sets=[
            message
            for part, found in zip(sets, results, strict=True)
            for message in messages(part, found, comparison.n_sets, leading, names)
        ],
        regulators=[m for part in regulons for m in _regulators(part, statistics)],
        collections=collections_of([*comparison.sets, *comparison.regulons]),
        n_permutations=comparison.n_permutations if sets else 0,
        called_by_chance=by_chance,
        warnings=[
            *notes,
            *contrast_warnings(
                min(genes.a.n_cells, genes.b.n_cells),
                genes.pseudobulk is not None,
                sum(int(np.count_nonzero(result.called)) for result in results),
                by_chance,
            ),
            *few_sets_warnings(untested),
            *prior_warnings(prior),
        ],
        n_genes=len(genes.gene_ids),
    )


def _tested(loaded: LoadedGeneSets, gene_ids: Int64Vector) -> TestedSets:
    # Marker sets of common cell types have thousands of genes.
    is_markers = loaded.entry.manifest["set_kind"] == GeneSetKind.MARKERS.label
    return TestedSets.of(loaded, gene_ids, MIN_SIZE, 10**9 if is_markers else MAX_SIZE)


def _contributions(
    comparison: Comparison, grouped: GroupedCells, gene_ids: Int64Vector
) -> tuple[Float64Vector, list[cell_service_pb2.Warning]]:
    """Return the contributions of genes to the direction that separates the groups."""
    reference, match = comparison.loaded.reference, comparison.match
    assert match is not None
    cells, in_a = grouped.cells, grouped.in_a
    notes = []
    expression, text = reference.expression, reference.text
    if expression is not None:
        space = expression.space
        columns = ExpressionColumns.of(space.rows_of(match.gene_ids))
        means = [mean_z_scores(cells, columns, space, group) for group in (in_a, ~in_a)]
        found, _ = separate_expression(means[0], means[1], space)
        owners = space.gene_ids[space.variable]
    else:
        assert text is not None
        rows = gene_columns(text.space.rows_of(match.gene_ids), len(text.space.gene_ids))
        means = [mean_shares(cells, rows, text.space, group) for group in (in_a, ~in_a)]
        found, _ = separate_text(means[0], means[1], text.space)
        owners = text.space.gene_ids
        notes.append(
            warning(
                "CONTRIBUTIONS_BY_TEXT",
                "the index has no expression space: contributions are to the direction that "
                "separates the groups in its text space",
            )
        )
    return over_genes(found, owners, gene_ids), notes


def over_genes(values: Float64Vector, owners: Int64Vector, gene_ids: Int64Vector) -> Float64Vector:
    """Return the values of genes given by ascending GeneIDs; 0 for genes without."""
    found = np.zeros(len(gene_ids))
    at = np.searchsorted(gene_ids, owners)
    known = at < len(gene_ids)
    known[known] = gene_ids[at[known]] == owners[known]
    found[at[known]] = values[known]
    return found


def _predict(comparison: Comparison, genes: TestedGenes) -> tuple[TextPrior | None, Int64Vector]:
    """Return statistics predicted for protein-coding genes that no column measures."""
    text = comparison.loaded.index.text
    if text is None:
        return None, np.empty(0, np.int64)
    space, names = text.space, comparison.loaded.genes
    at = np.minimum(np.searchsorted(names.gene_ids, space.gene_ids), len(names.gene_ids) - 1)
    coding = np.asarray(names.table["gene_type"].take(at).to_numpy() == _CODING)
    own = (space.taxa == comparison.taxon) & (coding | ~coding.any())
    others = np.flatnonzero(own & ~np.isin(space.gene_ids, genes.measured))
    rows = space.rows_of(genes.gene_ids)
    some = rows >= 0
    if not len(others) or np.count_nonzero(some) < _MIN_TEXTS:
        return None, np.empty(0, np.int64)
    prior = predict_from_text(
        space.vectors[rows[some]], genes.statistics[some], space.vectors[others]
    )
    return prior, space.gene_ids[others]


def _gene_messages(
    comparison: Comparison, genes: TestedGenes, prior: TextPrior | None, predicted_ids: Int64Vector
) -> list[wire.GeneContrast]:
    names = comparison.loaded.genes
    order = _strongest(genes.statistics, comparison.n_genes)
    records, _ = gene_records(names, np.searchsorted(names.gene_ids, genes.gene_ids[order]))
    fdr, changes = false_discovery_rates(genes.p_values), log2_fold_changes(genes.a, genes.b)
    found = [
        wire.GeneContrast(
            gene=record,
            contribution=genes.contributions[at],
            mean_a=genes.a.log[at],
            mean_b=genes.b.log[at],
            detected_a=genes.a.detected[at],
            detected_b=genes.b.detected[at],
            log2_fold_change=changes[at],
            statistic=genes.statistics[at],
            p_value=genes.p_values[at],
            fdr=fdr[at],
            pseudobulk_p_value=None if genes.pseudobulk is None else genes.pseudobulk[at],
        )
        for record, at in zip(records, order.tolist(), strict=True)
    ]
    if prior is None or prior.explained <= 0:
        return found
    order = _strongest(prior.values, min(_PREDICTED, comparison.n_genes))
    records, _ = gene_records(names, np.searchsorted(names.gene_ids, predicted_ids[order]))
    return found + [
        wire.GeneContrast(gene=record, statistic=prior.values[at], predicted_from_text=True)
        for record, at in zip(records, order.tolist(), strict=True)
    ]


def _strongest(statistics: Float64Vector, n: int) -> Int64Vector:
    """Return the order by descending statistic, of at most ``n`` at each end."""
    order: Int64Vector = np.argsort(-statistics, kind="stable")
    return order if len(order) <= 2 * n else np.concatenate([order[:n], order[-n:]])


def _regulators(part: TestedSets, statistics: Float64Vector) -> list[wire.RegulatorActivity]:
    scores, p_values = activities(part.weights, statistics)
    fdr, names = false_discovery_rates(p_values), part.names()
    sizes: npt.NDArray[np.int64] = part.tester.sizes
    return [
        wire.RegulatorActivity(
            collection=part.loaded.entry.full_name,
            regulator=names[at],
            n_targets=sizes[at],
            score=scores[at],
            p_value=p_values[at],
            fdr=fdr[at],
        )
        for at in np.lexsort((-np.abs(scores), p_values)).tolist()
    ]
