"""Test which gene sets a list, a ranking or a neighborhood of genes is enriched in."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cellkin.server import calls
from cellkin.server.gene_search import GeneSearch
from cellkin.server.limits import MOST_GENES, check_names, wanted
from cellkin.server.tested_sets import (
    MAX_SIZE,
    MIN_SIZE,
    Results,
    TestedSets,
    collections_of,
    few_sets_warnings,
    load_sets,
    messages,
    require_species,
)
from cellkin.server.text_models import TextModels
from cellkin.server.version_cache import VersionCache
from cellkin.space.arrays import BoolVector, CsrMatrix, Int64Vector
from cellkin.space.enrichment import SetTester, false_discovery_rates, over_representation
from cellkin.space.projection import Float64Vector
from cellkin.store.corpus import GeneNames
from cellkin.v1 import cell_service_pb2, versions_pb2
from cellkin.v1 import gene_set_service_pb2 as wire
from cellkin.wire.errors import InvalidArgumentError, NotFoundError

_DEFAULT_SETS, _MOST_SETS = 100, 100_000
_MOST_SIZE = 1_000_000
_FEW = 10


@dataclass(frozen=True)
class _Named:
    """Genes resolved from names.

    Parameters
    ----------
    gene_ids
        (n_names,) int64; 0 for a name without a gene.
    unmatched
        Names without a gene, or with several.
    taxon
        Their species; 0 if undetermined.
    """

    gene_ids: Int64Vector
    unmatched: list[str]
    taxon: int

    @classmethod
    def of(cls, genes: GeneNames, names: Sequence[str], taxon: int, field: str) -> "_Named":
        check_names(names, MOST_GENES, field)
        if taxon < 0:
            raise InvalidArgumentError(f"taxon is {taxon}; give 0 or more", field="taxon")
        if not names:
            raise InvalidArgumentError("there is no gene to test; name at least one", field=field)
        found = genes.resolver.resolve(names, taxon)
        met = found.rows >= 0
        if not met.any():
            shown = ", ".join(map(repr, names[:5])) + (", ..." if len(names) > 5 else "")
            raise NotFoundError(
                f"none of {len(names)} names is a gene of the collections' corpus: {shown}; give "
                "symbols, synonyms, Ensembl ids or NCBI GeneIDs"
            )
        gene_ids = np.zeros(len(names), np.int64)
        gene_ids[met] = genes.gene_ids[found.rows[met]]
        lost = [names[at] for at in np.flatnonzero(~met).tolist()]
        return cls(gene_ids, lost, found.taxon)

    def unique(self) -> Int64Vector:
        """Return the genes, ascending."""
        return np.unique(self.gene_ids[self.gene_ids != 0])


def enrich(
    version_cache: VersionCache,
    models: TextModels,
    max_k: int,
    request: wire.EnrichGenesRequest,
) -> wire.EnrichGenesResponse:
    """Return the enrichment of gene sets.

    Raises
    ------
    NotFoundError
        If a collection does not exist, or no name is a gene.
    InvalidArgumentError
        If nothing is to be tested, a value is not finite, an option is out of range, or the sets
        are of another species than the genes.
    """
    min_size = wanted(request.min_size, MIN_SIZE, _MOST_SIZE, "min_size")
    max_size = wanted(request.max_size, MAX_SIZE, _MOST_SIZE, "max_size")
    n_sets = wanted(request.n_sets, _DEFAULT_SETS, _MOST_SETS, "n_sets")
    if min_size > max_size:
        raise InvalidArgumentError(
            f"min_size is {min_size} and max_size {max_size}; give a range", field="min_size"
        )
    if not request.collections:
        raise InvalidArgumentError("name a collection of gene sets", field="collections")
    loaded = load_sets(version_cache, request.collections, "collections")
    kind = request.WhichOneof("query")
    if kind == "ranking":
        query: _List | _Ranking = _Ranking(loaded[0].corpus.genes, request)
    elif kind == "genes":
        query = _List.of_names(loaded[0].corpus.genes, request)
    elif kind == "neighborhood":
        query = _List.of_neighborhood(
            GeneSearch(version_cache, models, max_k, request.neighborhood), request
        )
    else:
        raise InvalidArgumentError(
            "nothing is given to test; give genes, a ranking or a neighborhood", field="query"
        )
    require_species(loaded, query.taxon, "collections")
    if isinstance(query, _List) and not len(query.universe):
        query = query.within(np.unique(np.concatenate([s.sets.all_gene_ids for s in loaded])))
    tested, found = [], []
    for sets in loaded:
        calls.check()
        part = TestedSets.of(sets, query.universe, min_size, max_size)
        tested.append(part)
        if len(part):
            genes = sets.corpus.genes
            results, leading = query.results(part, part.masked(genes))
            found += messages(part, results, n_sets, leading, genes)
    return wire.EnrichGenesResponse(
        sets=found,
        collections=collections_of(loaded),
        n_tested=[len(part) for part in tested],
        n_genes=query.n_genes,
        n_universe=len(query.universe),
        unmatched=query.unmatched,
        warnings=[*query.warnings(), *few_sets_warnings(tested)],
        versions=query.versions,
    )


class _Ranking:
    """A ranking of genes.

    Parameters
    ----------
    genes
        The names of genes.
    request
        The request.
    """

    versions: versions_pb2.Versions | None = None

    def __init__(self, genes: GeneNames, request: wire.EnrichGenesRequest) -> None:
        ranking = request.ranking
        values = np.array(ranking.values, np.float64)
        if len(values) != len(ranking.names):
            raise InvalidArgumentError(
                f"{len(ranking.names)} names and {len(values)} values; give each name a value",
                field="ranking.values",
            )
        if not np.isfinite(values).all():
            at = int(np.flatnonzero(~np.isfinite(values))[0])
            raise InvalidArgumentError(
                f"the value of {ranking.names[at]!r} is {values[at]}; give finite values, and "
                "leave out genes without one",
                field=f"ranking.values[{at}]",
            )
        named = _Named.of(genes, list(ranking.names), request.taxon, "ranking.names")
        # By gene, then by the value that counts; so the order of names makes no difference.
        order = np.lexsort((-values, -np.abs(values), named.gene_ids))
        order = order[named.gene_ids[order] != 0]
        self.universe, first = np.unique(named.gene_ids[order], return_index=True)
        self._values: Float64Vector = values[order][first]
        self.unmatched, self.taxon = named.unmatched, named.taxon
        self.n_genes = len(self.universe)

    def results(
        self, part: TestedSets, masked: CsrMatrix
    ) -> tuple[Results, tuple[Float64Vector, Float64Vector]]:
        """Return the results of sets, and the values that their leading genes have."""
        tests = part.tester.against_genes(self._values)
        p_masked = np.ones(len(part))
        some = np.diff(masked.indptr) > 0
        if some.any():
            p_masked[some] = SetTester(masked[some]).against_genes(self._values).p_values
        rates = false_discovery_rates(tests.p_values)
        centered = self._values - np.median(self._values)
        results = Results(tests.scores, tests.p_values, rates, masked_p_values=p_masked)
        return results, (centered, -centered)

    def warnings(self) -> list[cell_service_pb2.Warning]:
        """Return what weakens the results."""
        n_values = len(np.unique(self._values))
        if n_values > self.n_genes / 10:
            return []
        return [
            cell_service_pb2.Warning(
                reason="TIED_VALUES",
                message=f"the ranking has {n_values} different values for {self.n_genes} genes: "
                "genes of one value are not told apart; give a statistic for every gene",
            )
        ]


@dataclass(frozen=True)
class _List:
    """A list of genes in a universe.

    Parameters
    ----------
    listed, universe
        (n,) int64 GeneIDs, ascending; no universe before `within`.
    taxon
        Their species; 0 if undetermined.
    unmatched
        Names without a gene.
    searched
        (n_searched,) int64 GeneIDs, ascending, of the genes that a neighborhood is among; None for
        a list that was given.
    n_outside
        Listed genes that are not in the universe, and do not count.
    versions
        Versions of the neighborhood.
    """

    listed: Int64Vector
    universe: Int64Vector
    taxon: int
    unmatched: Sequence[str]
    searched: Int64Vector | None = None
    n_outside: int = 0
    versions: versions_pb2.Versions | None = None

    @classmethod
    def of_names(cls, genes: GeneNames, request: wire.EnrichGenesRequest) -> "_List":
        """Return a list that was given."""
        named = _Named.of(genes, list(request.genes.names), request.taxon, "genes.names")
        found = cls(named.unique(), np.empty(0, np.int64), named.taxon, named.unmatched)
        if not request.universe.names:
            return found
        universe = _Named.of(genes, list(request.universe.names), named.taxon, "universe.names")
        return found.within(universe.unique())

    @classmethod
    def of_neighborhood(cls, search: GeneSearch, request: wire.EnrichGenesRequest) -> "_List":
        """Return the nearest genes of a query."""
        if request.universe.names:
            raise InvalidArgumentError(
                "the universe of a neighborhood is the genes that are searched; give a filter "
                "instead",
                field="universe",
            )
        answer = search.answer()
        taxa = {hit.gene.taxon for hit in answer.hits}
        if len(taxa) > 1:
            raise InvalidArgumentError(
                "a neighborhood in several species has no universe; search one", field="filter.taxa"
            )
        listed = np.unique([hit.gene.gene_id for hit in answer.hits])
        return cls(
            listed, np.empty(0, np.int64), taxa.pop() if taxa else 0, answer.unmatched,
            np.unique(search.searched()), 0, answer.versions,
        )  # fmt: skip

    def within(self, universe: Int64Vector) -> "_List":
        """Return the list in a universe, which for a neighborhood are also genes searched."""
        if self.searched is not None:
            universe = np.intersect1d(universe, self.searched)
        listed = np.intersect1d(self.listed, universe)
        if not len(listed):
            raise InvalidArgumentError(
                f"none of the {len(self.listed)} genes is in the universe of {len(universe)} "
                "genes; give the genes that could have been listed",
                field="universe",
            )
        n_outside = len(self.listed) - len(listed)
        return _List(
            listed if self.searched is None else self.listed, universe, self.taxon, self.unmatched,
            self.searched, n_outside, self.versions,
        )  # fmt: skip

    @property
    def n_genes(self) -> int:
        """Number of listed genes in the universe."""
        return len(np.intersect1d(self.listed, self.universe))

    def results(
        self, part: TestedSets, masked: CsrMatrix
    ) -> tuple[Results, tuple[Float64Vector, Float64Vector]]:
        """Return the results of sets, and the values that their leading genes have."""
        listed = np.isin(self.universe, self.listed)
        overlaps, odds, p_values = _tested(part.tester.members, listed)
        removed = part.tester.members - masked
        p_masked = _tested(masked, listed, removed)[2]
        permuted = permuted_fdr = None
        if self.searched is not None:
            # Vectors permuted over the genes searched: the neighborhood is a random draw of them.
            everywhere = TestedSets.of(part.loaded, self.searched, 0, len(self.searched))
            at = np.searchsorted(everywhere.rows, part.rows)
            members = everywhere.tester.members[at]
            permuted = _tested(members, np.isin(self.searched, self.listed))[2]
            permuted_fdr = false_discovery_rates(permuted)
        rates = false_discovery_rates(p_values)
        results = Results(odds, p_values, rates, permuted, permuted_fdr, p_masked, overlaps)
        shown = listed.astype(np.float64)
        return results, (shown, shown)

    def warnings(self) -> list[cell_service_pb2.Warning]:
        """Return what weakens the results."""
        found = []
        if self.n_outside:
            found.append(
                cell_service_pb2.Warning(
                    reason="GENES_OUTSIDE_UNIVERSE",
                    message=f"{self.n_outside} of {len(self.listed)} genes are not in the universe "
                    "and do not count; give all genes that could have been listed",
                )
            )
        if self.n_genes < _FEW:
            found.append(
                cell_service_pb2.Warning(
                    reason="FEW_GENES",
                    message=f"{self.n_genes} genes are tested: only sets that most of them are in "
                    "can be called",
                )
            )
        return found


def _tested(
    members: CsrMatrix, listed: BoolVector, removed: CsrMatrix | None = None
) -> tuple[Int64Vector, Float64Vector, Float64Vector]:
    """Return overlaps, odds ratios and p-values; ``removed`` genes are in no count of their set."""
    sizes = np.diff(members.indptr).astype(np.int64)
    overlaps = np.asarray(members @ listed.astype(np.float64)).astype(np.int64)
    n, n_all = np.full(len(sizes), np.count_nonzero(listed)), np.full(len(sizes), len(listed))
    if removed is not None:
        n = n - np.asarray(removed @ listed.astype(np.float64)).astype(np.int64)
        n_all = n_all - np.asarray(removed.sum(axis=1)).ravel().astype(np.int64)
    found = over_representation(sizes, overlaps, n, n_all)
    return found.n_listed, found.odds_ratios, found.p_values
