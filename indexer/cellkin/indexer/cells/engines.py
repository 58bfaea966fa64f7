"""Run the shards of a job in this process or in worker processes of this machine."""

import contextlib
import multiprocessing
import os
import pickle
import signal
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from cellkin.indexer.cells.worker import CellWorker, Shard, Work
from cellkin.indexer.devices import AUTO, resolve
from cellkin.indexer.threads import blas_threads, share_cores
from cellkin.store.machine import n_cores
from cellkin.wire.errors import FailedPreconditionError

Finished = Callable[[Shard], None]
"""Called with each finished shard."""

_MAX_RESTARTS = 3
# With fewer shards a job is done before the processes have started.
_SHARDS_WORTH_PROCESSES = 3


class Engine(Protocol):
    """Runs one step of a job over its shards."""

    def run(self, work: Work, step: str, shards: Sequence[Shard], finished: Finished) -> list[Any]:
        """Return the results of ``CellWorker.<step>``, in the order of the shards.

        Parameters
        ----------
        work
            The job.
        step
            ``count``, ``take`` or ``place``.
        shards
            The shards to process.
        finished
            Called for each finished shard, in any order.
        """

    def require_device(self, device: str) -> None:
        """Raise an error for a device that the workers cannot have, as far as known here.

        Parameters
        ----------
        device
            ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

        Raises
        ------
        InvalidArgumentError
            If the device is not one of these.
        FailedPreconditionError
            If CUDA is requested but not available.
        MissingDependencyError
            If CUDA is requested and torch is not installed.
        """

    def close(self) -> None:
        """Stop the workers."""


class LocalEngine:
    """Run shards in processes of this machine, as HDF5 reads in one thread per process.

    The shards of a killed worker are retried.

    Parameters
    ----------
    n_workers
        Worker processes; with 1, shards run in this process.
    """

    def __init__(self, n_workers: int) -> None:
        self._n_workers = n_workers
        self._pool: ProcessPoolExecutor | None = None

    def run(self, work: Work, step: str, shards: Sequence[Shard], finished: Finished) -> list[Any]:
        """Run a step; see `Engine.run`.

        Raises
        ------
        FailedPreconditionError
            If workers die repeatedly without finishing a shard.
        """
        if self._alone(work, len(shards)):
            return _run_here(work, step, shards, finished)
        results: dict[int, Any] = {}
        n_broken = 0
        with tempfile.TemporaryDirectory(prefix="cellkin-") as scratch:
            path = Path(scratch) / "work"
            path.write_bytes(pickle.dumps(work, protocol=pickle.HIGHEST_PROTOCOL))
            while len(results) < len(shards):
                n_before = len(results)
                try:
                    self._run_pool(path, step, shards, results, finished)
                except BrokenProcessPool:
                    self.close()
                    n_broken = 0 if len(results) > n_before else n_broken + 1
                if n_broken > _MAX_RESTARTS:
                    raise FailedPreconditionError(
                        f"worker processes died {n_broken} times without finishing a shard; if "
                        "the system killed them for their memory, use fewer: --workers"
                    )
        return [results[i] for i in range(len(shards))]

    def require_device(self, device: str) -> None:
        """Raise an error for a device that is unknown, or not available on this machine."""
        if device != AUTO:  # which never fails, and may take seconds to import torch
            resolve(device)

    def close(self) -> None:
        """Stop the processes."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None

    def _alone(self, work: Work, n_shards: int) -> bool:
        # A file that must be loaded whole would be loaded by every process.
        whole = any(file.in_memory for file in work.files)
        return whole or self._n_workers == 1 or n_shards < _SHARDS_WORTH_PROCESSES

    def _run_pool(
        self,
        work: Path,
        step: str,
        shards: Sequence[Shard],
        results: dict[int, Any],
        finished: Finished,
    ) -> None:
        """Process the shards without a result; results are kept if the pool breaks."""
        if self._pool is None:
            # Lance's threads do not survive a fork.
            spawn = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(
                self._n_workers, spawn, _start, (max(1, n_cores() // self._n_workers),)
            )
        todo = iter([i for i in range(len(shards)) if i not in results])
        running: dict[Future[Any], int] = {}
        try:
            # Two shards per worker keep it busy with few tables in the pipes.
            while True:
                for i in islice(todo, 2 * self._n_workers - len(running)):
                    running[self._pool.submit(_step, work, step, shards[i])] = i
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    i = running.pop(future)
                    results[i] = future.result()
                    finished(shards[i])
        finally:
            for future in running:
                future.cancel()


def _run_here(work: Work, step: str, shards: Sequence[Shard], finished: Finished) -> list[Any]:
    results = []
    with blas_threads(1), contextlib.closing(CellWorker(work, n_cores())) as worker:
        for shard in shards:
            results.append(getattr(worker, step)(shard))
            finished(shard)
    return results


_workers: dict[Path, CellWorker] = {}
"""The worker of this process, by the file of its job: at most one."""


def _start(n_threads: int) -> None:
    """Initialize a worker process with its share of the cores."""
    share_cores(n_threads)
    # Ctrl-C reaches every process of the group; the parent handles it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Exit with the parent process; otherwise the worker would wait for tasks forever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _step(work: Path, step: str, shard: Shard) -> Any:
    if work not in _workers:
        for worker in _workers.values():
            worker.close()
        _workers.clear()
        _workers[work] = CellWorker(pickle.loads(work.read_bytes()))
    return getattr(_workers[work], step)(shard)
