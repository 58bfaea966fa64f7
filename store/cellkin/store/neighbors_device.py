"""Searches of large blocks of queries on a CUDA device, by FAISS or torch.

Only candidates are found there; a flat index computes their similarities and order itself, so that
its answers are the same bits as on the CPU.
"""

from abc import ABC, abstractmethod
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np

from cellkin.space.arrays import BoolVector, Float32Matrix
from cellkin.space.largest import largest_products
from cellkin.space.products import found_products
from cellkin.store.neighbor_search import Found
from cellkin.store.neighbors import LEAST_CANDIDATES, NeighborIndex, best_of
from cellkin.store.neighbors_faiss import faiss, flat_vectors
from cellkin.wire.errors import FailedPreconditionError

MOST_ON_CPU = 128
"""Most queries of a block that is not worth the way to a device."""
# Candidates beyond k, so that the order among near ties does not depend on the device.
_SPARE = 16
# The least difference of similarities that rounding by a device cannot hide.
_ROUNDING = np.float32(1e-5)
# FAISS selects no more on a device.
_MOST_NEIGHBORS = 2048
# Products of one matrix product; they take 4 bytes each.
_PRODUCTS = 1 << 27


class Placed(Protocol):
    """A copy of an index on a device."""

    def search(self, queries: Float32Matrix, k: int) -> Found:
        """Return similarities and ids of candidates, in any order."""


class Device(ABC):
    """A CUDA device, which one search at a time may use.

    Parameters
    ----------
    name
        ``cuda:N``.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    @abstractmethod
    def place(self, index: faiss.Index) -> Placed:
        """Copy an index to the device.

        Raises
        ------
        RuntimeError
            If the device has no such index, or no room for it.
        """


class FaissDevice(Device):
    """A device that FAISS finds; has flat indexes and most of inverted lists.

    Parameters
    ----------
    number
        Number of the device.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"cuda:{number}")
        self._number = number
        self._resources: Any = faiss.StandardGpuResources()

    def place(self, index: faiss.Index) -> Placed:
        """Copy an index; see `Device.place`."""
        placed: Placed = faiss.index_cpu_to_gpu(self._resources, self._number, index)
        return placed


class TorchDevice(Device):
    """A device that torch finds; has flat indexes.

    Parameters
    ----------
    name
        ``cuda:N``; ``cpu`` stands for a device in tests.
    """

    def place(self, index: faiss.Index) -> Placed:
        """Copy a flat index; see `Device.place`."""
        if not isinstance(index, faiss.IndexFlat):
            raise RuntimeError("torch searches flat indexes alone")  # noqa: TRY004  # as FAISS does
        return _Products(flat_vectors(index), self.name)


class _Products:
    """Vectors on a device, searched by matrix products."""

    def __init__(self, vectors: Float32Matrix, device: str) -> None:
        import torch

        self._torch, self._device = torch, torch.device(device)
        self._vectors = torch.from_numpy(np.array(vectors)).to(self._device)

    def search(self, queries: Float32Matrix, k: int) -> Found:
        """Return the k candidates of each query."""
        torch = self._torch
        with torch.inference_mode():
            asked = torch.from_numpy(queries).to(self._device)
            best = asked.new_empty((len(queries), 0))
            ids = torch.empty((len(queries), 0), dtype=torch.int64, device=self._device)
            n_rows = max(k, _PRODUCTS // len(queries))
            for start in range(0, len(self._vectors), n_rows):
                products = asked @ self._vectors[start : start + n_rows].T
                values, rows = products.topk(min(k, products.shape[1]), dim=1)
                best, ids = torch.cat([best, values], 1), torch.cat([ids, rows + start], 1)
                best, at = best.topk(min(k, best.shape[1]), dim=1)
                ids = ids.gather(1, at)
            return best.cpu().numpy(), ids.cpu().numpy()


class DeviceIndex(NeighborIndex):
    """An index whose candidates are found on a device.

    Parameters
    ----------
    index
        The index in main memory.
    device
        The device; see `Device.place` for what it raises.
    """

    def __init__(self, index: NeighborIndex, device: Device) -> None:
        super().__init__(index.faiss_index)
        self._placed = device.place(index.faiss_index)

    def takes(self, n_queries: int, k: int, passing: BoolVector | None) -> bool:
        """Return whether the device is what searches a block, for it is large and unrestricted."""
        large = n_queries > MOST_ON_CPU and self._n_candidates(k) <= _MOST_NEIGHBORS
        return passing is None and k > 0 and large

    def search(self, queries: Float32Matrix, k: int, passing: BoolVector | None = None) -> Found:
        """Find the nearest vectors of each query; see `Neighbors.search`."""
        if not self.takes(len(queries), k, passing) or queries.shape[1] != self.dim:
            return super().search(queries, k, passing)
        queries = np.ascontiguousarray(queries, np.float32)
        similarities, ids = self._placed.search(queries, self._n_candidates(k))
        if self._vectors is None:
            return best_of(similarities, ids, k)
        similarities = found_products(queries, self._vectors, ids)
        similarities, ids = best_of(similarities, ids, ids.shape[1])
        if k < ids.shape[1] < len(self):
            # Where the candidates end among near ties, the device may have left out others.
            near = similarities[:, k - 1] <= similarities[:, -1] + _ROUNDING
            found = largest_products(self._vectors, queries[near], k)
            similarities[near, :k], ids[near, :k] = found
        return best_of(similarities, ids, k)

    def _n_candidates(self, k: int) -> int:
        return min(k + _SPARE if self.exact else max(k, LEAST_CANDIDATES), len(self))


def find_device(name: str) -> Device:
    """Return a CUDA device, by FAISS if it sees it, else by torch.

    Parameters
    ----------
    name
        ``cuda`` or ``cuda:N``.

    Raises
    ------
    FailedPreconditionError
        If neither sees it.
    """
    number = int(name.partition(":")[2] or 0)
    n_faiss = faiss.get_num_gpus()
    if number < n_faiss:
        return FaissDevice(number)
    seen = "torch is not installed"
    if find_spec("torch") is not None:
        import torch

        n_torch = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if number < n_torch:
            return TorchDevice(f"cuda:{number}")
        seen = f"torch {torch.__version__} sees {n_torch}"
    raise FailedPreconditionError(
        f"device {name!r} is asked for; FAISS sees {n_faiss} CUDA devices and {seen}: check the "
        "driver, and install cellkin[gpu] instead of cellkin[cpu] or a CUDA build of torch, or "
        "search on the CPU, --device cpu"
    )
