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
from cellkin.client.results.sample import BELONGS, ReportWarning, SampleCheck
from cellkin.client.results.tables import Tabular
from cellkin.matrices.annotated import write_annotated
from cellkin.matrices.options import ReadOptions, X
from cellkin.wire.terms import UNKNOWN_LABEL, GeneRoute, TextRung, UnknownReason

# Beyond this share of cells that are too far the reference is doubted, of so many cells at least.
_MOST, _ENOUGH_CELLS = 0.5, 20


@dataclass(frozen=True)
class Annotation(Labelled, Tabular):
    """The labels of cells.

    Parameters
    ----------
    settings, report, units, cell_ids, predictions, mass
        As `Labelled`.
    how
        Which matrix was read, and as what.
    """

    how: ReadOptions = X

    @classmethod
    def of(cls, found: Labelled, how: ReadOptions) -> "Annotation":
        """Return answers as labels."""
        return cls(**vars(found), how=how)

    @property
    def winners(self) -> pd.Categorical:
        """The most probable subtype, missing where no gene of a cell matched."""
        return pd.Categorical.from_codes(self.predictions.winners, categories=self.report.labels)

    @property
    def runners_up(self) -> pd.Categorical:
        """The second most probable subtype, missing where there is none."""
        codes = self.predictions.runners_up
        return pd.Categorical.from_codes(codes, categories=self.report.labels)

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
            "probability": found.known_probabilities,
            "winner_probability": np.array(found.probabilities),
            "runner_up": self.runners_up,
            "runner_up_probability": np.array(found.runner_up_probabilities),
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
        """Return what is a row a cell: shares by route; vectors and probabilities if asked for."""
        found = self.predictions
        rows = {f"{key}_route_shares": np.array(found.route_shares)}
        if found.vectors.shape[1]:
            rows[f"X_{key}"] = found.vectors
        if found.label_probabilities.shape[1]:
            rows[f"{key}_probabilities"] = np.array(found.label_probabilities)
        return rows

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
        rows_of = self.obsm(key)
        for name, rows in rows_of.items():
            adata.obsm[name] = rows
        # Of an earlier call that asked for more, nothing is left to be taken for this one's.
        if f"{key}_probabilities" not in rows_of:
            adata.obsm.pop(f"{key}_probabilities", None)
        var = adata.raw.var if self.how.raw else adata.var
        for name, values in self.var(f"{key}_").items():
            var[name] = values

    def counts(self) -> dict[str, int]:
        """Return the labels there are and the cells of each, most first, ties by name."""
        counts = [(str(name), int(n)) for name, n in self.labels.value_counts().items() if n]
        return dict(sorted(counts, key=lambda of: (-of[1], of[0])))

    def forced_counts(self) -> dict[str, int]:
        """Return the most probable labels of unknown cells, and the cells of each, most first."""
        counts = self.winners[self.unknown].value_counts()
        named = [(str(name), int(n)) for name, n in counts.items() if n]
        return dict(sorted(named, key=lambda of: (-of[1], of[0])))

    @property
    def warnings(self) -> list[ReportWarning]:
        """What weakens the labels: what the server says, and what shows in all labels together."""
        too_far = np.equal(self.predictions.reasons, UnknownReason.TOO_FAR)
        share = float(too_far.mean()) if len(too_far) >= _ENOUGH_CELLS else 0.0
        if share < _MOST:
            return list(self.report.warnings)
        said = (
            f"{share:.0%} of the cells are farther from the reference than its own: see whether "
            f"the sample is of the tissue of {self.report.versions.index}, and whether its gene "
            "names belong to its columns"
        )
        return [ReportWarning("MOST_CELLS_TOO_FAR", said), *self.report.warnings]

    def weaknesses(self) -> list[str]:
        """Return what weakens the labels, a sentence each: to be shown wherever they are read."""
        said = [str(warning) for warning in self.warnings]
        check = self.report.sample_check
        # Of a sample that does not belong to the reference the server warns itself.
        if check is not None and check.verdict == BELONGS and check.unconfirmed:
            said.append(
                "labels that expression did not confirm, so that their cells are unknown: "
                + ", ".join(check.unconfirmed)
            )
        return said

    def label_columns(self) -> dict[str, Any]:
        """Return one row a label that cells have, most cells first.

        Returns
        -------
        dict
            ``label``; ``n_cells``; ``share`` of all cells, in [0, 1]; ``mean_probability``, NaN for
            ``unknown``; ``forced`` and ``n_forced``: of ``unknown`` the label that is the most
            probable of most of its cells, and how many these are; empty and 0 elsewhere.
        """
        counts, labels = self.counts(), self.labels
        forced = next(iter(self.forced_counts().items()), ("", 0))
        none = ("", 0)
        of = [forced if name == UNKNOWN_LABEL else none for name in counts]
        chances = self.predictions.probabilities
        means = [
            np.nan if name == UNKNOWN_LABEL else float(chances[labels == name].mean())
            for name in counts
        ]
        n_cells = np.array(list(counts.values()), np.int64)
        return {
            "label": list(counts),
            "n_cells": n_cells,
            "share": n_cells / max(1, len(labels)),
            "mean_probability": np.array(means, np.float64),
            "forced": [name for name, _ in of],
            "n_forced": np.array([n for _, n in of], np.int64),
        }

    def uns(self) -> dict[str, Any]:
        """Return the `manifest` as AnnData files can hold it: lists of records are tables.

        Also ``labels``, the order of the columns of ``obsm['cellkin_probabilities']``.
        """
        check = self.report.sample_check
        told = self.manifest()
        told["labels"] = np.array(self.report.labels, object)
        told["warnings"] = storable(
            {
                "reason": np.array([w.reason for w in self.warnings], object),
                "message": np.array([w.message for w in self.warnings], object),
                "labels": np.array([", ".join(w.labels) for w in self.warnings], object),
            }
        )
        if check is not None:
            told["sample_check"] = {**told["sample_check"], "labels": storable(check.columns())}
        return told

    def manifest(self) -> dict[str, Any]:
        """Return every version and setting the labels come from, and the match report."""
        settings, check = self.settings, self.report.sample_check
        strictness = {
            name: float(value)
            for name in ("novelty_limit", "false_alarms")
            if (value := getattr(settings, name)) is not None
        }
        return {
            "versions": asdict(self.report.versions),
            "recipe": self.report.recipe,
            "k": self.report.k,
            "space": self.report.space,
            "foreign": self.report.foreign,
            "own_mean": self.report.own_mean,
            "shared_expression": float(self.report.shared_expression),
            "min_probability": float(self.report.min_probability),
            "novelty_limit": float(self.report.novelty_limit),
            "strictness": strictness,
            "calibration_error": float(self.report.calibration_error),
            "taxon": self.report.match.taxon,
            "exclude_batches": list(settings.exclude_batches),
            **{n: "" if value is None else value for n, value in asdict(self.how).items()},
            "units": self.units.why,
            "gene_match": self.report.match.to_metadata(),
            "routes": [route.label for route in GeneRoute],
            "warnings": [asdict(w) | {"labels": list(w.labels)} for w in self.warnings],
            "sample_check": {} if check is None else _check_record(check),
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
    novelty_limit: float | None = None,
    false_alarms: float | None = None,
    probabilities: bool = False,
    how: ReadOptions = X,
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
        ``text`` or ``expression``; None lets the server choose by the genes that are shared. Where
        the genes are foreign to the reference and there are at least 200 cells, the query's own
        mean is subtracted and not the reference's, and the sample is checked.
    exclude_batches
        Batches of the reference that do not vote; then neighbors alone decide.
    vectors
        Whether the cells' vectors are wanted.
    novelty_limit
        A cell of more novelty is unknown; None for the limit stored with the index.
    false_alarms
        The share of known cells that may be called unknown for their novelty, in [0.001, 0.5];
        given instead of a limit.
    probabilities
        Whether the probability of every label is wanted.
    how
        Which matrix is read, and as what.
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
    settings = Settings(
        index, taxon, min_probability, space, tuple(exclude_batches), vectors, novelty_limit,
        false_alarms, probabilities,
    )  # fmt: skip
    with open_query(path, how) as query:
        found = label(client, query, settings, resume=resume, progress=progress)
    return Annotation.of(found, how)


def write_annotation(
    annotation: Annotation, source: Path, target: Path, key_added: str = "cellkin"
) -> None:
    """Write an ``.h5ad`` copy of a file with the labels beside its cells.

    Adds the columns, arrays and the manifest that `cellkin.client.tl.annotate` describes, and
    ``obsm['X_cellkin']`` where there are vectors.

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
        uns={key_added: annotation.uns()},
        how=annotation.how,
    )


def storable(columns: dict[str, Any]) -> pd.DataFrame:
    """Return a table as ``.h5ad`` and zarr files hold them, its rows named."""
    frame = pd.DataFrame(columns)
    frame.index = frame.index.astype(str)
    return frame


def _check_record(check: SampleCheck) -> dict[str, Any]:
    return {**asdict(check), "labels": [asdict(label) for label in check.labels]}


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
