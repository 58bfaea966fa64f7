"""Explanations of single cells."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from cellkin.client.client import Client
from cellkin.client.explaining import Asked, Predicted
from cellkin.client.labels.labeling import Progress
from cellkin.client.queries import WholeQuery
from cellkin.client.results.cells import CellExplanation, Explanations
from cellkin.client.results.versions import Versions
from cellkin.wire.terms import ExpressionUnits

_CELLS = 64
"""Cells per request."""


def explain_cells(
    client: Client,
    query: WholeQuery,
    predicted: Predicted | None,
    asked: Asked,
    progress: Progress = lambda done, total: None,
    rows: npt.NDArray[np.int64] | None = None,
) -> tuple[Explanations, list[str]]:
    """Explain the label of each cell of a query.

    Parameters
    ----------
    client
        The client.
    query
        The cells.
    predicted
        The predicted labels of the cells: unless a label is asked for, the most probable one of
        each is explained against the second one. None if there are none, and then the label whose
        mean is nearest is explained, against no other.
    asked
        The settings.
    progress
        Called with the number of finished cells and the total.
    rows
        (n_cells,) int64 rows of the cells to explain, ascending and distinct; None for all.

    Returns
    -------
    Explanations
        One per cell, in order.
    list
        The label that each cell's is compared with; empty for none.

    Raises
    ------
    InvalidArgumentError
        If the reference lacks a requested label.
    GenesUnmatchedError
        If too few genes match.
    """
    rows = np.arange(len(query.cell_ids)) if rows is None else rows
    pairs = [(asked.label, asked.against)] * len(rows)
    if predicted is not None and not asked.label:
        held = set(client.get_cell_index(asked.index).labels)
        names = zip(*predicted.labels[:, rows].tolist(), strict=True)
        pairs = [_pair(winner, second, asked.against, held) for winner, second in names]
    explained: dict[int, CellExplanation] = {}
    answer = Explanations(Versions(), (), "")
    for places in _together(pairs):
        label, against = pairs[int(places[0])]
        answer = client.explain_cell(
            # All from the version of the first response.
            answer.versions.index or asked.index, query.gene_names, query.chosen(rows[places]),
            units=ExpressionUnits.LINEAR, taxon=asked.taxon, label=label, against=against,
            n_genes=asked.n_genes, space=asked.space,
        )  # fmt: skip
        explained |= zip(places.tolist(), answer.cells, strict=True)
        progress(len(explained), len(rows))
    cells = tuple(explained[place] for place in range(len(rows)))
    return replace(answer, cells=cells), [against for _, against in pairs]


def _pair(winner: str | None, second: str | None, asked: str, held: set[str]) -> tuple[str, str]:
    """Return the label to explain and the one to compare with, if the index has them."""
    label = winner if winner in held else None
    against = asked or (second if label and second in held else None) or ""
    return label or "", "" if against == label else against


def _together(pairs: Sequence[tuple[str, str]]) -> Iterator[npt.NDArray[np.int64]]:
    """Yield the places of cells that are asked for together: up to 64 of the same labels."""
    places: dict[tuple[str, str], list[int]] = {}
    for place, pair in enumerate(pairs):
        places.setdefault(pair, []).append(place)
    for same in places.values():
        for start in range(0, len(same), _CELLS):
            yield np.array(same[start : start + _CELLS], np.int64)
