"""A store: a folder of LanceDB tables and index artifacts under one catalog."""

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from cellkin.space.arrays import Float32Matrix, Float32Vector, Int32Vector, Int64Vector
from cellkin.store import schema
from cellkin.store.catalog import Catalog, Entry, Kind
from cellkin.store.checked_tables import CheckedTables
from cellkin.store.digest import table_digest
from cellkin.store.failures import reading, writing
from cellkin.store.files import Files, files_at, local_root
from cellkin.store.gene_sets import GeneSets
from cellkin.store.table_files import manifest_paths
from cellkin.wire.errors import (
    ConflictError,
    FailedPreconditionError,
    IntegrityError,
    InvalidArgumentError,
    NotFoundError,
)
from cellkin.wire.names import check_name

if TYPE_CHECKING:
    import lancedb

_UNIT_TOLERANCE = 1e-3
STAGING = "staging-"
"""Prefix of the names of tables of unfinished runs."""


@dataclass(frozen=True)
class GeneEmbedding:
    """The vectors of one gene embedding version.

    Parameters
    ----------
    gene_ids, taxa
        (n_genes,) int64 NCBI GeneIDs ascending, int32 NCBI taxonomy ids.
    text_sha256
        (n_genes,) hexadecimal SHA-256 of the text of each vector.
    vectors
        (n_genes, dim) float32, unit rows.
    """

    gene_ids: Int64Vector
    taxa: Int32Vector
    text_sha256: list[str]
    vectors: Float32Matrix

    def check(self) -> None:
        """Check that all vectors are finite and of unit length.

        Raises
        ------
        InvalidArgumentError
            If a vector is not finite or not of unit length.
        """
        norms = np.linalg.norm(self.vectors.astype(np.float64), axis=1)
        for wrong, what in (
            (~np.isfinite(norms), "are not finite"),
            (np.abs(norms - 1) > _UNIT_TOLERANCE, "are not of unit length"),
        ):
            if wrong.any():
                raise InvalidArgumentError(
                    f"the vectors of {np.count_nonzero(wrong)} genes {what}, such as that of "
                    f"GeneID {self.gene_ids[wrong][0]}"
                )

    def to_table(self) -> pa.Table:
        """Return the rows to store."""
        dim = self.vectors.shape[1]
        flat = pa.array(np.ascontiguousarray(self.vectors, np.float32).reshape(-1))
        return pa.table(
            [
                pa.array(self.gene_ids, pa.int64()),
                pa.array(self.taxa, pa.int32()),
                pa.array(self.text_sha256, pa.string()),
                pa.FixedSizeListArray.from_arrays(flat, type=pa.list_(pa.float32(), dim)),
            ],
            schema=schema.embedding_schema(dim),
        )

    @classmethod
    def from_table(cls, table: pa.Table) -> "GeneEmbedding":
        """Create from stored rows."""
        table = table.combine_chunks()
        dim = table.schema.field("vector").type.list_size
        vectors = [chunk.flatten().to_numpy() for chunk in table["vector"].chunks]
        flat = np.concatenate(vectors) if vectors else np.empty(0, np.float32)
        return cls(
            table["gene_id"].to_numpy(),
            table["taxon"].to_numpy(),
            table["text_sha256"].to_pylist(),
            flat.reshape(-1, dim),
        )


