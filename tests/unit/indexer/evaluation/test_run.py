"""Rows of an evaluation: settings of each embedding, draws, and files that cannot be asked."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from tests.unit.indexer.evaluation.cells import (
    GENES,
    N_TYPES,
    a_report,
    a_row,
    expression_controls,
    made_up_cells,
)

from cellkin.indexer.evaluation import question, run
from cellkin.indexer.evaluation.baselines import Answer
from cellkin.indexer.evaluation.metrics import score
from cellkin.indexer.evaluation.models import TextGenes
from cellkin.indexer.evaluation.reading import read_labeled
from cellkin.indexer.evaluation.rows import Setting, lines
from cellkin.indexer.evaluation.run import Cells, Method, ask, few_shot_curve
from cellkin.indexer.evaluation.splits import few_shot, stratified_folds
from cellkin.indexer.genes.own_names import NamedFile, own_names
from cellkin.store.store import GeneEmbedding, Store
from cellkin.wire.errors import GenesUnmatchedError, InvalidArgumentError, NotFoundError

N_GENES = 4


def embedding(seed: int) -> GeneEmbedding:
    vectors = np.random.default_rng(seed).standard_normal((N_GENES, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ids = np.arange(-N_GENES, 0)
    return GeneEmbedding(ids, np.full(N_GENES, 9606, np.int32), ["0" * 64] * N_GENES, vectors)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with a corpus, and two versions of one gene embedding."""
    store = Store.create(str(tmp_path / "store"))
    names = NamedFile.of("a", [f"GENE{i}" for i in range(N_GENES)])
    corpus = store.publish_corpus("genes", own_names([names], [9606]), {})
    for seed in range(2):
        store.publish_embedding("model", embedding(seed), {"corpus": corpus.full_name})
    return store


@dataclass(frozen=True)
class Alternating:
    """Labels that are right for a share of the cells that differs between draws."""

    name: str = "alternating"

    def fit(self, counts: Any, genes: Any, labels: Any, batches: Any = None) -> "Alternating":
        return self

    def predict(self, counts: Any, genes: Sequence[str]) -> Answer:
        codes = np.asarray(counts.sum(axis=1)).ravel().astype(np.int32) % N_TYPES
        return Answer(codes, None, None)


@dataclass(frozen=True)
class Unmatched(Alternating):
    """A method that shares no gene with any query."""

    def predict(self, counts: Any, genes: Sequence[str]) -> Answer:
        raise GenesUnmatchedError("no gene is shared", {})


@pytest.fixture
def cells() -> Cells:
    counts, labels = made_up_cells(90)
    return Cells(counts, GENES, labels, np.zeros(90, np.int32))


def text_rows(vectors: dict[str, TextGenes]) -> list[Any]:
    methods = question._methods(vectors, ["text-v2"])
    return [
        a_row(m.setting, seed=m.seed) for m in methods if m.setting.space == "text"
    ]  # without fitting


def test_each_embedding_has_its_own_controls_only() -> None:
    genes = TextGenes(embedding(0), np.zeros(N_GENES, np.uint8))
    rows = text_rows({"a": genes, "b": genes})
    ordered = lines(a_report([*rows, *expression_controls()]))
    beside = [(line.beside.language_model, line.setting.language_model, len(line.rows))
              for line in ordered if line.beside is not None]  # fmt: skip
    assert beside == [("a", "a", 3), ("a", "a", 3), ("b", "b", 3), ("b", "b", 3)]


def test_versions_of_one_embedding_are_different_methods(store: Store) -> None:
    entries, corpus = question._embeddings(store, ["model"])
    assert list(entries) == ["model"]
    second = entries["model"]
    first = next(e for e in store.catalog.view().entries(second.kind) if e != second)
    entries, _ = question._embeddings(store, [first.full_name, second.full_name, "model"])
    assert {name: entry.full_name for name, entry in entries.items()} == {
        first.full_name: first.full_name,
        second.full_name: second.full_name,
    }
    genes = TextGenes(embedding(0), np.zeros(N_GENES, np.uint8))
    settings = {row.setting for row in text_rows(dict.fromkeys(entries, genes))}
    assert len(settings) == 6
    assert corpus.name == "genes"


def test_without_embeddings_the_corpus_of_the_store_names_the_genes(
    store: Store, tmp_path: Path
) -> None:
    entries, corpus = question._embeddings(store, ())
    assert (entries, corpus.name) == ({}, "genes")
    with pytest.raises(NotFoundError, match="cellkin genes import"):
        question._embeddings(Store.create(str(tmp_path / "empty")), ())


def test_a_curve_has_the_deviation_of_a_sample_and_draws_no_bootstrap(
    cells: Cells, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = Method(Setting("m", "expression"), Alternating())
    draws = [[few_shot(cells.labels, 5, seed) for seed in range(3)]]
    counts = np.bincount(cells.labels)
    f1 = [score(run.predict(method, cells, split), counts).macro_f1 for split in draws[0]]
    monkeypatch.setattr(run, "score", lambda *_: pytest.fail("a bootstrap"))
    (point,) = few_shot_curve(method, cells, draws, [5], counts)
    assert np.std(f1) > 0
    assert point.macro_f1 == pytest.approx(np.mean(f1))
    assert point.sd == pytest.approx(np.std(f1, ddof=1))
    (point,) = few_shot_curve(method, cells, [draws[0][:1]], [5], counts)
    assert point.sd is None


def test_progress_counts_the_splits_of_a_method_that_is_absent(
    cells: Cells, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[None] = []
    measure: Callable[..., Any] = lambda work: SimpleNamespace(  # noqa: E731
        value=work(), seconds=0.0, peak_bytes=0
    )
    monkeypatch.setattr(run, "measured", measure)
    splits = stratified_folds(cells.labels)
    method = Method(Setting("m", "expression"), Unmatched())
    row = ask(method, cells, splits, np.bincount(cells.labels), done=lambda: steps.append(None))
    assert row.why_absent == "no gene is shared"
    assert len(steps) == len(splits)


def test_a_file_without_cells_is_refused(tmp_path: Path) -> None:
    obs = pd.DataFrame({"type": pd.Series([], dtype=str)}, index=pd.Index([], dtype=str))
    var = pd.DataFrame(index=["a", "b"])
    anndata.AnnData(sp.csr_matrix((0, 2), dtype=np.float32), obs, var).write_h5ad(
        tmp_path / "none.h5ad"
    )
    with pytest.raises(InvalidArgumentError, match="no cells"):
        read_labeled(tmp_path / "none.h5ad", None, "type")  # type: ignore[arg-type]  # not reached
