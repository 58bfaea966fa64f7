"""Embeddings as files: the same version again, by text, and nothing that was cut or changed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner
from safetensors import safe_open
from safetensors.numpy import save
from tests.unit.indexer.embeddings.test_job import GENES, HashModel, changed

from cellkin.indexer.commands.embeddings import embeddings
from cellkin.indexer.embeddings import exported, job
from cellkin.indexer.embeddings.exported import export_embedding, install_embedding, read_exported
from cellkin.indexer.models.half import as_half, from_half
from cellkin.space.arrays import Float32Matrix
from cellkin.store.store import Store
from cellkin.wire.errors import (
    CellkinError,
    FailedPreconditionError,
    InputFileError,
    IntegrityError,
    InvalidArgumentError,
)
from cellkin.wire.names import VersionName

HASH = VersionName("hash")


class RoundedModel(HashModel):
    """Its vectors are kept by half precision: their values differ in sign alone."""

    def embed(self, texts: Any) -> Float32Matrix:
        signs = np.sign(super().embed(texts)) / 8**0.5
        return from_half(as_half(signs.astype(np.float32)), "hash")


@pytest.fixture
def new_store(tmp_path: Path, make_corpus: Callable[[], pa.Table]) -> Callable[[str], Store]:
    def new(name: str, table: pa.Table | None = None) -> Store:
        store = Store.create(str(tmp_path / name))
        store.publish_corpus("genes", make_corpus() if table is None else table, {})
        return store

    return new


@pytest.fixture
def store(new_store: Callable[[str], Store], monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store with an embedding whose vectors half precision keeps."""
    monkeypatch.setattr(job, "load_model", lambda spec, **_: RoundedModel())
    store = new_store("from")
    job.embed_genes(store, "hash", GENES)
    return store


@pytest.fixture
def file(store: Store, tmp_path: Path) -> Path:
    export_embedding(store, HASH, tmp_path / "hash.safetensors")
    return tmp_path / "hash.safetensors"


def test_what_is_installed_equals_what_was_exported(
    store: Store, file: Path, new_store: Callable[[str], Store]
) -> None:
    other = new_store("to")
    report = install_embedding(other, file, GENES)
    (entry,) = store.catalog.entries(report.entry.kind)
    assert report.same
    assert report.entry.digest == entry.digest
    assert report.entry.manifest["settings"] == entry.manifest["settings"]
    assert report.entry.manifest["installed"]["embedding"] == entry.full_name
    assert "only" not in report.entry.manifest
    # The model has nothing left to do.
    assert job.embed_genes(other, "hash", GENES).n_reused == 216


def test_another_corpus_gets_the_vectors_of_the_texts_it_shares(
    store: Store,
    file: Path,
    new_store: Callable[..., Store],
    make_corpus: Callable[[], pa.Table],
) -> None:
    text = make_corpus()["text"][0].as_py()
    other = new_store("to", changed(changed(make_corpus(), 3, "new"), 10, text))
    report = install_embedding(other, file, GENES)
    assert not report.same
    assert report.n_left_out == 1
    assert report.entry.manifest["only"] == {"files": [file.name], "n_left_out": 1}
    found = other.embedding(report.entry)
    at = found.gene_ids.tolist()
    assert 4 not in at
    assert found.vectors[at.index(11)].tobytes() == found.vectors[at.index(1)].tobytes()
    assert job.embed_genes(other, "hash", GENES).n_embedded == 1


