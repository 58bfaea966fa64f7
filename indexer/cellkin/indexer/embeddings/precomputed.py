"""Publish precomputed gene vectors from a file as a gene embedding of a corpus."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from cellkin.indexer.embeddings.job import publish_vectors
from cellkin.indexer.embeddings.vector_files import read_vectors
from cellkin.indexer.models.registry import model_names
from cellkin.space.arrays import Int64Vector
from cellkin.space.genes import Resolution
from cellkin.space.vectors import unit_rows
from cellkin.store.catalog import Entry, Kind
from cellkin.store.corpus import GeneNames, read_gene_names
from cellkin.store.digest import file_digest
from cellkin.store.store import Store
from cellkin.wire.errors import AlreadyExistsError, GenesUnmatchedError, InputFileError
from cellkin.wire.match import GeneMatch
from cellkin.wire.names import VersionName, check_name

_SHOWN = 5


@dataclass(frozen=True)
class LoadReport:
    """Result of loading a file of vectors.

    Parameters
    ----------
    entry
        The published version.
    match
        Report on the matching of the file's gene names with the corpus.
    n_repeated
        Names left out because another name gives their gene the same vector.
    """

    entry: Entry
    match: GeneMatch
    n_repeated: int


def load_vectors(
    store: Store, path: Path, name: str, corpus: VersionName, taxon: int = 0
) -> LoadReport:
    """Publish the vectors of a file as a version of a gene embedding.

    Ambiguous and unknown names are counted, never guessed. Vectors are scaled to unit length.

    Parameters
    ----------
    store
        Store with the corpus, to which the embedding is added.
    path
        The file; see `cellkin.indexer.embeddings.vector_files.read_vectors`.
    name
        Name of the embedding.
    corpus
        Corpus that resolves the gene names.
    taxon
        NCBI taxonomy id of the species; 0 infers it from the names.

    Raises
    ------
    InvalidArgumentError
        If the name is invalid, or the file is (`InputFileError`, `DimensionMismatchError`), or a
        gene has several vectors (`InputFileError`).
    AlreadyExistsError
        If the name is that of a language model or a control.
    NotFoundError
        If the corpus does not exist or has no gene of the species.
    GenesUnmatchedError
        If no name in the file resolves to a gene of the corpus.
    """
    _check_free(store, check_name(name, "gene embedding"))
    source = store.catalog.resolve(Kind.CORPUS, corpus)
    given = read_vectors(path)
    genes = read_gene_names(store, source)
    resolution = genes.resolver.resolve(given.names, taxon)
    match = _match(genes, resolution)
    if not match.n_matched:
        raise GenesUnmatchedError(
            f"none of the {len(given.names)} names in {path} means one gene of corpus "
            f"{source.full_name}, for example {', '.join(given.names[:_SHOWN])}; names may be "
            "symbols, synonyms, Ensembl gene ids or NCBI GeneIDs of one species",
            match.to_metadata(),
        )
    met = np.flatnonzero(resolution.rows >= 0)
    rows, first, of_row = np.unique(resolution.rows[met], return_index=True, return_inverse=True)
    vectors = given.vectors[met]
    differs = (vectors != vectors[first][of_row]).any(axis=1)
    if differs.any():
        raise _several_vectors(path, genes, resolution, np.unique(rows[of_row[differs]]))
    columns = genes.table.select(["gene_id", "taxon"]).take(pa.array(rows))
    # The corpus does not have the texts of these vectors, if there are any.
    columns = columns.append_column("text_sha256", pa.array([""] * len(rows), pa.string()))
    settings = {
        "model": name,
        "file": path.name,
        "file_sha256": file_digest(path),
        "dim": given.vectors.shape[1],
        "match": match.to_metadata(),
    }
    entry = publish_vectors(store, name, source, settings, columns, unit_rows(vectors[first]))
    return LoadReport(entry, match, len(met) - len(rows))


def _check_free(store: Store, name: str) -> None:
    """Raise an error for a name that is used or reserved for a language model or a control."""
    versions = store.catalog.entries(Kind.EMBEDDING, name)
    if name in model_names() or (
        versions and "file_sha256" not in versions[-1].manifest["settings"]
    ):
        raise AlreadyExistsError(
            f"gene embedding {name!r} is what a language model or a control makes; give vectors "
            "made elsewhere a name of their own"
        )


def _match(genes: GeneNames, resolution: Resolution) -> GeneMatch:
    met = resolution.rows >= 0
    safe = np.where(met, resolution.rows, 0)
    return GeneMatch(
        resolution.taxon,
        resolution.taxon_inferred,
        np.where(met, genes.gene_ids[safe], 0),
        resolution.routes,
        np.where(met, genes.rungs[safe], 0).astype(np.uint8),
        met.astype(np.uint8),
    )


def _several_vectors(
    path: Path, genes: GeneNames, resolution: Resolution, rows: Int64Vector
) -> InputFileError:
    def described(row: int) -> str:
        gene_id = int(genes.gene_ids[row])
        names: Sequence[str] = resolution.duplicates[gene_id]
        return f"GeneID {gene_id} as {', '.join(names[:_SHOWN])}"

    shown = "; ".join(described(row) for row in rows[:_SHOWN].tolist())
    return InputFileError(
        f"vectors file {path}: {len(rows)} genes are named more than once, with different vectors: "
        f"{shown}; keep one vector for each gene"
    )
