"""One-to-one orthologues."""

from collections import defaultdict

import pyarrow as pa
import pyarrow.compute as pc

Partners = dict[int, list[tuple[int, int]]]
"""By GeneID: taxon and GeneID of its one-to-one orthologues, taxa ascending."""


def one_to_one(pairs: pa.Table) -> Partners:
    """Return the partners of genes where each side has exactly one in the other's species.

    Parameters
    ----------
    pairs
        As `cellkin.indexer.genes.ncbi.read_gene_orthologs` gives them, all pairs of any two
        species in it; either side may come first, and a pair may be there twice.
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
    """Keep the pairs whose keys no other pair has."""
    rest = [name for name in pairs.column_names if name not in keys]
    grouped = pairs.group_by(keys).aggregate([(name, "min") for name in rest] + [([], "count_all")])
    once = grouped.filter(pc.equal(grouped["count_all"], 1))
    return once.rename_columns({f"{name}_min": name for name in rest}).select(pairs.column_names)
