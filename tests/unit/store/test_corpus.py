"""A corpus as lookups."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from cellkin.store.corpus import read_gene_names
from cellkin.store.schema import CORPUS, OTHER_SYMBOLS
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


def test_a_corpus_with_symbols_of_two_authorities_is_read_as_one_without(
    tmp_path: Path, make_corpus: Callable[[], pa.Table]
) -> None:
    table = make_corpus()
    others: list[list[str]] = [[] for _ in range(len(table))]
    others[6], others[8] = ["COX1", "GENE3"], ["COX1"]  # of genes 7 and 9; 3 is another gene
    store = Store.create(str(tmp_path / "s"))
    before = store.publish_corpus("genes", table, {})
    with_others = table.append_column(OTHER_SYMBOLS, pa.array(others, OTHER_SYMBOLS.type))
    after = store.publish_corpus("genes", with_others, {})
    assert store.corpus(before).schema == CORPUS
    assert store.corpus(after).schema == CORPUS.append(OTHER_SYMBOLS)
    assert store.corpus(after)["other_symbols"].to_pylist() == others

    names = ["GENE7", "COX1", "GENE3"]
    old = read_gene_names(store, before).resolver.resolve(names, 9606)
    assert [GeneRoute(r) for r in old.routes] == [
        GeneRoute.SYMBOL,
        GeneRoute.UNMATCHED,
        GeneRoute.SYMBOL,
    ]
    new = read_gene_names(store, after).resolver.resolve(names, 9606)
    assert new.ambiguous == {"COX1": (7, 9), "GENE3": (3, 7)}


def test_an_other_symbol_belongs_to_the_one_gene_that_codes_for_a_protein(
    tmp_path: Path, make_corpus: Callable[[], pa.Table]
) -> None:
    table = with_values(make_corpus(), 2, gene_type="rRNA")
    others: list[list[str]] = [[] for _ in range(len(table))]
    others[6] = ["GENE3"]
    table = table.append_column(OTHER_SYMBOLS, pa.array(others, OTHER_SYMBOLS.type))
    store = Store.create(str(tmp_path / "s"))
    genes = read_gene_names(store, store.publish_corpus("genes", table, {}))
    found = genes.resolver.resolve(["GENE3", "GENE7"], 9606)
    assert genes.gene_ids[found.rows].tolist() == [7, 7]
