"""The sets of a collection that are tested on some genes, and the messages of their results."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cellkin.server.gene_sets import collection_message
from cellkin.server.loaded_sets import LoadedGeneSets
from cellkin.server.version_cache import VersionCache
from cellkin.space.arrays import BoolVector, CsrMatrix, Int64Vector
from cellkin.space.enrichment import SetTester, called, members_of
from cellkin.space.projection import Float64Vector
from cellkin.store.catalog import Kind
from cellkin.store.corpus import GeneNames
from cellkin.v1 import cell_service_pb2
from cellkin.v1 import gene_set_service_pb2 as wire
from cellkin.wire.errors import InvalidArgumentError
from cellkin.wire.names import parse_version_name
from cellkin.wire.species import taxon_name

MIN_SIZE, MAX_SIZE = 5, 500
"""Sets with fewer or more of the genes are not tested, unless stated otherwise."""
_MOST_COLLECTIONS = 16
_LEADING = 20
_WORD = re.compile(r"[a-z]{4,}")
_NO_WORDS = {"containing", "family", "from", "gene", "like", "member", "protein", "type", "with"}


@dataclass(frozen=True)
class TestedSets:
    """The sets of a collection over some genes.

    Parameters
    ----------
    loaded
        The collection.
    gene_ids
        (n_genes,) int64 NCBI GeneIDs, ascending.
    rows
        (n_sets,) int64 rows of the collection's sets that are tested.
    weights
        (n_sets, n_genes) CSR float64.
    """

    __test__ = False  # no class of tests

    loaded: LoadedGeneSets
    gene_ids: Int64Vector
    rows: Int64Vector
    weights: CsrMatrix

    @classmethod
    def of(
        cls, loaded: LoadedGeneSets, gene_ids: Int64Vector, min_size: int, max_size: int
    ) -> "TestedSets":
        """Select the sets with ``min_size`` to ``max_size`` of the genes, and not all of them."""
        sets = loaded.sets
        weights = members_of(sets.indptr, sets.gene_ids, sets.weights, gene_ids)
        sizes = np.diff(weights.indptr)
        rows = np.flatnonzero((sizes >= min_size) & (sizes <= min(max_size, len(gene_ids) - 1)))
        return cls(loaded, gene_ids, rows, weights[rows])

    def __len__(self) -> int:
        """Number of sets tested."""
        return len(self.rows)

    @cached_property
    def tester(self) -> SetTester:
        """The sets without their weights."""
        members = self.weights.copy()
        members.data[:] = 1
        return SetTester(members)

    def names(self) -> list[str]:
        """Return the names of the sets."""
        return [self.loaded.sets.names[row] for row in self.rows.tolist()]

    def masked(self, genes: GeneNames) -> CsrMatrix:
        """Return the members whose symbol and name share no word with the set's name."""
        corpus_rows = np.minimum(
            np.searchsorted(genes.gene_ids, self.gene_ids), len(genes.gene_ids) - 1
        )
        table = genes.table.select(["symbol", "name"]).take(corpus_rows).to_pydict()
        by_word: dict[str, set[int]] = {}
        for at, named in enumerate(zip(table["symbol"], table["name"], strict=True)):
            for word in words(" ".join(named)):
                by_word.setdefault(word, set()).add(at)
        members = self.tester.members.copy()
        for at, name in enumerate(self.names()):
            shared = {gene for word in words(name) for gene in by_word.get(word, ())}
            own = slice(members.indptr[at], members.indptr[at + 1])
            members.data[own] = [gene not in shared for gene in members.indices[own].tolist()]
        members.eliminate_zeros()
        return members

    def leading(self, at: int, values: Float64Vector, genes: GeneNames) -> list[str]:
        """Return symbols of the genes of a set with the largest values, all positive."""
        members = self.weights.indices[self.weights.indptr[at] : self.weights.indptr[at + 1]]
        members = members[values[members] > 0]
        order = np.lexsort((members, -values[members]))[:_LEADING]
        rows = np.searchsorted(genes.gene_ids, self.gene_ids[members[order]])
        return list(genes.table["symbol"].take(rows).to_pylist())


