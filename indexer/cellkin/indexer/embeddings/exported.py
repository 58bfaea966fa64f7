"""Gene embeddings as one file each, so that one machine computes them for many.

The file is safetensors: a vector in half precision for each text, the genes of each text, and, as
JSON in its header, what it was made from and a digest of all of it. Vectors are installed by text:
genes of any corpus that have one of the texts.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from cellkin.indexer.embeddings.job import publish_vectors, with_text
from cellkin.indexer.models.half import as_half, from_half
from cellkin.store.catalog import Entry, Kind
from cellkin.store.controls import is_control
from cellkin.store.digest import file_digest
from cellkin.store.store import Store
from cellkin.wire.errors import (
    FailedPreconditionError,
    InputFileError,
    IntegrityError,
    InvalidArgumentError,
)
from cellkin.wire.names import VersionName, check_name

_FORMAT = 1
_HEADER = "cellkin_embedding"
_ARRAYS = ("texts", "vectors", "gene_ids", "taxa", "rows")
_DIGEST_BYTES = 32
Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class InstallReport:
    """Result of installing a file.

    Parameters
    ----------
    entry
        The published version.
    n_texts
        Texts of the file.
    n_left_out
        Genes of the corpus that have a text of which the file has no vector.
    same
        Whether the version equals the one that was exported.
    """

    entry: Entry
    n_texts: int
    n_left_out: int
    same: bool


def export_embedding(store: Store, version: VersionName, path: Path) -> Entry:
    """Write a gene embedding to a file.

    Parameters
    ----------
    store, version
        The embedding, made by a language model.
    path
        Output file; it appears when it is complete.

    Raises
    ------
    NotFoundError
        If there is no such version.
    InvalidArgumentError
        If the vectors are those of a control or were loaded from a file.
    """
    entry = store.catalog.resolve(Kind.EMBEDDING, version)
    manifest = entry.manifest
    if is_control(manifest) or "revision" not in manifest["settings"]:
        raise InvalidArgumentError(
            f"gene embedding {entry.full_name} was not made of texts by a language model; make "
            "controls again by `cellkin genes embed`, and load vectors again by `cellkin genes "
            "load`, which take seconds"
        )
    embedding = store.embedding(entry)
    texts, first, rows = np.unique(embedding.text_sha256, return_index=True, return_inverse=True)
    vectors = embedding.vectors[first]
    halves = as_half(vectors)
    exact = from_half(halves, entry.name).tobytes() == vectors.tobytes()
    arrays: Arrays = {
        "texts": np.frombuffer(bytes.fromhex("".join(texts)), np.uint8).reshape(-1, _DIGEST_BYTES),
        "vectors": halves,
        "gene_ids": embedding.gene_ids.astype(np.int64),
        "taxa": embedding.taxa.astype(np.int32),
        "rows": rows.astype(np.int32),
    }
    made = {
        "format": _FORMAT,
        "embedding": entry.full_name,
        "name": entry.name,
        "digest": entry.digest,
        "corpus": manifest["corpus"],
        "corpus_digest": manifest["corpus_digest"],
        # Vectors that lose digits are not what the model gives, so they are another version.
        "settings": manifest["settings"] | ({} if exact else {"vectors": "float16"}),
    }
    header = json.dumps(made | {"content": _content_digest(made, arrays)}, sort_keys=True)
    part = path.with_name(f"{path.name}.part")
    part.write_bytes(save(arrays, {_HEADER: header}))
    part.replace(path)
    return entry


def install_embedding(store: Store, path: Path, corpus: VersionName) -> InstallReport:
    """Publish the vectors of a file for the genes of a corpus that have one of its texts.

    Parameters
    ----------
    store
        Store with the corpus, to which the embedding is added.
    path
        A file that `export_embedding` wrote.
    corpus
        The corpus.

    Raises
    ------
    InputFileError
        If the file is missing, cut, or not of this kind.
    IntegrityError
        If the file does not have the content that was written.
    NotFoundError
        If the corpus does not exist.
    FailedPreconditionError
        If no gene of the corpus has a text of the file.
    """
    made, arrays = read_exported(path)
    source = store.catalog.resolve(Kind.CORPUS, corpus)
    genes = with_text(store, source)
    texts = arrays["texts"].tobytes().hex()
    width = 2 * _DIGEST_BYTES
    row_of = {texts[width * i : width * (i + 1)]: i for i in range(len(arrays["texts"]))}
    rows = np.array([row_of.get(sha, -1) for sha in genes["text_sha256"].to_pylist()], np.int64)
    known = genes.filter(pa.array(rows >= 0))
    if not len(known):
        raise FailedPreconditionError(
            f"no gene of corpus {source.full_name} has a text of {path}, made from corpus "
            f"{made['corpus']}: import the same sources, or embed by `cellkin genes embed`"
        )
    n_left_out = len(genes) - len(known)
    note: dict[str, Any] = {
        "installed": {
            "file": path.name,
            "file_sha256": file_digest(path),
            **{key: made[key] for key in ("embedding", "digest", "corpus", "corpus_digest")},
        }
    }
    if n_left_out:
        note["only"] = {"files": [path.name], "n_left_out": n_left_out}
    vectors = from_half(arrays["vectors"], made["name"])[rows[rows >= 0]]
    entry = publish_vectors(store, made["name"], source, made["settings"], known, vectors, note)
    return InstallReport(entry, len(row_of), n_left_out, entry.digest == made["digest"])


def read_exported(path: Path) -> tuple[dict[str, Any], Arrays]:
    """Read and check a file that `export_embedding` wrote.

    Returns
    -------
    made
        What it was made from: ``format``, ``embedding``, ``name``, ``digest``, ``corpus``,
        ``corpus_digest``, ``settings``.
    arrays
        ``texts`` (n_texts, 32) uint8, SHA-256 of each text, ascending; ``vectors`` (n_texts, dim)
        float16; ``gene_ids`` (n_genes,) int64 NCBI GeneIDs, ascending; ``taxa`` (n_genes,) int32;
        ``rows`` (n_genes,) int32 row of the text of each gene.

    Raises
    ------
    InputFileError
        If the file is missing, cut, or not of this kind.
    IntegrityError
        If the file does not have the content that was written.
    """
    try:
        with safe_open(path, "numpy") as file:
            header = (file.metadata() or {}).get(_HEADER, "")
            arrays = {name: file.get_tensor(name) for name in sorted(file.keys())}
    except (OSError, SafetensorError) as error:
        raise InputFileError(
            f"embedding file {path} is missing, cut or of another kind ({error}); expected what "
            "`cellkin embeddings export` writes"
        ) from error
    try:
        made = dict(json.loads(header))
        content = made.pop("content")
    except (ValueError, TypeError, KeyError) as error:
        raise InputFileError(
            f"embedding file {path} was not written by `cellkin embeddings export`: its header "
            "does not say what it holds"
        ) from error
    if made.get("format") != _FORMAT:
        raise InputFileError(
            f"embedding file {path} has format {made.get('format')}, this release reads format "
            f"{_FORMAT}; install a newer release"
        )
    if content != _content_digest(made, arrays) or set(arrays) != set(_ARRAYS):
        raise IntegrityError(
            f"embedding file {path} is damaged or was changed: its content does not have the "
            "digest that was written with it; copy it again"
        )
    check_name(made["name"], "gene embedding")
    return made, arrays


def _content_digest(made: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> str:
    digest = hashlib.sha256(json.dumps(made, sort_keys=True).encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
