"""Indexes that are built, tuned, certified, extended and verified."""

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.unit.indexer.neighbors.array_vectors import ArrayVectors

from cellkin.indexer.neighbors import gpu
from cellkin.indexer.neighbors.build import build_neighbors, extend_neighbors
from cellkin.indexer.neighbors.certify import verify
from cellkin.indexer.neighbors.tune import Trial, smallest
from cellkin.space.arrays import Float32Matrix, Int64Vector
from cellkin.space.vectors import unit_rows
from cellkin.store.certificate import Certificate
from cellkin.store.neighbors import NeighborIndex
from cellkin.store.neighbors_faiss import faiss, knobs, n_lists
from cellkin.wire.errors import DimensionMismatchError, IntegrityError, InvalidArgumentError

KINDS = ["HNSW32", "IVF64,Flat", "IVF64,RaBitQ,Refine(SQfp16)"]


def clustered(n: int, dim: int, seed: int = 0) -> Float32Matrix:
    rng = np.random.default_rng(seed)
    centers = rng.standard_normal((12, dim))
    matrix = centers[rng.integers(12, size=n)] + rng.standard_normal((n, dim))
    return unit_rows(np.asarray(matrix, np.float32))


MATRIX = clustered(3000, 24)


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cellkin.indexer.neighbors.exact.N_QUERIES", 200)
        patch.setattr("cellkin.indexer.neighbors.certify._SINGLE_S", 0.01)
        yield


@pytest.mark.parametrize("factory", KINDS)
def test_settings_are_the_smallest_that_reach_the_recall(factory: str) -> None:
    low, high = (build_neighbors(ArrayVectors(MATRIX), factory, r) for r in (0.8, 0.97))
    for built, target in ((low, 0.8), (high, 0.97)):
        assert built.certificate.recall[10] >= target
        assert built.certificate.reached
        assert built.choice.parameters == knobs(built.index.faiss_index)
        assert built.certificate.parameters == built.choice.parameters
    depth = "efSearch" if factory == "HNSW32" else "nprobe"
    assert low.choice.parameters[depth] <= high.choice.parameters[depth]
    assert high.choice.parameters[depth] < 64 or depth == "efSearch"


def test_a_recall_out_of_reach_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "cellkin.indexer"):
        built = build_neighbors(ArrayVectors(MATRIX), "IVF16,PQ6x4fs", 0.98)
    assert not built.certificate.reached
    assert built.certificate.recall[10] < 0.9
    assert "recall not reached: IVF16,PQ6x4fs" in caplog.text


def test_an_index_without_settings_is_measured() -> None:
    built = build_neighbors(ArrayVectors(MATRIX), "SQ8", 0.9)
    assert built.choice.parameters == {}
    assert 0.9 < built.certificate.recall[10] < 1


@pytest.mark.parametrize(
    ("n", "factory", "said"),
    [(3000, "IVF64,PQ5", "subquantizers"), (10, "IVF64,Flat", "training points")],
)
def test_what_faiss_cannot_build_is_refused(n: int, factory: str, said: str) -> None:
    with pytest.raises(InvalidArgumentError, match=said):
        build_neighbors(ArrayVectors(MATRIX[:n]), factory)


@pytest.mark.parametrize("read", ["batches", "take"])
def test_an_error_of_reading_vectors_is_none_of_faiss(read: str) -> None:
    class Broken(ArrayVectors):
        def batches(self) -> Iterator[Float32Matrix]:
            if read == "batches":
                raise RuntimeError("disk")
            return super().batches()

        def take(self, rows: Int64Vector) -> Float32Matrix:
            if read == "take":
                raise RuntimeError("disk")
            return super().take(rows)

    with pytest.raises(RuntimeError, match=r"^disk$"):
        build_neighbors(Broken(MATRIX), "IVF64,Flat")


def test_a_certificate() -> None:
    steps: list[tuple[int, int]] = []
    built = build_neighbors(
        ArrayVectors(MATRIX), progress=lambda *step: steps.append(step), digest="abc"
    )
    certificate = built.certificate
    assert built.choice.factory == certificate.factory == "Flat"
    assert certificate.recall == {1: 1, 10: 1, 30: 1, 100: 1}
    assert certificate.n_queries == 200
    assert (certificate.n_cells, certificate.dim) == (3000, 24)
    assert certificate.bytes_per_cell == pytest.approx(96, abs=0.1)
    assert certificate.qps_batch > certificate.qps_single > 0
    assert certificate.vectors_digest == "abc"
    assert certificate.versions["faiss"] == faiss.__version__
    assert steps[-1] == (9_000, 9_000)
    assert steps == sorted(steps)
    stored = Certificate.from_json(json.loads(json.dumps(certificate.to_json(), sort_keys=True)))
    assert stored == certificate
    assert list(stored.recall) == [1, 10, 30, 100]


@pytest.mark.parametrize("n", [1, 2, 11])
def test_few_cells(n: int) -> None:
    for factory in ("auto", "HNSW32"):
        built = build_neighbors(ArrayVectors(MATRIX[:n]), factory)
        assert built.certificate.recall[100] == 1
        assert len(built.index) == n


def test_a_flat_index_extends_as_it_rebuilds(tmp_path: Path) -> None:
    build_neighbors(ArrayVectors(MATRIX[:1800])).index.save(tmp_path / "old.faiss")
    old = NeighborIndex.load(tmp_path / "old.faiss")
    extended = extend_neighbors(old, ArrayVectors(MATRIX), 1800)
    rebuilt = build_neighbors(ArrayVectors(MATRIX))
    assert len(old) == 1800
    assert extended.choice == rebuilt.choice
    assert extended.certificate.n_cells == 3000
    got, want = (built.index.search(MATRIX[::50], 20) for built in (extended, rebuilt))
    assert got[0].tobytes() == want[0].tobytes()
    assert got[1].tobytes() == want[1].tobytes()