class Store:
    """All stored data of cellkin under one URI.

    Open a store with `Store.open`, or with `Store.create` if it may not exist yet.

    Attributes
    ----------
    uri
        URI of the store.
    catalog
        The catalog of versions.
    files
        The folders and files.
    checked
        The tables of versions, whose rows are compared with their digests when read.
    """

    def __init__(self, uri: str, files: Files) -> None:
        self.uri = uri
        self.catalog = Catalog(self._root())
        self.files = files
        self.checked = CheckedTables(self.table_uri, self._folder())
        self._safe_writers = False

    @cached_property
    def database(self) -> "lancedb.DBConnection":
        """The LanceDB connection, used for writing; reading uses Lance directly."""
        from cellkin.store.lancedb_import import lancedb

        return lancedb.connect(self._root())

    @classmethod
    def open(cls, uri: str) -> "Store":
        """Open an existing store.

        Parameters
        ----------
        uri
            A local folder or an object store: ``s3://``, ``gs://``, ``az://``.

        Raises
        ------
        NotFoundError
            If there is no store.
        InvalidArgumentError
            If the URI names a file or has an unknown scheme.
        UnavailableError
            If this cannot be determined now.
        """
        refuse_file(uri)
        store = cls(uri, files_at(uri))
        if not store.catalog.is_there():
            raise NotFoundError(
                f"no cellkin store at {uri}; make one with "
                f"`cellkin genes import --store {uri} --gene-info FILE`"
            )
        return store

    @classmethod
    def create(cls, uri: str) -> "Store":
        """Open a store, creating it if there is none.

        Raises
        ------
        InvalidArgumentError
            If the URI names a file or has an unknown scheme.
        FailedPreconditionError
            If it is an object store in which concurrent writers would lose commits.
        IntegrityError
            If it has tables of versions whose catalog was lost.
        """
        files = files_at(uri)
        files.require_safe_writers()
        refuse_file(uri)
        make_folder(uri)
        store = cls(uri, files)
        if not store.catalog.is_there():
            store.catalog.create()
        return store

    def publish_corpus(self, name: str, table: pa.Table, manifest: Mapping[str, Any]) -> Entry:
        """Write a corpus version.

        Parameters
        ----------
        name
            Name of the corpus.
        table
            Rows of `schema.corpus_schema`, ascending by GeneID.
        manifest
            Sources, template and counts; the location of the table is added.
        """
        check_name(name, "corpus")
        rows = table.cast(schema.corpus_schema(table.column_names))
        return self._publish_table(Kind.CORPUS, name, rows, manifest)

    def corpus(self, entry: Entry, columns: list[str] | None = None) -> pa.Table:
        """Read a corpus version, with all columns or those of the given ones that it has."""
        return self.checked.read(entry, columns)

    def corpus_rows(self, entry: Entry, gene_ids: Sequence[int]) -> pa.Table:
        """Read genes of a corpus version, with all columns, in no particular order.

        Parameters
        ----------
        entry
            The version.
        gene_ids
            NCBI GeneIDs.
        """
        wanted = ", ".join(str(int(gene_id)) for gene_id in gene_ids) or "NULL"
        return self.checked.rows(entry, f"gene_id IN ({wanted})")

    def publish_embedding(
        self, name: str, embedding: GeneEmbedding, manifest: Mapping[str, Any]
    ) -> Entry:
        """Write a gene embedding version.

        Parameters
        ----------
        name
            Name of the embedding model.
        embedding
            The vectors.
        manifest
            Model, corpus and counts; the location of the table is added.

        Raises
        ------
        InvalidArgumentError
            If a vector is not finite or not of unit length.
        """
        check_name(name, "gene embedding")
        embedding.check()
        return self._publish_table(Kind.EMBEDDING, name, embedding.to_table(), manifest)

    def embedding(self, entry: Entry) -> GeneEmbedding:
        """Read a gene embedding version."""
        return GeneEmbedding.from_table(self.checked.read(entry))

    def publish_gene_sets(self, name: str, sets: GeneSets, manifest: Mapping[str, Any]) -> Entry:
        """Write a version of a gene set collection.

        Parameters
        ----------
        name
            Name of the collection.
        sets
            The sets.
        manifest
            ``set_kind``, ``taxon``, ``n_sets``, ``n_genes``, ``corpus``, ``corpus_digest`` and
            sources; the location of the table is added.

        Raises
        ------
        InvalidArgumentError
            If the sets are inconsistent; see `GeneSets.check`.
        """
        check_name(name, Kind.GENE_SETS.noun)
        sets.check()
        return self._publish_table(Kind.GENE_SETS, name, sets.to_table(), manifest)

    def gene_sets(self, entry: Entry) -> GeneSets:
        """Read a version of a gene set collection."""
        return GeneSets.from_table(self.checked.read(entry))

    def publish_index(
        self, name: str, write: Callable[[Path], None], manifest: Mapping[str, Any]
    ) -> Entry:
        """Write a cell index version.

        Parameters
        ----------
        name
            Name of the index.
        write
            Writes the files of the index into the empty folder it is given.
        manifest
            Sources of the index; its files and their digests are added.
        """
        check_name(name, "cell index")
        self._require_safe_writers()
        with writing(f"cell index {name!r} in the store at {self.uri}"):
            path, files = self.files.publish(f"indexes/{name}", write)
        if "table" in manifest:
            self._keep(Kind.INDEX, name, manifest["table"], manifest["table_version"])
        return self.catalog.commit(
            Kind.INDEX, name, path.rpartition("/")[2], {**manifest, "path": path, "files": files}
        )

    def index_folder(self, entry: Entry, again: bool = True) -> Path:
        """Return a local folder with the files of a cell index after checking their digests.

        Parameters
        ----------
        entry
            The version.
        again
            Whether to reread files that were checked before and not touched since.

        Raises
        ------
        IntegrityError
            If a file is missing or was changed.
        FailedPreconditionError
            If the index has a format that cannot be read.
        """
        what = f"cell index {entry.full_name}"
        if (found := entry.manifest.get("format", schema.INDEX_FORMAT)) != schema.INDEX_FORMAT:
            todo = (
                "`cellkin store upgrade` brings it to this one"
                if found < schema.INDEX_FORMAT
                else "it was made by a later cellkin: install that"
            )
            raise FailedPreconditionError(
                f"{what} has format {found}, where this cellkin reads {schema.INDEX_FORMAT}; {todo}"
            )
        return self.files.folder(entry.manifest["path"], entry.manifest["files"], what, again)

    def table_uri(self, name: str) -> str:
        """Return the URI of a table for Lance."""
        return f"{self._root()}/{name}.lance"

    def _folder(self) -> Path | None:
        """Return the local folder of the store; None for an object store."""
        local = _is_local(self.uri)
        return local_root(self.uri) if local else None

    @property
    def root(self) -> str:
        """The absolute folder or object store URI."""
        return self._root()

    def _root(self) -> str:
        return str(self._folder() or self.uri.rstrip("/"))

    def tables(self) -> list[str]:
        """Return the names of all tables."""
        folders = self.files.folders()
        return [name.removesuffix(".lance") for name in folders if name.endswith(".lance")]

    @contextmanager
    def staging(self, name: str, dim: int) -> Iterator["Staging"]:
        """Open the vectors of an unfinished run; they are deleted if the block succeeds.

        Parameters
        ----------
        name
            Identifies the model and settings; runs with other settings never see the vectors.
        dim
            Dimension of a vector.
        """
        self._require_safe_writers()
        table_name = f"{STAGING}{name}"
        columns = pa.schema(
            [
                pa.field("text_sha256", pa.string(), nullable=False),
                pa.field("vector", pa.list_(pa.float32(), dim), nullable=False),
            ]
        )
        what = f"table {table_name} of the store at {self.uri}"
        with writing(what):
            table = self.database.create_table(table_name, schema=columns, exist_ok=True)
        yield Staging(table, dim, what)
        # Emptied instead of dropped: another run of the same model may be appending, and appending
        # to a dropped table leaves an unreadable one.
        with writing(what):
            table.checkout_latest()
            table.delete("true")

    def _keep(self, kind: Kind, name: str, table: str, version: int) -> None:
        """Set the time of a table version to now, so that it is not collected before the commit."""
        for path in manifest_paths(table, version):
            with suppress(FileNotFoundError):
                return self.files.touch(path)
        raise ConflictError(
            f"{kind.noun} {name!r}: version {version} of table {table}, which this run wrote, was "
            "removed meanwhile, by a `gc` with an age below the time that the run takes; nothing "
            "was published, run it again"
        )

    def _require_safe_writers(self) -> None:
        if not self._safe_writers:
            self.files.require_safe_writers()
            self._safe_writers = True

    def _publish_table(
        self, kind: Kind, name: str, table: pa.Table, manifest: Mapping[str, Any]
    ) -> Entry:
        self._require_safe_writers()
        table_name = f"{kind}-{name}"
        digest = table_digest(table)
        with writing(f"{kind.noun} {name!r} in the store at {self.uri}"):
            written = self.database.create_table(table_name, table, mode="overwrite")
            # A tag protects the version from Lance's cleanup.
            written.tags.create(f"sha256-{digest[:16]}-{uuid.uuid4().hex[:8]}", written.version)
        location = {"table": table_name, "table_version": written.version, "n_rows": len(table)}
        entry = Entry(kind, name, "new", "", digest, {**manifest, **location})
        try:
            self.checked.read(entry)
        except IntegrityError as error:
            raise ConflictError(
                f"{kind.noun} {name!r}: another writer replaced the table while this one wrote; "
                "nothing was published, run the command again"
            ) from error
        return self.catalog.commit(kind, name, digest, entry.manifest)


