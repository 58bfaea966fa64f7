"""Searches on a device, for which torch on the CPU, or a copy by FAISS, stands."""

from typing import Any

import numpy as np
import pytest

from cellkin.space.vectors import unit_rows
from cellkin.store import neighbors_device
from cellkin.store.neighbors import NeighborIndex
from cellkin.store.neighbors_device import (
    MOST_ON_CPU,
    DeviceIndex,
    FaissDevice,
    TorchDevice,
    find_device,
)
from cellkin.store.neighbors_faiss import faiss
from cellkin.wire.errors import FailedPreconditionError

DIM, N, MANY = 16, 700, MOST_ON_CPU + 60


def vectors(n: int, seed: int) -> Any:
    rng = np.random.default_rng(seed)
    return unit_rows(rng.standard_normal((n, DIM)).astype(np.float32))


CELLS, QUERIES = vectors(N, 1), vectors(MANY, 2)
CELLS[300:340] = CELLS[0]  # more equal cells than candidates beyond k
QUERIES[0] = CELLS[0]


class Counted(TorchDevice):
    """Counts the queries that are searched on it."""

    n_searched = 0

    def place(self, index: Any) -> Any:
        placed, device = super().place(index), self

        class Placed:
            def search(self, queries: Any, k: int) -> Any:
                device.n_searched += len(queries)
                return placed.search(queries, k)

        return Placed()


@pytest.mark.parametrize("k", [1, 10, N, N + 5])
def test_flat_answers_are_the_bits_of_the_cpu(k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbors_device, "_PRODUCTS", 100 * MANY)  # several products
    device, index = Counted("cpu"), NeighborIndex.build(CELLS)
    found = DeviceIndex(index, device).search(QUERIES, k)
    assert device.n_searched == MANY
    for on_device, on_cpu in zip(found, index.search(QUERIES, k), strict=True):
        np.testing.assert_array_equal(on_device, on_cpu)


def test_what_the_device_does_not_search() -> None:
    device, index = Counted("cpu"), NeighborIndex.build(CELLS)
    placed, passing = DeviceIndex(index, device), np.arange(N) % 2 == 0
    assert placed.takes(MANY, 10, None)
    for queries, k, only in ((QUERIES[:MOST_ON_CPU], 10, None), (QUERIES, 10, passing)):
        assert not placed.takes(len(queries), k, only)
        found, expected = placed.search(queries, k, only), index.search(queries, k, only)
        np.testing.assert_array_equal(found[1], expected[1])
    assert device.n_searched == 0


def test_inverted_lists_are_copied_by_faiss(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    def copied(resources: Any, number: int, index: Any) -> Any:
        made.append(number)
        return faiss.clone_index(index)

    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 2)
    monkeypatch.setattr(faiss, "StandardGpuResources", object, raising=False)
    monkeypatch.setattr(faiss, "index_cpu_to_gpu", copied, raising=False)
    lists = faiss.index_factory(DIM, "IVF8,SQ8", faiss.METRIC_INNER_PRODUCT)
    lists.train(CELLS)
    lists.add(CELLS)
    index, device = NeighborIndex(lists), find_device("cuda:1")
    assert (type(device), device.name) == (FaissDevice, "cuda:1")
    placed = DeviceIndex(index, device)
    assert made == [1]
    for on_device, on_cpu in zip(placed.search(QUERIES, 5), index.search(QUERIES, 5), strict=True):
        np.testing.assert_array_equal(on_device, on_cpu)
    with pytest.raises(RuntimeError, match="flat indexes alone"):
        DeviceIndex(index, TorchDevice("cpu"))


def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert find_device("cuda:1").name == "cuda:1"
    with pytest.raises(FailedPreconditionError, match=r"'cuda:2' .* FAISS sees 0 .* sees 2: check"):
        find_device("cuda:2")
    monkeypatch.setattr(neighbors_device, "find_spec", lambda name: None)
    with pytest.raises(FailedPreconditionError, match="torch is not installed"):
        find_device("cuda")