@pytest.mark.parametrize("factory", KINDS)
def test_an_extended_index_reaches_the_recall_too(tmp_path: Path, factory: str) -> None:
    build_neighbors(ArrayVectors(MATRIX[:2700]), factory, 0.95).index.save(tmp_path / "old.faiss")
    old = NeighborIndex.load(tmp_path / "old.faiss")
    extended = extend_neighbors(old, ArrayVectors(MATRIX), 2700, factory, 0.95)
    assert len(extended.index) == 3000
    assert extended.certificate.recall[10] >= 0.95
    _, ids = extended.index.search(MATRIX[2900:], 1)
    assert np.mean(ids[:, 0] == np.arange(2900, 3000)) > 0.9


def test_another_kind_or_more_lists_are_built_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    small = 60_000  # Less than any but lists of short codes takes.
    monkeypatch.setattr("cellkin.indexer.neighbors.choice._FLAT_UP_TO", 24_000)
    old = build_neighbors(ArrayVectors(MATRIX[:300]), "Flat").index
    lists = extend_neighbors(old, ArrayVectors(MATRIX[:2000]), 300, memory_bytes=small, recall=0.9)
    assert lists.choice.factory == "IVF128,RaBitQ,Refine(SQ8)"
    kept = extend_neighbors(lists.index, ArrayVectors(MATRIX), 2000, memory_bytes=small, recall=0.9)
    assert kept.choice.factory == "IVF128,RaBitQ,Refine(SQ8)"
    assert n_lists(kept.index.faiss_index) == 128
    few = build_neighbors(ArrayVectors(MATRIX[:100]), memory_bytes=small, recall=0.9)
    assert few.choice.factory == "Flat"
    fresh = extend_neighbors(
        build_neighbors(ArrayVectors(MATRIX[:100]), "IVF32,RaBitQ,Refine(SQ8)", 0.9).index,
        ArrayVectors(MATRIX), 100, memory_bytes=small, recall=0.9,
    )  # fmt: skip
    assert fresh.choice.factory == "IVF256,RaBitQ,Refine(SQ8)"


def test_extending_the_wrong_index_is_refused() -> None:
    old = NeighborIndex.build(MATRIX[:10])
    with pytest.raises(InvalidArgumentError, match="an index of 10 cells"):
        extend_neighbors(old, ArrayVectors(MATRIX), 11)
    with pytest.raises(DimensionMismatchError, match="24 dimensions"):
        extend_neighbors(NeighborIndex.build(MATRIX[:10, :8]), ArrayVectors(MATRIX), 10)


def test_a_certificate_is_verified_and_a_wrong_one_refused() -> None:
    vectors = ArrayVectors(MATRIX)
    built = build_neighbors(vectors, "IVF64,Flat", 0.9, digest="abc")
    assert verify(built.index, vectors, built.certificate, "abc") == built.certificate.recall
    with pytest.raises(IntegrityError, match="digest abd"):
        verify(built.index, vectors, built.certificate, "abd")
    with pytest.raises(IntegrityError, match="certificate says 3000"):
        verify(built.index, ArrayVectors(MATRIX[:2999]), built.certificate)
    recall = {**built.certificate.recall, 30: built.certificate.recall[30] - 0.01}
    with pytest.raises(IntegrityError, match=r"@30 0\.\d{4} \(certified"):
        verify(built.index, vectors, replace(built.certificate, recall=recall))
    others = ArrayVectors(clustered(3000, 24, seed=1))
    with pytest.raises(IntegrityError, match="recall differs"):
        verify(built.index, others, built.certificate)


@pytest.mark.parametrize("needed", [1, 2, 3, 7, 64, 65, 100, 1000])
def test_the_smallest_setting(needed: int) -> None:
    tried: list[int] = []

    def measure(at: int) -> Trial:
        tried.append(at)
        return Trial(min(1, at / needed), min(1, at / needed), 0)

    found = smallest(measure, 1, 1, 1000)
    assert found is not None
    assert needed <= found <= needed + max(1, needed // 15)
    assert len(tried) < 2 * np.log2(needed + 1) + 6
    assert smallest(lambda at: Trial(0.5, 0.5, 0), 0.9, 1, 1 << 20) is None
    assert smallest(measure, 1.1, 1, 1000) is None


def test_training_and_exact_search_use_a_gpu_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A stand-in: whether a real one does is for tests/gpu.
    calls: list[str] = []

    def to_gpus(index: faiss.Index) -> faiss.Index:
        calls.append("train")
        return index

    def knn_gpu(
        resources: object, queries: Float32Matrix, block: Float32Matrix, k: int, metric: int
    ) -> object:
        calls.append("knn")
        return faiss.knn(queries, block, k, metric=metric)

    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1)
    monkeypatch.setattr(faiss, "index_cpu_to_all_gpus", to_gpus)
    monkeypatch.setattr(faiss, "StandardGpuResources", object, raising=False)
    monkeypatch.setattr(faiss, "knn_gpu", knn_gpu)
    index = faiss.index_factory(24, "IVF8,RaBitQ,Refine(SQ8)", faiss.METRIC_INNER_PRODUCT)
    gpu.train(index, MATRIX)
    assert index.is_trained
    found = gpu.nearest(MATRIX[:2], [MATRIX[:100], MATRIX[100:102], MATRIX[102:]], 3)
    assert calls == ["train", "knn", "knn", "knn"]
    np.testing.assert_array_equal(found[1], np.argsort(-MATRIX[:2] @ MATRIX.T, axis=1)[:, :3])
