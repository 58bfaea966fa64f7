"""Which gene of a corpus a user's name means: by id, symbol, synonym, and last by spelling.

A name is met by the first of these that knows it, within one species:

1. NCBI GeneID, current then discontinued: ``3630``, ``GeneID:3630``, ``LOC3630``
2. Ensembl gene id, with or without version: ``ENSG00000254647.6``
3. current symbol
4. synonym
5. symbol, then synonym, where only letter case or R's ``.`` for ``-`` differs: ``HLA.DRA``
6. a current symbol among the given names, where the name is that symbol with the suffix that
   scanpy (``-1``) or R (``.1``) adds to a repeated name

Of ``GRCh38_INS`` only the symbol counts, and that it is human. Of ``INS_ENSG00000254647`` and
``ENSG00000254647|INS`` the Ensembl id counts, and the symbol where the corpus does not have that id
or has several genes of it. Seurat's ``-`` in the place of ``_`` is read alike.

A name that could mean several genes at the step that knows it is ambiguous, and never guessed. So
is a synonym of one gene that differs only in spelling from the symbol of another: a mouse list in
capitals writes SLC7A1 for Slc7a1, but SLC7A1 is also a synonym of Slc7a3.
"""

import functools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from typing import NamedTuple, TypeAlias, TypeVar

import numpy as np

from cellkin.space.arrays import Int32Vector, Int64Vector, UInt8Vector
from cellkin.space.gene_lists import LIST_NAMES, require_names
from cellkin.wire.errors import InvalidArgumentError, NotFoundError
from cellkin.wire.species import taxon_name
from cellkin.wire.terms import GeneRoute

_T = TypeVar("_T")
_FORM = re.compile(  # "++" keeps it linear in the length of a name
    r"""
    (?: (?P<assembly> GRC[a-z] | hg(?=1[89]|38) | mm(?=9|10|39) | rn(?=[4-8]) ) [0-9]{1,2} [-_]++ )?
    (?: (?: (?P<before> .+? ) [-_|] )??
        (?P<ensembl> (?P<kind> ENS[A-Z]*G ) [0-9]+ ) (?: \.[0-9]+ )?
        (?: [-_|] (?P<after> .+ ) )?
      | (?: GeneID: | LOC ) (?P<number> [0-9]+ )
      | (?P<rest> .+ )
    )""",
    re.VERBOSE | re.IGNORECASE,
)
_MARKS = ("GRC", "HG", "MM", "RN", "GENEID:", "LOC")
_REPEATED = re.compile(r"(.+)[-.][1-9][0-9]*")
_TAXON_OF = {
    "GRCH": 9606, "HG": 9606, "ENSG": 9606,
    "GRCM": 10090, "MM": 10090, "ENSMUSG": 10090,
    "GRCR": 10116, "RN": 10116, "ENSRNOG": 10116,
    "GRCZ": 7955, "ENSDARG": 7955,
}  # fmt: skip
"""The species of an assembly and of an Ensembl prefix; others say nothing."""

# What a name means is kept as one integer, a code, so that tens of thousands of names are looked up
# by one map over a dict: (row << 3) | step, or (~group << 3) | step where several genes share it.
_ID, _FORMER_ID, _ENSEMBL, _SYMBOL, _SYNONYM, _FOLDED_SYMBOL, _FOLDED_SYNONYM = range(7)
_UNMET = -1  # step 7
# Where a smaller share of names is met letter for letter, the species may be the wrong one.
_HARDLY = 0.1
_ROUTES = np.array(
    [
        GeneRoute.GENE_ID,
        GeneRoute.GENE_ID,
        GeneRoute.ENSEMBL,
        GeneRoute.SYMBOL,
        GeneRoute.SYNONYM,
        GeneRoute.CASE_FOLDED,
        GeneRoute.CASE_FOLDED,
        GeneRoute.UNMATCHED,
    ],
    np.uint8,
)


@dataclass(frozen=True)
class Resolution:
    """What the given names mean in one species.

    Attributes
    ----------
    taxon
        NCBI taxonomy id of the species; 0 where it was to be inferred and no name meets anything.
    taxon_inferred
        Whether the species was inferred from the names.
    rows
        (n_names,) int64, row of the corpus; -1 where nothing was met or the name is ambiguous.
    routes
        (n_names,) uint8, a `GeneRoute`.
    ambiguous
        Ambiguous name, as given -> GeneIDs it could mean, ascending.
    duplicates
        GeneID met by more than one given name -> these names, as given and in their order.
    """

    taxon: int
    taxon_inferred: bool
    rows: Int64Vector
    routes: UInt8Vector
    ambiguous: Mapping[str, tuple[int, ...]]
    duplicates: Mapping[int, tuple[str, ...]]


