"""One searching thread a device."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from cellkin.space.arrays import Float32Matrix, Int64Vector
from cellkin.store.neighbors_thread import OneThread


class Fragile:
    """Notices when two threads are in it, or in any other that shares its state, at once."""

    def __init__(self, inside: threading.Lock) -> None:
        self._inside = inside
        self.threads: set[int] = set()

    def search(self, queries: Float32Matrix, k: int) -> tuple[Float32Matrix, Int64Vector]:
        assert self._inside.acquire(blocking=False), "two threads are in at once"
        try:
            self.threads.add(threading.get_ident())
            time.sleep(0.002)
            if k == 13:
                raise ValueError("thirteen")
            return queries[:, :k], np.full((len(queries), k), int(queries[0, 0]), np.int64)
        finally:
            self._inside.release()

    def __len__(self) -> int:
        return 3


def test_callers_wait_for_the_one_thread_of_a_device() -> None:
    inside = threading.Lock()
    fragile = [Fragile(inside), Fragile(inside)]
    indexes = [OneThread(index, device=91) for index in fragile]

    def ask(number: int) -> int:
        queries = np.full((2, 4), number, np.float32)
        return int(indexes[number % 2].search(queries, 1)[1][0, 0])

    with ThreadPoolExecutor(8) as callers:
        assert list(callers.map(ask, range(60))) == list(range(60))
    assert len(fragile[0].threads | fragile[1].threads) == 1
    assert len(indexes[0]) == 3


def test_errors_reach_the_caller() -> None:
    index = OneThread(Fragile(threading.Lock()), device=92)
    with pytest.raises(ValueError, match="thirteen"):
        index.search(np.zeros((1, 20), np.float32), 13)
    assert index.search(np.zeros((1, 20), np.float32), 2)[1].tolist() == [[0, 0]]


def test_the_fake_does_notice() -> None:
    fragile = Fragile(threading.Lock())

    def ask(_: int) -> None:
        fragile.search(np.zeros((1, 4), np.float32), 1)

    with ThreadPoolExecutor(8) as callers, pytest.raises(AssertionError, match="at once"):
        list(callers.map(ask, range(60)))
