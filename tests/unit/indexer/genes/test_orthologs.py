from collections import defaultdict

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from cellkin.indexer.genes.ncbi import GENE_ORTHOLOGS
from cellkin.indexer.genes.orthologs import one_to_one

Pair = tuple[int, int, int, int]


def table(*pairs: Pair) -> pa.Table:
    rows = [dict(zip(GENE_ORTHOLOGS.names, pair, strict=True)) for pair in pairs]
    return pa.Table.from_pylist(rows, schema=GENE_ORTHOLOGS)


def test_one_partner_on_each_side_is_needed() -> None:
    pairs = table(
        (9606, 1, 10090, 101),
        (9606, 2, 10090, 102),
        (9606, 2, 10090, 103),
        (9606, 3, 10090, 104),
        (9606, 4, 10090, 104),
    )
    assert one_to_one(pairs) == {1: [(10090, 101)], 101: [(9606, 1)]}


def test_each_pair_of_species_counts_for_itself() -> None:
    pairs = table(
        (9606, 1, 10116, 201),
        (9606, 1, 10090, 101),
        (9606, 2, 10116, 202),
        (9606, 2, 10116, 203),
        (9606, 2, 10090, 102),
    )
    partners = one_to_one(pairs)
    assert partners[1] == [(10090, 101), (10116, 201)]
    assert partners[2] == [(10090, 102)]
    assert 202 not in partners


def test_a_pair_told_from_both_sides_is_one_pair() -> None:
    pairs = table((9606, 1, 10090, 101), (10090, 101, 9606, 1))
    assert one_to_one(pairs) == {1: [(10090, 101)], 101: [(9606, 1)]}


def test_no_pairs_give_no_partners() -> None:
    assert one_to_one(table()) == {}


def _by_counting(pairs: list[Pair]) -> dict[int, list[tuple[int, int]]]:
    found: defaultdict[tuple[int, int], set[int]] = defaultdict(set)
    for taxon, gene, other_taxon, other in pairs:
        found[gene, other_taxon].add(other)
        found[other, taxon].add(gene)
    partners: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
    for (gene, taxon), others in sorted(found.items()):
        (other, *more) = others
        # A gene's taxon is its GeneID's hundreds in these tests.
        if not more and len(found[other, gene // 100]) == 1:
            partners[gene].append((taxon, other))
    return dict(partners)


genes = st.integers(100, 105) | st.integers(200, 205) | st.integers(300, 305)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(genes, genes).filter(lambda pair: pair[0] // 100 != pair[1] // 100)))
def test_the_same_comes_out_as_by_counting(given_pairs: list[tuple[int, int]]) -> None:
    pairs = [(a // 100, a, b // 100, b) for a, b in given_pairs]
    assert one_to_one(table(*pairs)) == _by_counting(pairs)
