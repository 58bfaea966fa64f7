"""Readers of the files NCBI Gene publishes in its ``gene/DATA`` folder.

Each streams its file, plain or gzip, and keeps only the requested species, so that files of all
species can be read with little memory. Columns are found by name; a missing one is an error.
"""

import re
from collections.abc import Collection, Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from cellkin.indexer.genes.tsv import keep_taxa, stream_tsv
from cellkin.wire.errors import InputFileError

_STRINGS = pa.list_(pa.string())
_ENSEMBL_VERSION = re.compile(r"(ENS\w+)\.\d+")
_OPTIONAL = (
    "LocusTag", "Symbol_from_nomenclature_authority", "Full_name_from_nomenclature_authority",
)  # fmt: skip
"""Columns of gene_info that files from other tools often lack."""
_ID_AUTHORITIES = ("Ensembl:", "FLYBASE:FBgn", "WormBase:WBGene")
_TAG_OF_SPECIES = re.compile(r"(?:Dmel|CELE)_(.+)")
_NOT_A_GENE = "NEWENTRY"
"""Symbol of one record per species, for remarks on genes not in Gene; its name is no gene's."""

GENE_INFO = pa.schema(
    [
        pa.field("taxon", pa.int32()),
        pa.field("gene_id", pa.int64()),
        pa.field("symbol", pa.string()),  # "" for none, as in all columns below
        pa.field("name", pa.string()),
        pa.field("synonyms", _STRINGS),
        pa.field("designations", _STRINGS),
        pa.field("ensembl_ids", _STRINGS),
        pa.field("gene_type", pa.string()),
        pa.field("other_symbols", _STRINGS),  # NCBI's symbol if the authority's differs
    ]
)
"""Schema of `read_gene_info`."""

GENE_SUMMARY = pa.schema(
    [
        pa.field("taxon", pa.int32()),
        pa.field("gene_id", pa.int64()),
        pa.field("source", pa.string()),  # such as "RefSeq", "Alliance of Genome Resources"
        pa.field("summary", pa.string()),
    ]
)
"""Schema of `read_gene_summary`."""

GENE_ORTHOLOGS = pa.schema(
    [
        pa.field("taxon", pa.int32()),
        pa.field("gene_id", pa.int64()),
        pa.field("other_taxon", pa.int32()),
        pa.field("other_gene_id", pa.int64()),
    ]
)
"""Schema of `read_gene_orthologs`."""

GENE2ENSEMBL = pa.schema([pa.field("gene_id", pa.int64()), pa.field("ensembl_id", pa.string())])
"""Schema of `read_gene2ensembl`."""

GENE_HISTORY = pa.schema([pa.field("gene_id", pa.int64()), pa.field("former_id", pa.int64())])
"""Schema of `read_gene_history`."""


def read_gene_info(path: Path, taxa: Collection[int] | None = None) -> pa.Table:
    """Read names and identifiers of genes from NCBI's ``gene_info``.

    Parameters
    ----------
    path
        The file, plain or gzip.
    taxa
        NCBI taxonomy ids of the requested species; None means all of the file.

    Returns
    -------
    pyarrow.Table
        Of schema `GENE_INFO`, in file order. The symbol is that of the nomenclature authority if
        there is one, because data sets use it: NCBI calls MT-CO1 COX1. Ensembl ids come from
        ``dbXrefs``, and include the ids of FlyBase and WormBase and the locus tags of yeast and
        plants (``YAL001C``), because Ensembl has no other ids for these species.

    Raises
    ------
    InputFileError
        If the file is missing, damaged or of another format, or lists a gene twice.
    """
    columns = {
        "tax_id": pa.int32(),
        "GeneID": pa.int64(),
        "Symbol": pa.string(),
        "Synonyms": pa.string(),
        "dbXrefs": pa.string(),
        "description": pa.string(),
        "type_of_gene": pa.string(),
        "Other_designations": pa.string(),
        "LocusTag": pa.string(),
        "Symbol_from_nomenclature_authority": pa.string(),
        "Full_name_from_nomenclature_authority": pa.string(),
    }
    batches = []
    for whole in stream_tsv(path, "NCBI gene_info", columns, _OPTIONAL):
        batch = keep_taxa(whole, taxa, "tax_id")
        ncbi_symbol = pc.fill_null(batch["Symbol"], "")
        symbol = pc.fill_null(batch["Symbol_from_nomenclature_authority"], ncbi_symbol)
        name = pc.coalesce(batch["description"], batch["Full_name_from_nomenclature_authority"])
        nameless = pc.or_(pc.is_null(name), pc.equal(ncbi_symbol, _NOT_A_GENE))
        ids, synonyms = _locus_tags(batch)
        genes = pa.record_batch(
            [
                batch["tax_id"],
                batch["GeneID"],
                symbol,
                pc.if_else(nameless, "", name),
                synonyms,
                _split(batch["Other_designations"]),
                ids,
                pc.fill_null(batch["type_of_gene"], ""),
                _others(ncbi_symbol, symbol),
            ],
            schema=GENE_INFO,
        )
        batches.append(genes)
    table = _table(path, "NCBI gene_info", batches, GENE_INFO)
    counts = pc.value_counts(table["gene_id"])
    repeated = counts.filter(pc.greater(counts.field("counts"), 1)).field("values")
    if len(repeated):
        raise InputFileError(
            f"NCBI gene_info file {path}: GeneID {repeated[0]} is there more than once; "
            "expected one line a gene; was the file joined from several?"
        )
    return table


