"""Read the source files, and join their data by gene."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cellkin.indexer.genes import ncbi
from cellkin.indexer.genes.chain import Summary
from cellkin.indexer.genes.extras import read_extra_texts
from cellkin.indexer.genes.names import GeneNames, NamedTexts
from cellkin.indexer.genes.orthologs import Partners, one_to_one
from cellkin.indexer.genes.report import JoinCounts
from cellkin.indexer.genes.string_db import read_protein_info, string_release
from cellkin.indexer.genes.text import clean_summary
from cellkin.wire.errors import InvalidArgumentError


def read_genes(gene_info: Path, taxa: Collection[int] | None) -> pa.Table:
    """Read ``gene_info``, and check that it has all requested species.

    Raises
    ------
    InputFileError
        If the file is missing, damaged or of another format.
    InvalidArgumentError
        If it has no gene of a requested species, or no gene at all.
    """
    genes = ncbi.read_gene_info(gene_info, taxa)
    found = set(pc.unique(genes["taxon"]).to_pylist())
    absent = sorted(set(taxa or ()) - found)
    if absent or not found:
        missing = f"taxon {absent[0]}" if absent else "any species"
        raise InvalidArgumentError(
            f"NCBI gene_info file {gene_info}: no gene of {missing}; "
            "expected NCBI taxonomy ids of species in the file, such as 9606 for human"
        )
    return genes


def read_summaries(gene_summary: Iterable[Path]) -> pa.Table:
    """Read the summaries of all species: genes may use those of orthologs."""
    tables = [ncbi.read_gene_summary(path) for path in gene_summary]
    return pa.concat_tables([ncbi.GENE_SUMMARY.empty_table(), *tables])


def with_summary_only(genes: pa.Table, written: pa.Table, taxa: Collection[int]) -> pa.Table:
    """Append genes of these species that have a summary but are not in ``gene_info``."""
    known = pc.is_in(written["gene_id"], value_set=genes["gene_id"].combine_chunks())
    wanted = pc.is_in(written["taxon"], value_set=pa.array(sorted(taxa), pa.int32()))
    only = written.filter(pc.and_not(wanted, known)).select(["taxon", "gene_id"])
    only = only.group_by("gene_id").aggregate([("taxon", "min")])
    n_only = only.num_rows
    empty: dict[str, list[object]] = {
        field.name: [[] if pa.types.is_list(field.type) else ""] * n_only
        for field in ncbi.GENE_INFO
    }
    columns = empty | {"gene_id": only["gene_id"], "taxon": only["taxon_min"]}
    return pa.concat_tables([genes, pa.table(columns, schema=ncbi.GENE_INFO)])


def with_gene2ensembl(
    genes: pa.Table, gene2ensembl: Iterable[Path], taxa: Collection[int]
) -> pa.Table:
    """Append the Ensembl ids of ``gene2ensembl`` to those of the genes."""
    more: dict[int, list[str]] = {}
    for path in gene2ensembl:
        more |= _by_gene(ncbi.read_gene2ensembl(path, taxa))
    rows = zip(genes["gene_id"].to_pylist(), genes["ensembl_ids"].to_pylist(), strict=True)
    merged = [list(dict.fromkeys([*ids, *more.get(gene_id, ())])) for gene_id, ids in rows]
    at = genes.schema.get_field_index("ensembl_ids")
    return genes.set_column(at, "ensembl_ids", pa.array(merged, pa.list_(pa.string())))


def with_former_ids(
    genes: pa.Table, gene_history: Iterable[Path], taxa: Collection[int]
) -> pa.Table:
    """Append the column ``former_ids``: GeneIDs that were replaced by the gene's own."""
    former: dict[int, list[int]] = {}
    for path in gene_history:
        former |= _by_gene(ncbi.read_gene_history(path, taxa))
    ids = [former.get(gene_id, []) for gene_id in genes["gene_id"].to_pylist()]
    return genes.append_column("former_ids", pa.array(ids, pa.list_(pa.int64())))