class Candidate(NamedTuple):
    """A gene that a name could mean: row of the corpus, GeneID, NCBI taxonomy id, and by what."""

    row: int
    gene_id: int
    taxon: int
    route: GeneRoute


@dataclass(frozen=True)
class Found:
    """What one name could mean, over the species.

    Attributes
    ----------
    name
        As given.
    candidates
        Best route first, then by taxon and GeneID; several of one species where the name is
        ambiguous in it; none where nothing was met.
    """

    name: str
    candidates: tuple[Candidate, ...]

    @property
    def best(self) -> tuple[Candidate, ...]:
        """The candidates on the best route; a name that means one gene has one."""
        return tuple(c for c in self.candidates if c.route == self.candidates[0].route)


class GeneResolver:
    """Resolves users' gene names to the rows of a corpus.

    Parameters
    ----------
    gene_ids
        (n_genes,) int64, NCBI GeneIDs.
    taxa
        (n_genes,) int32, NCBI taxonomy ids.
    symbols
        Current symbol of each gene, "" where there is none.
    synonyms
        Synonyms and previous symbols of each gene.
    ensembl_ids
        Ensembl gene ids of each gene, without version.
    former_ids
        Discontinued GeneIDs that each gene replaced.

    Raises
    ------
    InvalidArgumentError
        If these are not of one length.
    """

    def __init__(
        self,
        gene_ids: Int64Vector,
        taxa: Int32Vector,
        symbols: Sequence[str],
        synonyms: Sequence[Sequence[str]],
        ensembl_ids: Sequence[Sequence[str]],
        former_ids: Sequence[Sequence[int]],
    ) -> None:
        lengths = [len(c) for c in (gene_ids, taxa, symbols, synonyms, ensembl_ids, former_ids)]
        if len(set(lengths)) > 1:
            raise InvalidArgumentError(
                "gene ids, taxa, symbols, synonyms, Ensembl ids and former ids have "
                f"{', '.join(map(str, lengths))} entries: give one of each for every gene"
            )
        self._gene_ids = gene_ids
        self._taxa = taxa
        self._columns = (symbols, synonyms, ensembl_ids, former_ids)
        self._species_of: dict[int, _Species | None] = dict.fromkeys(np.unique(taxa).tolist())

    def resolve(self, names: Sequence[str], taxon: int = 0) -> Resolution:
        """Resolve names to rows of the corpus, all within one species.

        Parameters
        ----------
        names
            As users write them, in any order.
        taxon
            NCBI taxonomy id; 0 to infer it: the species that most names meet letter for letter by
            id or current symbol; of equal ones that with most by synonym, then the lowest id
            that any name meets.

        Raises
        ------
        NotFoundError
            If the corpus has no gene of the species.
        InvalidArgumentError
            If 20 names or more are row numbers, or plainly those of another species than the one
            that was given.
        """
        require_names(names)
        given = [name.strip() for name in names]
        apart = functools.cache(_take_apart)
        if taxon:
            species = self._species(taxon)
            read = species.read(given, apart)
            codes = species.fold(given, read, apart)
            if len(names) >= LIST_NAMES and _evidence(read)[0] < _HARDLY * len(names):
                self._require_species(given, taxon, read, codes, apart)
            return self._resolution(names, species, codes, inferred=False)
        reads = {t: self._species(t).read(given, apart) for t in self._species_of}
        weights = {t: _evidence(codes) for t, codes in reads.items()}
        for likely, weight in weights.items():
            if weight == max(weights.values()):
                species = self._species(likely)
                codes = species.fold(given, reads[likely], apart)
                if (codes != _UNMET).any():
                    return self._resolution(names, species, codes, inferred=True)
        n = len(names)
        return Resolution(0, False, np.full(n, -1, np.int64), np.zeros(n, np.uint8), {}, {})

    def find(self, name: str, taxon: int = 0) -> Found:
        """Find the genes that one name could mean.

        Parameters
        ----------
        name
            As users write it.
        taxon
            NCBI taxonomy id of the species to look in; 0 for all.

        Raises
        ------
        NotFoundError
            If the corpus has no gene of the species.
        """
        given = [name.strip()]
        candidates = []
        for within in [taxon] if taxon else self._species_of:
            species = self._species(within)
            (code,) = species.fold(given, species.read(given, _take_apart), _take_apart).tolist()
            route = GeneRoute(int(_ROUTES[code & 7]))
            candidates += [
                Candidate(row, int(self._gene_ids[row]), within, route)
                for row in species.rows_of(code)
            ]
        candidates.sort(key=lambda c: (c.route, c.taxon, c.gene_id))
        return Found(name, tuple(candidates))

    def _species(self, taxon: int) -> "_Species":
        if taxon not in self._species_of:
            there = ", ".join(f"{t} ({taxon_name(t)})" for t in self._species_of) or "none"
            raise NotFoundError(
                f"no gene of species {taxon} in the corpus; its species are {there}: "
                "name one of these, or none to infer it from the gene names",
                {"taxon": str(taxon)},
            )
        species = self._species_of[taxon]
        if species is None:  # two threads may both build it: each builds a whole one, either serves
            rows = np.flatnonzero(self._taxa == taxon)
            species = _Species(taxon, rows.tolist(), self._gene_ids[rows].tolist(), *self._columns)
            self._species_of[taxon] = species
        return species

    def _require_species(
        self, given: list[str], taxon: int, read: Int64Vector, codes: Int64Vector, apart: "_Apart"
    ) -> None:
        """Refuse names that are plainly of another species than the one that was given.

        Human symbols are also what mouse symbols in capitals look like. So another species must
        explain more names letter for letter than the given one does in any spelling.
        """
        marks = Counter(parts[2] for parts in map(apart, given) if parts)
        met = {t: _evidence(self._species(t).read(given, apart))[0] for t in self._species_of}
        at_all = int(np.count_nonzero(codes != _UNMET))
        found = {t: max(met.get(t, 0), marks[t]) for t in {*met, *marks} - {0, taxon}}
        likely = max(sorted(found), key=lambda t: found[t], default=0)
        if not likely or found[likely] <= at_all or 2 * found[likely] < len(given):
            return
        raise InvalidArgumentError(
            f"{found[likely] / len(given):.0%} of the {len(given)} gene names are spelled as "
            f"{taxon_name(likely)} genes, {_evidence(read)[0] / len(given):.1%} as "
            f"{taxon_name(taxon)}, which is the species given ({taxon}): give {likely}, or none "
            "to infer the species from the names",
            {"taxon": str(taxon), "likely_taxon": str(likely)},
        )

    def _resolution(
        self, names: Sequence[str], species: "_Species", codes: Int64Vector, *, inferred: bool
    ) -> Resolution:
        rows = np.maximum(codes >> 3, -1)
        routes = _ROUTES[codes & 7]
        unclear = np.flatnonzero((codes < 0) & (codes != _UNMET))
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


