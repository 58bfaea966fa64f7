"""Lookups in a corpus: from names to genes, and from genes to their data."""

from dataclasses import dataclass

import pyarrow as pa

from cellkin.space.arrays import Int64Vector, UInt8Vector
from cellkin.space.genes import GeneResolver
from cellkin.store.catalog import Entry, Kind
from cellkin.store.schema import OTHER_SYMBOLS
from cellkin.store.store import Store
from cellkin.wire.errors import InvalidArgumentError, NotFoundError
from cellkin.wire.names import parse_version_name
from cellkin.wire.species import taxon_name


@dataclass(frozen=True)
class GeneNames:
    """The genes of a corpus and the resolver of their names.

    Parameters
    ----------
    table
        Rows ascending by GeneID, without the texts.
    gene_ids, rungs
        (n_genes,) int64 NCBI GeneIDs, uint8 `TextRung`.
    resolver
        Resolves users' gene names to rows.
    """

    table: pa.Table
    gene_ids: Int64Vector
    rungs: UInt8Vector
    resolver: GeneResolver


def corpus_of(store: Store, entry: Entry) -> Entry:
    """Return the corpus that a version was made from, or the version if it is a corpus."""
    if entry.kind is Kind.CORPUS:
        return entry
    return store.catalog.version(
        Kind.CORPUS, parse_version_name(entry.manifest["corpus"], "corpus")
    )


OWN_NAMES_CAUTION = (
    "genes are named by the reference's own files, for the store has no gene tables: names count "
    "as they are written there, without synonyms or former names; `cellkin genes import` brings "
    "tables"
)
"""Caution for an index whose corpus `is_of_own_names`."""


def is_of_own_names(corpus: Entry) -> bool:
    """Return whether a corpus has only the gene names found in cell files.

    Its genes have negative ids, as they are not NCBI genes, and only the texts, synonyms and
    species given in the files.
    """
    return bool(corpus.manifest.get("own_names"))


_COLUMNS = [
    "gene_id", "taxon", "symbol", "name", "synonyms", "ensembl_ids", "former_ids", "gene_type",
    "rung", OTHER_SYMBOLS.name,
]  # fmt: skip


def read_gene_names(store: Store, corpus: Entry) -> GeneNames:
    """Read the gene names of a corpus version."""
    table = store.corpus(corpus, _COLUMNS).sort_by("gene_id").combine_chunks()
    gene_ids = table["gene_id"].to_numpy()
    symbols, others, synonyms = _owned_symbols(table)
    resolver = GeneResolver(
        gene_ids,
        table["taxon"].to_numpy(),
        symbols,
        synonyms,
        table["ensembl_ids"].to_pylist(),
        table["former_ids"].to_pylist(),
        others,
    )
    return GeneNames(table, gene_ids, table["rung"].to_numpy(), resolver)


def find_gene(genes: GeneNames, name: str, taxon: int = 0) -> int:
    """Return the row of the single gene that a name refers to.

    Parameters
    ----------
    genes
        The names of a corpus.
    name
        Gene name as written by a user.
    taxon
        NCBI taxonomy id of the species to look in; 0 for all.

    Raises
    ------
    InvalidArgumentError
        If the name is empty or ambiguous.
    NotFoundError
        If no gene has the name, or the corpus has no gene of the species.
    """
    if not name.strip():
        raise InvalidArgumentError(
            "no gene was named; give a symbol, synonym, Ensembl id or GeneID"
        )
    best = genes.resolver.find(name, taxon).best
    if not best:
        where = f" of {taxon_name(taxon)}" if taxon else ""
        raise NotFoundError(f"no gene{where} is called {name!r} in this corpus")
    if len(best) > 1:
        symbols = genes.table["symbol"]
        meant = ", ".join(
            f"{symbols[c.row].as_py() or '-'} ({taxon_name(c.taxon)}, GeneID {c.gene_id})"
            for c in best[:8]
        )
        raise InvalidArgumentError(
            f"gene {name!r} may mean any of {len(best)}: {meant}; give a taxon or a GeneID"
        )
    return best[0].row


def _owned_symbols(table: pa.Table) -> tuple[list[str], list[list[str]], list[list[str]]]:
    """Return symbols, other symbols and synonyms, with shared symbols assigned to one gene.

    NCBI lists loci known only by a phenotype, and records not yet merged, under the symbol of a
    gene: TEC is a kinase and "transient erythroblastopenia of childhood". If exactly one gene with
    a symbol is protein-coding, it keeps the symbol, which becomes a synonym of the others.
    """
    symbols, synonyms = table["symbol"].to_pylist(), table["synonyms"].to_pylist()
    has_others = OTHER_SYMBOLS.name in table.column_names
    others = table[OTHER_SYMBOLS.name].to_pylist() if has_others else []
    bearers: dict[tuple[int, str], list[int]] = {}
    taxa = table["taxon"].to_pylist()
    for row, key in enumerate(zip(taxa, symbols, strict=True)):
        bearers.setdefault(key, []).append(row)
    for row, names in enumerate(others):
        for name in names:
            bearers.setdefault((taxa[row], name), []).append(row)
    types = table["gene_type"]
    for (_, symbol), rows in bearers.items():
        if not symbol or len(rows) < 2:
            continue
        coding = [row for row in rows if types[row].as_py() == "protein-coding"]
        if len(coding) != 1:
            continue
        for row in rows:
            if row != coding[0]:
                synonyms[row] = [*synonyms[row], symbol]
                if symbols[row] == symbol:
                    symbols[row] = ""
                else:
                    others[row] = [name for name in others[row] if name != symbol]
    return symbols, others, synonyms
