"""Resolve gene names to genes of a corpus: by id, symbol, synonym, and last by spelling.

A name is resolved by the first of these steps that matches, within one species:

1. NCBI GeneID, current then discontinued: ``3630``, ``GeneID:3630``, ``LOC3630``
2. Ensembl gene id, with or without version: ``ENSG00000254647.6``, ``FBgn0000008``
3. current symbol, NCBI's or that of the nomenclature authority: ``COX1`` and ``MT-CO1``
4. symbol with other letter case or R's ``.`` for ``-``, if no synonym has the exact spelling
5. a current symbol among the given names, if the name is that symbol with the suffix that
   scanpy (``-1``) or R (``.1``) adds to a repeated name
6. synonym
7. synonym with other letter case or R's ``.`` for ``-``: ``HLA.DRA``

The words for a missing name (``nan``, ``NA``, ``None``) match no gene, except a gene whose current
symbol has exactly that spelling, as the fly's ``nan``, if the list has the word only once.

In ``GRCh38_INS`` the symbol is used, and the species is human. In ``INS_ENSG00000254647`` and
``ENSG00000254647|INS`` the Ensembl id is used, and the symbol if the corpus lacks that id or has
several genes with it. Seurat's ``-`` in place of ``_`` is read the same way.

A name that matches several genes at its step is ambiguous and never guessed. So is a synonym of one
gene that differs only in spelling from the symbol of another: a mouse list in capitals writes
SLC7A1 for Slc7a1, but SLC7A1 is also a synonym of Slc7a3.
"""

import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from cellkin.space.arrays import Int32Vector, Int64Vector, UInt8Vector
from cellkin.space.gene_forms import Parts, stated_species, take_apart
from cellkin.space.gene_lists import LIST_NAMES, require_names
from cellkin.space.gene_tables import ROUTES, SYMBOL, SYNONYM, UNMET, GivenNames, SpeciesNames
from cellkin.wire.errors import InvalidArgumentError, NotFoundError
from cellkin.wire.species import SPECIES, taxon_name
from cellkin.wire.terms import GeneRoute

# If a smaller share of names matches by exact spelling, the species may be wrong.
_HARDLY = 0.1
_GENES_ASKED = 300
"""About as many genes per species are sampled for prefixes of Ensembl ids; nearly all share one."""
_USED_MOST = {species.taxon: rank for rank, species in enumerate(SPECIES)}


@dataclass(frozen=True)
class Resolution:
    """Genes resolved from names, within one species.

    Attributes
    ----------
    taxon
        NCBI taxonomy id of the species; 0 if it was to be inferred and no name matches.
    taxon_inferred
        Whether the species was inferred from the names.
    rows
        (n_names,) int64, row of the corpus; -1 if the name is unmatched or ambiguous.
    routes
        (n_names,) uint8, a `GeneRoute`.
    ambiguous
        Ambiguous name, as given -> possible GeneIDs, ascending.
    duplicates
        GeneID matched by several names -> these names, as given and in order.
    """

    taxon: int
    taxon_inferred: bool
    rows: Int64Vector
    routes: UInt8Vector
    ambiguous: Mapping[str, tuple[int, ...]]
    duplicates: Mapping[int, tuple[str, ...]]


class Candidate(NamedTuple):
    """A possible gene of a name: row of the corpus, GeneID, NCBI taxonomy id, and route."""

    row: int
    gene_id: int
    taxon: int
    route: GeneRoute


@dataclass(frozen=True)
class Found:
    """Possible genes of one name, in all species.

    Attributes
    ----------
    name
        The name as given.
    candidates
        Best route first, then by taxon and GeneID; several of one species if the name is ambiguous
        in it; empty if nothing matches.
    """

    name: str
    candidates: tuple[Candidate, ...]

    @property
    def best(self) -> tuple[Candidate, ...]:
        """The candidates on the best route: one, unless the name is ambiguous."""
        return tuple(c for c in self.candidates if c.route == self.candidates[0].route)


