"""Labels of cells as they are shown and written."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cellkin.client.client import Client
from cellkin.client.labelling import Labelled, Progress, Settings, label
from cellkin.client.queries import open_query
from cellkin.client.results.tables import Tabular
from cellkin.matrices.annotated import write_annotated
from cellkin.wire.terms import UNKNOWN_LABEL, GeneRoute, TextRung, UnknownReason


@dataclass(frozen=True)
class Annotation(Labelled, Tabular):
    """The labels of cells.

    Parameters
    ----------
    settings, report, units, cell_ids, predictions, mass
        As `Labelled`.
    layer, raw
        The matrix that was read; X if neither.
    """

    layer: str | None = None
    raw: bool = False

    @classmethod
    def of(cls, found: Labelled, layer: str | None, raw: bool) -> "Annotation":
        """Return answers as labels."""
        return cls(**vars(found), layer=layer, raw=raw)

    @property
    def winners(self) -> pd.Categorical:
        """The most probable subtype, missing where no gene of a cell matched."""
        return pd.Categorical.from_codes(self.predictions.winners, categories=self.report.labels)

    @property
    def unknown(self) -> npt.NDArray[np.bool_]:
        """(n_cells,) bool, cells no label can be claimed for."""
        return np.not_equal(self.predictions.reasons, UnknownReason.KNOWN)

    @property
    def labels(self) -> pd.Categorical:
        """The label of each cell, ``unknown`` where none can be claimed."""
        names = [n for n in self.report.labels if n != UNKNOWN_LABEL]
        categories = [*names, UNKNOWN_LABEL]
        place = np.array([categories.index(name) for name in self.report.labels], np.int32)
        codes = np.full(len(self.cell_ids), len(names), np.int32)
        known = ~self.unknown
        codes[known] = place[self.predictions.winners[known]]
        return pd.Categorical.from_codes(codes, categories=categories)

    @property
    def fallbacks(self) -> pd.Categorical:
        """The deepest ancestor that is probable enough where the subtype is not, else missing."""
        names = self.report.ancestors
        return pd.Categorical.from_codes(self.predictions.fallbacks, categories=names)

    def columns(self) -> dict[str, Any]:
        """Return one row a cell: what `obs` has, and the cells' names as ``cell_id``."""
        return {"cell_id": self.cell_ids, **{n: _plain(c) for n, c in self.obs("").items()}}

    def obs(self, prefix: str) -> dict[str, Any]:
        """Return the columns that say what each cell is, each name with a prefix."""
        found = self.predictions
        columns = {
            "label": self.labels,
            "winner": self.winners,
            "probability": np.array(found.probabilities),
            "support": np.array(found.supports),
            "n_votes": np.array(found.n_votes),
            "novelty": np.array(found.novelties),
            "unknown": self.unknown,
            "reason": _names(found.reasons, {int(r): r.label for r in UnknownReason}),
            "matched_share": found.matched_shares,
            **({"fallback": self.fallbacks} if self.report.ancestors else {}),
        }
        return {prefix + name: values for name, values in columns.items()}

    def obsm(self, key: str) -> dict[str, npt.NDArray[np.float32]]:
        """Return what is a row a cell: the shares by route, and the vectors where there are any."""
        found = self.predictions
        vectors = {f"X_{key}": found.vectors} if found.vectors.shape[1] else {}
        return {f"{key}_route_shares": np.array(found.route_shares), **vectors}

    def var(self, prefix: str) -> dict[str, Any]:
        """Return the columns that say how each gene was read, each name with a prefix."""
        match = self.report.match
        return {
            f"{prefix}gene_id": match.gene_ids,
            f"{prefix}match": _names(match.routes, {int(r): r.label for r in GeneRoute}),
            f"{prefix}text": _names(match.rungs, {0: "", **{int(r): r.label for r in TextRung}}),
        }

    def add_to(self, adata: Any, key: str) -> None:
        """Write `obs`, `obsm` and `var` into AnnData.

        Parameters
        ----------
        adata
            The cells that were labelled, in order.
        key
            What the names begin with.
        """
        for name, values in self.obs(f"{key}_").items():
            adata.obs[name] = values
        for name, rows in self.obsm(key).items():
            adata.obsm[name] = rows
        var = adata.raw.var if self.raw else adata.var
        for name, values in self.var(f"{key}_").items():
            var[name] = values

    def manifest(self) -> dict[str, Any]:
        """Return every version and setting the labels come from, and the match report."""
        return {
            "versions": asdict(self.report.versions),
            "recipe": self.report.recipe,
            "k": self.report.k,
            "space": self.report.space,
            "own_mean": self.report.own_mean,
            "shared_expression": float(self.report.shared_expression),
            "min_probability": float(self.report.min_probability),
            "novelty_limit": float(self.report.novelty_limit),
            "calibration_error": float(self.report.calibration_error),
            "taxon": self.report.match.taxon,
            "exclude_batches": list(self.settings.exclude_batches),
            "layer": self.layer or "",
            "raw": self.raw,
            "units": self.units.why,
            "gene_match": self.report.match.to_metadata(),
            "routes": [route.label for route in GeneRoute],
        }