_Parts: TypeAlias = tuple[str, str, int]
"""Of a name: its label, its Ensembl id, and the species that it states, 0 where none."""
_Apart: TypeAlias = Callable[[str], _Parts | None]


def _take_apart(name: str) -> _Parts | None:
    """Read prefixes, composites and marked ids; None where the name is none of these."""
    upper = name.upper()
    if "ENS" not in upper and not upper.startswith(_MARKS):
        return None  # most names: it is not worth a regular expression
    form = _FORM.fullmatch(name)
    if form is None or form["rest"] == name:
        return None
    assembly, before, ensembl, kind, after, number, rest = form.groups(default="")
    beside = before or after
    label = number or rest or ("" if beside.isdigit() else beside)  # ENSG00000254647-1: no GeneID
    return label.strip(), ensembl.upper(), _TAXON_OF.get((kind or assembly).upper(), 0)


def _fold(names: Iterable[str]) -> list[str]:
    """Spell names without what is lost on the way: letter case, and dashes in R's column names."""
    return [name.replace(".", "-") for name in map(str.casefold, names)]


def _flat(lists: Sequence[Sequence[_T]], rows: list[int]) -> tuple[list[_T], list[int]]:
    """Return the entries of all rows, and beside them the row of each."""
    per_row = [lists[row] for row in rows]
    counts = list(map(len, per_row))
    return list(chain.from_iterable(per_row)), np.repeat(rows, counts).tolist()


def _evidence(codes: Int64Vector) -> tuple[int, int]:
    """Count the names met letter for letter: by id or symbol, and by synonym."""
    steps = codes & 7
    return int(np.count_nonzero(steps <= _SYMBOL)), int(np.count_nonzero(steps == _SYNONYM))


