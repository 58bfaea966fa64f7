"""A corpus of the names in files of cells alone, for a store that has no gene tables.

A gene is known by what the files call it: a symbol, an Ensembl id, or both where a file has both,
as 10x, scanpy and CELLxGENE write them. So files that use either spelling meet, and nothing else is
known: no synonyms, no former names, no texts. Ids count from -1 down. NCBI GeneIDs are positive, so
that none of them can be taken for one, and they mean nothing beside their version of the corpus.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from cellkin.matrices.cells import CellFile, open_cells
from cellkin.matrices.options import ReadOptions, X
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
"""The name of a corpus where none is given."""
_SYMBOL_COLUMNS = (
    "feature_name", "gene_name", "gene_names", "gene_symbol", "gene_symbols", "symbol", "symbols",
    "hgnc_symbol", "mgi_symbol", "gene_short_name", "gene", "genes", "name", "names",
)  # fmt: skip
# With a genome before it or a symbol on either side, with or without version.
_ENSEMBL = re.compile(r"(?:(.+)[_|-])?(ENS[A-Z]*G\d{6,})(?:\.\d+)?(?:[_|-](.+))?")
_GENOME = re.compile(r"(?:GRC[a-z]\d+|hg\d+|mm\d+)_+", re.IGNORECASE)
_MOSTLY = 0.5
# Letter case is weak evidence: it counts where nearly all of many names agree.
_NEARLY_ALL, _MANY, _SOME = 0.9, 200, 5
_LONGEST_NAME = 100


@dataclass(frozen=True)
class NamedFile:
    """What a file calls its genes.

    Parameters
    ----------
    file
        Its name, for the account of the corpus.
    symbols, ensembl_ids
        (n_genes,) of each column; "" where the file does not say.
    """

    file: str
    symbols: list[str]
    ensembl_ids: list[str]

    @classmethod
    def read(cls, path: Path, how: ReadOptions = X) -> "NamedFile":
        """Read the names of the genes of a file, and what stands beside them in ``var``.

        Parameters
        ----------
        path, how
            As `cellkin.matrices.cells.open_cells` takes them.

        Raises
        ------
        InputFileError
            If the file cannot be read.
        """
        with open_cells(path, how) as cells:
            return cls.of(path.name, cells.gene_names, _beside(cells))

    @classmethod
    def of(cls, file: str, names: Sequence[str], others: Sequence[str] = ()) -> "NamedFile":
        """Tell symbols from Ensembl ids.

        Parameters
        ----------
        file
            Its name.
        names
            (n_genes,) the names of the columns.
        others
            (n_genes,) other names of the same columns, "" where there is none; or nothing.
        """
        symbols, ids = [], []
        for name, other in zip(names, others or [""] * len(names), strict=True):
            parts = [_take_apart(text) for text in (name, other)]
            symbols.append(next((symbol for symbol, _ in parts if symbol), ""))
            ids.append(next((number for _, number in parts if number), ""))
        return cls(file, symbols, ids)

    @property
    def taxon(self) -> int:
        """The species that the names are spelled as: an NCBI taxonomy id, 0 where they do not say.

        By the prefix of Ensembl ids; else human or mouse by ``MT-`` or ``mt-`` and letter case, as
        far as these two are the species of nearly all data without ids.
        """
        prefixes = Counter(re.match(r"[A-Z]+", i)[0] for i in self.ensembl_ids if i)  # type: ignore[index]  # an id has letters
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
    """Return the corpus by which genes are named, or None where a store has none but of own names.

    Parameters
    ----------
    store
        The store.
    wanted
        What was asked for; None for the one called `USUAL_CORPUS`, or the only one there is.

    Raises
    ------
    NotFoundError
        If there is no such corpus.
    InvalidArgumentError
        If none was asked for and there are several.
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
    """Publish the names of files as a corpus; the same names give the version there is.

    Parameters
    ----------
    store
        Where it goes.
    index
        The name of the cell index it is for.
    files
        The names of the reference.
    taxon
        NCBI taxonomy id of all files; 0 infers it, file by file.
    linked
        Other files, which bring no gene, and only say which symbol and id of the reference's genes
        belong together.

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
    before = store.catalog.view().entries(Kind.CORPUS, name)
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
    """Return the species of each file; a file that does not say is taken for what others say.

    Parameters
    ----------
    files
        The files.
    taxon
        That of all of them, where it is known; else 0.
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
    """Make the table of a corpus: a gene an Ensembl id, and a gene a symbol that has no id.

    A symbol with several ids is that of several genes, and so names none of them.

    Parameters
    ----------
    files
        The names.
    taxa
        NCBI taxonomy id of each file, 0 where it is not known: genes of different species are
        different genes.
    linked, linked_taxa
        Files that bring no gene, see `publish_own_names`, and the species of each.

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
    for file, taxon in zip(linked, linked_taxa, strict=True):
        for symbol, ensembl_id in zip(file.symbols, file.ensembl_ids, strict=True):
            gene = taxon, ensembl_id
            if symbol and ensembl_id and (gene in symbols_of or (taxon, symbol) in alone):
                symbols_of.setdefault(gene, {})[symbol] = None
    with_id = {(taxon, symbol) for (taxon, _), known in symbols_of.items() for symbol in known}
    rows = [(taxon, list(known), [number]) for (taxon, number), known in symbols_of.items()]
    rows += [(taxon, [symbol], []) for taxon, symbol in alone if (taxon, symbol) not in with_id]
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


def _nothing(kind: pa.DataType) -> Any:
    """Return what a column says where nothing is known."""
    if pa.types.is_list(kind):
        return []
    return "" if pa.types.is_string(kind) else 0


def _take_apart(name: str) -> tuple[str, str]:
    """Return the symbol and the Ensembl id of a name, "" where it has none."""
    name = name.strip()
    if non_gene(name) is NonGene.MISSING:
        return "", ""
    name = _GENOME.sub("", name, count=1) if "_" in name else name
    found = _ENSEMBL.fullmatch(name) if "ENS" in name else None
    if found is None:
        return name, ""
    before, number, after = found.groups(default="")
    beside = before or after
    return ("" if beside.startswith("PAR") or beside.isdigit() else beside), number


def _beside(cells: CellFile) -> list[str]:
    """Return the other names of the genes: symbols beside ids, ids beside symbols; or nothing."""
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
    """Return the index of ``var`` where the names are from a column of it."""
    index = cells.var.names()
    return index if index != cells.gene_names else []


def _texts(cells: CellFile, column: str) -> list[str]:
    values = pd.Series(cells.var.column(column))
    missing = pd.isna(values)
    return ["" if gone else str(value) for value, gone in zip(values, missing, strict=True)]


def _share_of_ids(names: Sequence[str]) -> float:
    return sum(_ENSEMBL.fullmatch(name) is not None for name in names) / max(len(names), 1)
