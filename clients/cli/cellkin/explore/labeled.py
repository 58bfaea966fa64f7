"""A file that was labeled, and the evidence for the label of one of its cells."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cellkin.cli.folder import require_own_data
from cellkin.client import CellExplanation, CellHits, Client
from cellkin.client.annotate import annotate_query
from cellkin.client.labels.annotation import Annotation, label_names
from cellkin.client.labels.labeling import Settings
from cellkin.client.queries import WholeQuery
from cellkin.matrices.cells import open_cells
from cellkin.matrices.options import X
from cellkin.wire.terms import UNKNOWN_LABEL, ExpressionUnits, UnknownReason

_GENES = 20
_NEIGHBORS = 10


@dataclass(frozen=True)
class Labeled:
    """A labeled file.

    Parameters
    ----------
    path
        The file.
    columns
        Names of the columns of its ``obs``.
    annotation
        The labels of its cells.
    """

    path: Path
    columns: tuple[str, ...]
    annotation: Annotation

    def column(self, name: str) -> npt.NDArray[np.object_]:
        """Return a column of ``obs`` as strings, None if missing.

        Raises
        ------
        NotFoundError
            If there is none of that name.
        """
        with open_cells(self.path, X) as cells:
            return label_names(WholeQuery(cells).column(name))

    def clustered(self, name: str) -> "Labeled":
        """Return the same labels with one label for each cluster of a column of ``obs``."""
        return replace(self, annotation=self.annotation.clustered(name, self.column(name)))

    def reasons(self) -> pd.DataFrame:
        """Return why cells are unknown: one row per reason and most probable label."""
        found = self.annotation
        unknown = found.unknown
        reasons = [
            UnknownReason(code).label for code in found.predictions.reasons[unknown].tolist()
        ]
        frame = pd.DataFrame(
            {"reason": reasons, "most probable if forced": found.winners[unknown].astype(object)}
        ).fillna({"most probable if forced": "none"})
        counted = frame.value_counts().rename("cells").reset_index()
        return counted.sort_values(["cells", "reason"], ascending=[False, True])

    def confusion(self, name: str) -> pd.DataFrame:
        """Return cells of the values of a column of ``obs`` (rows) by label (columns)."""
        own = pd.Series(self.column(name), dtype=object).fillna("(missing)")
        labels = pd.Series(self.annotation.labels.astype(object))
        counts = pd.crosstab(own, labels, rownames=[name], colnames=["label"])
        order = [n for n in self.annotation.labels.categories if n in counts.columns]
        rows = sorted(counts.index, key=lambda row: _place(row, order))
        return counts.loc[rows, order]


@dataclass(frozen=True)
class Evidence:
    """Why a cell has its label.

    Parameters
    ----------
    title
        Name of the cell, and its label.
    facts
        What is known of it: names and values.
    against
        The label compared with; empty for none.
    found
        Contributions of genes; None if no gene of the cell matched.
    hits
        The nearest reference cells.
    """

    title: str
    facts: dict[str, str]
    against: str
    found: CellExplanation | None
    hits: CellHits


def label_file(
    client: Client,
    path: Path,
    index: str,
    taxon: int,
    positions: bool,
    progress: Callable[[int, int], None],
) -> Labeled:
    """Label the cells of a file.

    Parameters
    ----------
    client
        The client.
    path
        The file.
    index
        Version of the cell index.
    taxon
        Species of the cells; 0 infers it.
    positions
        Whether to ask for positions in the layout of the index.
    progress
        Called with the number of finished cells and the total.

    Raises
    ------
    CellkinError
        As `cellkin.client.tl.annotate`; PermissionDeniedError if the file takes data from other
        files, which its user may not be allowed to read.
    """
    require_own_data(path, path.name)
    settings = Settings(index, taxon, positions=positions)
    with open_cells(path, X) as cells:
        found = annotate_query(client, WholeQuery(cells), settings, X, progress=progress)
        return Labeled(path, tuple(cells.columns), found)


def explain(client: Client, labeled: Labeled, row: int) -> Evidence:
    """Return the evidence for the label of a cell.

    Parameters
    ----------
    client
        The client.
    labeled
        The labeled file.
    row
        The cell.
    """
    found, report = labeled.annotation, labeled.annotation.report
    with open_cells(labeled.path, found.how) as cells:
        query = WholeQuery(cells)
        genes, values = query.gene_names, query.chosen(np.array([row]))
    asked: dict[str, Any] = {
        "units": ExpressionUnits.LINEAR, "taxon": report.match.taxon, "space": report.space
    }  # fmt: skip
    index, winner, other = report.versions.index, found.winners[row], found.runners_up[row]
    other = "" if pd.isna(other) else str(other)
    explained = None
    if not pd.isna(winner):
        (explained,) = client.explain_cell(
            index, genes, values, label=str(winner), against=other, n_genes=_GENES, **asked
        ).cells
    hits = client.search_cells(index, values, k=_NEIGHBORS, genes=genes, **asked).hits
    label = str(found.labels[row])
    title = f"{found.cell_ids[row]}: {label}"
    return Evidence(title, _facts(labeled, row, other), other, explained, hits)


def _facts(labeled: Labeled, row: int, other: str) -> dict[str, str]:
    found, cells = labeled.annotation, labeled.annotation.predictions
    label, winner = str(found.labels[row]), found.winners[row]
    facts = {}
    if label == UNKNOWN_LABEL:
        reason = UnknownReason(int(cells.reasons[row]))
        facts["why unknown"] = reason.label
    if not pd.isna(winner):
        forced = "most probable if forced" if label == UNKNOWN_LABEL else "probability"
        named = f"{winner}, " if label == UNKNOWN_LABEL else ""
        facts[forced] = f"{named}{cells.probabilities[row]:.3f}"
    if other:
        facts["second label"] = f"{other}, {cells.runner_up_probabilities[row]:.3f}"
    limit = found.report.novelty_limit
    limited = f" (limit {limit:.2f})" if np.isfinite(limit) else ""
    facts["novelty"] = f"{cells.novelties[row]:.2f}{limited}"
    facts["votes of the nearest"] = f"{int(cells.n_votes[row])} of {found.report.k}"
    facts["expression in matched genes"] = f"{cells.matched_shares[row]:.1%}"
    return facts


def _place(row: str, order: list[Any]) -> tuple[int, str]:
    """Order rows as the columns of the same name, and others after them by name."""
    return (order.index(row) if row in order else len(order), row)