class _Species:
    """The names of the genes of one species.

    ``given`` names are without spaces around them; ``apart`` is `_take_apart`, cached by a caller
    that asks several species.
    """

    def __init__(
        self,
        taxon: int,
        rows: list[int],
        gene_ids: list[int],
        symbols: Sequence[str],
        synonyms: Sequence[Sequence[str]],
        ensembl_ids: Sequence[Sequence[str]],
        former_ids: Sequence[Sequence[int]],
    ) -> None:
        self.taxon = taxon
        self._groups: list[tuple[int, ...]] = []
        own = [symbols[row] for row in rows]
        others, other_rows = _flat(synonyms, rows)

        folded_symbols: dict[str, int] = {}
        self._enter(folded_symbols, _FOLDED_SYMBOL, _fold(own), rows)
        folded_others = _fold(others)
        self._folded: dict[str, int] = {}
        self._enter(self._folded, _FOLDED_SYNONYM, folded_others, other_rows)
        self._folded |= folded_symbols

        rivals = list(map(folded_symbols.get, folded_others, repeat(_UNMET)))
        for i in np.flatnonzero(np.array(rivals, np.int64) != _UNMET).tolist():
            for row in self.rows_of(rivals[i]):
                others.append(others[i])
                other_rows.append(row)
        self._met: dict[str, int] = {}
        self._enter(self._met, _SYNONYM, others, other_rows)
        self._enter(self._met, _SYMBOL, own, rows)
        self._enter(self._met, _ENSEMBL, *_flat(ensembl_ids, rows))
        former, former_rows = _flat(former_ids, rows)
        self._enter(self._met, _FORMER_ID, list(map(str, former)), former_rows)
        self._enter(self._met, _ID, list(map(str, gene_ids)), rows)

    def _enter(
        self, table: dict[str, int], step: int, names: list[str], name_rows: list[int]
    ) -> None:
        """Add the names of one step; they overrule those of the later steps, already there."""
        rows = np.array(name_rows, np.int64)
        codes = rows << 3 | step
        meant = dict(zip(names, codes.tolist(), strict=True))
        if len(meant) < len(names):
            # To look every name up again costs as much as to add it, but a row with as many names
            # kept as given has lost none of them to another row.
            kept = np.fromiter(meant.values(), np.int64, len(meant)) >> 3
            n_lost = np.bincount(rows) - np.bincount(kept, minlength=int(rows.max()) + 1)
            shared: dict[str, set[int]] = {}
            for i in np.flatnonzero(n_lost[rows]).tolist():
                last = meant[names[i]]
                if last != codes[i]:
                    shared.setdefault(names[i], {last >> 3}).add(name_rows[i])
            for name, found in shared.items():
                meant[name] = ~len(self._groups) << 3 | step
                self._groups.append(tuple(sorted(found)))
        meant.pop("", None)
        table.update(meant)

    def rows_of(self, code: int) -> tuple[int, ...]:
        """Return the rows that a code stands for: none, one, or a group."""
        if code == _UNMET:
            return ()
        return (code >> 3,) if code >= 0 else self._groups[~(code >> 3)]

    def read(self, given: list[str], apart: _Apart) -> Int64Vector:
        """Look names up letter for letter: (n_names,) int64 codes."""
        codes = list(map(self._met.get, given, repeat(_UNMET)))
        for i, code in enumerate(codes):
            if code == _UNMET and (parts := apart(given[i])):
                codes[i] = self._read_parts(*parts)
        return np.array(codes, np.int64)

    def _read_parts(self, label: str, ensembl: str, taxon: int) -> int:
        if taxon not in (0, self.taxon):
            return _UNMET
        by_label = self._met.get(label, _UNMET)
        by_id = self._met.get(ensembl, _UNMET)
        if by_id == _UNMET:
            return by_label
        if by_id < 0:
            agreed = {*self.rows_of(by_id)} & {*self.rows_of(by_label)}
            if len(agreed) == 1:
                return agreed.pop() << 3 | _ENSEMBL
        return by_id

    def fold(self, given: list[str], codes: Int64Vector, apart: _Apart) -> Int64Vector:
        """Look up what `read` did not meet by its spelling, then as a repeated symbol."""
        unmet = np.flatnonzero(codes == _UNMET).tolist()
        code_of = dict(zip(given, codes.tolist(), strict=True))
        labels = []
        for i in unmet:
            label, _, taxon = apart(given[i]) or (given[i], "", 0)
            labels.append(label if taxon in (0, self.taxon) else "")
        found = list(map(self._folded.get, _fold(labels), repeat(_UNMET)))
        for j, i in enumerate(unmet):
            if found[j] == _UNMET and (repeated := _REPEATED.fullmatch(given[i])):
                base = code_of.get(repeated[1], _UNMET)
                found[j] = base if base & 7 == _SYMBOL else _UNMET
        codes = codes.copy()
        codes[unmet] = found
        return codes
