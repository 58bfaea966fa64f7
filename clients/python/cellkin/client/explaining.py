"""Explanations of groups of cells by their mean."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cellkin.client.client import Client
from cellkin.client.evidence import (
    GeneColumns,
    GroupExpression,
    NearestCell,
    expression_of_groups,
    nearest_cells,
)
from cellkin.client.labels.labeling import Progress
from cellkin.client.queries import WholeQuery
from cellkin.client.results.cells import CellExplanation, Explanations
from cellkin.client.results.tables import Shown, Tabular
from cellkin.client.results.versions import Versions
from cellkin.wire.errors import NotFoundError
from cellkin.wire.species import taxon_id
from cellkin.wire.terms import ExpressionUnits

_MEAN_CELLS = 4096
"""Cells per request for the explanation of their mean."""
_MEAN_VALUES = 4_000_000
"""Values per such request, about 32 MB: half of the message limit."""
_FLOATS = np.empty(0, np.float32)
_NONE = GroupExpression(_FLOATS, _FLOATS, _FLOATS, _FLOATS)
_NOTHING = CellExplanation("", 0.0, 0.0, np.empty(0, np.int64), (), _FLOATS, _FLOATS, 0.0, 0)


@dataclass(frozen=True)
class Asked:
    """Settings of an explanation.

    Parameters
    ----------
    index
        ``NAME[@VERSION_OR_ALIAS]`` of the cell index.
    taxon
        Species of the cells, by NCBI taxonomy id or name (``"mouse"``); 0 infers it from the gene
        names.
    space
        ``text`` or ``expression``; None lets the server choose by the shared genes.
    n_genes
        Genes to list per explanation, 1 to 1000.
    label
        The label to explain; empty for the one whose mean is nearest to each cell.
    against
        The label to compare it with; empty for none.
    """

    index: str
    taxon: int | str = 0
    space: str | None = None
    n_genes: int = 20
    label: str = ""
    against: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "taxon", taxon_id(self.taxon))


@dataclass(frozen=True)
class Predicted:
    """The two most probable labels of each cell, as written by `cellkin.client.tl.annotate`.

    Parameters
    ----------
    labels
        (2, n_cells) object, the most probable and second most probable labels; None if missing.
    probabilities
        (2, n_cells) float64 in [0, 1], their probabilities; 0 if missing.
    """

    labels: npt.NDArray[np.object_]
    probabilities: npt.NDArray[np.float64]

    @classmethod
    def of(cls, columns: Any, key: str) -> "Predicted | None":
        """Read the columns of ``obs`` whose names begin with ``key``; None if any is missing.

        Parameters
        ----------
        columns
            Columns by name, such as ``adata.obs``.
        key
            Prefix of the names.
        """
        names = predicted_columns(key)
        if not all(name in columns for name in names):
            return None
        labels = np.array([_names(columns[name]) for name in names[::2]], object)
        chances = [pd.to_numeric(pd.Series(_names(columns[name]))) for name in names[1::2]]
        numbers = np.array(chances, np.float64).reshape(2, -1)
        return cls(labels.reshape(2, -1), np.nan_to_num(numbers))

    def shares(self, rows: npt.NDArray[np.int64]) -> dict[str, float]:
        """Return the mean probability by label over some cells, largest first.

        Parameters
        ----------
        rows
            (n_chosen,) int64 positions of the cells.
        """
        labels, chances = self.labels[:, rows].ravel(), self.probabilities[:, rows].ravel()
        sums = pd.Series(chances).groupby(labels).sum() / max(1, len(rows))
        found = [(str(label), float(share)) for label, share in sums.items()]
        return dict(sorted(found, key=lambda of: (-of[1], of[0])))

    def winner(self, rows: npt.NDArray[np.int64]) -> str:
        """Return the label with the largest summed probability as the most probable, or ""."""
        sums = pd.Series(self.probabilities[0, rows]).groupby(self.labels[0, rows]).sum()
        found = [(str(label), float(share)) for label, share in sums.items()]
        return min(found, key=lambda of: (-of[1], of[0]), default=("", 0.0))[0]


def predicted_columns(key: str) -> tuple[str, ...]:
    """Return the names of the ``obs`` columns of `Predicted`, which begin with ``key``."""
    return tuple(
        f"{key}_{what}"
        for what in ("winner", "winner_probability", "runner_up", "runner_up_probability")
    )


@dataclass(frozen=True, repr=False)
class Group(Shown):
    """The explanation of the mean of a group of cells.

    Parameters
    ----------
    name
        Name of the group.
    n_cells, n_explained
        Number of its cells, and how many of them were sent.
    chosen
        Why its label is explained: ``the group's name``, ``asked for``, or ``most probable label``.
    against
        The label compared with; empty for none.
    found
        The explanation.
    expression
        Expression of its genes in and out of the group.
    texts
        Text source of its genes; empty for genes that the query lacks.
    nearest
        The reference cells that are nearest to most of the group's cells.
    """

    name: str
    n_cells: int
    n_explained: int
    chosen: str
    against: str
    found: CellExplanation
    expression: GroupExpression
    texts: tuple[str, ...]
    nearest: tuple[NearestCell, ...]


@dataclass(frozen=True, repr=False)
class Groups(Tabular):
    """Why groups of cells have their labels.

    Parameters
    ----------
    versions
        Versions of the responses.
    groups
        One per non-empty group, in the order of the groups.
    space
        Space of the explanation: ``text`` or ``expression``.
    """

    versions: Versions
    groups: tuple[Group, ...]
    space: str

    def columns(self) -> dict[str, Any]:
        """Return one row per group and gene, largest contributions first."""
        of = [group for group in self.groups for _ in group.found.symbols]
        parts = [group.found for group in self.groups]
        expressed = [group.expression for group in self.groups]
        return {
            "group": [group.name for group in of],
            "label": [group.found.label for group in of],
            "against": [group.against for group in of],
            "n_cells": np.array([group.n_cells for group in of], np.int64),
            "gene": [symbol for part in parts for symbol in part.symbols],
            "contribution": np.concatenate([_FLOATS, *(part.contributions for part in parts)]),
            "weight": np.concatenate([_FLOATS, *(part.weights for part in parts)]),
            "gene_id": np.concatenate(
                [np.empty(0, np.int64), *(part.gene_ids for part in parts)], dtype=np.int64
            ),
            "mean_in": np.concatenate([_FLOATS, *(each.means_in for each in expressed)]),
            "mean_out": np.concatenate([_FLOATS, *(each.means_out for each in expressed)]),
            "detected_in": np.concatenate([_FLOATS, *(each.detected_in for each in expressed)]),
            "detected_out": np.concatenate([_FLOATS, *(each.detected_out for each in expressed)]),
            "text": [text for group in self.groups for text in group.texts],
        }

    def group_columns(self) -> dict[str, Any]:
        """Return one row per group: its label, why that label, and the sums over its genes."""
        found = [group.found for group in self.groups]
        return {
            "group": [group.name for group in self.groups],
            "label": [each.label for each in found],
            "chosen": [group.chosen for group in self.groups],
            "against": [group.against for group in self.groups],
            "n_cells": np.array([group.n_cells for group in self.groups], np.int64),
            "n_explained": np.array([group.n_explained for group in self.groups], np.int64),
            "score": np.array([each.score for each in found], np.float64),
            "similarity": np.array([each.similarity for each in found], np.float64),
            "remainder": np.array([each.remainder for each in found], np.float64),
            "n_remaining": np.array([each.n_remaining for each in found], np.int64),
        }

    def nearest_columns(self) -> dict[str, Any]:
        """Return one row per group and reference cell that is nearest to most of its cells."""
        of = [(group.name, cell) for group in self.groups for cell in group.nearest]
        return {
            "group": [name for name, _ in of],
            "cell_id": [cell.cell_id for _, cell in of],
            "label": [cell.label for _, cell in of],
            "batch": [cell.batch for _, cell in of],
            "n_cells": np.array([cell.n_cells for _, cell in of], np.int64),
            "n_drawn": np.array([cell.n_drawn for _, cell in of], np.int64),
            "similarity": np.array([cell.similarity for _, cell in of], np.float64),
        }


def explain_groups(
    client: Client,
    query: WholeQuery,
    groups: Any,
    predicted: Predicted | None,
    asked: Asked,
    progress: Progress,
) -> Groups:
    """Explain the mean of each group of cells: its label against the runner-up.

    Parameters
    ----------
    client
        The client.
    query
        The cells.
    groups
        (n_cells,) group of each cell, missing for cells in no group.
    predicted
        The predicted labels of the cells; None if there are none, and then no runner-up.
    asked
        The settings; if given, ``label`` and ``against`` apply to all groups.
    progress
        Called with the number of finished groups and the total.

    Raises
    ------
    NotFoundError
        If the index does not exist, or a group is not named like a label and its cells have no
        predicted labels.
    InvalidArgumentError
        If the reference lacks a requested label.
    GenesUnmatchedError
        If too few genes match.
    """
    grouped = pd.Categorical(groups)
    held = client.get_cell_index(asked.index)
    labels = set(held.labels)
    done: list[tuple[npt.NDArray[np.int64], Group]] = []
    answer = Explanations(held.versions, (), "")
    for code, name in enumerate(map(str, grouped.categories)):
        rows = np.flatnonzero(grouped.codes == code)
        progress(code, len(grouped.categories))
        if not len(rows):
            continue
        label, chosen = _label_of(name, rows, labels, predicted, asked)
        against = _against(label, rows, predicted, asked)
        if not label:
            done.append((rows, Group(name, len(rows), 0, chosen, "", _NOTHING, _NONE, (), ())))
            continue
        cells = query.chosen(query.drawn(rows, _MEAN_CELLS, _MEAN_VALUES))
        answer = client.explain_cell(
            held.name, query.gene_names, cells, units=ExpressionUnits.LINEAR, taxon=asked.taxon,
            label=label, against=against, mean=True, n_genes=asked.n_genes, space=asked.space,
        )  # fmt: skip
        near = nearest_cells(client, query, rows, held.name, asked.taxon, answer.space)
        (found,) = answer.cells
        done.append(
            (rows, Group(name, len(rows), cells.shape[0], chosen, against, found, _NONE, (), near))
        )
    progress(len(grouped.categories), len(grouped.categories))
    return Groups(
        answer.versions, _with_expression(client, query, done, asked, answer.versions), answer.space
    )


def _with_expression(
    client: Client,
    query: WholeQuery,
    done: list[tuple[npt.NDArray[np.int64], Group]],
    asked: Asked,
    versions: Versions,
) -> tuple[Group, ...]:
    """Return groups with the expression and text sources of their genes."""
    genes = [group.found.gene_ids for _, group in done]
    if not any(map(len, genes)):
        return tuple(group for _, group in done)
    # In the corpus, as an index by expression alone does not tell text sources.
    place = {"corpus": versions.corpus} if versions.corpus else {"index": versions.index}
    match = client.resolve_genes(query.gene_names, taxon=asked.taxon, **place).match
    columns = GeneColumns(match)
    codes = np.full(len(query.cell_ids), -1)
    for code, (rows, _) in enumerate(done):
        codes[rows] = code
    expressed = expression_of_groups(query, codes, columns, genes)
    return tuple(
        replace(group, expression=values, texts=columns.texts(group.found.gene_ids))
        for (_, group), values in zip(done, expressed, strict=True)
    )


def _label_of(
    name: str,
    rows: npt.NDArray[np.int64],
    labels: set[str],
    predicted: Predicted | None,
    asked: Asked,
) -> tuple[str, str]:
    """Return the label to explain for a group, and why that label."""
    if asked.label:
        return asked.label, "asked for"
    if name in labels:
        return name, "the group's name"
    if predicted is None:
        raise NotFoundError(
            f"the group {name!r} is called none of the index's labels, and its cells were not "
            "labeled; run cellkin.client.tl.annotate first, or give a label"
        )
    return predicted.winner(rows), "most probable label"


def _against(
    label: str, rows: npt.NDArray[np.int64], predicted: Predicted | None, asked: Asked
) -> str:
    """Return the label to compare with: the requested one, or the most probable other label."""
    if asked.against:
        return asked.against if asked.against != label else ""
    others = [] if predicted is None else [n for n in predicted.shares(rows) if n != label]
    return others[0] if others else ""


def _names(column: Any) -> Sequence[str | None]:
    """Return the names in a column, None for missing or empty ones."""
    values = pd.Series(np.asarray(column, object))
    return [None if pd.isna(v) or v == "" else str(v) for v in values]