def annotate_file(
    client: Client,
    path: Path,
    index: str,
    *,
    taxon: int = 0,
    min_probability: float | None = None,
    space: str | None = None,
    exclude_batches: Sequence[str] = (),
    vectors: bool = True,
    layer: str | None = None,
    raw: bool = False,
    resume: Path | None = None,
    progress: Progress = lambda done, total: None,
) -> Annotation:
    """Label the cells of a file, reading and sending them in blocks.

    Parameters
    ----------
    client
        The connection.
    path
        A file of any format `cellkin.matrices.cells.open_cells` reads.
    index
        ``NAME[@VERSION_OR_ALIAS]`` of the cell index.
    taxon
        NCBI taxonomy id of the cells; 0 infers it from the gene names.
    min_probability
        The least probability of a label; None for that stored with the index.
    space
        ``text`` or ``expression``; None chooses by the genes that are shared. Where that is text,
        because the genes are foreign to the reference, and there are at least 200 cells, the
        query's own mean is taken off and not the reference's.
    exclude_batches
        Batches of the reference that do not vote; then neighbors alone decide.
    vectors
        Whether the cells' vectors are wanted.
    layer, raw
        The matrix to read instead of X.
    resume
        Folder in which answers are kept, so that an interrupted run can be gone on with.
    progress
        Called with the cells done and the cells there are.

    Raises
    ------
    InputFileError
        If the file cannot be read.
    GenesUnmatchedError
        If too few genes match; no cell is labelled then.
    CheckpointError
        If the folder is of another query, of other versions or settings.
    """
    settings = Settings(index, taxon, min_probability, space, tuple(exclude_batches), vectors)
    with open_query(path, layer=layer, raw=raw) as query:
        found = label(client, query, settings, resume=resume, progress=progress)
    return Annotation.of(found, layer, raw)


def write_annotation(
    annotation: Annotation, source: Path, target: Path, key_added: str = "cellkin"
) -> None:
    """Write an ``.h5ad`` copy of a file with the labels beside its cells.

    Adds ``obs['cellkin_label']``, ``obs['cellkin_winner']``, ``obs['cellkin_probability']``,
    ``obs['cellkin_support']``, ``obs['cellkin_n_votes']``, ``obs['cellkin_novelty']``,
    ``obs['cellkin_unknown']``, ``obs['cellkin_reason']``, ``obs['cellkin_matched_share']``, where
    labels are paths ``obs['cellkin_fallback']``, ``obsm['cellkin_route_shares']``, where there are
    vectors ``obsm['X_cellkin']``, ``var['cellkin_gene_id']``, ``var['cellkin_match']``,
    ``var['cellkin_text']`` and the manifest ``uns['cellkin']``.

    Parameters
    ----------
    annotation
        The labels.
    source
        The file that was labelled; stays as it is.
    target
        Written whole or not at all.
    key_added
        What stands for ``cellkin`` in the names.

    Raises
    ------
    InputFileError
        If the target cannot be written, or is the source.
    """
    write_annotated(
        source,
        target,
        obs=annotation.obs(f"{key_added}_"),
        obsm=annotation.obsm(key_added),
        var=annotation.var(f"{key_added}_"),
        uns={key_added: annotation.manifest()},
        layer=annotation.layer,
        raw=annotation.raw,
    )


def _plain(column: Any) -> Any:
    """Return a column as an array; missing names are None."""
    if not isinstance(column, pd.Categorical):
        return column
    names = np.array([*column.categories, None], object)
    return names[column.codes]


def _names(codes: npt.NDArray[np.uint8], labels: dict[int, str]) -> pd.Categorical:
    position = np.zeros(max(labels) + 1, np.int8)
    position[list(labels)] = np.arange(len(labels))
    return pd.Categorical.from_codes(position[codes], categories=list(labels.values()))
