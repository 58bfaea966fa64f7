"""Contrasts of two groups of cells, of a query or of the reference."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

import numpy as np
import numpy.typing as npt

from cellkin.client.calls.contrasts import GroupedCells
from cellkin.client.client import Client
from cellkin.client.labels.annotation import label_names
from cellkin.client.labels.labeling import Progress
from cellkin.client.queries import WholeQuery, evenly
from cellkin.client.results.contrasts import Contrast
from cellkin.client.results.sample import ReportWarning
from cellkin.matrices.matrix import MAX_CELLS
from cellkin.wire.errors import InvalidArgumentError
from cellkin.wire.species import taxon_id
from cellkin.wire.terms import ExpressionUnits

_MOST_CELLS = 200_000
"""Cells per contrast that a server accepts."""
_MOST_VALUES = 45_000_000
"""Values per contrast, about 360 MB: below the server's limit of 400 MB."""
_LEAST = 100
"""Cells that a small group keeps."""
_LISTED = 10


@dataclass(frozen=True)
class Comparison:
    """Settings of a contrast.

    Parameters
    ----------
    index
        ``NAME[@VERSION_OR_ALIAS]`` of the cell index.
    a, b
        Labels of the groups; ``b`` empty for all others.
    collections, regulons
        Collections of gene sets to test, and of regulons to estimate activities by.
    taxon
        Species of the cells, by NCBI taxonomy id or name (``"mouse"``); 0 infers it from the gene
        names.
    n_permutations
        Permutations of group labels that ``called_by_chance`` is averaged over, 100 to 10,000. The
        p-values of sets do not depend on it.
    n_sets
        Sets to return per collection, the most significant; None for all.

    Raises
    ------
    InvalidArgumentError
        If group a has no label, or the groups overlap.
    """

    index: str
    a: tuple[str, ...]
    b: tuple[str, ...] = ()
    collections: tuple[str, ...] = ()
    regulons: tuple[str, ...] = ()
    taxon: int | str = 0
    n_permutations: int = 100
    n_sets: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "taxon", taxon_id(self.taxon))
        if not self.a:
            raise InvalidArgumentError("group a has no label; give at least one", field="a")
        if both := [label for label in self.a if label in self.b]:
            raise InvalidArgumentError(
                f"{both[0]!r} is in both groups; give each label to one of them", field="b"
            )

    def options(self) -> dict[str, Any]:
        """Return the arguments of `Client.contrast_subtypes` that all contrasts share."""
        return {
            "collections": self.collections, "regulons": self.regulons,
            "n_permutations": self.n_permutations, "n_sets": self.n_sets,
        }  # fmt: skip


def contrast_reference(client: Client, asked: Comparison) -> Contrast:
    """Compare labels of the reference.

    Parameters
    ----------
    client
        The client.
    asked
        The settings.

    Raises
    ------
    NotFoundError, InvalidArgumentError, FailedPreconditionError
        As `Client.contrast_subtypes`.
    """
    return client.contrast_subtypes(asked.index, a=asked.a, b=asked.b, **asked.options())


def contrast_cells(
    client: Client,
    query: WholeQuery,
    labels: Any,
    asked: Comparison,
    *,
    batches: Any = None,
    within: str = "",
    progress: Progress = lambda done, total: None,
) -> Contrast:
    """Compare two groups of the cells of a query.

    Parameters
    ----------
    client
        The client.
    query
        The cells. If the two groups have more cells or values than a server accepts, evenly spaced
        cells of them are compared, with a warning.
    labels
        (n_cells,) label of each cell; missing for cells in neither group.
    asked
        The settings.
    batches
        (n_cells,) donor or batch of each cell, for pseudobulk; None for none.
    within
        The label of all compared cells, whose conditions are compared; to name the groups.
    progress
        Called with the number of cells read and the total.

    Raises
    ------
    InvalidArgumentError
        If no cell has a given label, a group is empty, or a compared cell has no batch.
    NotFoundError
        If the index or a collection does not exist.
    GenesUnmatchedError
        If too few genes match.
    """
    names = label_names(labels)
    groups = _groups(names, asked)
    donors: Any = [] if batches is None else _donors(batches, groups)
    rows, warnings = _compared(query, groups)
    found = client.contrast_subtypes(
        asked.index,
        _blocks(query, groups, rows, donors, progress),
        a=_named(asked.a, within),
        b=_named(asked.b or _others(names, asked), within),
        genes=query.gene_names,
        units=ExpressionUnits.LINEAR,
        taxon=asked.taxon,
        **asked.options(),
    )
    if caution := query.units.caution:
        warnings.append(ReportWarning("DOUBTFUL_UNITS", caution))
    return replace(found, warnings=(*warnings, *found.warnings))


