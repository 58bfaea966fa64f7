"""A corpus as lookups."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from cellkin.store.corpus import read_gene_names
from cellkin.store.store import Store
from cellkin.wire.terms import GeneRoute


def with_values(table: pa.Table, row: int, **values: object) -> pa.Table:
    rows = table.to_pylist()
    rows[row] |= values
    return pa.Table.from_pylist(rows, schema=table.schema)


def test_a_symbol_belongs_to_the_one_gene_that_codes_for_a_protein(
    tmp_path: Path, make_corpus: Callable[[], pa.Table]
) -> None:
    table = with_values(make_corpus(), 7, symbol="GENE3", gene_type="unknown")  # a locus
    table = with_values(table, 8, symbol="GENE4")  # another protein
    store = Store.create(str(tmp_path / "s"))
    genes = read_gene_names(store, store.publish_corpus("genes", table, {}))
    found = genes.resolver.resolve(["GENE3", "GENE4", "GENE5"], 9606)
    assert [GeneRoute(r) for r in found.routes] == [
        GeneRoute.SYMBOL,
        GeneRoute.AMBIGUOUS,
        GeneRoute.SYMBOL,
    ]
    assert genes.gene_ids[found.rows[0]] == 3
    assert found.ambiguous == {"GENE4": (4, 9)}
    assert genes.table["symbol"][7].as_py() == "GENE3"
