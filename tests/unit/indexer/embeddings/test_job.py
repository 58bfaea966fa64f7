"""The embedding job: each text once, never again, the same bytes however often it was cut off."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from cellkin.indexer.embeddings import job, parts
from cellkin.indexer.embeddings.measured import MeasuredGenes
from cellkin.indexer.models.contract import ModelInfo, TokenCounts
from cellkin.space.arrays import Float32Matrix
from cellkin.space.vectors import unit_rows
from cellkin.store.catalog import Kind
from cellkin.store.store import Store
from cellkin.wire.errors import FailedPreconditionError, InvalidArgumentError, NotFoundError
from cellkin.wire.names import VersionName
from cellkin.wire.terms import TextRung

GENES = VersionName("genes")


class HashModel:
    """A text's vector is drawn by its digest; stops as if killed after some texts."""

    def __init__(self, revision: str = "1") -> None:
        self.info = ModelInfo("hash", revision, 8, {"window": 3})
        self.embedded: list[str] = []
        self.stop_after: int | None = None

    def count(self, texts: Sequence[str]) -> TokenCounts:
        words = [len(text.split()) for text in texts]
        return TokenCounts(len(texts), sum(words), sum(n > 5 for n in words))

    def embed(self, texts: Sequence[str]) -> Float32Matrix:
        if self.stop_after is not None and len(self.embedded) >= self.stop_after:
            raise KeyboardInterrupt
        self.embedded += texts
        seeds = [int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) for text in texts]
        drawn = [np.random.default_rng(seed).standard_normal(8) for seed in seeds]
        return unit_rows(np.array(drawn, np.float32))


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> HashModel:
    model = HashModel()
    monkeypatch.setattr(job, "load_model", lambda spec, **_: model)
    monkeypatch.setattr(parts, "_FRAGMENT_CHARACTERS", 300)
    return model


@pytest.fixture
def store(tmp_path: Path, make_corpus: Callable[[], pa.Table]) -> Store:
    store = Store.create(str(tmp_path / "s"))
    store.publish_corpus("genes", make_corpus(), {})
    return store


def changed(table: pa.Table, row: int, text: str) -> pa.Table:
    rows = table.to_pylist()
    rows[row] |= {"text": text, "text_sha256": hashlib.sha256(text.encode()).hexdigest()}
    return pa.Table.from_pylist(rows, schema=table.schema)


def test_genes_with_text_get_the_vector_of_their_text(store: Store, model: HashModel) -> None:
    report = job.embed_genes(store, "hash", GENES)
    assert (report.n_genes, report.n_texts, report.n_embedded) == (216, 216, 216)
    embedding = store.embedding(report.entry)
    assert (np.diff(embedding.gene_ids) > 0).all()
    assert 10 not in embedding.gene_ids
    want = model.embed(["protein number 7 of taxon 10090"])[0]
    at = int(np.searchsorted(embedding.gene_ids, 100_007))
    assert embedding.vectors[at].tobytes() == want.tobytes()
    assert report.entry.manifest["settings"]["revision"] == "1"
    assert report.entry.manifest["corpus"].startswith("genes@")


def test_one_changed_text_is_one_text_embedded(
    store: Store, model: HashModel, make_corpus: Callable[[], pa.Table]
) -> None:
    job.embed_genes(store, "hash", GENES)
    store.publish_corpus("genes", changed(make_corpus(), 3, "something else"), {})
    model.embedded.clear()
    report = job.embed_genes(store, "hash", GENES)
    assert model.embedded == ["something else"]
    assert (report.n_embedded, report.n_resumed, report.n_reused) == (1, 0, 215)


def test_a_text_that_genes_share_is_embedded_once(
    store: Store, model: HashModel, make_corpus: Callable[[], pa.Table]
) -> None:
    table = changed(changed(make_corpus(), 3, "shared"), 4, "shared")
    store.publish_corpus("genes", table, {})
    report = job.embed_genes(store, "hash", GENES)
    assert (report.n_genes, report.n_texts) == (216, 215)
    assert model.embedded.count("shared") == 1