@dataclass(frozen=True)
class Results:
    """Results of the sets of a collection, each (n_sets,); None where there is none.

    Parameters
    ----------
    effects, p_values, fdr
        Under the first null.
    permuted_p_values, permuted_fdr
        Under the second null.
    masked_p_values
        Under the first null without genes that share a word with the set.
    overlaps
        Listed genes of the set.
    """

    effects: Float64Vector
    p_values: Float64Vector
    fdr: Float64Vector
    permuted_p_values: Float64Vector | None = None
    permuted_fdr: Float64Vector | None = None
    masked_p_values: Float64Vector | None = None
    overlaps: Int64Vector | None = None

    @property
    def called(self) -> BoolVector:
        """(n_sets,) bool."""
        return called(*(r for r in (self.fdr, self.permuted_fdr) if r is not None))


def messages(
    tested: TestedSets, found: Results, n_sets: int, leading: Sequence[Float64Vector],
    genes: GeneNames,
) -> list[wire.SetEnrichment]:  # fmt: skip
    """Return the most significant sets: those called first, then by p-value.

    Parameters
    ----------
    tested, found
        The sets and their results.
    n_sets
        Number of sets to return.
    leading
        (n_genes,) float64 values that leading genes have, for a set of positive effect, and for one
        of negative effect.
    genes
        The names of the genes.
    """
    order = np.lexsort((-np.abs(found.effects), found.p_values, ~found.called))[:n_sets]
    sizes, names, is_called = tested.tester.sizes, tested.names(), found.called
    optional = {
        "permuted_p_value": found.permuted_p_values,
        "permuted_fdr": found.permuted_fdr,
        "masked_p_value": found.masked_p_values,
        "n_overlap": found.overlaps,
    }
    return [
        wire.SetEnrichment(
            collection=tested.loaded.entry.full_name,
            set=names[at],
            n_genes=sizes[at],
            effect=found.effects[at],
            p_value=found.p_values[at],
            fdr=found.fdr[at],
            called=is_called[at],
            leading_genes=tested.leading(at, leading[int(found.effects[at] < 0)], genes),
            **{name: values[at] for name, values in optional.items() if values is not None},
        )
        for at in order.tolist()
    ]


def load_sets(
    version_cache: VersionCache, names: Iterable[str], field: str
) -> list[LoadedGeneSets]:
    """Return the collections of a request.

    Raises
    ------
    NotFoundError
        If one does not exist.
    InvalidArgumentError
        If there are too many.
    """
    names = list(dict.fromkeys(names))
    if len(names) > _MOST_COLLECTIONS:
        raise InvalidArgumentError(
            f"{len(names)} collections; name at most {_MOST_COLLECTIONS}", field=field
        )
    wanted = [parse_version_name(name, Kind.GENE_SETS.noun) for name in names]
    return [version_cache.gene_sets(name) for name in wanted]


def require_species(loaded: Iterable[LoadedGeneSets], taxon: int, field: str) -> None:
    """Raise if a collection is of another species than the genes.

    Raises
    ------
    InvalidArgumentError
        If so.
    """
    for sets in loaded:
        if taxon and sets.taxon != taxon:
            raise InvalidArgumentError(
                f"{sets.entry.full_name} has sets of {taxon_name(sets.taxon)} genes, and the genes "
                f"are of {taxon_name(taxon)}; import the sets with --to-taxon {taxon}, which "
                "carries them by orthologs, or name the species if it was read wrongly",
                {"taxon": str(taxon), "collection_taxon": str(sets.taxon)},
                field=field,
            )


def few_sets_warnings(tested: Iterable[TestedSets]) -> list[cell_service_pb2.Warning]:
    """Return a warning for each collection of which no set is tested."""
    return [
        cell_service_pb2.Warning(
            reason="NO_SET_TESTED",
            message=f"no set of {sets.loaded.entry.full_name} has enough of the "
            f"{len(sets.gene_ids)} genes to be tested: give all genes that were measured, or "
            "collections of this species",
        )
        for sets in tested
        if not len(sets)
    ]


def collections_of(loaded: Iterable[LoadedGeneSets]) -> list[wire.GeneSetCollection]:
    """Return the descriptions of collections."""
    return [collection_message(sets.entry) for sets in loaded]


def words(text: str) -> set[str]:
    """Return the words of a name that may mean something, in lower case."""
    return set(_WORD.findall(text.lower())) - _NO_WORDS
