"""Certificates: the measured recall and speed of an index, the trustworthiness of a layout."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

DEPTHS = (1, 10, 30, 100)
"""The numbers of neighbors at which recall is measured."""

TUNED_K = 10
"""The number of neighbors at which settings are tuned and speed is measured."""


@dataclass(frozen=True)
class Certificate:
    """Measurements of an index, taken when it was built.

    Parameters
    ----------
    recall
        By number of neighbors k, the fraction of the k exact nearest cells that the index finds,
        averaged over the queries. Any neighbor as near as the k-th counts, whatever its id.
    n_queries, queries
        Number of queries, and what they were.
    n_cells, dim
        Size of the index.
    target
        The recall at 10 neighbors that the settings were tuned for.
    qps_batch, qps_single
        Queries per second of one thread's CPU time at 10 neighbors: all queries in one batch, and
        one by one. Per second of wall time for an index that another process searches.
    bytes_per_cell
        Size of the index file per cell.
    build_s
        Seconds spent training and adding; for an extended index, only adding.
    factory, parameters, why
        The FAISS factory string, its search settings, and why it was chosen.
    versions
        VersionCache versions, by name.
    cpu, n_threads
        The CPU it was measured on; the number of threads that built it.
    vectors_digest
        SHA-256 of the vectors the index was measured against; empty if not given.
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
        """Whether the index reaches the target recall."""
        return self.recall[TUNED_K] >= self.target

    def to_json(self) -> dict[str, Any]:
        """Return the certificate as JSON values."""
        recall = {str(k): value for k, value in self.recall.items()}
        return {**asdict(self), "recall": recall, "reached": self.reached}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Certificate":
        """Parse the values that `to_json` returned."""
        fields = {name: values[name] for name in cls.__dataclass_fields__}
        # Manifests sort their keys as strings.
        recall = sorted((int(k), value) for k, value in values["recall"].items())
        return cls(**{**fields, "recall": dict(recall)})


@dataclass(frozen=True)
class LayoutCertificate:
    """How the layout of an index was made, and how well it keeps neighbors.

    Parameters
    ----------
    method, library, seed
        The method, the library and version that fitted it, and the seed of its random numbers.
    space
        The space whose neighbors it keeps.
    n_fitted
        Number of cells that it was fitted to.
    trustworthiness
        In [0, 1], how few cells that are near each other in the layout are not near in the space.
    placed_trustworthiness
        The same if fitted cells are placed as cells of a query are.
    permuted_trustworthiness
        The same of the layout with its positions permuted.
    trust_k, n_measured
        Neighbors at which trustworthiness was measured, and the number of cells.
    """

    method: str
    library: str
    seed: int
    space: str
    n_fitted: int
    trustworthiness: float
    placed_trustworthiness: float
    permuted_trustworthiness: float
    trust_k: int
    n_measured: int

    def to_json(self) -> dict[str, Any]:
        """Return the certificate as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "LayoutCertificate":
        """Parse the values that `to_json` returned."""
        return cls(**{name: values[name] for name in cls.__dataclass_fields__})