class GeneResolver:
    """Resolve gene names to the rows of a corpus.

    Parameters
    ----------
    gene_ids
        (n_genes,) int64, NCBI GeneIDs.
    taxa
        (n_genes,) int32, NCBI taxonomy ids.
    symbols
        Current symbol of each gene, "" for none.
    synonyms
        Synonyms and previous symbols of each gene.
    ensembl_ids
        Ensembl gene ids of each gene, without version.
    former_ids
        Discontinued GeneIDs that each gene replaced.
    other_symbols
        Current symbols of each gene by another authority; empty if no gene has any.

    Raises
    ------
    InvalidArgumentError
        If their lengths differ.
    """

    def __init__(
        self,
        gene_ids: Int64Vector,
        taxa: Int32Vector,
        symbols: Sequence[str],
        synonyms: Sequence[Sequence[str]],
        ensembl_ids: Sequence[Sequence[str]],
        former_ids: Sequence[Sequence[int]],
        other_symbols: Sequence[Sequence[str]] = (),
    ) -> None:
        lengths = [len(c) for c in (gene_ids, taxa, symbols, synonyms, ensembl_ids, former_ids)]
        if len(set(lengths)) > 1:
            raise InvalidArgumentError(
                "gene ids, taxa, symbols, synonyms, Ensembl ids and former ids have "
                f"{', '.join(map(str, lengths))} entries: give one of each for every gene"
            )
        self._gene_ids = gene_ids
        self._taxa = taxa
        self._columns = (symbols, other_symbols, synonyms, ensembl_ids, former_ids)
        by_use = sorted(
            np.unique(taxa).tolist(), key=lambda t: (_USED_MOST.get(t, len(SPECIES)), t)
        )
        self._species_of: dict[int, SpeciesNames | None] = dict.fromkeys(by_use)

    def resolve(self, names: Sequence[str], taxon: int = 0) -> Resolution:
        """Resolve names to rows of the corpus, all within one species.

        Parameters
        ----------
        names
            Names as given by users, in any order.
        taxon
            NCBI taxonomy id; 0 to infer the species: the one with most exact matches by id or
            current symbol, then by synonym, then the first of ``SPECIES`` with any match.

        Raises
        ------
        NotFoundError
            If the corpus has no gene of the species.
        InvalidArgumentError
            If 20 names or more are row numbers or clearly belong to a species other than the given
            one.
        """
        require_names(names)
        given = GivenNames.of(names, functools.cache(self._apart))
        if taxon:
            species = self._species(taxon)
            read = species.read(given)
            codes = species.fold(given, read)
            if len(names) >= LIST_NAMES and _evidence(read)[0] < _HARDLY * len(names):
                self._require_species(given, taxon, read, codes)
            return self._resolution(names, species, codes, inferred=False)
        reads = {t: self._species(t).read(given) for t in self._species_of}
        weights = {t: _evidence(codes) for t, codes in reads.items()}
        for likely, weight in weights.items():
            if weight == max(weights.values()):
                species = self._species(likely)
                codes = species.fold(given, reads[likely])
                if (codes != UNMET).any():
                    return self._resolution(names, species, codes, inferred=True)
        n = len(names)
        return Resolution(0, False, np.full(n, -1, np.int64), np.zeros(n, np.uint8), {}, {})

    def find(self, name: str, taxon: int = 0) -> Found:
        """Find the possible genes of one name.

        Parameters
        ----------
        name
            Name as given by a user.
        taxon
            NCBI taxonomy id of the species to search; 0 for all.

        Raises
        ------
        NotFoundError
            If the corpus has no gene of the species.
        """
        given = GivenNames.of([name], self._apart)
        candidates = []
        for within in [taxon] if taxon else self._species_of:
            species = self._species(within)
            (code,) = species.fold(given, species.read(given)).tolist()
            route = GeneRoute(int(ROUTES[code & 7]))
            candidates += [
                Candidate(row, int(self._gene_ids[row]), within, route)
                for row in species.rows_of(code)
            ]
        candidates.sort(key=lambda c: (c.route, c.taxon, c.gene_id))
        return Found(name, tuple(candidates))

    @functools.cached_property
    def _stated(self) -> dict[str, int]:
        """Species by prefix, from `SPECIES` and from the corpus' own Ensembl ids."""
        ensembl_ids = self._columns[3]
        asked = {}
        for taxon in self._species_of:
            rows = np.flatnonzero(self._taxa == taxon).tolist()
            some = rows[:: max(1, len(rows) // _GENES_ASKED)]
            asked[taxon] = [name for row in some for name in ensembl_ids[row]]
        return stated_species(asked)

    def _apart(self, name: str) -> Parts | None:
        return take_apart(name, self._stated)

    def _species(self, taxon: int) -> SpeciesNames:
        if taxon not in self._species_of:
            there = ", ".join(f"{t} ({taxon_name(t)})" for t in self._species_of) or "none"
            raise NotFoundError(
                f"no gene of species {taxon} ({taxon_name(taxon)}) in the corpus; its species are "
                f"{there}: name one of these, or none to infer it from the gene names",
                {"taxon": str(taxon)},
            )
        species = self._species_of[taxon]
        if species is None:  # two threads may both build it; either result is complete
            rows = np.flatnonzero(self._taxa == taxon)
            gene_ids = self._gene_ids[rows].tolist()
            species = SpeciesNames(taxon, rows.tolist(), gene_ids, self._columns)
            self._species_of[taxon] = species
        return species

    def _require_species(
        self, given: GivenNames, taxon: int, read: Int64Vector, codes: Int64Vector
    ) -> None:
        """Refuse names that clearly belong to a species other than the given one.

        Mouse symbols in capitals look like human symbols. So another species must match more names
        by exact spelling than the given one does by any spelling.
        """
        names = given.names
        marks = Counter(parts[2] for parts in map(given.apart, names) if parts)
        met = {t: _evidence(self._species(t).read(given))[0] for t in self._species_of}
        at_all = int(np.count_nonzero(codes != UNMET))
        found = {t: max(met.get(t, 0), marks[t]) for t in {*met, *marks} - {0, taxon}}
        likely = max(sorted(found), key=lambda t: found[t], default=0)
        if not likely or found[likely] <= at_all or 2 * found[likely] < len(names):
            return
        raise InvalidArgumentError(
            f"{found[likely] / len(names):.0%} of the {len(names)} gene names are spelled as "
            f"{taxon_name(likely)} genes, {_evidence(read)[0] / len(names):.1%} as "
            f"{taxon_name(taxon)}, which is the species given ({taxon}): give {likely}, or none "
            "to infer the species from the names",
            {"taxon": str(taxon), "likely_taxon": str(likely)},
        )

    def _resolution(
        self, names: Sequence[str], species: SpeciesNames, codes: Int64Vector, *, inferred: bool
    ) -> Resolution:
        rows = np.maximum(codes >> 3, -1)
        routes = ROUTES[codes & 7]
        unclear = np.flatnonzero((codes < 0) & (codes != UNMET))
        rows[unclear] = -1
        routes[unclear] = GeneRoute.AMBIGUOUS
        ambiguous = {
            names[i]: tuple(sorted(self._gene_ids[list(species.rows_of(codes[i]))].tolist()))
            for i in unclear.tolist()
        }
        met, counts = np.unique(rows[rows >= 0], return_counts=True)
        together: dict[int, list[str]] = {}
        for i in np.flatnonzero(np.isin(rows, met[counts > 1])).tolist():
            together.setdefault(int(self._gene_ids[rows[i]]), []).append(names[i])
        duplicates = {gene_id: tuple(same) for gene_id, same in together.items()}
        return Resolution(species.taxon, inferred, rows, routes, ambiguous, duplicates)


def _evidence(codes: Int64Vector) -> tuple[int, int]:
    """Count the names matched by exact spelling: by id or symbol, and by synonym."""
    steps = codes & 7
    return int(np.count_nonzero(steps <= SYMBOL)), int(np.count_nonzero(steps == SYNONYM))
