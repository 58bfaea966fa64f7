"""A corpus made only of the gene names in cell files, for stores without gene tables.

A gene is identified by its names in the files: a symbol, an Ensembl id, or both if a file has both,
as 10x, scanpy and CELLxGENE write them. Files that use either can therefore be matched. There are
no synonyms, former names or texts. Ids are negative, so that they cannot be mistaken for NCBI
GeneIDs, and are valid only within their version of the corpus.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from cellkin.matrices.cells import CellFile, open_cells
from cellkin.matrices.options import ReadOptions, X
from cellkin.space.gene_forms import take_apart, without_assembly
from cellkin.space.gene_lists import require_names
from cellkin.store.catalog import Entry, Kind
from cellkin.store.corpus import is_of_own_names
from cellkin.store.digest import table_digest
from cellkin.store.schema import CORPUS
from cellkin.store.store import Store
from cellkin.wire.errors import InvalidArgumentError
from cellkin.wire.features import NonGene, non_gene
from cellkin.wire.names import VersionName
from cellkin.wire.species import SPECIES, taxon_name
from cellkin.wire.terms import TextRung

USUAL_CORPUS = "genes"
"""Default name of a corpus."""
_SYMBOL_COLUMNS = (
    "feature_name", "gene_name", "gene_names", "gene_symbol", "gene_symbols", "symbol", "symbols",
    "hgnc_symbol", "mgi_symbol", "gene_short_name", "gene", "genes", "name", "names",
)  # fmt: skip
_PAR = re.compile("PAR[-_][XY]")
"""Mark of an id in the pseudoautosomal region, as in ``ENSG00000182378_PAR_Y``."""
_MOSTLY = 0.5
# Letter case is weak evidence: it is used only if nearly all of many names agree.
_NEARLY_ALL, _MANY, _SOME = 0.9, 200, 5
_LONGEST_NAME = 100


@dataclass(frozen=True)
class NamedFile:
    """Gene names of a file.

    Parameters
    ----------
    file
        File name, for the manifest of the corpus.
    symbols, ensembl_ids
        (n_genes,) names of each column; "" if missing.
    """

    file: str
    symbols: list[str]
    ensembl_ids: list[str]

    @classmethod
    def read(cls, path: Path, how: ReadOptions = X) -> "NamedFile":
        """Read the gene names of a file, and other names of these genes in ``var``.

        Parameters
        ----------
        path, how
            See `cellkin.matrices.cells.open_cells`.

        Raises
        ------
        InputFileError
            If the file cannot be read.
        """
        with open_cells(path, how) as cells:
            return cls.of(path.name, cells.gene_names, _beside(cells))

    @classmethod
    def of(cls, file: str, names: Sequence[str], others: Sequence[str] = ()) -> "NamedFile":
        """Separate symbols from Ensembl ids.

        Parameters
        ----------
        file
            File name.
        names
            (n_genes,) names of the columns.
        others
            (n_genes,) other names of the same columns, "" if missing; may be empty.
        """
        symbols, ids = [], []
        for name, other in zip(names, others or [""] * len(names), strict=True):
            parts = [_take_apart(text) for text in (name, other)]
            symbols.append(next((symbol for symbol, _ in parts if symbol), ""))
            ids.append(next((number for _, number in parts if number), ""))
        return cls(file, symbols, ids)

    @property
    def taxon(self) -> int:
        """NCBI taxonomy id inferred from the names, 0 if undecided.

        Inferred from the prefix of Ensembl ids; without ids, human or mouse from ``MT-`` or ``mt-``
        and letter case, because nearly all data without ids are of these two species.
        """
        prefixes = Counter(re.match("[A-Za-z]+", i)[0] for i in self.ensembl_ids if i)  # type: ignore[index]  # an id has letters
        if prefixes:
            likely, n = prefixes.most_common(1)[0]
            known = {species.ensembl: species.taxon for species in SPECIES if species.ensembl}
            return known.get(likely, 0) if n > _MOSTLY * prefixes.total() else 0
        words = [s for s in self.symbols if len(s) > 2 and s[:2].isalpha()]
        for taxon, mark, spelled in (
            (9606, "MT-", lambda s: s[:2].isupper()),
            (10090, "mt-", lambda s: s[0].isupper() and s[1].islower()),
        ):
            marked = sum(s.startswith(mark) for s in words)
            others = [s for s in words if not s.startswith(mark)]
            alike = sum(map(spelled, others)) >= _NEARLY_ALL * len(others)
            if alike and (marked >= _SOME or len(words) >= _MANY):
                return taxon
        return 0


def find_corpus(store: Store, wanted: VersionName | None = None) -> Entry | None:
    """Return the corpus that names the genes, None if a store has only corpora of own names.

    Parameters
    ----------
    store
        The store.
    wanted
        The requested version; None for the corpus `USUAL_CORPUS`, or else the only one.

    Raises
    ------
    NotFoundError
        If there is no such corpus.
    InvalidArgumentError
        If none was requested and there are several, none of them `USUAL_CORPUS`.
    """
    view = store.catalog.view()
    if wanted is not None:
        return view.resolve(Kind.CORPUS, wanted)
    there = [entry for entry in view.entries(Kind.CORPUS) if not is_of_own_names(entry)]
    names = sorted({entry.name for entry in there if not view.retraction(entry)})
    if not names:
        return None
    if len(names) > 1 and USUAL_CORPUS not in names:
        raise InvalidArgumentError(
            f"the store has several corpora ({', '.join(names)}); choose by --corpus the one that "
            "names the genes"
        )
    name = USUAL_CORPUS if USUAL_CORPUS in names else names[0]
    return view.resolve(Kind.CORPUS, VersionName(name))


def publish_own_names(
    store: Store,
    index: str,
    files: Sequence[NamedFile],
    taxon: int = 0,
    linked: Sequence[NamedFile] = (),
) -> Entry:
    """Publish the gene names of files as a corpus, or return the last version if it is equal.

    Retracted versions are not returned.

    Parameters
    ----------
    store
        The store.
    index
        Name of the cell index that will use the corpus.
    files
        Names in the reference files.
    taxon
        NCBI taxonomy id of all files; 0 infers it for each file.
    linked
        Other files, whose genes are not added: they only link symbols and ids of the reference's
        genes.

    Raises
    ------
    InvalidArgumentError
        If the names of a file are row numbers.
    """
    for file in files:
        require_names([symbol for symbol in file.symbols if symbol])
    every = [*files, *linked]
    taxa = taxa_of(every, taxon)
    table = own_names(files, taxa[: len(files)], linked, taxa[len(files) :])
    name = f"names-{index}"[:_LONGEST_NAME]
    view = store.catalog.view()
    before = [entry for entry in view.entries(Kind.CORPUS, name) if not view.retraction(entry)]
    if before and before[-1].digest == table_digest(table):
        return before[-1]
    manifest = {
        "own_names": True,
        "files": [file.file for file in every],
        "taxa": {
            file.file: taxon_name(of) if of else "not known"
            for file, of in zip(every, taxa, strict=True)
        },
        "taxa_inferred": not taxon,
        "n_genes": len(table),
        "n_with_ensembl_id": sum(map(bool, table["ensembl_ids"].to_pylist())),
    }
    return store.publish_corpus(name, table, manifest)


def taxa_of(files: Sequence[NamedFile], taxon: int = 0) -> list[int]:
    """Return the species of each file; undecided files get that of the first decided one.

    Parameters
    ----------
    files
        The files.
    taxon
        NCBI taxonomy id of all files if known, else 0.
    """
    found = [taxon or file.taxon for file in files]
    first = next((each for each in found if each), 0)
    return [each or first for each in found]


def own_names(
    files: Iterable[NamedFile],
    taxa: Sequence[int],
    linked: Iterable[NamedFile] = (),
    linked_taxa: Sequence[int] = (),
) -> pa.Table:
    """Make the table of a corpus: one gene per Ensembl id, and per symbol without an id.

    A symbol with several ids is shared by several genes, and so resolves to none of them. If only
    linked files give it several ids, none of these is used.

    Parameters
    ----------
    files
        Names in the reference files.
    taxa
        NCBI taxonomy id of each file, 0 if unknown: genes of different species are distinct.
    linked, linked_taxa
        Files that only link names, see `publish_own_names`, and the species of each.

    Returns
    -------
    pyarrow.Table
        Of `cellkin.store.schema.CORPUS`, ids ascending from ``-n_genes`` to -1.
    """
    symbols_of: dict[tuple[int, str], dict[str, None]] = {}  # in the order of the files
    alone: dict[tuple[int, str], None] = {}
    for file, taxon in zip(files, taxa, strict=True):
        for symbol, ensembl_id in zip(file.symbols, file.ensembl_ids, strict=True):
            if ensembl_id:
                known = symbols_of.setdefault((taxon, ensembl_id), {})
                if symbol:
                    known[symbol] = None
            elif symbol:
                alone[taxon, symbol] = None
    named = {(taxon, symbol) for (taxon, _), known in symbols_of.items() for symbol in known}
    alone = dict.fromkeys(key for key in alone if key not in named)
    for (taxon, symbol), ids in _links(linked, linked_taxa).items():
        if (taxon, symbol) in alone:
            if len(ids) == 1:  # else it would resolve to none of them
                symbols_of.setdefault((taxon, next(iter(ids))), {})[symbol] = None
                del alone[taxon, symbol]
        else:
            for gene in ((taxon, ensembl_id) for ensembl_id in ids):
                if gene in symbols_of:
                    symbols_of[gene][symbol] = None
    rows = [(taxon, list(known), [number]) for (taxon, number), known in symbols_of.items()]
    rows += [(taxon, [symbol], []) for taxon, symbol in alone]
    rows.sort(key=lambda row: (row[0], row[1][:1], row[2]))
    n = len(rows)
    columns = {field.name: [_nothing(field.type)] * n for field in CORPUS} | {
        "gene_type": ["unknown"] * n,
        "rung": [TextRung.NONE] * n,
        "gene_id": list(range(-n, 0)),
        "taxon": [taxon for taxon, _, _ in rows],
        "symbol": [known[0] if known else "" for _, known, _ in rows],
        "synonyms": [known[1:] for _, known, _ in rows],
        "ensembl_ids": [numbers for _, _, numbers in rows],
    }
    return pa.table({name: columns[name] for name in CORPUS.names}, schema=CORPUS)


def _links(
    files: Iterable[NamedFile], taxa: Sequence[int]
) -> dict[tuple[int, str], dict[str, None]]:
    """Return the Ensembl ids of each symbol, by species and symbol, in the order of the files."""
    links: dict[tuple[int, str], dict[str, None]] = {}
    for file, taxon in zip(files, taxa, strict=True):
        for symbol, ensembl_id in zip(file.symbols, file.ensembl_ids, strict=True):
            if symbol and ensembl_id:
                links.setdefault((taxon, symbol), {})[ensembl_id] = None
    return links


def _nothing(kind: pa.DataType) -> Any:
    """Return the missing value of a column type."""
    if pa.types.is_list(kind):
        return []
    return "" if pa.types.is_string(kind) else 0


@lru_cache(maxsize=1 << 16)
def _take_apart(name: str) -> tuple[str, str]:
    """Return the symbol and the Ensembl id in a name, "" if missing."""
    name = name.strip()
    if non_gene(name) is NonGene.MISSING:
        return "", ""
    name = without_assembly(name)
    label, ensembl_id, _ = take_apart(name, {}) or ("", "", 0)
    if not ensembl_id:
        return name, ""
    return ("" if _PAR.fullmatch(label) else label), ensembl_id


def _beside(cells: CellFile) -> list[str]:
    """Return other names of the genes: symbols for ids, or ids for symbols; empty if none."""
    names = cells.gene_names
    if _share_of_ids(names) >= _MOSTLY:
        usual = {column.casefold(): column for column in reversed(cells.var.columns)}
        found = next((usual[name] for name in _SYMBOL_COLUMNS if name in usual), None)
        return _texts(cells, found) if found is not None else _index(cells)
    for column in cells.var.columns:
        values = _texts(cells, column)
        if _share_of_ids(values) >= _MOSTLY:
            return values
    return _index(cells)


def _index(cells: CellFile) -> list[str]:
    """Return the index of ``var``; empty if it equals the gene names."""
    index = cells.var.names()
    return index if index != cells.gene_names else []


def _texts(cells: CellFile, column: str) -> list[str]:
    values = pd.Series(cells.var.column(column))
    missing = pd.isna(values)
    return ["" if gone else str(value) for value, gone in zip(values, missing, strict=True)]


def _share_of_ids(names: Sequence[str]) -> float:
    return sum(bool(_take_apart(name)[1]) for name in names) / max(len(names), 1)
