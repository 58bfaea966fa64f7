"""Run shards on a Ray cluster, with workers as actors, each on a fraction of a GPU if requested.

Workers read the cell files and write the store by the given paths, so both must be reachable from
every machine of the cluster: on a shared file system, or in an object store.
"""

import logging
import os
import warnings
from collections.abc import Sequence
from typing import Any

from cellkin.indexer.cells.engines import Finished
from cellkin.indexer.cells.worker import CellWorker, Shard, Work
from cellkin.indexer.devices import require_known
from cellkin.indexer.threads import share_cores
from cellkin.wire.errors import InternalError, MissingDependencyError, UnavailableError

# Two shards in flight keep an actor busy while the driver handles the others.
_PER_ACTOR = 2


class RayWorker(CellWorker):
    """A worker in a Ray process, whose environment is that of the cluster's starter."""

    def __init__(self, work: Work) -> None:
        share_cores(1)
        super().__init__(work)


class RayEngine:
    """Run shards in actors of a Ray cluster.

    An actor that dies is restarted and its shards are retried; their rows are committed once,
    whatever was written.

    Parameters
    ----------
    address
        Address of the cluster; None starts one on this machine for the job.
    n_workers
        Number of actors.
    gpus
        Fraction of a GPU for each actor; 0 for none.
    """

    def __init__(self, address: str | None, n_workers: int, gpus: float = 0.0) -> None:
        self._address = address
        self._n_workers = n_workers
        self._gpus = gpus
        self._ray: Any = None

    def run(self, work: Work, step: str, shards: Sequence[Shard], finished: Finished) -> list[Any]:
        """Run a step; see `cellkin.indexer.cells.engines.Engine.run`.

        Raises
        ------
        MissingDependencyError
            If Ray is not installed.
        UnavailableError
            If the cluster cannot be reached.
        InternalError
            If an actor cannot be restarted.
        """
        ray = self._connected()
        actor = ray.remote(RayWorker).options(
            num_cpus=1, num_gpus=self._gpus, max_restarts=-1, max_task_retries=-1
        )
        shared = ray.put(work)
        actors = [actor.remote(shared) for _ in range(min(self._n_workers, len(shards)))]
        results: dict[int, Any] = {}
        running: dict[Any, tuple[int, Any]] = {}
        todo = iter(range(len(shards)))
        free = [each for _ in range(_PER_ACTOR) for each in actors]
        try:
            while len(results) < len(shards):
                while free and (i := next(todo, None)) is not None:
                    each = free.pop(0)
                    running[getattr(each, step).remote(shards[i])] = i, each
                done, _ = ray.wait(list(running), num_returns=1)
                for reference in done:
                    i, each = running.pop(reference)
                    results[i] = ray.get(reference)
                    free.append(each)
                    finished(shards[i])
        except ray.exceptions.RayActorError as error:
            raise InternalError(
                f"a Ray worker died and could not be started again: {error}"
            ) from error
        finally:
            for each in actors:
                ray.kill(each)
        return [results[i] for i in range(len(shards))]

    def require_device(self, device: str) -> None:
        """Raise an error for an unknown device; the workers may have GPUs that are not here."""
        require_known(device)

    def close(self) -> None:
        """Disconnect from the cluster, and stop it if it was started for the job."""
        if self._ray is not None:
            self._ray.shutdown()
            self._ray = None

    def _connected(self) -> Any:
        """Return the `ray` module, connected to the cluster."""
        # Ray reads these when it is imported.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        if self._address is None:
            # Ray listens on all addresses of the machine; require the token in the user's home.
            os.environ.setdefault("RAY_AUTH_MODE", "token")
        try:
            import ray
        except ImportError as error:
            raise MissingDependencyError(
                "Ray is not installed; pip install 'cellkin[ray]'"
            ) from error
        if ray.is_initialized():
            return ray
        self._ray = ray
        try:
            if self._address is None:
                with warnings.catch_warnings():
                    # Lance warns when Ray forks its processes, but these exec at once.
                    warnings.filterwarnings("ignore", message="lance is not fork-safe")
                    ray.init(
                        num_cpus=self._n_workers,
                        include_dashboard=False,
                        log_to_driver=False,
                        logging_level=logging.WARNING,
                    )
            else:
                ray.init(address=self._address, log_to_driver=False)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise UnavailableError(f"no Ray cluster at {self._address}: {error}") from error
        return ray
