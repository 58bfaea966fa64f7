"""Labels of cells, for display and storage."""

from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from cellkin.client.labels.clusters import Clusters, vote
from cellkin.client.labels.labeling import Labeled
from cellkin.client.labels.summary import category_colors, summary
from cellkin.client.results.sample import BELONGS, ReportWarning, SampleCheck
from cellkin.client.results.tables import Tabular, Told
from cellkin.matrices.options import ReadOptions, X
from cellkin.wire.terms import UNKNOWN_LABEL, GeneRoute, TextRung, UnknownReason

# Warn if at least this share of the cells is too far, for at least this many cells.
_MOST, _ENOUGH_CELLS = 0.5, 20
# Route of columns that were left out.
_NO_GENE = 255
_Labeled: TypeAlias = type[GeneRoute] | type[TextRung] | type[UnknownReason]


@dataclass(frozen=True, repr=False)
class Annotation(Labeled, Tabular):
    """The labels of cells.

    Parameters
    ----------
    settings, report, units, cell_ids, predictions, mass, median_genes, columns_read, notes,
    gene_hint
        As for `Labeled`.
    how
        The matrix that was read, and how it was interpreted.
    clustered_by
        The column of ``obs`` with the cells' clusters; empty if clusters were not requested.
    groups
        (n_cells,) cluster of each cell, a pandas or numpy column; None if clusters were not
        requested.
    """

    how: ReadOptions = X
    clustered_by: str = ""
    groups: Any = None

    @classmethod
    def of(cls, found: Labeled, how: ReadOptions) -> "Annotation":
        """Return an annotation of these results."""
        return cls(**vars(found), how=how)

    def clustered(self, column: str, groups: Any) -> "Annotation":
        """Return the same labels with one label for each cluster.

        Parameters
        ----------
        column
            Name of the column of clusters.
        groups
            (n_cells,) cluster of each cell; missing for cells in no cluster.
        """
        return replace(self, clustered_by=column, groups=groups)

    @cached_property
    def clusters(self) -> Clusters | None:
        """The labels of the clusters; None if not requested."""
        if self.groups is None:
            return None
        chances, least = self.predictions.probabilities, self.report.min_probability
        return vote(self.groups, self.labels, self.winners, chances, least)

    @property
    def winners(self) -> pd.Categorical:
        """The most probable label; missing if no gene of a cell matched."""
        return pd.Categorical.from_codes(self.predictions.winners, categories=self.report.labels)

    @property
    def runners_up(self) -> pd.Categorical:
        """The second most probable label; missing if there is none."""
        codes = self.predictions.runners_up
        return pd.Categorical.from_codes(codes, categories=self.report.labels)

    @property
    def unknown(self) -> npt.NDArray[np.bool_]:
        """(n_cells,) bool, cells without a label."""
        return np.not_equal(self.predictions.reasons, UnknownReason.KNOWN)

    @property
    def labels(self) -> pd.Categorical:
        """The label of each cell, or ``unknown``."""
        names = [n for n in self.report.labels if n != UNKNOWN_LABEL]
        categories = [*names, UNKNOWN_LABEL]
        place = np.array([categories.index(name) for name in self.report.labels], np.int32)
        codes = np.full(len(self.cell_ids), len(names), np.int32)
        known = ~self.unknown
        codes[known] = place[self.predictions.winners[known]]
        return pd.Categorical.from_codes(codes, categories=categories)

    @property
    def fallbacks(self) -> pd.Categorical:
        """The deepest ancestor that is probable enough if no label is, else missing."""
        names = self.report.ancestors
        return pd.Categorical.from_codes(self.predictions.fallbacks, categories=names)

    def columns(self) -> dict[str, Any]:
        """Return one row per cell.

        Returns
        -------
        dict
            ``cell_id``, the cells' names; the columns of `obs`; ``cluster`` if clusters were
            requested; and if all probabilities were requested, a column ``probability:LABEL`` for
            each label, (n_cells,) float32 in [0, 1].
        """
        every = self.predictions.label_probabilities
        chances = zip(self.report.labels, every.T, strict=True) if every.shape[1] else ()
        return {
            "cell_id": self.cell_ids,
            **{name: _plain(column) for name, column in self.obs("").items()},
            **({} if self.groups is None else {"cluster": label_names(self.groups)}),
            **{f"probability:{label}": np.array(column) for label, column in chances},
        }

    def obs(self, prefix: str) -> dict[str, Any]:
        """Return the columns of ``obs``, with a prefix before each name."""
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
            "reason": _names(found.reasons, UnknownReason, _labels(UnknownReason)),
            "matched_share": found.matched_shares,
            **({"fallback": self.fallbacks} if self.report.ancestors else {}),
            **({"cluster_label": self.clusters.of_cells(self.groups)} if self.clusters else {}),
        }
        return {prefix + name: values for name, values in columns.items()}

    def obsm(self, key: str) -> dict[str, npt.NDArray[np.float32]]:
        """Return arrays by cell: shares by route, and vectors or positions if requested."""
        found = self.predictions
        rows = {f"{key}_route_shares": np.array(found.route_shares)}
        if found.vectors.shape[1]:
            rows[f"X_{key}"] = found.vectors
        if found.label_probabilities.shape[1]:
            rows[f"{key}_probabilities"] = np.array(found.label_probabilities)
        if found.positions.shape[1]:
            rows[f"X_{key}_layout"] = np.array(found.positions)
        return rows

    def stale(self, key: str) -> dict[str, list[str]]:
        """Return the optional names in ``obs`` and ``obsm`` that this annotation does not write.

        If present, they are left over from an earlier call and must be removed.
        """
        columns, rows = self.obs(f"{key}_"), self.obsm(key)
        return {
            "obs": [n for n in (f"{key}_fallback", f"{key}_cluster_label") if n not in columns],
            "obsm": [n for n in (f"{key}_probabilities",) if n not in rows],
        }

    def var(self, prefix: str) -> dict[str, Any]:
        """Return the columns of ``var`` on how each gene was read, with a prefix before each name.

        They have a row for every column of the matrix; columns that are not genes have GeneID 0.
        """
        match, spread = self.report.match, self.columns_read.spread
        routes = _labels(GeneRoute)
        if self.columns_read.kept is not None:
            routes[_NO_GENE] = "not a gene"
        rungs = {0: "", **_labels(TextRung)}
        return {
            f"{prefix}gene_id": spread(match.gene_ids, 0),
            f"{prefix}match": _names(spread(match.routes, _NO_GENE), GeneRoute, routes),
            f"{prefix}text": _names(spread(match.rungs, 0), TextRung, rungs),
        }

    def add_to(self, adata: Any, key: str) -> None:
        """Add `obs`, `obsm`, `var` and the colors of labels to AnnData.

        Parameters
        ----------
        adata
            The cells that were labeled, in order.
        key
            Prefix of the names.
        """
        for name, values in self.obs(f"{key}_").items():
            adata.obs[name] = values
        for name, rows in self.obsm(key).items():
            adata.obsm[name] = rows
        stale = self.stale(key)
        for name in set(stale["obs"]) & set(adata.obs):
            del adata.obs[name]
        for name in stale["obsm"]:
            adata.obsm.pop(name, None)
        var = adata.raw.var if self.how.raw else adata.var
        for name, values in self.var(f"{key}_").items():
            var[name] = values
        adata.uns.update(category_colors(self, key))

    def _title(self) -> str:
        return summary(self)

    def _told(self) -> Told:
        return summary(self), self.weaknesses(), self.label_columns()

    def counts(self) -> dict[str, int]:
        """Return the number of cells of each label, most first, ties by name."""
        counts = [(str(name), int(n)) for name, n in self.labels.value_counts().items() if n]
        return dict(sorted(counts, key=lambda of: (-of[1], of[0])))

    def forced_counts(self) -> dict[str, int]:
        """Return the number of unknown cells by most probable label, most first."""
        counts = self.winners[self.unknown].value_counts()
        named = [(str(name), int(n)) for name, n in counts.items() if n]
        return dict(sorted(named, key=lambda of: (-of[1], of[0])))

    @property
    def warnings(self) -> list[ReportWarning]:
        """Warnings about the labels: the server's, and those computed from all cells."""
        found = list(self.report.warnings)
        too_far = np.equal(self.predictions.reasons, UnknownReason.TOO_FAR)
        share = float(too_far.mean()) if len(too_far) >= _ENOUGH_CELLS else 0.0
        if share >= _MOST:
            said = (
                f"{share:.0%} of the cells are farther from the reference than its own: see "
                f"whether the sample is of the tissue of {self.report.versions.index}, and whether "
                "its gene names belong to its columns"
            )
            found.insert(0, ReportWarning("MOST_CELLS_TOO_FAR", said))
        if n_repeated := len(self.cell_ids) - len(set(self.cell_ids)):
            said = (
                f"{n_repeated} of {len(self.cell_ids)} cells have the name of a cell before them: "
                "join these labels with others by the order of the cells, not by their names"
            )
            found.append(ReportWarning("REPEATED_CELL_NAMES", said))
        depth = self.report.reference_depth
        if depth is not None and (said := depth.caution(self.median_genes)):
            found.append(ReportWarning("SHALLOW_CELLS", said))
        if self.units.caution:
            found.append(ReportWarning("DOUBTFUL_UNITS", self.units.caution))
        if self.gene_hint:
            used = f"{self.report.match.n_used} of {self.report.match.n_given} gene names are used"
            found.append(ReportWarning("FEW_GENE_NAMES", f"{used}. {self.gene_hint}"))
        return found

    def weaknesses(self) -> list[str]:
        """Return the warnings about the labels as sentences, to be shown with the labels."""
        said = [str(warning) for warning in self.warnings]
        check = self.report.sample_check
        # If the sample does not belong to the reference, the server itself warns.
        if check is not None and check.verdict == BELONGS and check.unconfirmed:
            said.append(
                "labels that expression did not confirm, so that their cells are unknown: "
                + ", ".join(check.unconfirmed)
            )
        return said

    def label_columns(self) -> dict[str, Any]:
        """Return one row per label that cells have, most cells first.

        Returns
        -------
        dict
            ``label``; ``n_cells``; ``share`` of all cells, in [0, 1]; ``mean_probability``, NaN for
            ``unknown``; ``forced`` and ``n_forced``: for ``unknown``, the most frequent of its
            cells' most probable labels and the number of these cells; empty and 0 elsewhere.
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
        """Return the `manifest` in a form that AnnData files can store: records as tables."""
        check, clusters = self.report.sample_check, self.clusters
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
        if clusters is not None:
            told["clusters"] = storable(clusters.columns())
            told["cluster_split"] = storable(clusters.split_columns())
        return told

    def manifest(self) -> dict[str, Any]:
        """Return the versions and settings of the labels, and the match report.

        ``labels`` are those of the reference, in the order of the columns of
        ``obsm['cellkin_probabilities']``.
        """
        settings, check, clusters = self.settings, self.report.sample_check, self.clusters
        strictness = {
            name: float(value)
            for name in ("novelty_limit", "false_alarms")
            if (value := getattr(settings, name)) is not None
        }
        return {
            "versions": asdict(self.report.versions),
            "labels": list(self.report.labels),
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
            "units_said": self.how.units or "",
            "notes": list(self.notes),
            "gene_match": self.report.match.to_metadata(),
            "routes": [route.label for route in GeneRoute],
            "warnings": [asdict(w) | {"labels": list(w.labels)} for w in self.warnings],
            "sample_check": {} if check is None else _check_record(check),
        } | (
            {}
            if clusters is None
            else {
                "clustered_by": self.clustered_by,
                "clusters": _records(clusters.columns()),
                "cluster_split": _records(clusters.split_columns()),
            }
        )


def storable(columns: dict[str, Any]) -> pd.DataFrame:
    """Return a table in a form that ``.h5ad`` and zarr files can store, with row names."""
    frame = pd.DataFrame(columns)
    frame.index = frame.index.astype(str)
    return frame


def _check_record(check: SampleCheck) -> dict[str, Any]:
    return {**asdict(check), "labels": [asdict(label) for label in check.labels]}


def _records(columns: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a table as one dictionary per row, with Python numbers and strings."""
    rows = zip(*(np.asarray(column, object).tolist() for column in columns.values()), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in rows]


def label_names(groups: Any) -> npt.NDArray[np.object_]:
    """Return labels as strings, None for missing ones.

    Parameters
    ----------
    groups
        (n_cells,) values, such as a column of ``obs``.
    """
    grouped = pd.Categorical(groups)
    names: npt.NDArray[np.object_] = np.array([*map(str, grouped.categories), None], object)
    found: npt.NDArray[np.object_] = names[grouped.codes]
    return found


def _plain(column: Any) -> Any:
    """Return a column as an array with None for missing names."""
    if not isinstance(column, pd.Categorical):
        return column
    names = np.array([*column.categories, None], object)
    return names[column.codes]


def _labels(kind: _Labeled) -> dict[int, str]:
    return {int(term): term.label for term in kind}


def _names(codes: npt.NDArray[np.uint8], kind: _Labeled, labels: dict[int, str]) -> pd.Categorical:
    # A newer server may send other codes.
    labels = labels | {n: kind(n).label for n in np.unique(codes).tolist() if n not in labels}
    position = np.zeros(max(labels) + 1, np.int16)
    position[list(labels)] = np.arange(len(labels))
    return pd.Categorical.from_codes(position[codes], categories=list(labels.values()))