@pytest.mark.parametrize("stop_after", [0, 1, 40, 120, 200])
def test_a_run_that_was_cut_off_goes_on_and_ends_the_same(
    store: Store, model: HashModel, stop_after: int
) -> None:
    model.stop_after = stop_after
    with pytest.raises(KeyboardInterrupt):
        job.embed_genes(store, "hash", GENES)
    done = len(model.embedded)
    with pytest.raises(NotFoundError):
        store.catalog.resolve(Kind.EMBEDDING, VersionName("hash"))
    model.stop_after = None
    resumed = job.embed_genes(store, "hash", GENES)
    assert (resumed.n_resumed, resumed.n_embedded) == (done, 216 - done)
    assert len(set(model.embedded)) == len(model.embedded) == 216
    fresh = Store.create(store.uri + "-fresh")
    fresh.publish_corpus("genes", store.corpus(store.catalog.resolve(Kind.CORPUS, GENES)), {})
    assert job.embed_genes(fresh, "hash", GENES).entry.digest == resumed.entry.digest


def test_another_revision_of_the_model_takes_nothing_over(
    store: Store, model: HashModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    job.embed_genes(store, "hash", GENES)
    other = HashModel("2")
    monkeypatch.setattr(job, "load_model", lambda spec, **_: other)
    assert job.embed_genes(store, "hash", GENES).n_reused == 0
    assert len(other.embedded) == 216


def test_progress_counts_texts(store: Store, model: HashModel) -> None:
    seen: list[tuple[int, int]] = []
    job.embed_genes(store, "hash", GENES, lambda done, total: seen.append((done, total)))
    assert seen[0] == (0, 216)
    assert seen[-1] == (216, 216)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_a_corpus_that_is_not_there(store: Store, model: HashModel) -> None:
    with pytest.raises(NotFoundError, match="no corpus 'other' in this store; there is: genes"):
        job.embed_genes(store, "hash", VersionName("other"))


def test_tokens_and_long_texts_are_those_embedded_now(
    store: Store, model: HashModel, make_corpus: Callable[[], pa.Table]
) -> None:
    first = job.embed_genes(store, "hash", GENES)
    assert first.counts == TokenCounts(216, 216 * 6, 216)
    assert first.embed_s > 0
    store.publish_corpus("genes", changed(make_corpus(), 3, "something else"), {})
    assert job.embed_genes(store, "hash", GENES).counts == TokenCounts(1, 2, 0)
    assert job.embed_genes(store, "hash", GENES).counts == TokenCounts(0, 0, 0)


def test_a_run_that_is_not_approved_does_nothing(store: Store, model: HashModel) -> None:
    asked: list[job.Pending] = []

    def refuse(pending: job.Pending) -> None:
        asked.append(pending)
        raise KeyboardInterrupt

    model.stop_after = 40
    with pytest.raises(KeyboardInterrupt):
        job.embed_genes(store, "hash", GENES)
    done = len(model.embedded)
    model.stop_after = None
    for spec in ("hash", "symbol-only:hash", "random:8:1"):
        with pytest.raises(KeyboardInterrupt):
            job.embed_genes(store, spec, GENES, approve=refuse)
    assert len(model.embedded) == done
    assert store.catalog.entries(Kind.EMBEDDING) == []
    n_left = 216 - done
    assert asked == [
        job.Pending("hash", 216, TokenCounts(n_left, n_left * 6, n_left)),
        job.Pending("symbol-only-hash", 216, TokenCounts(216, 216, 0)),
        job.Pending("random-8-1", 0, TokenCounts(0, 0, 0)),
    ]
    # What was embedded before is still there.
    assert job.embed_genes(store, "hash", GENES).n_resumed == done


def of_files(*gene_ids: int) -> MeasuredGenes:
    return MeasuredGenes(("a.h5ad",), np.array(gene_ids, np.int64))


def test_genes_of_files_come_first_and_are_reused(store: Store, model: HashModel) -> None:
    some = job.embed_genes(store, "hash", GENES, only=of_files(1, 2, 10, 100_003, 999_999))
    assert store.embedding(some.entry).gene_ids.tolist() == [1, 2, 100_003]
    assert some.entry.manifest["only"] == {"files": ["a.h5ad"], "n_left_out": 213}
    whole = job.embed_genes(store, "hash", GENES)
    assert (whole.n_reused, whole.n_embedded) == (3, 213)
    assert "only" not in whole.entry.manifest
    # A version of few genes does not hide an older one of all.
    job.embed_genes(store, "hash", GENES, only=of_files(5))
    assert job.embed_genes(store, "hash", GENES).n_reused == 216
    fresh = Store.create(store.uri + "-fresh")
    fresh.publish_corpus("genes", store.corpus(store.catalog.resolve(Kind.CORPUS, GENES)), {})
    assert job.embed_genes(fresh, "hash", GENES).entry.digest == whole.entry.digest


def test_files_whose_genes_have_no_text_or_are_to_be_permuted(store: Store) -> None:
    with pytest.raises(FailedPreconditionError, match=r"none of the 1 genes of a\.h5ad has a text"):
        job.embed_genes(store, "hash", GENES, only=of_files(10))
    with pytest.raises(InvalidArgumentError, match="leave out the files"):
        job.embed_genes(store, "permuted:hash", GENES, only=of_files(1))


def test_names_of_pseudogenes_and_loci_come_last(
    store: Store, model: HashModel, make_corpus: Callable[[], pa.Table]
) -> None:
    rows = make_corpus().to_pylist()
    only_named = {"rung": TextRung.DESIGNATIONS}
    rows[0] |= only_named | {"gene_type": "pseudo"}
    rows[1] |= only_named | {"symbol": "LOC2"}
    rows[2] |= {"gene_type": "pseudo"}  # with a summary
    rows[3] |= only_named
    # The text of a pseudogene that another gene shares.
    shared = {k: rows[5][k] for k in ("text", "text_sha256")}
    rows[4] |= only_named | {"gene_type": "pseudo"} | shared
    store.publish_corpus("genes", pa.Table.from_pylist(rows, make_corpus().schema), {})
    job.embed_genes(store, "hash", GENES)
    assert {*model.embedded[-2:]} == {rows[0]["text"], rows[1]["text"]}


def test_the_first_part_is_soon_done(
    store: Store, model: HashModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    monkeypatch.setattr(parts, "_FIRST_CHARACTERS", 50)
    job.embed_genes(store, "hash", GENES, lambda done, _: seen.append(done))
    sizes = np.diff(seen)
    assert sizes[0] == 2
    assert (sizes[:3] <= sizes[1:4]).all()


def test_seconds_are_measured_before_anything_is_done(store: Store, model: HashModel) -> None:
    found: list[job.Pending] = []
    job.embed_genes(store, "hash", GENES, approve=found.append)
    assert found[0].seconds is not None
    assert 0 < found[0].seconds() < 60
    job.embed_genes(store, "hash", GENES, approve=found.append)
    assert found[1].seconds is None


def test_vectors_of_a_retracted_version_are_not_taken_over(store: Store, model: HashModel) -> None:
    store.catalog.retract(job.embed_genes(store, "hash", GENES).entry, "wrong weights", force=True)
    assert job.embed_genes(store, "hash", GENES).n_reused == 0


def test_a_corpus_without_any_text(store: Store, make_corpus: Callable[[], pa.Table]) -> None:
    rows = [row | {"text": "", "text_sha256": ""} for row in make_corpus().to_pylist()]
    entry = store.publish_corpus("bare", pa.Table.from_pylist(rows, make_corpus().schema), {})
    with pytest.raises(FailedPreconditionError) as caught:
        job.embed_genes(store, "random:8:1", VersionName("bare"))
    assert caught.value.message == (
        f"corpus {entry.full_name} has no gene with a text: import more sources of texts"
    )
