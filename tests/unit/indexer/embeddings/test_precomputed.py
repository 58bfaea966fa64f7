"""Vectors made elsewhere become an embedding version, by the names of the corpus."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from cellkin.indexer.embeddings.job import embed_genes
from cellkin.indexer.embeddings.precomputed import LoadReport, load_vectors
from cellkin.store.store import Store
from cellkin.wire.errors import (
    AlreadyExistsError,
    GenesUnmatchedError,
    InputFileError,
    InvalidArgumentError,
    NotFoundError,
)
from cellkin.wire.names import VersionName
from cellkin.wire.terms import GeneRoute

GENES = VersionName("genes")


@pytest.fixture
def store(tmp_path: Path, make_corpus: Callable[[], pa.Table]) -> Store:
    store = Store.create(str(tmp_path / "s"))
    store.publish_corpus("genes", make_corpus(), {})
    return store


def load(store: Store, vectors: dict[str, Any], taxon: int = 0, name: str = "genept") -> LoadReport:
    path = Path(store.uri).with_name("v.json")
    path.write_text(json.dumps(vectors))
    return load_vectors(store, path, name, GENES, taxon)


def test_names_are_read_by_the_corpus_and_never_guessed(store: Store) -> None:
    given = {
        "GENE3": [3.0, 4.0],
        "OLD4": [0, 2],
        "ENSG00000000005.7": [1, 1],
        "2": [5, 0],
        "SHARED": [9, 9],
        "NOSUCH": [9, 9],
        "gene10": [-1, 0],
    }
    report = load(store, given)
    embedding = store.embedding(report.entry)
    assert embedding.gene_ids.tolist() == [2, 3, 4, 5, 10]
    want = np.array([[1, 0], [0.6, 0.8], [0, 1], [0.5**0.5, 0.5**0.5], [-1, 0]], np.float32)
    np.testing.assert_allclose(embedding.vectors, want, rtol=1e-6)
    assert embedding.taxa.tolist() == [9606] * 5
    assert embedding.text_sha256 == [""] * 5
    assert report.match.by_route() == {
        GeneRoute.UNMATCHED: 1,
        GeneRoute.GENE_ID: 1,
        GeneRoute.ENSEMBL: 1,
        GeneRoute.SYMBOL: 1,
        GeneRoute.SYNONYM: 1,
        GeneRoute.CASE_FOLDED: 1,
        GeneRoute.AMBIGUOUS: 1,
    }
    assert report.match.taxon_inferred


def test_the_manifest_names_the_file(store: Store) -> None:
    entry = load(store, {"Gene3": [3, 4]}, 10090).entry
    digest = hashlib.sha256(Path(store.uri).with_name("v.json").read_bytes()).hexdigest()
    settings = entry.manifest["settings"]
    assert settings["file"] == "v.json"
    assert settings["file_sha256"] == digest
    assert settings["model"] == entry.name == "genept"
    assert settings["match"]["genes_matched"] == "1"
    assert entry.manifest["corpus"].startswith("genes@")
    assert entry.manifest["n_genes"] == 1
    assert entry.manifest["control"] is False


def test_one_vector_by_several_names_is_one(store: Store) -> None:
    report = load(store, {"OLD3": [3, 4], "GENE3": [3, 4], "GENE4": [1, 0]})
    assert report.n_repeated == 1
    assert store.embedding(report.entry).gene_ids.tolist() == [3, 4]


def test_several_vectors_of_one_gene_are_refused(store: Store) -> None:
    with pytest.raises(InputFileError) as caught:
        load(
            store, {"OLD3": [3, 4], "GENE3": [3, 5], "GENE4": [1, 0], "4": [1, 1], "GENE5": [1, 1]}
        )
    assert caught.value.message == (
        f"vectors file {Path(store.uri).with_name('v.json')}: 2 genes are named more than once, "
        "with different vectors: GeneID 3 as OLD3, GENE3; GeneID 4 as GENE4, 4; keep one vector "
        "for each gene"
    )
    assert len(store.catalog.entries()) == 1


def test_no_name_that_means_a_gene(store: Store) -> None:
    with pytest.raises(GenesUnmatchedError) as caught:
        load(store, {"x": [1], "SHARED": [1]}, 9606)
    (corpus,) = store.catalog.entries()
    assert caught.value.message == (
        f"none of the 2 names in {Path(store.uri).with_name('v.json')} means one gene of corpus "
        f"{corpus.full_name}, for example x, SHARED; names may be symbols, synonyms, Ensembl gene "
        "ids or NCBI GeneIDs of one species"
    )
    assert caught.value.metadata["route_ambiguous"] == "1"


def test_a_species_the_corpus_does_not_have(store: Store) -> None:
    with pytest.raises(NotFoundError, match="no gene of species 7227"):
        load(store, {"GENE3": [1]}, 7227)


@pytest.mark.parametrize("name", ["all-minilm-l6-v2", "random-8-0"])
def test_the_name_of_a_model_is_not_taken(store: Store, name: str) -> None:
    embed_genes(store, "random:8:0", GENES)
    with pytest.raises(AlreadyExistsError) as caught:
        load(store, {"GENE3": [1]}, name=name)
    assert caught.value.message == (
        f"gene embedding {name!r} is what a language model or a control makes; give vectors made "
        "elsewhere a name of their own"
    )


def test_a_name_that_is_none(store: Store) -> None:
    with pytest.raises(InvalidArgumentError, match="gene embedding 'My vectors': a name has up to"):
        load(store, {"GENE3": [1]}, name="My vectors")


def test_loaded_again_it_is_the_next_version(store: Store) -> None:
    first = load(store, {"GENE3": [1, 1]}).entry
    second = load(store, {"GENE3": [2, 2]}).entry
    assert (second.order[1], second.digest) == (first.order[1] + 1, first.digest)


def test_loaded_vectors_can_be_permuted(store: Store) -> None:
    load(store, {f"GENE{i}": [i, 1] for i in range(1, 60)})
    entry = embed_genes(store, "permuted:genept:3", GENES).entry
    assert (entry.name, entry.manifest["n_genes"]) == ("permuted-genept-3", 59)