def require_label(label: str, labels: Iterable[str | None], what: str) -> None:
    """Raise if no cell has a label.

    Parameters
    ----------
    label
        The label.
    labels
        Labels of the cells, None for missing ones.
    what
        What the label was given for, for the message.

    Raises
    ------
    InvalidArgumentError
        If no cell has it; the message names similar labels.
    """
    known = sorted({each for each in labels if each is not None})
    if label in known:
        return
    near = get_close_matches(label, known, 3)
    listed = ", ".join(known[:_LISTED]) + (", ..." if len(known) > _LISTED else "")
    hint = f"did you mean {' or '.join(near)}?" if near else f"there is: {listed or 'none'}"
    raise InvalidArgumentError(f"{what}: no cell has the label {label!r}; {hint}", {"label": label})


def _named(labels: Sequence[str], within: str) -> list[str]:
    return [f"{within}: {label}" if within else label for label in labels]


def _groups(names: npt.NDArray[np.object_], asked: Comparison) -> npt.NDArray[np.int8]:
    """Return 0 for cells of group a, 1 for those of group b, and -1 for others."""
    known = sorted({name for name in names if name is not None})
    for group, labels in (("a", asked.a), ("b", asked.b)):
        for label in labels:
            require_label(label, known, f"group {group}")
    of = dict.fromkeys(asked.b or _others(names, asked), 1) | dict.fromkeys(asked.a, 0)
    groups = np.array([of.get(name, -1) for name in names], np.int8)
    if not (groups == 1).any():
        raise InvalidArgumentError(
            f"group b has no cell: all {len(names):,} cells are of group a or have no label; give "
            "cells of other labels too",
            field="b",
        )
    return groups


def _others(names: npt.NDArray[np.object_], asked: Comparison) -> list[str]:
    return sorted({name for name in names if name is not None} - set(asked.a))


def _donors(batches: Any, groups: npt.NDArray[np.int8]) -> npt.NDArray[np.object_]:
    donors = label_names(batches)
    n_missing = sum(donor is None for donor in donors[groups >= 0])
    if n_missing:
        raise InvalidArgumentError(
            f"{n_missing:,} of the compared cells have no batch; leave them out, or compare "
            "without batches",
            field="batches",
        )
    return donors


def _compared(
    query: WholeQuery, groups: npt.NDArray[np.int8]
) -> tuple[npt.NDArray[np.int64], list[ReportWarning]]:
    """Return the rows to compare, and a warning if they are not all cells of the groups."""
    n_cells = int((groups >= 0).sum())
    n_kept = len(query.drawn(np.flatnonzero(groups >= 0), _MOST_CELLS, _MOST_VALUES))
    parts = [np.flatnonzero(groups == group) for group in (0, 1)]
    if n_kept == n_cells:
        return np.concatenate(parts), []
    # Of each group by its size, and at least what makes a group.
    kept = [evenly(part, max(_LEAST, len(part) * n_kept // n_cells)) for part in parts]
    said = (
        f"{sum(map(len, kept)):,} evenly spaced cells of the groups' {n_cells:,} are compared, as "
        "many as a server accepts"
    )
    return np.concatenate(kept), [ReportWarning("DRAWN_CELLS", said)]


def _blocks(
    query: WholeQuery,
    groups: npt.NDArray[np.int8],
    rows: npt.NDArray[np.int64],
    donors: Any,
    progress: Progress,
) -> Iterator[GroupedCells]:
    compared = np.zeros(len(groups), bool)
    compared[rows] = True
    done = 0
    for block in query.blocks(MAX_CELLS):
        here = done + np.flatnonzero(compared[done : done + len(block.names)])
        if len(here):
            yield GroupedCells(
                block.cells[here - done], groups[here].astype(np.uint8), list(donors[here])
                if len(donors) else [],
            )  # fmt: skip
        done += len(block.names)
        progress(done, len(groups))