def read_gene_summary(path: Path, taxa: Collection[int] | None = None) -> pa.Table:
    """Read the summaries of genes, from all sources, from NCBI's ``gene_summary``.

    Parameters
    ----------
    path
        The file, plain or gzip.
    taxa
        NCBI taxonomy ids of the requested species; None means all of the file.

    Returns
    -------
    pyarrow.Table
        Of schema `GENE_SUMMARY`, in file order, one row per gene and source.

    Raises
    ------
    InputFileError
        If the file is missing, damaged or of another format.
    """
    columns = {
        "tax_id": pa.int32(),
        "GeneID": pa.int64(),
        "Source": pa.string(),
        "Summary": pa.string(),
    }
    batches = []
    for whole in stream_tsv(path, "NCBI gene_summary", columns):
        batch = keep_taxa(whole, taxa, "tax_id")
        batch = batch.filter(pc.is_valid(batch["Summary"]))
        source = pc.fill_null(batch["Source"], "")
        batches.append(
            pa.record_batch(
                [batch["tax_id"], batch["GeneID"], source, batch["Summary"]], schema=GENE_SUMMARY
            )
        )
    return _table(path, "NCBI gene_summary", batches, GENE_SUMMARY)


def read_gene_orthologs(path: Path, taxa: Collection[int] | None = None) -> pa.Table:
    """Read pairs of orthologs from NCBI's ``gene_orthologs``.

    Parameters
    ----------
    path
        The file, plain or gzip.
    taxa
        NCBI taxonomy ids; pairs with at least one gene of these species are kept. None means all
        of the file.

    Returns
    -------
    pyarrow.Table
        Of schema `GENE_ORTHOLOGS`, in file order.

    Raises
    ------
    InputFileError
        If the file is missing, damaged or of another format.
    """
    columns = {
        "tax_id": pa.int32(),
        "GeneID": pa.int64(),
        "relationship": pa.string(),
        "Other_tax_id": pa.int32(),
        "Other_GeneID": pa.int64(),
    }
    batches = []
    for whole in stream_tsv(path, "NCBI gene_orthologs", columns):
        batch = keep_taxa(whole, taxa, "tax_id", "Other_tax_id")
        batch = batch.filter(pc.equal(batch["relationship"], "Ortholog"))
        batches.append(
            pa.record_batch(
                [batch["tax_id"], batch["GeneID"], batch["Other_tax_id"], batch["Other_GeneID"]],
                schema=GENE_ORTHOLOGS,
            )
        )
    return _table(path, "NCBI gene_orthologs", batches, GENE_ORTHOLOGS)


