"""Schemas of the tables."""

from collections.abc import Sequence

import pyarrow as pa

CORPUS = pa.schema(
    [
        pa.field("gene_id", pa.int64(), nullable=False),  # NCBI GeneID; rows ascend by it
        pa.field("taxon", pa.int32(), nullable=False),  # NCBI taxonomy id
        pa.field("symbol", pa.string(), nullable=False),  # "" if only a summary names the gene
        pa.field("name", pa.string(), nullable=False),  # full name, "" if there is none
        pa.field("synonyms", pa.list_(pa.string()), nullable=False),
        pa.field("designations", pa.list_(pa.string()), nullable=False),
        pa.field("ensembl_ids", pa.list_(pa.string()), nullable=False),  # without version
        pa.field("former_ids", pa.list_(pa.int64()), nullable=False),  # discontinued GeneIDs
        pa.field("gene_type", pa.string(), nullable=False),  # NCBI's type_of_gene
        pa.field("rung", pa.uint8(), nullable=False),  # TextRung
        pa.field("text", pa.string(), nullable=False),  # "" for rung NONE
        pa.field("text_source", pa.string(), nullable=False),  # such as "RefSeq", "STRING v12.0"
        pa.field("text_gene_id", pa.int64(), nullable=False),  # gene of the text; 0 for rung NONE
        pa.field("n_sharing", pa.int32(), nullable=False),  # genes that use the same summary
        pa.field("text_sha256", pa.string(), nullable=False),  # hexadecimal; "" for rung NONE
    ]
)
"""A corpus: one row per gene, with its text and the source of the text."""

OTHER_SYMBOLS = pa.field("other_symbols", pa.list_(pa.string()), nullable=False)
"""Last column of a corpus in which NCBI's and the nomenclature authority's symbols differ."""


def corpus_schema(columns: Sequence[str]) -> pa.Schema:
    """Return the schema of a corpus with these columns."""
    return CORPUS.append(OTHER_SYMBOLS) if OTHER_SYMBOLS.name in columns else CORPUS


def embedding_schema(dim: int) -> pa.Schema:
    """Return the schema of a gene embedding of ``dim`` dimensions; rows ascend by GeneID."""
    return pa.schema(
        [
            pa.field("gene_id", pa.int64(), nullable=False),
            pa.field("taxon", pa.int32(), nullable=False),
            pa.field("text_sha256", pa.string(), nullable=False),
            pa.field("vector", pa.list_(pa.float32(), dim), nullable=False),
        ]
    )


def cells_schema(dim: int, expression_dim: int) -> pa.Schema:
    """Return the schema of the cells of a reference; rows are in the order of the index.

    Parameters
    ----------
    dim, expression_dim
        Dimensions of the text and expression vectors; 0 without such vectors.
    """
    columns = [
        pa.field("id", pa.string(), nullable=False),  # unique
        pa.field("label", pa.string(), nullable=False),  # subtype
        pa.field("batch", pa.string(), nullable=False),  # donor or batch, "" if not given
    ]
    # "vector" is the weighted mean of the gene embedding over a cell's genes, before centering.
    for name, width in (("vector", dim), ("expression", expression_dim)):
        if width:
            columns.append(pa.field(name, pa.list_(pa.float32(), width), nullable=False))
    return pa.schema(columns)


GENE_SETS = pa.schema(
    [
        pa.field("set", pa.string(), nullable=False),  # unique
        pa.field("description", pa.string(), nullable=False),  # may be ""
        pa.field("gene_ids", pa.list_(pa.int64()), nullable=False),  # NCBI GeneIDs, ascending
        pa.field("weights", pa.list_(pa.float32()), nullable=False),  # 1 without weights
        pa.field("unmatched", pa.list_(pa.string()), nullable=False),  # names without a gene
    ]
)
"""A collection of gene sets: one row per set, in the order of the source."""

INDEX_FORMAT = 5
"""The format of the files of a cell index; increased when older files become unreadable."""

CATALOG = pa.schema(
    [
        # kind/name@version. Concurrent inserts of the same key conflict only with this metadata.
        pa.field(
            "key",
            pa.string(),
            nullable=False,
            metadata={"lance-schema:unenforced-primary-key": "true"},
        ),
        pa.field("kind", pa.string(), nullable=False),  # value of Kind
        pa.field("name", pa.string(), nullable=False),
        pa.field("version", pa.string(), nullable=False),  # date.n
        pa.field("created_at", pa.string(), nullable=False),  # ISO 8601, UTC
        pa.field("digest", pa.string(), nullable=False),  # SHA-256 of the content, hexadecimal
        pa.field("manifest", pa.string(), nullable=False),  # JSON
    ]
)
"""The versions in the catalog: one row per version, mirrored from the journal."""

MARKS = pa.schema(
    [
        CATALOG.field("key"),  # mark/kind/name@selector
        pa.field("mark", pa.string(), nullable=False),  # alias or retraction
        pa.field("kind", pa.string(), nullable=False),
        pa.field("name", pa.string(), nullable=False),
        pa.field("selector", pa.string(), nullable=False),  # the alias, or the version retracted
        pa.field("value", pa.string(), nullable=False),  # the version, or the reason as JSON
        pa.field("changed_at", pa.string(), nullable=False),  # ISO 8601, UTC
    ]
)
"""The mutable part of the catalog: aliases and retractions of versions."""
