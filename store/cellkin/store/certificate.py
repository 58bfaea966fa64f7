"""The certificate of an index: how much of the exact answer it finds, how fast, made how."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

DEPTHS = (1, 10, 30, 100)
"""The numbers of neighbors at which recall is measured."""

TUNED_K = 10
"""The number of neighbors at which settings are tuned and speed is measured."""


@dataclass(frozen=True)
class Certificate:
    """What was measured of an index when it was built.

    Parameters
    ----------
    recall
        By number of neighbors k, the share of the k exactly nearest cells that the index finds:
        the mean over the queries. A neighbor as near as the k-th counts, whatever its id.
    n_queries, queries
        How many queries, and what they were.
    n_cells, dim
        Size of the index.
    target
        The recall at 10 neighbors its settings were tuned to.
    qps_batch, qps_single
        Queries a second of one thread's CPU time at 10 neighbors: all queries in one batch, and
        one by one. Of an index that another process searches, a second of the clock.
    bytes_per_cell
        Of the index file.
    build_s
        Seconds of training and adding; of an extended index, of adding alone.
    factory, parameters, why
        The FAISS factory string, its search settings, and why it was chosen.
    versions
        Of the libraries, by name.
    cpu, n_threads
        Where it was measured; ``n_threads`` is how many built it.
    vectors_digest
        SHA-256 of the vectors the index was measured against; empty where it was not given.
    """

    recall: Mapping[int, float]
    n_queries: int
    queries: str
    n_cells: int
    dim: int
    target: float
    qps_batch: float
    qps_single: float
    bytes_per_cell: float
    build_s: float
    factory: str
    parameters: Mapping[str, int]
    why: str
    versions: Mapping[str, str]
    cpu: str
    n_threads: int
    vectors_digest: str = ""

    @property
    def reached(self) -> bool:
        """Whether the index finds as much as was asked for."""
        return self.recall[TUNED_K] >= self.target

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        recall = {str(k): value for k, value in self.recall.items()}
        return {**asdict(self), "recall": recall, "reached": self.reached}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Certificate":
        """Read what `to_json` returned."""
        fields = {name: values[name] for name in cls.__dataclass_fields__}
        # Manifests keep their keys in the order of text.
        recall = sorted((int(k), value) for k, value in values["recall"].items())
        return cls(**{**fields, "recall": dict(recall)})
