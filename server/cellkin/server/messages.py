"""Messages used in the responses of several services."""

from importlib.metadata import version

import numpy as np

from cellkin.space.arrays import Int64Vector
from cellkin.store.catalog import Entry
from cellkin.store.cell_index import space_digests
from cellkin.store.corpus import GeneNames
from cellkin.v1 import cell_service_pb2, gene_service_pb2, versions_pb2
from cellkin.wire import codec
from cellkin.wire.match import GeneMatch

SERVER = version("cellkin")


def embedding_versions(entry: Entry) -> versions_pb2.Versions:
    """Return the versions behind a gene embedding."""
    return versions_pb2.Versions(
        embedding=entry.full_name, corpus=entry.manifest["corpus"], server=SERVER
    )


def index_versions(entry: Entry) -> versions_pb2.Versions:
    """Return the versions behind a cell index."""
    return versions_pb2.Versions(
        index=entry.full_name,
        space_digest=next(iter(space_digests(entry).values())),
        embedding=entry.manifest.get("embedding", ""),
        corpus=entry.manifest["corpus"],
        server=SERVER,
    )


def corpus_versions(entry: Entry) -> versions_pb2.Versions:
    """Return the version of a corpus."""
    return versions_pb2.Versions(corpus=entry.full_name, server=SERVER)


def gene_record(genes: GeneNames, row: int) -> gene_service_pb2.GeneRecord:
    """Return the record of a corpus row."""
    return gene_records(genes, np.array([row]))[0][0]


def gene_records(
    genes: GeneNames, rows: Int64Vector
) -> tuple[list[gene_service_pb2.GeneRecord], list[str]]:
    """Return the records of corpus rows, and their NCBI gene types.

    Parameters
    ----------
    genes
        The names of a corpus.
    rows
        (n,) int64.
    """
    found = genes.table.select(_RECORD).take(rows).to_pylist()
    types = [row.pop("gene_type") for row in found]
    return [gene_service_pb2.GeneRecord(**row) for row in found], types


_RECORD = ["gene_id", "taxon", "symbol", "name", "rung", "gene_type"]


def match_message(match: GeneMatch) -> cell_service_pb2.GeneMatch:
    """Convert a match report to its message."""
    return cell_service_pb2.GeneMatch(
        taxon=match.taxon,
        taxon_inferred=match.taxon_inferred,
        gene_ids=codec.encode(match.gene_ids),
        routes=codec.encode(match.routes),
        rungs=codec.encode(match.rungs),
        in_space=codec.encode(match.in_space),
    )
