"""The controls: random vectors, permuted vectors, symbols in the place of texts."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from tests.unit.indexer.embeddings.test_job import HashModel

from cellkin.indexer.embeddings import job
from cellkin.indexer.embeddings.controls import Permutation, random_vectors, symbol_texts
from cellkin.store.store import GeneEmbedding, Store
from cellkin.wire.errors import FailedPreconditionError, InvalidArgumentError, NotFoundError
from cellkin.wire.names import VersionName, check_name, embedding_name

GENES = VersionName("genes")


@pytest.fixture
def store(tmp_path: Path, make_corpus: Callable[[], pa.Table]) -> Store:
    store = Store.create(str(tmp_path / "s"))
    store.publish_corpus("genes", make_corpus(), {})
    return store


def embedded(store: Store, spec: str) -> GeneEmbedding:
    return store.embedding(job.embed_genes(store, spec, GENES).entry)


def test_a_gene_has_its_vector_whatever_genes_are_beside_it() -> None:
    many = random_vectors("random:16:3", np.array([5, 9, 100]))
    assert random_vectors("random:16:3", np.array([9])).tobytes() == many[1].tobytes()
    np.testing.assert_allclose(np.linalg.norm(many, axis=1), 1, atol=1e-6)
    assert abs(many[0] @ many[1]) < 0.9


def test_another_seed_is_another_vector() -> None:
    ids = np.array([5])
    assert (random_vectors("random:16:3", ids) != random_vectors("random:16:4", ids)).any()


@pytest.mark.parametrize(
    "spec",
    [
        "random:16", "random:0:1", "random:16:x", "random:9999:1", f"random:16:{2**64}",
        f"random:16:{'1' * 5000}", f"random:{'1' * 5000}:1",
    ],
)  # fmt: skip
def test_specs_that_are_none(spec: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        random_vectors(spec, np.array([1]))
    assert caught.value.message == (
        f"model {spec!r}: the random control is random:DIM:SEED, such as random:384:0, "
        "with 1 to 4096 dimensions and a seed below 2**64"
    )


def test_the_largest_seeds_differ() -> None:
    one, other = (random_vectors(f"random:16:{2**64 - n}", np.array([5])) for n in (1, 2))
    assert (one != other).any()
    same = np.zeros(40, np.int32)
    first, second = (Permutation.parse(f"permuted:a:{2**64 - n}").rows(same) for n in (1, 2))
    assert (first != second).any()


@pytest.mark.parametrize(
    ("spec", "want"),
    [
        ("permuted:minilm", Permutation(VersionName("minilm"), 0, "permuted-minilm")),
        ("permuted:minilm:7", Permutation(VersionName("minilm"), 7, "permuted-minilm-7")),
        (
            "permuted:minilm@2026-11-22.1:7",
            Permutation(VersionName("minilm", "2026-11-22.1"), 7, "permuted-minilm-7"),
        ),
    ],
)
def test_permutations_are_read(spec: str, want: Permutation) -> None:
    assert Permutation.parse(spec) == want
    assert check_name(want.name, "gene embedding") == embedding_name(
        spec.replace("@2026-11-22.1", "")
    )


@pytest.mark.parametrize(
    "spec",
    [
        "permuted:random:64:7", "permuted:a:b", "permuted:a:-1", f"permuted:a:{2**64}",
        f"permuted:a:{'1' * 5000}",
    ],
)  # fmt: skip
def test_permutations_that_are_none(spec: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        Permutation.parse(spec)
    assert caught.value.message == (
        f"model {spec!r}: the permuted control is permuted:NAME[@VERSION][:SEED], such as "
        "permuted:all-minilm-l6-v2 or permuted:random-384-0:1, NAME a gene embedding of this store"
    )


def test_permuted_vectors_are_those_of_other_genes_of_the_species(store: Store) -> None:
    source = embedded(store, "random:16:3")
    report = job.embed_genes(store, "permuted:random-16-3", GENES)
    permuted = store.embedding(report.entry)
    assert report.entry.name == "permuted-random-16-3"
    assert (permuted.gene_ids == source.gene_ids).all()
    row_of = {vector.tobytes(): row for row, vector in enumerate(source.vectors)}
    rows = np.array([row_of[vector.tobytes()] for vector in permuted.vectors])
    assert sorted(rows) == list(range(len(rows)))
    assert (source.taxa[rows] == source.taxa).all()
    assert (rows == np.arange(len(rows))).mean() < 0.1
    assert permuted.text_sha256 == [source.text_sha256[row] for row in rows]
    again = job.embed_genes(store, "permuted:random-16-3:0", GENES)
    assert again.entry.digest == report.entry.digest
    other = job.embed_genes(store, "permuted:random-16-3:1", GENES)
    assert other.entry.digest != report.entry.digest


def test_a_permutation_names_what_it_permutes(store: Store) -> None:
    source = job.embed_genes(store, "random:16:3", GENES).entry
    job.embed_genes(store, "random:16:3", GENES)
    entry = job.embed_genes(store, f"permuted:{source.full_name}:5", GENES).entry
    assert entry.manifest["settings"] == {
        "model": "permuted",
        "embedding": source.full_name,
        "embedding_digest": source.digest,
        "seed": 5,
    }


def test_controls_are_marked_and_models_are_not(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "load_model", lambda spec, **_: HashModel())
    specs = "hash", "random:16:3", "permuted:hash", "permuted:random-16-3", "symbol-only:hash"
    marks = {spec: job.embed_genes(store, spec, GENES).entry.manifest["control"] for spec in specs}
    assert marks == {spec: spec != "hash" for spec in specs}


def test_a_permutation_of_what_is_not_there(store: Store) -> None:
    embedded(store, "random:16:3")
    with pytest.raises(NotFoundError) as caught:
        job.embed_genes(store, "permuted:other", GENES)
    assert caught.value.message == (
        "no gene embedding 'other' in this store; there is: random-16-3"
    )


def test_a_permutation_stays_with_its_corpus(
    store: Store, make_corpus: Callable[[], pa.Table]
) -> None:
    source = job.embed_genes(store, "random:16:3", GENES).entry
    fewer = pa.Table.from_pylist(make_corpus().to_pylist()[:50], make_corpus().schema)
    newer = store.publish_corpus("genes", fewer, {})
    with pytest.raises(FailedPreconditionError) as caught:
        job.embed_genes(store, "permuted:random-16-3", GENES)
    made_from = source.manifest["corpus"]
    assert caught.value.message == (
        f"gene embedding {source.full_name} was made from corpus {made_from}, not from "
        f"{newer.full_name}: name its own by --corpus {made_from}, or embed the other first"
    )


def test_symbols_take_the_place_of_texts(make_corpus: Callable[[], pa.Table]) -> None:
    rows = make_corpus().slice(0, 3).to_pylist()
    rows[1]["symbol"] = ""
    table = symbol_texts(pa.Table.from_pylist(rows, make_corpus().schema))
    assert table.schema == make_corpus().schema
    assert table["text"].to_pylist() == ["GENE1", "GENE3"]
    assert table["text_sha256"][0].as_py() == (
        "51dc983cc9f4c5bd33df5e55a424e9d276ef4a80a7c20e7e3e3e0d63c8d70061"
    )


def test_vectors_of_symbols_never_mix_with_those_of_texts(
    store: Store, make_corpus: Callable[[], pa.Table], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = HashModel()
    monkeypatch.setattr(job, "load_model", lambda spec, **_: model)
    rows = make_corpus().to_pylist()
    # The text of one gene is the symbol of another: its vector could be taken over.
    rows[2] |= {
        "text": "GENE5",
        "text_sha256": symbol_texts(make_corpus())["text_sha256"][4].as_py(),
    }
    store.publish_corpus("genes", pa.Table.from_pylist(rows, make_corpus().schema), {})
    job.embed_genes(store, "hash", GENES)
    model.embedded.clear()
    report = job.embed_genes(store, "symbol-only:hash", GENES)
    assert report.entry.name == "symbol-only-hash"
    assert report.entry.manifest["settings"] == {
        "model": "symbol-only-hash",
        "revision": "1",
        "dim": 8,
        "window": 3,
        "text": "symbol",
    }
    assert (report.n_genes, report.n_reused, report.n_embedded) == (216, 0, 216)
    assert {"GENE5", "Gene5"} < set(model.embedded)
    assert not any("protein" in text for text in model.embedded)
    assert job.embed_genes(store, "symbol-only:hash", GENES).n_reused == 216
