"""The summary table of a report page."""

import math
from collections.abc import Sequence
from html import escape

from cellkin.indexer.evaluation.report import COLUMNS, ahead, cost, label, shown
from cellkin.indexer.evaluation.rows import Line, Report

# Figures of which less is better.
_LOW = ("ece", "risk_area")


def html_table(report: Report, ordered: Sequence[Line]) -> str:
    """Set each model's figures beside its controls', as a ``<table>``.

    Parameters
    ----------
    report
        The rows of one question.
    ordered
        Its `lines`.
    """
    names = shown(report)
    low, high = _axis(ordered)
    axis = f'<span class="axis"><span>{low:g}</span><span>{high:g}</span></span>'
    head = "".join(f"<th>{escape(COLUMNS[name])}</th>" for name in names)
    head = f"<th>method</th>{head}<th>macro-F1, 95&nbsp;%{axis}</th><th>to best control</th>"
    best = {name: _best(ordered, name) for name in names}
    rows = []
    group = ""
    for line in ordered:
        now = _group(line)
        if now != group:
            rows.append(f'<tr class="head"><td colspan="{len(names) + 5}">{now}</td></tr>')
            group = now
        rows.append(_row(line, names, best, ordered, (low, high)))
    return (
        f'<div class="scroll"><table><thead><tr>{head}<th>seconds</th><th>MiB</th></tr></thead>\n'
        f"<tbody>\n{chr(10).join(rows)}\n</tbody></table></div>"
    )


def _group(line: Line) -> str:
    if line.setting.peer:
        return "other tools"
    if line.setting.is_model or line.beside is not None:
        return "models, each with its gene-vector controls"
    return "controls by expression alone"


def _row(
    line: Line,
    names: Sequence[str],
    best: dict[str, float],
    ordered: Sequence[Line],
    ends: tuple[float, float],
) -> str:
    kind = "model" if line.setting.is_model else "beside" if line.beside is not None else "other"
    name = f"<td>{escape(label(line))}{_detail(line)}</td>"
    if line.first.scores is None:
        why = escape(line.first.why_absent)
        return f'<tr class="{kind}">{name}<td class="why" colspan="99">not run: {why}</td></tr>'
    cells = []
    for figure in names:
        mean = line.mean(figure)
        top = mean is not None and round(mean, 3) == round(best[figure], 3)
        start = '<td class="best">' if top else "<td>"
        cells.append(f"{start}{_figure(line, figure)}</td>")
    change = ahead(line, ordered)
    way = "up" if change.startswith("+") else "down"
    cells.append(f"<td>{_range(line, ends)}</td>")
    cells.append(
        f'<td class="{way}">{change.replace("-", "&minus;")}</td>' if change else "<td></td>"
    )
    cells += [f"<td>{value}</td>" for value in cost(line)]
    return f'<tr class="{kind}">{name}{"".join(cells)}</tr>'


def _detail(line: Line) -> str:
    setting = line.setting
    parts = [part for part in (setting.space, setting.recipe) if part]
    return f"<small>{escape(' · '.join(parts))}</small>" if setting.is_model and parts else ""


def _figure(line: Line, name: str) -> str:
    mean, sd = line.mean(name), line.sd(name)
    if mean is None:
        return "&ndash;"
    if name == "unknown_auroc" and line.first.left_out:
        return f"{mean:.3f}<small>worst {min(t.auroc for t in line.first.left_out):.2f}</small>"
    if sd is not None:
        return f"{mean:.3f}<small>±{sd:.3f}</small>"
    scores = line.first.scores
    interval = None if scores is None else scores.intervals.get(name)
    if interval is None:
        return f"{mean:.3f}"
    return f"{mean:.3f}<small>{interval.low:.3f}&ndash;{interval.high:.3f}</small>"


def _ends(line: Line) -> tuple[float, float] | None:
    """Return the ends of the interval of macro-F1; of several seeds the outer ones."""
    found = [r.scores.intervals.get("macro_f1") for r in line.rows if r.scores is not None]
    intervals = [interval for interval in found if interval is not None]
    if not intervals:
        return None
    return min(i.low for i in intervals), max(i.high for i in intervals)


def _axis(ordered: Sequence[Line]) -> tuple[float, float]:
    """Choose an axis for macro-F1 that the majority, far below all, does not stretch."""
    ends = [_ends(line) for line in ordered if line.setting.control != "majority"]
    low = min((e[0] for e in ends if e is not None), default=0.0)
    high = max((e[1] for e in ends if e is not None), default=1.0)
    # A tenth at least, where all are equal.
    bottom = min(math.floor(low * 10), 9)
    return bottom / 10, max(math.ceil(high * 10), bottom + 1) / 10


def _range(line: Line, axis: tuple[float, float]) -> str:
    ends, mean = _ends(line), line.mean("macro_f1")
    if ends is None or mean is None or mean < axis[0]:
        return ""
    low, high = (100 * (e - axis[0]) / (axis[1] - axis[0]) for e in ends)
    low, middle = max(low, 0.0), 100 * (mean - axis[0]) / (axis[1] - axis[0])
    return (
        f'<span class="range"><i style="left:{low:.1f}%;width:{high - low:.1f}%"></i>'
        f'<b style="left:{middle:.1f}%"></b></span>'
    )


def _best(ordered: Sequence[Line], name: str) -> float:
    means = [mean for line in ordered if (mean := line.mean(name)) is not None]
    return min(means) if name in _LOW else max(means)
