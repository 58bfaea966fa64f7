"""FAISS against exact numpy; answers that do not depend on the batch; every kind, saved and not."""

from pathlib import Path

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellkin.space.arrays import Float32Matrix
from cellkin.space.vectors import unit_rows
from cellkin.store import neighbors_faiss
from cellkin.store.neighbors import NeighborIndex
from cellkin.store.neighbors_faiss import knobs, require_one_faiss, set_knobs, shape
from cellkin.wire.errors import DimensionMismatchError, FailedPreconditionError

RNG = np.random.default_rng(5)
VECTORS = unit_rows(RNG.standard_normal((500, 32)).astype(np.float32))
QUERIES = unit_rows(RNG.standard_normal((400, 32)).astype(np.float32))
KINDS = {
    "Flat": {},
    "HNSW32": {"efSearch": 77},
    "IVF8,Flat": {"nprobe": 3},
    "IVF8,SQ8": {"nprobe": 3},
    "IVF8,RaBitQ,Refine(SQ8)": {"nprobe": 3, "k_factor": 5},
    "IVF8,RaBitQ,Refine(SQfp16)": {"nprobe": 3, "k_factor": 5},
    "PCA16,IVF8,Flat": {"nprobe": 3},
}


def of_kind(factory: str, vectors: Float32Matrix = VECTORS) -> NeighborIndex:
    index = faiss.index_factory(vectors.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
    lists = faiss.try_extract_index_ivf(index)
    if lists is not None:
        lists.cp.min_points_per_centroid = 1
    index.train(vectors)
    index.add(vectors)
    set_knobs(index, KINDS.get(factory, {}))
    return NeighborIndex(index)


def test_search_is_exact() -> None:
    similarities, ids = NeighborIndex.build(VECTORS).search(QUERIES, 10)
    exact = QUERIES.astype(np.float64) @ VECTORS.T.astype(np.float64)
    np.testing.assert_array_equal(ids, np.argsort(-exact, axis=1, kind="stable")[:, :10])
    np.testing.assert_allclose(similarities, -np.sort(-exact, axis=1)[:, :10], atol=1e-6)


@pytest.mark.parametrize("factory", ["Flat", "HNSW32"])
def test_one_query_or_many_answer_bit_for_bit_alike(factory: str) -> None:
    index = of_kind(factory)
    together = index.search(QUERIES, 10)
    for row in range(0, 400, 57):
        for n in (1, 2, 17, 128):
            few = index.search(QUERIES[row : row + n], 10)
            assert few[0][0].tobytes() == together[0][row].tobytes()
            assert few[1][0].tobytes() == together[1][row].tobytes()


@pytest.mark.parametrize("k", [5, 120])
def test_many_ties_fall_alike_in_any_batch(k: int) -> None:
    index = NeighborIndex.build(np.repeat(VECTORS[:5], 90, axis=0))
    passing = np.arange(len(index)) % 3 > 0
    together = index.search(QUERIES, k), index.search(QUERIES, k, passing)
    for row in (0, 7, 399):
        for which, only in enumerate((None, passing)):
            alone = index.search(QUERIES[row : row + 1], k, only)
            assert alone[0].tobytes() == together[which][0][row].tobytes()
            assert alone[1].tobytes() == together[which][1][row].tobytes()
    exact = QUERIES[0] @ VECTORS[:5].T
    first = 90 * int(exact.argmax())
    assert together[0][1][0, :5].tolist() == list(range(first, first + 5))


def test_ties_fall_to_the_lowest_id() -> None:
    same = np.tile(VECTORS[:1], (40, 1))
    _, ids = NeighborIndex.build(same).search(VECTORS[:1], 10)
    assert ids.tolist() == [list(range(10))]


@settings(deadline=None, max_examples=30)
@given(
    st.sampled_from(["Flat", "HNSW32", "IVF2,Flat", "IVF2,RaBitQ,Refine(SQ8)"]),
    st.lists(st.integers(0, 3), min_size=2, max_size=40),
    st.integers(1, 60),
)
def test_ties_ascend_and_missing_ones_come_last(factory: str, which: list[int], k: int) -> None:
    # Of few different vectors, many are equal; k may be more than there are.
    vectors = VECTORS[which]
    index = of_kind(factory, vectors)
    set_knobs(index.faiss_index, {"nprobe": 2} if "IVF" in factory else {})
    similarities, ids = index.search(VECTORS[:4], k)
    assert similarities.shape == ids.shape == (4, k)
    for scores, row in zip(similarities, ids, strict=True):
        there = row >= 0
        n = int(there.sum())
        assert n == (min(k, len(which)) if factory in ("Flat", "IVF2,Flat") else n)
        assert there[:n].all()
        assert np.isneginf(scores[n:]).all()
        assert np.isfinite(scores[:n]).all()
        assert len(set(row[:n])) == n
        order = np.lexsort((row[:n], -scores[:n]))
        assert order.tolist() == list(range(n))


def test_fewer_vectors_than_neighbors() -> None:
    similarities, ids = NeighborIndex.build(VECTORS[:3]).search(QUERIES[:1], 5)
    assert (ids[0, 3:] == -1).all()
    assert np.isneginf(similarities[0, 3:]).all()
    assert sorted(ids[0, :3]) == [0, 1, 2]


@pytest.mark.parametrize("factory", KINDS)
def test_a_saved_index_answers_alike(tmp_path: Path, factory: str) -> None:
    index = of_kind(factory)
    index.save(tmp_path / "i.faiss")
    assert index.n_bytes == (tmp_path / "i.faiss").stat().st_size
    loaded = NeighborIndex.load(tmp_path / "i.faiss")
    read = NeighborIndex(faiss.read_index(str(tmp_path / "i.faiss")))
    want = index.search(QUERIES, 7)
    for other in (loaded, read):
        assert len(other) == 500
        # FAISS files keep the search settings.
        assert knobs(other.faiss_index) == KINDS[factory]
        assert shape(other.faiss_index) == shape(index.faiss_index)
        got = other.search(QUERIES, 7)
        assert got[0].tobytes() == want[0].tobytes()
        assert got[1].tobytes() == want[1].tobytes()


def test_shapes_tell_kinds_apart() -> None:
    assert len({shape(of_kind(factory).faiss_index) for factory in KINDS}) == len(KINDS)
    assert shape(of_kind("IVF8,SQ8").faiss_index) == shape(of_kind("IVF4,SQ8").faiss_index)


def test_blas_begins_at_the_third_query() -> None:
    """The kernels sum in another order, so the bits say which of them scanned."""
    wide = unit_rows(np.random.default_rng(1).standard_normal((400, 2048)).astype(np.float32))
    index = NeighborIndex.build(wide).faiss_index
    assert faiss.cvar.distance_compute_blas_threshold == 3 * 2048
    alone, two, three = (index.search(wide[:n], 400)[0] for n in (1, 2, 3))
    assert alone.tobytes() == two[:1].tobytes(), (
        "FAISS scans two queries by BLAS: the meaning of its threshold changed"
    )
    assert alone.tobytes() != three[:1].tobytes(), (
        "FAISS does not scan three queries by BLAS: the meaning of its threshold changed, "
        "and comparing with the centers of lists is several times slower"
    )


def test_a_narrow_index_does_not_slow_a_wide_one() -> None:
    NeighborIndex.build(VECTORS)
    before = faiss.cvar.distance_compute_blas_threshold
    assert before >= 3 * 32
    NeighborIndex.build(VECTORS[:, :8])
    assert before == faiss.cvar.distance_compute_blas_threshold


@pytest.mark.parametrize("factory", ["Flat", "HNSW32"])
def test_queries_of_another_width_are_refused(factory: str) -> None:
    with pytest.raises(DimensionMismatchError, match="queries of 16 dimensions, index of 32"):
        of_kind(factory).search(QUERIES[:, :16], 1)


def test_no_queries_and_no_neighbors() -> None:
    index = of_kind("HNSW32")
    assert index.search(QUERIES[:0], 5)[1].shape == (0, 5)
    assert index.search(QUERIES[:2], 0)[1].shape == (2, 0)


def test_two_distributions_of_faiss_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    require_one_faiss.cache_clear()
    both = {"faiss-cpu", "faiss-gpu-cuvs"}
    monkeypatch.setattr(neighbors_faiss, "_installed", both.__contains__)
    with pytest.raises(FailedPreconditionError, match="pip uninstall faiss-cpu faiss-gpu-cuvs"):
        NeighborIndex.build(VECTORS)
    monkeypatch.undo()
    require_one_faiss()


@pytest.mark.parametrize("factory", KINDS)
@pytest.mark.parametrize("share", [0.5, 0.1, 0.01, 0.0])
def test_only_what_passes_is_found(factory: str, share: float) -> None:
    index = of_kind(factory)
    passing = np.random.default_rng(2).random(len(VECTORS)) < share
    similarities, ids = index.search(QUERIES, 5, passing)
    there = ids >= 0
    assert passing[ids[there]].all()
    assert np.isneginf(similarities[~there]).all()
    assert (np.diff(there.astype(int), axis=1) <= 0).all(), "hits come before what is missing"
    before = knobs(index.faiss_index)
    assert before == KINDS[factory], "the settings of a shared index stay as they are"
    if factory in ("Flat", "HNSW32"):
        expected = np.where(passing, QUERIES @ VECTORS.T, -np.inf)
        n = min(5, int(passing.sum()))
        best = np.sort(expected, axis=1)[:, ::-1][:, :n]
        recall = (similarities[:, :n] >= best - 1e-5).mean() if n else 1.0
        assert recall >= (1.0 if factory == "Flat" else 0.9)