class Staging:
    """Vectors of an unfinished run, by SHA-256 of their text."""

    def __init__(self, table: Any, dim: int, what: str) -> None:
        self._table = table
        self._dim = dim
        self._what = what

    def vectors(self) -> dict[str, Float32Vector]:
        """Return the vectors committed so far: text SHA-256 to (dim,) float32."""
        with reading(self._what, "remove the table, which has unfinished work alone"):
            rows = self._table.to_arrow().combine_chunks()
        flat = [chunk.flatten().to_numpy() for chunk in rows["vector"].chunks]
        matrix = np.concatenate(flat).reshape(-1, self._dim) if flat else np.empty((0, self._dim))
        return dict(zip(rows["text_sha256"].to_pylist(), matrix, strict=True))

    def append(self, text_sha256: list[str], vectors: Float32Matrix) -> None:
        """Commit vectors, so that they survive a crash."""
        flat = pa.array(np.ascontiguousarray(vectors, np.float32).reshape(-1))
        column = pa.FixedSizeListArray.from_arrays(flat, type=pa.list_(pa.float32(), self._dim))
        with writing(self._what):
            self._table.add(pa.table([pa.array(text_sha256), column], schema=self._table.schema))


def _is_local(uri: str) -> bool:
    return "://" not in uri or uri.startswith("file://")


def make_folder(uri: str) -> None:
    """Create the folder of a store if it is a local one and missing."""
    if _is_local(uri):
        with writing(f"store {uri}"):
            local_root(uri).mkdir(parents=True, exist_ok=True)


def refuse_file(uri: str) -> None:
    """Raise `InvalidArgumentError` if the URI of a store names a file."""
    if _is_local(uri) and local_root(uri).is_file():
        raise InvalidArgumentError(f"store {uri} is a file; give a folder")
