"""The two-dimensional layout of a reference."""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from cellkin.client.results.predictions import space_name
from cellkin.client.results.tables import Shown, Tabular
from cellkin.client.results.versions import Versions
from cellkin.v1 import cell_service_pb2 as wire
from cellkin.wire import codec


@dataclass(frozen=True, repr=False)
class LayoutCertificate(Shown):
    """How a layout was made, and how well it keeps neighbors.

    Parameters
    ----------
    method, library, seed
        The method, the library and version that fitted it, and the seed of its random numbers.
    space
        The space whose neighbors it keeps: ``text`` or ``expression``.
    n_cells, n_fitted
        Number of reference cells, and of those that it was fitted to. The other ones, and the cells
        of queries, are placed among the nearest of them.
    k
        Number of nearest fitted cells by which a cell is placed.
    trustworthiness
        In [0, 1], how few cells that are near each other in the layout are not near in the space,
        at ``trust_k`` neighbors, of ``n_measured`` cells.
    placed_trustworthiness
        The same if fitted cells are placed as cells of a query are.
    permuted_trustworthiness
        The same of the layout with its positions permuted: what chance gives.
    trust_k, n_measured
        Neighbors and cells of the measurement.
    """

    method: str
    library: str
    seed: int
    space: str
    n_cells: int
    n_fitted: int
    k: int
    trustworthiness: float
    placed_trustworthiness: float
    permuted_trustworthiness: float
    trust_k: int
    n_measured: int


@dataclass(frozen=True, repr=False)
class Layout(Tabular):
    """Positions of reference cells in two dimensions, in the order of the reference.

    Parameters
    ----------
    versions
        Versions of the response.
    certificate
        How the layout was made, and how well it keeps neighbors.
    label_names
        The labels, in the reference's order.
    batch_names
        The donors or batches, by name; empty if the reference has none.
    positions
        (n_cells, 2) float32, finite.
    labels
        (n_cells,) int32 into ``label_names``.
    batches
        (n_cells,) int32 into ``batch_names``; -1 for a cell without a batch.
    n_same
        (n_cells,) uint8, of the certificate's ``k`` nearest fitted cells, the number with the same
        label; the cell itself does not count.
    """

    versions: Versions
    certificate: LayoutCertificate
    label_names: tuple[str, ...]
    batch_names: tuple[str, ...]
    positions: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int32]
    batches: npt.NDArray[np.int32]
    n_same: npt.NDArray[np.uint8]

    def columns(self) -> dict[str, Any]:
        """Return one row per cell: ``row``, ``x``, ``y``, ``label``, ``batch``, ``n_same``."""
        labels = np.array(self.label_names, object)
        batches = np.array([*self.batch_names, ""], object)  # -1 is the last one
        return {
            "row": np.arange(len(self.positions)),
            "x": self.positions[:, 0],
            "y": self.positions[:, 1],
            "label": labels[self.labels].tolist(),
            "batch": batches[self.batches].tolist(),
            "n_same": self.n_same,
        }

    @classmethod
    def join(cls, parts: "list[Layout]") -> "Layout":
        """Return the layout of the cells of all parts; there is at least one."""
        first = parts[0]
        joined = [
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("positions", "labels", "batches", "n_same")
        ]
        return cls(first.versions, first.certificate, first.label_names, first.batch_names, *joined)


LayoutPart: TypeAlias = Layout
"""The layout of the cells of one page."""


def read_part(message: wire.GetLayoutResponse) -> LayoutPart:
    """Read a page of a layout."""
    made = message.certificate
    fields = {name: getattr(made, name) for name in LayoutCertificate.__dataclass_fields__}
    return Layout(
        Versions.from_message(message.versions),
        LayoutCertificate(**{**fields, "space": space_name(made.space)}),
        tuple(message.labels),
        tuple(message.batches),
        codec.decode(message.positions, np.float32, "positions").reshape(-1, 2),
        codec.decode(message.label_codes, np.int32, "label_codes"),
        codec.decode(message.batch_codes, np.int32, "batch_codes"),
        codec.decode(message.n_same, np.uint8, "n_same"),
    )
