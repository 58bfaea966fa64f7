"""Repeating an annotation with the same versions, and comparing the labels."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import numpy.typing as npt

from cellkin.client.client import Client
from cellkin.client.labels.annotation import Annotation
from cellkin.client.labels.labeling import Settings, label
from cellkin.client.queries import open_query, require_anndata
from cellkin.client.results.tables import Tabular
from cellkin.client.results.versions import PINNED, Versions
from cellkin.client.session import connected, shown_progress, tell
from cellkin.matrices.options import ReadOptions
from cellkin.wire.errors import InvalidArgumentError, NotFoundError


@dataclass(frozen=True, repr=False)
class Reproduction(Tabular):
    """Comparison of stored labels with new ones.

    Parameters
    ----------
    n_cells
        Number of cells compared.
    cell_ids
        Names of the n cells whose labels differ, in order.
    before, now
        Their labels.
    largest_change
        Largest absolute difference of a probability, over all cells, in [0, 1].
    versions
        Versions of both.
    server_before
        The server's cellkin release of the stored labels; ``versions`` has the new one.
    """

    n_cells: int
    cell_ids: tuple[str, ...]
    before: tuple[str, ...]
    now: tuple[str, ...]
    largest_change: float
    versions: Versions
    server_before: str

    @property
    def same(self) -> bool:
        """Whether every cell has the same label as before."""
        return not self.cell_ids

    @property
    def title(self) -> str:
        """How many labels are the same, in one line."""
        n_same = self.n_cells - len(self.cell_ids)
        return (
            f"{n_same:,} of {self.n_cells:,} labels are the same by {self.versions.index}; "
            f"probabilities changed by up to {self.largest_change:.2g}"
        )

    def _title(self) -> str:
        return self.title

    def columns(self) -> dict[str, Any]:
        """Return one row per cell whose label differs."""
        return {
            "cell_id": list(self.cell_ids),
            "before": list(self.before),
            "now": list(self.now),
        }


def reproduce(
    adata: anndata.AnnData | str | Path, *, client: Client | None = None, key: str = "cellkin"
) -> Reproduction:
    """Repeat a stored annotation with the same versions and settings, and compare the labels.

    Parameters
    ----------
    adata
        AnnData with the results of `cellkin.client.tl.annotate` and the expression they were made
        from; or the path of such an ``.h5ad`` file.
    client
        The client; None for one from the environment. A response from other versions is refused.
    key
        Prefix of the names of the results.

    Returns
    -------
    Reproduction
        Whether the labels are the same, how many cells were compared and which differ.

    Raises
    ------
    NotFoundError
        If the results are missing, or the server no longer has a version.
    RetractedError
        If a version was retracted; the metadata names its replacement.
    VersionMismatchError
        If the server has other data under that name.
    InvalidArgumentError
        If the values are not valid expression any more.
    """
    if isinstance(adata, str | Path):
        backed = anndata.read_h5ad(adata, backed="r")
        try:
            return reproduce(backed, client=client, key=key)
        finally:
            backed.file.close()
    require_anndata(adata)
    column = f"{key}_label"
    if key not in adata.uns or column not in adata.obs:
        raise NotFoundError(
            f"the AnnData has no uns[{key!r}] or no obs[{column!r}]; tl.annotate writes both. "
            f"It has uns: {', '.join(adata.uns) or 'none'}"
        )
    said = adata.uns[key]
    settings, pins, how = _asked(said, key)
    with (
        open_query(adata, how) as query,
        connected(client) as asked,
        shown_progress("labeling cells again") as progress,
    ):
        again = label(asked.using(pins=pins), query, settings, progress=progress)
    now = Annotation.of(again, how)
    before, labels = (np.asarray(c, object) for c in (adata.obs[column], now.labels))
    differ = np.flatnonzero(before != labels)
    changes: npt.NDArray[np.float32] = np.abs(
        _probabilities(adata.obs, key) - now.predictions.probabilities
    )
    found = Reproduction(
        n_cells=len(labels),
        cell_ids=tuple(now.cell_ids[at] for at in differ.tolist()),
        before=tuple(map(str, before[differ])),
        now=tuple(map(str, labels[differ])),
        largest_change=float(changes.max(initial=0)),
        versions=now.report.versions,
        server_before=str(said["versions"]["server"]),
    )
    tell(found.title)
    return found


def _probabilities(obs: Any, key: str) -> npt.NDArray[np.float32]:
    """Return the (n_cells,) winner probabilities, written by this or an earlier release.

    Up to 0.1.0 they were in the column of the label's probability, also for unknown cells.
    """
    name = f"{key}_winner_probability"
    column = obs[name if name in obs else f"{key}_probability"]
    return np.asarray(column.to_numpy(np.float32))


def _asked(said: dict[str, Any], key: str) -> tuple[Settings, dict[str, str], ReadOptions]:
    """Return the settings, the required versions, and the matrix of a stored annotation."""
    try:
        versions = said["versions"]
        # Releases up to 0.1.0 had only the index's limit.
        strictness = said.get("strictness", {})
        settings = Settings(
            index=str(versions["index"]),
            taxon=int(said["taxon"]),
            min_probability=float(said["min_probability"]),
            space=str(said["space"]),
            exclude_batches=tuple(map(str, said["exclude_batches"])),
            novelty_limit=_number(strictness.get("novelty_limit")),
            false_alarms=_number(strictness.get("false_alarms")),
        )
        pins = {kind: str(versions[kind]) for kind in PINNED}
        # Releases up to 0.1.0 wrote "" for X.
        asked = {name: str(said.get(key) or "") or None for name, key in _READ.items()}
        return settings, pins, ReadOptions(**asked, raw=bool(said["raw"]))
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidArgumentError(
            f"uns[{key!r}] is no manifest of tl.annotate ({error!r}); label the cells again"
        ) from error


_READ = {"layer": "layer", "modality": "modality", "gene_column": "gene_column"} | {
    # "units" describes the units found; the argument is in "units_said".
    "units": "units_said"
}


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
