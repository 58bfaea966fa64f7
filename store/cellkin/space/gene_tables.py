"""Lookup tables for the gene names of one species."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from typing import TypeAlias, TypeVar

import numpy as np

from cellkin.space.arrays import Int64Vector
from cellkin.space.gene_forms import Apart, fold, missing_spellings, repeated_names
from cellkin.wire.terms import GeneRoute

_T = TypeVar("_T")

# The meaning of a name is one integer, its code, so that tens of thousands of names are looked up
# by one map over a dict: (row << 3) | step, or (~group << 3) | step if several genes share it.
ID, FORMER_ID, ENSEMBL, SYMBOL, SYNONYM, FOLDED_SYMBOL, FOLDED_SYNONYM = range(7)
UNMET = -1  # step 7
ROUTES = np.array(
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
"""The route of each step."""
_LESS_THAN_REPEATED = (SYNONYM, FOLDED_SYNONYM, UNMET & 7)
"""Steps that are overruled if a name is another name of the list with a suffix."""
_MISSING = missing_spellings()


Columns: TypeAlias = tuple[
    Sequence[str],
    Sequence[Sequence[str]],
    Sequence[Sequence[str]],
    Sequence[Sequence[str]],
    Sequence[Sequence[int]],
]
"""For each gene of a corpus: symbol, other symbols, synonyms, Ensembl ids, former ids."""


@dataclass(frozen=True)
class GivenNames:
    """A list of names to look up, with what does not depend on the species.

    Parameters
    ----------
    names
        Names without surrounding whitespace.
    repeated
        From `repeated_names`.
    apart
        `take_apart` for the corpus, cached.
    """

    names: list[str]
    repeated: Mapping[int, list[int]]
    apart: Apart

    @classmethod
    def of(cls, names: Sequence[str], apart: Apart) -> "GivenNames":
        """Strip names as given by users and find the repeated ones."""
        stripped = [name.strip() for name in names]
        return cls(stripped, repeated_names(stripped), apart)


class SpeciesNames:
    """Lookup tables for the gene names of one species.

    Parameters
    ----------
    taxon
        NCBI taxonomy id.
    rows
        Rows of the species' genes in the corpus.
    gene_ids
        NCBI GeneIDs of these rows.
    columns
        Names of all genes of the corpus.
    """

    def __init__(self, taxon: int, rows: list[int], gene_ids: list[int], columns: Columns) -> None:
        symbols, other_symbols, synonyms, ensembl_ids, former_ids = columns
        self.taxon = taxon
        self._groups: list[tuple[int, ...]] = []
        other_own, other_own_rows = _flat(other_symbols, rows) if other_symbols else ([], [])
        own = [symbols[row] for row in rows] + other_own
        own_rows = rows + other_own_rows
        others, other_rows = _flat(synonyms, rows)

        folded_symbols: dict[str, int] = {}
        self._enter(folded_symbols, FOLDED_SYMBOL, fold(own), own_rows)
        folded_others = fold(others)
        self._folded: dict[str, int] = {}
        self._enter(self._folded, FOLDED_SYNONYM, folded_others, other_rows)
        self._folded |= folded_symbols
        for word in _MISSING:
            self._folded.pop(word, None)

        rivals = list(map(folded_symbols.get, folded_others, repeat(UNMET)))
        for i in np.flatnonzero(np.array(rivals, np.int64) != UNMET).tolist():
            for row in self.rows_of(rivals[i]):
                others.append(others[i])
                other_rows.append(row)
        self._met: dict[str, int] = {}
        self._enter(self._met, SYNONYM, others, other_rows)
        for word in _MISSING:
            self._met.pop(word, None)
        self._enter(self._met, SYMBOL, own, own_rows)
        self._words = _MISSING & self._met.keys()
        self._enter(self._met, ENSEMBL, *_flat(ensembl_ids, rows))
        former, former_rows = _flat(former_ids, rows)
        self._enter(self._met, FORMER_ID, list(map(str, former)), former_rows)
        self._enter(self._met, ID, list(map(str, gene_ids)), rows)

    def _enter(
        self, table: dict[str, int], step: int, names: list[str], name_rows: list[int]
    ) -> None:
        """Add the names of one step, overruling those of later steps, which are added before."""
        rows = np.array(name_rows, np.int64)
        codes = rows << 3 | step
        meant = dict(zip(names, codes.tolist(), strict=True))
        if len(meant) < len(names):
            # Looking up every name again is as expensive as adding it, but a row that kept all its
            # names has lost none to another row.
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
        """Return the rows of a code: none, one, or a group."""
        if code == UNMET:
            return ()
        return (code >> 3,) if code >= 0 else self._groups[~(code >> 3)]

    def read(self, given: GivenNames) -> Int64Vector:
        """Return (n_names,) int64 codes of names by exact spelling."""
        names = given.names
        codes = list(map(self._met.get, names, repeat(UNMET)))
        for i, code in enumerate(codes):
            if code == UNMET and (parts := given.apart(names[i])):
                codes[i] = self._read_parts(*parts)
        for word in self._words:  # the fly's gene nan: if repeated, a missing name
            places = [i for i, name in enumerate(names) if name == word]
            if len(places) > 1 or not given.repeated.keys().isdisjoint(places):
                for i in places:
                    codes[i] = UNMET
        return np.array(codes, np.int64)

    def _read_parts(self, label: str, ensembl: str, taxon: int) -> int:
        if taxon not in (0, self.taxon):
            return UNMET
        by_label = self._met.get(label, UNMET)
        by_id = self._met.get(ensembl, UNMET)
        if by_id == UNMET:
            return by_label
        if by_id < 0:
            agreed = {*self.rows_of(by_id)} & {*self.rows_of(by_label)}
            if len(agreed) == 1:
                return agreed.pop() << 3 | ENSEMBL
        return by_id

    def fold(self, given: GivenNames, codes: Int64Vector) -> Int64Vector:
        """Look up unmatched names by folded spelling, and repeated symbols as the symbol."""
        unmet = np.flatnonzero(codes == UNMET).tolist()
        labels = []
        for i in unmet:
            label, _, taxon = given.apart(given.names[i]) or (given.names[i], "", 0)
            labels.append(label if taxon in (0, self.taxon) else "")
        read, codes = codes, codes.copy()
        codes[unmet] = list(map(self._folded.get, fold(labels), repeat(UNMET)))
        for base, places in given.repeated.items():
            meant = int(read[base])
            if meant & 7 != SYMBOL and given.names[base] not in _MISSING:
                continue
            for i in places:
                if codes[i] & 7 in _LESS_THAN_REPEATED:
                    codes[i] = meant
        return codes


def _flat(lists: Sequence[Sequence[_T]], rows: list[int]) -> tuple[list[_T], list[int]]:
    """Return the entries of all rows and the row of each entry."""
    per_row = [lists[row] for row in rows]
    counts = list(map(len, per_row))
    return list(chain.from_iterable(per_row)), np.repeat(rows, counts).tolist()
