"""The genes that a search goes through: those that pass its filter."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cellkin.server import calls
from cellkin.server.limits import MOST_NAMED
from cellkin.server.loading import PROTEIN_CODING, LoadedEmbedding, LoadedIndex, SpeciesGenes
from cellkin.server.version_cache import VersionCache
from cellkin.space.arrays import BoolVector, Float32Vector, Int32Vector, Int64Vector
from cellkin.space.neighborhoods import csls, largest, members, ranks
from cellkin.space.screening import candidates, products
from cellkin.store.catalog import Kind
from cellkin.v1 import gene_service_pb2 as wire
from cellkin.wire.errors import FailedPreconditionError, InvalidArgumentError
from cellkin.wire.names import parse_version_name
from cellkin.wire.species import taxon_name

_ANY = "*"
_CODING = frozenset({PROTEIN_CODING})
_MOST_TAXA = 100


@dataclass(frozen=True)
class GeneFilter:
    """A filter with its defaults filled in.

    Parameters
    ----------
    taxa
        Species to search.
    types
        NCBI gene types to search; None for any.
    chosen
        Sets of genes, each (m,) int64 ascending, that a gene must be in.
    message
        The filter as it is stated in the response.
    """

    taxa: tuple[int, ...]
    types: frozenset[str] | None
    chosen: tuple[Int64Vector, ...]
    message: wire.GeneFilter

    @classmethod
    def of(
        cls,
        given: wire.GeneFilter,
        taxa: Sequence[int],
        loaded: LoadedEmbedding,
        version_cache: VersionCache,
    ) -> "GeneFilter":
        """Read a filter.

        Parameters
        ----------
        given
            As in the request.
        taxa
            Species to search if the filter names none.
        loaded
            The embedding to search.
        version_cache
            The loaded versions, for an index or a gene set.

        Raises
        ------
        InvalidArgumentError
            If a species or a gene type is not there, or the name of the set has no collection.
        NotFoundError
            If the index, collection or set does not exist.
        FailedPreconditionError
            If the index has no expression space to tell expressed genes by.
        """
        if len(given.taxa) > _MOST_TAXA or len(given.gene_types) > MOST_NAMED:
            raise InvalidArgumentError(
                f"a filter names at most {_MOST_TAXA} species and {MOST_NAMED} gene types",
                field="filter",
            )
        searched = tuple(dict.fromkeys(given.taxa or taxa))
        types = _types(given.gene_types, loaded, searched)
        message = wire.GeneFilter(taxa=searched, gene_types=sorted(types or {_ANY}))
        chosen = []
        if given.expressed_in:
            wanted = parse_version_name(given.expressed_in, "cell index")
            index = version_cache.index(wanted)
            chosen.append(_expressed(index))
            message.expressed_in = index.entry.full_name
        if given.gene_set:
            collection, _, name = given.gene_set.partition("/")
            if not name:
                raise InvalidArgumentError(
                    f"gene set {given.gene_set!r} has no collection; write COLLECTION/SET, such as "
                    "hallmark/HALLMARK_APOPTOSIS",
                    field="filter.gene_set",
                )
            loaded_sets = version_cache.gene_sets(
                parse_version_name(collection, Kind.GENE_SETS.noun)
            )
            sets, version = loaded_sets.sets, loaded_sets.entry.full_name
            chosen.append(sets.members(sets.row(name, version)))
            message.gene_set = f"{version}/{name}"
        return cls(searched, types, tuple(chosen), message)

    def pool(self, loaded: LoadedEmbedding, without: Int64Vector) -> "GenePool":
        """Return the genes of an embedding that pass.

        Parameters
        ----------
        loaded
            The embedding.
        without
            (n,) int64 GeneIDs left out: the query's own.
        """
        parts = {taxon: self._part(loaded.species(taxon)) for taxon in self.taxa}
        gene_ids = np.concatenate([part.gene_ids for part in parts.values()])
        passing = np.ones(len(gene_ids), bool)
        passing[self._rows_of(parts, without)] = False
        for chosen in self.chosen:
            passing &= members(gene_ids, chosen)
        at = 0
        for part in parts.values():
            here = slice(at, at + len(part.gene_ids))
            if self.types is not None and not self._is_coding(part):
                passing[here] &= [gene_type in self.types for gene_type in part.types]
            at = here.stop
        return GenePool(parts, gene_ids, passing)

    @staticmethod
    def _rows_of(parts: dict[int, SpeciesGenes], gene_ids: Int64Vector) -> Int64Vector:
        """Return the rows of genes among those of all parts, one after the other."""
        found, start = [np.empty(0, np.int64)], 0
        for part in parts.values():
            rows = part.rows_of(gene_ids)
            found.append(rows[rows >= 0] + start)
            start += len(part.gene_ids)
        return np.concatenate(found)

    def _part(self, species: SpeciesGenes) -> SpeciesGenes:
        return species.coding if self.types == _CODING else species

    def _is_coding(self, part: SpeciesGenes) -> bool:
        """Return whether only protein-coding genes are searched, and the part has no others."""
        is_coding = part.coding is part and part.types[:1].tolist() == [PROTEIN_CODING]
        return is_coding and self.types == _CODING

    def stated(self) -> str:
        """Return the filter in words, for an error that no gene passes it."""
        species = " and ".join(map(taxon_name, self.taxa))
        types = "any type" if self.types is None else " or ".join(sorted(self.types))
        message = self.message
        others = [f"expressed in {message.expressed_in}"] if message.expressed_in else []
        others += [f"in gene set {message.gene_set}"] if message.gene_set else []
        return ", ".join([species, types, *others])


@dataclass(frozen=True)
class GenePool:
    """The genes of an embedding that a search goes through.

    Parameters
    ----------
    parts
        The genes of each species, by NCBI taxonomy id.
    gene_ids
        (n,) int64 GeneIDs of all parts, one after the other.
    passing
        (n,) bool, the genes that pass the filter.
    """

    parts: dict[int, SpeciesGenes]
    gene_ids: Int64Vector
    passing: BoolVector

    def __len__(self) -> int:
        return int(np.count_nonzero(self.passing))

    def cosines(self, vector: Float32Vector, permuted: bool = False) -> Float32Vector:
        """Return (n,) float32 cosines with a query; -inf for genes that do not pass.

        Parameters
        ----------
        vector
            (dim,) float32, unit length.
        permuted
            Whether the vectors are permuted over the genes of each species.
        """
        calls.check()
        parts = []
        for genes in self.parts.values():
            similarities = products(genes.vectors, vector)
            parts.append(similarities[genes.permuted] if permuted else similarities)
        cosines: Float32Vector = np.concatenate(parts)
        cosines[~self.passing] = -np.inf
        return cosines

    def nearest(self, vector: Float32Vector, k: int) -> tuple[Int64Vector, Float32Vector]:
        """Return the rows and cosines of the k genes nearest to a query, best first.

        They are those of the k largest of `cosines`, found without computing the others.

        Parameters
        ----------
        vector
            (dim,) float32, unit length.
        k
            Genes wanted, at least 1; fewer if fewer pass. Of equal cosines the one with the smaller
            GeneID comes first.
        """
        calls.check()
        parts = list(self.parts.values())
        bounds = [genes.screen.bounds(vector) for genes in parts]
        least, most = (np.concatenate(each) for each in zip(*bounds, strict=True))
        rows = candidates(least, most, self.passing, k)
        starts = np.cumsum([0, *(len(genes.gene_ids) for genes in parts)])
        of_parts = np.split(rows, np.searchsorted(rows, starts[1:-1]))
        cosines = np.concatenate(
            [
                products(genes.vectors, vector, own - start)
                for genes, own, start in zip(parts, of_parts, starts[:-1], strict=True)
            ]
        )
        best = largest(cosines, k, self.gene_ids[rows])
        return rows[best], cosines[best]

    def csls(self, cosines: Float32Vector) -> Float32Vector:
        """Return cosines corrected for hubs; -inf stays."""
        means = np.concatenate([genes.nearest_means() for genes in self.parts.values()])
        return csls(cosines, means)

    def percentiles(self, rows: Int64Vector, cosines: Float32Vector) -> Float32Vector:
        """Return for genes the share of random pairs of their part that are less similar.

        Parameters
        ----------
        rows
            (k,) int64 rows of the genes.
        cosines
            (k,) float32.
        """
        ends = np.cumsum([len(genes.gene_ids) for genes in self.parts.values()])
        backgrounds = [genes.background for genes in self.parts.values()]
        of_part = np.searchsorted(ends, rows, "right")
        return np.array(
            [
                np.searchsorted(backgrounds[part], cosine) / len(backgrounds[part])
                for part, cosine in zip(of_part.tolist(), cosines, strict=True)
            ],
            np.float32,
        )

    def ranked_at(
        self, cosines: Float32Vector, gene_ids: Int64Vector
    ) -> tuple[Int32Vector, Float32Vector]:
        """Return the ranks and cosines of genes given by GeneID.

        Parameters
        ----------
        cosines
            (n,) float32 of `cosines`.
        gene_ids
            (k,) int64.

        Returns
        -------
        ranks, cosines
            (k,) int32 from 1 on, and float32; both 0 for a gene that is not here.
        """
        order = np.argsort(self.gene_ids, kind="stable")  # at once where it is ascending
        at = np.searchsorted(self.gene_ids, gene_ids, sorter=order)
        at = order[np.minimum(at, len(order) - 1)] if len(order) else np.zeros(len(gene_ids), int)
        found = np.zeros(len(gene_ids), bool)
        if len(order):
            found = (self.gene_ids[at] == gene_ids) & self.passing[at]
        if not found.any():
            return np.zeros(len(gene_ids), np.int32), np.zeros(len(gene_ids), np.float32)
        there = ranks(cosines, at)
        return np.where(found, there, 0).astype(np.int32), np.where(found, cosines[at], 0)


def _types(
    given: Sequence[str], loaded: LoadedEmbedding, taxa: Sequence[int]
) -> frozenset[str] | None:
    there = {gene_type for taxon in taxa for gene_type in loaded.species(taxon).type_names}
    if not given:
        return _CODING if PROTEIN_CODING in there else None
    if _ANY in given:
        return None
    unknown = sorted(set(given) - there)
    if unknown and there:
        raise InvalidArgumentError(
            f"no gene of the species searched is of type {unknown[0]!r}; there are: "
            f"{', '.join(sorted(there))}; * means any",
            field="filter.gene_types",
        )
    return frozenset(given)


def _expressed(index: LoadedIndex) -> Int64Vector:
    part = index.index.expression
    if part is None:
        raise FailedPreconditionError(
            f"cell index {index.entry.full_name} has no expression space to tell expressed genes "
            "by; name an index that has one"
        )
    return part.space.gene_ids[part.space.shares > 0]