def test_vectors_that_lose_digits_are_another_version(
    new_store: Callable[[str], Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "load_model", lambda spec, **_: HashModel())
    store, other = new_store("from"), new_store("to")
    entry = job.embed_genes(store, "hash", GENES).entry
    export_embedding(store, HASH, tmp_path / "file")
    report = install_embedding(other, tmp_path / "file", GENES)
    assert not report.same
    assert report.entry.manifest["settings"] == {
        **entry.manifest["settings"],
        "vectors": "float16",
    }
    before, after = store.embedding(entry).vectors, other.embedding(report.entry).vectors
    assert (before * after).sum(1).min() > 1 - 1e-6
    assert job.embed_genes(other, "hash", GENES).n_reused == 0


@pytest.mark.parametrize("spec", ["random:8:0", "permuted:hash", "symbol-only:hash"])
def test_controls_are_made_again_instead(store: Store, tmp_path: Path, spec: str) -> None:
    entry = job.embed_genes(store, spec, GENES).entry
    with pytest.raises(InvalidArgumentError, match="controls again"):
        export_embedding(store, VersionName(entry.name), tmp_path / "file")
    assert not (tmp_path / "file").exists()


def test_a_corpus_that_has_none_of_the_texts(
    file: Path, new_store: Callable[..., Store], make_corpus: Callable[[], pa.Table]
) -> None:
    table = make_corpus()
    rows = [row | {"text_sha256": "0" * 64} if row["text"] else row for row in table.to_pylist()]
    other = new_store("to", pa.Table.from_pylist(rows, table.schema))
    with pytest.raises(FailedPreconditionError, match="import the same sources"):
        install_embedding(other, file, GENES)


def test_a_cut_file_is_refused(file: Path) -> None:
    data = file.read_bytes()
    for n in (0, 4, 100, len(data) // 2, len(data) - 1):
        file.write_bytes(data[:n])
        with pytest.raises(InputFileError, match="missing, cut or of another kind"):
            read_exported(file)
    file.unlink()
    with pytest.raises(InputFileError):
        read_exported(file)


def test_no_byte_can_be_changed(file: Path) -> None:
    data = file.read_bytes()
    read_exported(file)
    rng = np.random.default_rng(0)
    for at in [8, *rng.integers(len(data), size=60).tolist()]:
        damaged = bytearray(data)
        damaged[at] ^= 1 << int(rng.integers(8))
        file.write_bytes(damaged)
        with pytest.raises(CellkinError):
            read_exported(file)


@pytest.mark.parametrize("change", ["settings", "vectors", "digest", "extra"])
def test_parts_that_do_not_belong_together_are_noticed(file: Path, change: str) -> None:
    with safe_open(file, "numpy") as opened:
        header = json.loads(opened.metadata()[exported._HEADER])
        arrays = {name: opened.get_tensor(name) for name in sorted(opened.keys())}
    if change == "settings":
        header["settings"]["revision"] = "2"
    elif change == "vectors":
        arrays["vectors"] = arrays["vectors"][::-1].copy()
    elif change == "extra":
        arrays["more"] = np.zeros(1)
    else:
        header["digest"] = "0" * 64
    file.write_bytes(save(arrays, {exported._HEADER: json.dumps(header)}))
    with pytest.raises(IntegrityError, match="damaged or was changed"):
        read_exported(file)


@pytest.mark.parametrize("header", [None, "", "[]", "{}", "3"])
def test_another_safetensors_file_is_refused(tmp_path: Path, header: str | None) -> None:
    metadata = None if header is None else {exported._HEADER: header}
    (tmp_path / "file").write_bytes(save({"x": np.zeros(3)}, metadata))
    with pytest.raises(InputFileError, match="was not written by"):
        read_exported(tmp_path / "file")


def test_a_later_format_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exported, "_FORMAT", 0)
    with pytest.raises(InputFileError, match="has format 1, this release reads format 0"):
        read_exported(file)


def test_the_commands(store: Store, tmp_path: Path, new_store: Callable[[str], Store]) -> None:
    other = new_store("to")
    path = str(tmp_path / "hash.safetensors")
    done = CliRunner().invoke(embeddings, ["export", "hash", path, "--store", store.uri])
    assert done.exit_code == 0, done.output
    assert "SHA-256" in done.output
    done = CliRunner().invoke(embeddings, ["install", path, "--store", other.uri])
    assert done.exit_code == 0, done.output
    assert "216 genes, by 216 texts of hash@" in done.output
    assert "the same version" in done.output
