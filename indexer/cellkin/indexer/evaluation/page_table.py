"""The summary table of a report page."""

import math
from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

from cellkin.indexer.evaluation.report import COLUMNS, ahead, cost, label, shown
from cellkin.indexer.evaluation.rows import Line, Report, lines

# Figures for which lower is better.
_LOW = ("ece", "risk_area")
_EN_DASH = "\N{EN DASH}"


class Cell(NamedTuple):
    """A figure, the note below it, and whether it is the best in its column."""

    text: str
    note: str = ""
    best: bool = False


class TableRow(NamedTuple):
    """One line of the table.

    Parameters
    ----------
    kind
        ``model``, ``beside`` for a control with other gene embeddings, or ``other``: a CSS class.
    name, detail
        Name of the method; its space and recipe.
    why_absent
        Reason for missing figures; empty if there are figures.
    cells
        One per title of the table.
    interval
        Low end, mean and high end of macro-F1 in percent of the axis; None without an interval.
    ahead
        Macro-F1 minus that of the best control, with sign; empty for controls.
    cost
        Seconds and peak memory in MiB.
    """

    kind: str
    name: str
    detail: str
    why_absent: str = ""
    cells: Sequence[Cell] = ()
    interval: tuple[float, float, float] | None = None
    ahead: str = ""
    cost: Sequence[str] = ()


class Table(NamedTuple):
    """Titles of figures, ends of the macro-F1 axis, and named groups of rows."""

    titles: list[str]
    axis: tuple[float, float]
    groups: list[tuple[str, list[TableRow]]]


def table(report: Report) -> Table:
    """Return the table, with the controls of each model below it."""
    names, ordered = shown(report), lines(report)
    axis = _axis(ordered)
    best = {name: _best(ordered, name) for name in names}
    groups = [
        (group, [_row(line, best, ordered, axis) for line in members])
        for group, members in groupby(ordered, _group)
    ]
    return Table([COLUMNS[name] for name in names], axis, groups)


def _group(line: Line) -> str:
    if line.setting.peer:
        return "other tools"
    if line.setting.is_model or line.beside is not None:
        return "models, each with its gene-vector controls"
    return "controls by expression alone"


def _row(
    line: Line, best: dict[str, float], ordered: Sequence[Line], axis: tuple[float, float]
) -> TableRow:
    setting = line.setting
    kind = "model" if setting.is_model else "beside" if line.beside is not None else "other"
    parts = [part for part in (setting.space, setting.recipe) if part]
    detail = " · ".join(parts) if setting.is_model else ""
    if line.first.scores is None:
        return TableRow(kind, label(line), detail, line.first.why_absent)
    cells = [_cell(line, name, top) for name, top in best.items()]
    compared = ahead(line, ordered)
    return TableRow(
        kind, label(line), detail, "", cells, _interval(line, axis), compared, cost(line)
    )


def _cell(line: Line, name: str, best: float) -> Cell:
    mean, sd = line.mean(name), line.sd(name)
    if mean is None:
        return Cell(_EN_DASH)
    scores = line.first.scores
    interval = None if scores is None else scores.intervals.get(name)
    note = ""
    if name == "unknown_auroc" and line.first.left_out:
        note = f"worst {min(t.auroc for t in line.first.left_out):.2f}"
    elif sd is not None:
        note = f"±{sd:.3f}"
    elif interval is not None:
        note = f"{interval.low:.3f}{_EN_DASH}{interval.high:.3f}"
    return Cell(f"{mean:.3f}", note, round(mean, 3) == round(best, 3))


def _axis(ordered: Sequence[Line]) -> tuple[float, float]:
    """Choose an axis for macro-F1, ignoring the majority, which is far below all others."""
    ends = [line.interval("macro_f1") for line in ordered if line.setting.control != "majority"]
    low = min((e[0] for e in ends if e is not None), default=0.0)
    high = max((e[1] for e in ends if e is not None), default=1.0)
    # The axis spans at least 0.1, even if all values are equal.
    bottom = min(math.floor(low * 10), 9)
    return bottom / 10, max(math.ceil(high * 10), bottom + 1) / 10


def _interval(line: Line, axis: tuple[float, float]) -> tuple[float, float, float] | None:
    ends, mean = line.interval("macro_f1"), line.mean("macro_f1")
    if ends is None or mean is None or mean < axis[0]:
        return None
    low, middle, high = (
        100 * (value - axis[0]) / (axis[1] - axis[0]) for value in (ends[0], mean, ends[1])
    )
    return max(low, 0.0), middle, high


def _best(ordered: Sequence[Line], name: str) -> float:
    means = [mean for line in ordered if (mean := line.mean(name)) is not None]
    return min(means) if name in _LOW else max(means)
