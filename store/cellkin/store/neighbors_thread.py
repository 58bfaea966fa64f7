"""One searching thread a device, for indexes that no two threads may enter at once."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from cellkin.space.arrays import Float32Matrix, Int64Vector


class Searchable(Protocol):
    """What answers as a `cellkin.store.neighbors.NeighborIndex`."""

    def search(self, queries: Float32Matrix, k: int) -> tuple[Float32Matrix, Int64Vector]:
        """Find the nearest vectors of each query; see `NeighborIndex.search`."""

    def __len__(self) -> int:
        """Return the number of vectors."""


class OneThread:
    """An index that only its device's one thread ever searches; callers wait for it.

    The FAISS indexes of a GPU share scratch memory, so even two readers at once spoil each other's
    answers, of one index or of two.

    Parameters
    ----------
    index
        The index.
    device
        Number of the device it is on; its indexes share a thread.
    """

    def __init__(self, index: Searchable, device: int = 0) -> None:
        self._index = index
        with _starting:
            if device not in _threads:
                _threads[device] = ThreadPoolExecutor(1, f"cellkin-search-{device}")
        self._thread = _threads[device]

    def search(self, queries: Float32Matrix, k: int) -> tuple[Float32Matrix, Int64Vector]:
        """Find the nearest vectors of each query; see `NeighborIndex.search`."""
        return self._thread.submit(self._index.search, queries, k).result()

    def __len__(self) -> int:
        """Return the number of vectors."""
        return len(self._index)


_threads: dict[int, ThreadPoolExecutor] = {}
_starting = threading.Lock()