def _by_gene(pairs: pa.Table) -> dict[int, list[Any]]:
    """Group the values of the second column, ascending, by the GeneID in the first."""
    values: defaultdict[int, list[Any]] = defaultdict(list)
    ordered = pairs.sort_by([(name, "ascending") for name in pairs.column_names])
    for gene_id, value in zip(*(column.to_pylist() for column in ordered.columns), strict=True):
        values[gene_id].append(value)
    return dict(values)


def read_partners(
    gene_orthologs: Iterable[Path], taxa: Collection[int], written: pa.Table
) -> Partners:
    """Read the one-to-one orthologs of genes of these species that may have a summary."""
    # The file has hundreds of species, of which only a few have summaries.
    useful = pa.array(sorted({*taxa, *pc.unique(written["taxon"]).to_pylist()}), pa.int32())
    partners: Partners = {}
    for path in gene_orthologs:
        pairs = ncbi.read_gene_orthologs(path, taxa)
        sides = [pc.is_in(pairs[name], value_set=useful) for name in ("taxon", "other_taxon")]
        partners |= one_to_one(pairs.filter(pc.and_(*sides)))
    return partners


def read_extras(
    files: Iterable[tuple[Path, int]], names: GeneNames
) -> tuple[list[tuple[str, NamedTexts]], list[JoinCounts]]:
    """Read the user's own summaries, one taxon per file, and match them to genes."""
    extras, joins = [], []
    for path, taxon in files:
        given = read_extra_texts(path)
        named = names.join((taxon, gene, text) for gene, text in given.items())
        extras.append((path.name, named))
        joins.append(_counts(path.name, len(given), named))
    return extras, joins


def best_summaries(
    written: pa.Table,
    extras: Sequence[tuple[str, NamedTexts]],
    order: Sequence[str],
    *,
    strip_provenance: bool,
) -> dict[int, Summary]:
    """Choose one summary per gene.

    Parameters
    ----------
    written
        Summaries from `ncbi.read_gene_summary`.
    extras
        Names and texts of the user's sources, the preferred first.
    order
        Sources, best first; user's sources that are not in it come first, all others last.
    strip_provenance
        See `clean_summary`.
    """
    found: list[tuple[str, int, int, str]] = []
    for source, named in extras:
        rank = order.index(source) if source in order else -1
        found += [(source, rank, gene_id, text) for gene_id, text in named.texts.items()]
    for source in pc.unique(written["source"]).to_pylist():
        rank = order.index(source) if source in order else len(order)
        rows = written.filter(pc.equal(written["source"], source))
        columns = (rows["gene_id"].to_pylist(), rows["summary"].to_pylist())
        found += [(source, rank, gene_id, text) for gene_id, text in zip(*columns, strict=True)]
    summaries: dict[int, Summary] = {}
    for source, _, gene_id, text in sorted(found, key=lambda each: each[1]):
        if gene_id not in summaries:
            cleaned = clean_summary(text, strip_provenance=strip_provenance)
            if cleaned:
                summaries[gene_id] = Summary(cleaned, source)
    return summaries


def read_functions(
    paths: Iterable[Path], names: GeneNames, taxa: Collection[int]
) -> tuple[dict[int, Summary], list[JoinCounts]]:
    """Read STRING's function texts and match them to genes; earlier files win."""
    functions: dict[int, Summary] = {}
    joins = []
    for path in paths:
        proteins = read_protein_info(path, taxa).sort_by("protein_id")
        columns = [proteins[name].to_pylist() for name in ("taxon", "preferred_name", "function")]
        named = names.join(zip(*columns, strict=True))
        source = string_release(path)
        for gene_id, text in named.texts.items():
            if cleaned := clean_summary(text):
                functions.setdefault(gene_id, Summary(cleaned, source))
        joins.append(_counts(path.name, proteins.num_rows, named))
    return functions, joins


def _counts(source: str, n_texts: int, named: NamedTexts) -> JoinCounts:
    return JoinCounts(source, n_texts, len(named.texts), named.n_ambiguous, named.n_unmatched)
