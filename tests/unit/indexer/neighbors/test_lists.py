"""Inverted lists that are trained and filled by groups."""

from collections.abc import Iterator

import numpy as np
import pytest
from tests.unit.indexer.neighbors.array_vectors import ArrayVectors

from cellkin.indexer.neighbors.build import build_neighbors, extend_neighbors
from cellkin.indexer.neighbors.choice import new_index
from cellkin.indexer.neighbors.lists import ListGroups, grouped_lists, train_lists
from cellkin.space.arrays import Float32Matrix
from cellkin.space.vectors import unit_rows
from cellkin.store.neighbors_faiss import faiss, flat_vectors

LISTS = 128
RNG = np.random.default_rng(0)
CENTERS = RNG.standard_normal((20, 24))
MATRIX = unit_rows(
    np.asarray(CENTERS[RNG.integers(20, size=6000)] + RNG.standard_normal((6000, 24)), np.float32)
)


@pytest.fixture(scope="module", autouse=True)
def _small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cellkin.indexer.neighbors.lists.GROUPED_FROM", LISTS)
        patch.setattr("cellkin.indexer.neighbors.exact.N_QUERIES", 100)
        patch.setattr("cellkin.indexer.neighbors.certify._SINGLE_S", 0.01)
        yield


@pytest.mark.parametrize(
    ("factory", "grouped"),
    [
        ("Flat", False),
        ("HNSW32", False),
        (f"IVF{LISTS},Flat", True),
        (f"IVF{LISTS},RaBitQ,Refine(SQ8)", True),
        (f"IVF{LISTS // 2},Flat", False),
        (f"IVF{LISTS}_HNSW8,Flat", False),
        (f"PCA8,IVF{LISTS},Flat", False),
    ],
)
def test_which_lists_are_grouped(factory: str, *, grouped: bool) -> None:
    index = new_index(factory, 24)
    assert (grouped_lists(index) is not None) == grouped


def trained(sample: Float32Matrix) -> tuple[faiss.Index, Float32Matrix]:
    index = new_index(f"IVF{LISTS},RaBitQ,Refine(SQfp16)", 24)
    lists = grouped_lists(index)
    train_lists(index, lists, sample)
    return index, flat_vectors(faiss.downcast_index(lists.quantizer)).copy()


def test_centers_are_as_near_as_those_of_faiss() -> None:
    index, centers = trained(MATRIX[:5000])
    assert index.is_trained
    assert centers.shape == (LISTS, 24)
    np.testing.assert_allclose(np.linalg.norm(centers, axis=1), 1, atol=1e-5)
    means = faiss.Kmeans(24, LISTS, niter=10, seed=1, spherical=True)
    means.train(MATRIX[:5000])
    ours, theirs = (
        (MATRIX[5000:] @ c.T).max(1).mean() for c in (centers, np.asarray(means.centroids))
    )
    assert ours > 0.98 * theirs


@pytest.mark.parametrize("n", [LISTS, LISTS + 1])
def test_as_many_cells_as_lists_are_enough(n: int) -> None:
    assert len(np.unique(trained(MATRIX[:n])[1], axis=0)) > 0.9 * LISTS


def test_nearly_all_cells_are_in_their_nearest_list() -> None:
    centers = trained(MATRIX)[1]
    found = ListGroups(centers).nearest(MATRIX)
    products = MATRIX @ centers.T
    assert (found == products.argmax(1)).mean() > 0.95
    assert (products.max(1) - products[np.arange(6000), found]).mean() < 0.005


@pytest.mark.parametrize("kind", ["Flat", "RaBitQ,Refine(SQfp16)"])
def test_an_index_of_grouped_lists_reaches_its_recall(kind: str) -> None:
    factory = f"IVF{LISTS},{kind}"
    built = build_neighbors(ArrayVectors(MATRIX[:5000]), factory, 0.97)
    assert built.certificate.recall[10] >= 0.95
    assert built.choice.parameters["nprobe"] < LISTS // 2
    extended = extend_neighbors(built.index, ArrayVectors(MATRIX), 5000, factory, 0.97)
    assert len(built.index) == 5000
    assert len(extended.index) == 6000
    assert extended.certificate.recall[10] >= 0.95
    for index, rows in ((built.index, np.arange(5000)), (extended.index, np.arange(6000))):
        similarities, ids = index.search(MATRIX[rows], 1)
        assert (ids[:, 0] == rows).mean() > 0.95
        assert np.median(similarities) == pytest.approx(1, abs=0.01)


def test_fewer_cells_than_lists_are_refused_as_by_faiss() -> None:
    with pytest.raises(ValueError, match="training points"):
        build_neighbors(ArrayVectors(MATRIX[: LISTS - 1]), f"IVF{LISTS},Flat")
