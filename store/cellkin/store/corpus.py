"""A corpus as lookups: from names to genes, from genes to what is known about them."""

from dataclasses import dataclass

import pyarrow as pa

from cellkin.space.arrays import Int64Vector, UInt8Vector
from cellkin.space.genes import GeneResolver
from cellkin.store.catalog import Entry
from cellkin.store.store import Store


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
        From a user's names to rows.
    """

    table: pa.Table
    gene_ids: Int64Vector
    rungs: UInt8Vector
    resolver: GeneResolver


_COLUMNS = [
    "gene_id", "taxon", "symbol", "name", "synonyms", "ensembl_ids", "former_ids", "rung",
]  # fmt: skip


def read_gene_names(store: Store, corpus: Entry) -> GeneNames:
    """Read the names of a corpus version."""
    table = store.corpus(corpus, _COLUMNS).sort_by("gene_id").combine_chunks()
    gene_ids = table["gene_id"].to_numpy()
    resolver = GeneResolver(
        gene_ids,
        table["taxon"].to_numpy(),
        table["symbol"].to_pylist(),
        table["synonyms"].to_pylist(),
        table["ensembl_ids"].to_pylist(),
        table["former_ids"].to_pylist(),
    )
    return GeneNames(table, gene_ids, table["rung"].to_numpy(), resolver)
