"""Import a file of gene sets as a version of a collection."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cellkin.indexer.genes.download import file_sha256
from cellkin.indexer.genes.fetch import local_file
from cellkin.indexer.genes.ncbi import read_gene_orthologs
from cellkin.indexer.genes.orthologs import one_to_one
from cellkin.indexer.genesets.collection import MatchReport, match_sets, orthologs_in
from cellkin.indexer.genesets.go import read_go
from cellkin.indexer.genesets.named_sets import NamedSet, read_gmt
from cellkin.indexer.genesets.tables import Columns, read_table
from cellkin.store.catalog import Entry, Kind
from cellkin.store.corpus import read_gene_names
from cellkin.store.store import Store
from cellkin.wire.errors import InvalidArgumentError
from cellkin.wire.names import VersionName
from cellkin.wire.terms import GeneSetKind

_TABLES = (".tsv", ".txt", ".csv")


@dataclass(frozen=True)
class SetSource:
    """The files of gene sets, by path or URL.

    Parameters
    ----------
    location
        A GMT file, a table, or an ontology with annotations; plain or gzip.
    annotations
        For an ontology, a GAF file.
    namespace
        For an ontology, only terms of this namespace; empty for all.
    columns
        What to read of a table.
    """

    location: str
    annotations: str = ""
    namespace: str = ""
    columns: Columns = field(default_factory=Columns)


def import_sets(
    store: Store,
    name: str,
    source: SetSource,
    corpus: VersionName,
    *,
    set_kind: GeneSetKind,
    taxon: int = 0,
    to_taxon: int = 0,
    gene_orthologs: str = "",
) -> tuple[Entry, MatchReport]:
    """Read gene sets, match their gene names, and publish them.

    Parameters
    ----------
    store
        The store.
    name
        Name of the collection.
    source
        The files.
    corpus
        The corpus whose gene names count.
    set_kind
        What the sets are.
    taxon
        Species of the gene names, NCBI taxonomy id; 0 to infer it from them.
    to_taxon
        Species to carry the sets to by one-to-one orthologs; 0 to leave them.
    gene_orthologs
        NCBI gene_orthologs, for ``to_taxon``.

    Raises
    ------
    InputFileError
        If a file is missing, damaged or of another format.
    InvalidArgumentError
        If options contradict each other.
    GenesUnmatchedError
        If no gene name matches.
    NotFoundError
        If there is no such corpus, or it has no gene of a species.
    """
    if bool(to_taxon) != bool(gene_orthologs):
        raise InvalidArgumentError(
            "to carry gene sets to another species give both it (--to-taxon) and NCBI's table of "
            "orthologs (--gene-orthologs)"
        )
    given = {
        "sets": source.location, "annotations": source.annotations, "orthologs": gene_orthologs,
    }  # fmt: skip
    paths = {role: local_file(location) for role, location in given.items() if location}
    named, counts = read_sets(source, paths["sets"], paths.get("annotations"), taxon)
    made_from = store.catalog.resolve(Kind.CORPUS, corpus)
    genes = read_gene_names(store, made_from)
    orthologs = None
    if to_taxon:
        pairs = read_gene_orthologs(paths["orthologs"], {to_taxon})
        orthologs = orthologs_in(one_to_one(pairs), genes, to_taxon)
    sets, report = match_sets(named, genes, taxon, orthologs)
    manifest = {
        "set_kind": set_kind.label,
        "taxon": to_taxon or report.taxon,
        "n_sets": len(sets),
        "n_genes": len(sets.all_gene_ids),
        "corpus": made_from.full_name,
        "corpus_digest": made_from.digest,
        "carried_from_taxon": report.taxon if to_taxon else 0,
        "match": report.to_manifest(),
        **counts,
        "sources": [
            {"role": role, "location": given[role], "sha256": file_sha256(path)}
            for role, path in paths.items()
        ],
        "settings": asdict(source.columns) | {"namespace": source.namespace},
    }
    return store.publish_gene_sets(name, sets, manifest), report


def read_sets(
    source: SetSource, path: Path, annotations: Path | None, taxon: int
) -> tuple[list[NamedSet], dict[str, Any]]:
    """Read gene sets by the format of the file's name, and return them with counts of the source.

    Raises
    ------
    InputFileError
        If a file is missing, damaged or of another format.
    InvalidArgumentError
        If the name has no known ending, or an option is not of its format.
    """
    ending = Path(path.name.lower().removesuffix(".gz")).suffix
    if ending not in (".gmt", ".obo", *_TABLES):
        raise InvalidArgumentError(
            f"gene sets {source.location}: expected a name that ends in .gmt, .obo, "
            f"{', '.join(_TABLES)}, or one of these and .gz"
        )
    if ending not in _TABLES and source.columns != Columns():
        raise InvalidArgumentError(
            f"gene sets {source.location}: columns and --where are of tables, not of {ending} files"
        )
    if ending != ".obo" and (source.annotations or source.namespace):
        raise InvalidArgumentError(
            f"gene sets {source.location}: annotations and a namespace are of ontologies (.obo), "
            f"not of {ending} files"
        )
    if ending == ".gmt":
        return read_gmt(path), {}
    if ending in _TABLES:
        return read_table(path, source.columns), {}
    if annotations is None:
        raise InvalidArgumentError(
            f"ontology {source.location} has terms and no genes; give the genes' annotations with "
            "--annotations, such as goa_human.gaf.gz"
        )
    found = read_go(path, annotations, source.namespace, taxon)
    counts = {what: n for what, n in vars(found).items() if what.startswith("n_")}
    return found.sets, {"annotations": counts}