def read_gene2ensembl(path: Path, taxa: Collection[int] | None = None) -> pa.Table:
    """Read the Ensembl gene ids of genes from NCBI's ``gene2ensembl``.

    Parameters
    ----------
    path
        The file, plain or gzip.
    taxa
        NCBI taxonomy ids of the requested species; None means all of the file.

    Returns
    -------
    pyarrow.Table
        Of schema `GENE2ENSEMBL`, each pair once, ids without version.

    Raises
    ------
    InputFileError
        If the file is missing, damaged or of another format.
    """
    columns = {
        "tax_id": pa.int32(),
        "GeneID": pa.int64(),
        "Ensembl_gene_identifier": pa.string(),
    }
    batches = []
    for whole in stream_tsv(path, "NCBI gene2ensembl", columns):
        batch = keep_taxa(whole, taxa, "tax_id")
        batch = batch.filter(pc.is_valid(batch["Ensembl_gene_identifier"]))
        ensembl = pc.replace_substring_regex(
            batch["Ensembl_gene_identifier"], f"^{_ENSEMBL_VERSION.pattern}$", r"\1"
        )
        batches.append(pa.record_batch([batch["GeneID"], ensembl], schema=GENE2ENSEMBL))
    table = _table(path, "NCBI gene2ensembl", batches, GENE2ENSEMBL)
    # The file has one line per transcript.
    return table.group_by(GENE2ENSEMBL.names).aggregate([])


def read_gene_history(path: Path, taxa: Collection[int] | None = None) -> pa.Table:
    """Read replaced GeneIDs from NCBI's ``gene_history``.

    Parameters
    ----------
    path
        The file, plain or gzip.
    taxa
        NCBI taxonomy ids of the requested species; None means all of the file.

    Returns
    -------
    pyarrow.Table
        Of schema `GENE_HISTORY`; ids discontinued without a replacement are left out.

    Raises
    ------
    InputFileError
        If the file is missing, damaged or of another format.
    """
    columns = {
        "tax_id": pa.int32(),
        "GeneID": pa.int64(),
        "Discontinued_GeneID": pa.int64(),
    }
    batches = []
    for whole in stream_tsv(path, "NCBI gene_history", columns):
        batch = keep_taxa(whole, taxa, "tax_id")
        batch = batch.filter(pc.is_valid(batch["GeneID"]))
        batches.append(
            pa.record_batch([batch["GeneID"], batch["Discontinued_GeneID"]], schema=GENE_HISTORY)
        )
    return _table(path, "NCBI gene_history", batches, GENE_HISTORY)


def without_version(name: str) -> str:
    """Remove the version of an Ensembl id (``ENSG00000121410.5``); return other names unchanged."""
    found = _ENSEMBL_VERSION.fullmatch(name)
    return found[1] if found else name


def _table(path: Path, what: str, batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> pa.Table:
    table = pa.Table.from_batches(batches, schema)
    for name in schema.names:
        if table[name].null_count:
            raise InputFileError(f"{what} file {path}: a line has no {name}; expected an integer")
    return table


def _split(joined: pa.Array) -> pa.Array:
    """Split ``a|b`` into lists; a null gives an empty list."""
    return pc.fill_null(pc.split_pattern(joined, "|"), pa.scalar([], _STRINGS))


def _others(ncbi_symbol: pa.Array, symbol: pa.Array) -> pa.Array:
    """Return NCBI's symbol of each gene as a list, empty if it equals the symbol."""
    pairs = zip(ncbi_symbol.to_pylist(), symbol.to_pylist(), strict=True)
    return pa.array([[ncbi] if ncbi not in ("", shown) else [] for ncbi, shown in pairs], _STRINGS)


def _locus_tags(batch: pa.RecordBatch) -> tuple[pa.Array, pa.Array]:
    """Return the Ensembl ids and the synonyms of genes, including their locus tags."""
    ids = [_ensembl_ids(refs) for refs in batch["dbXrefs"].to_pylist()]
    synonyms = _split(batch["Synonyms"])
    tags = batch["LocusTag"]
    if tags.null_count == len(tags):
        return pa.array(ids, _STRINGS), synonyms
    named = synonyms.to_pylist()
    for own_ids, own_names, tag in zip(ids, named, tags.to_pylist(), strict=True):
        if tag is None:
            continue
        if "_" not in tag and not own_ids:
            own_ids.append(tag)
            continue
        of_species = _TAG_OF_SPECIES.fullmatch(tag)  # Dmel_CG3038, CELE_Y74C9A.3
        more = [tag, of_species[1]] if of_species else [tag]
        own_names += [name for name in more if name not in own_names]
    return pa.array(ids, _STRINGS), pa.array(named, _STRINGS)


def _ensembl_ids(references: str | None) -> list[str]:
    """Return the Ensembl gene ids in ``dbXrefs``, without version."""
    if references is None:
        return []
    found = [ref.split(":")[-1] for ref in references.split("|") if ref.startswith(_ID_AUTHORITIES)]
    return list(dict.fromkeys(without_version(name) for name in found))
