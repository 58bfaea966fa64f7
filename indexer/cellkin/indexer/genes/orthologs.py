"""One-to-one orthologs."""

from collections import defaultdict

import pyarrow as pa
import pyarrow.compute as pc

Partners = dict[int, list[tuple[int, int]]]
"""Taxon and GeneID of one-to-one orthologs, taxa ascending, by GeneID."""


def one_to_one(pairs: pa.Table) -> Partners:
    """Return pairs of orthologs that have no other ortholog in each other's species.

    Parameters
    ----------
    pairs
        Table from `cellkin.indexer.genes.ncbi.read_gene_orthologs`, complete for any two species
        in it. Either side may come first, and pairs may be repeated.
    """
    names = ("taxon", "gene_id", "other_taxon", "other_gene_id")
    turned = pairs.select(["other_taxon", "other_gene_id", "taxon", "gene_id"])
    both = pa.concat_tables([pairs, turned.rename_columns(names)])
    both = both.filter(pc.not_equal(both["taxon"], both["other_taxon"]))
    both = both.group_by(names).aggregate([])
    single = _alone(both, ["gene_id", "other_taxon"])
    back = _alone(both, ["other_gene_id", "taxon"])
    kept = single.join(back, keys=list(names), join_type="inner").sort_by(
        [("gene_id", "ascending"), ("other_taxon", "ascending")]
    )
    partners: Partners = defaultdict(list)
    columns = (kept[name].to_pylist() for name in ("gene_id", "other_taxon", "other_gene_id"))
    for gene_id, taxon, other in zip(*columns, strict=True):
        partners[gene_id].append((taxon, other))
    return dict(partners)


def _alone(pairs: pa.Table, keys: list[str]) -> pa.Table:
    """Keep the pairs with unique keys."""
    rest = [name for name in pairs.column_names if name not in keys]
    grouped = pairs.group_by(keys).aggregate([(name, "min") for name in rest] + [([], "count_all")])
    once = grouped.filter(pc.equal(grouped["count_all"], 1))
    return once.rename_columns({f"{name}_min": name for name in rest}).select(pairs.column_names)
