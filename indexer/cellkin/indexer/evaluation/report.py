"""Format an evaluation as a table for the terminal and as JSON."""

from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from cellkin.indexer.evaluation.rows import Line, Report, best_control, lines
from cellkin.indexer.evaluation.words import absent_types, intervals_over, unknown_of

SCHEMA = 1
"""Version of the JSON, increased when the meaning of a field changes."""

COLUMNS = {
    "accuracy": "accuracy",
    "macro_f1": "macro-F1",
    "rare_f1": "rare F1",
    "hierarchical_f1": "hier. F1",
    "ece": "ECE",
    "unknown_auroc": "unknown AUROC",
    "risk_area": "risk area",
}
"""Figures of `Scores` and their titles, in the order of the columns."""


def shown(report: Report) -> list[str]:
    """Return the names of the figures that at least one row has."""
    return [name for name in COLUMNS if any(row.figure(name) is not None for row in report.rows)]


def summary_table(report: Report) -> Table:
    """Return a table of the figures of models and controls.

    Parameters
    ----------
    report
        The rows of one question.

    Returns
    -------
    rich.table.Table
        One row per method: means over seeds with the standard deviation below. Rows of models are
        bold; a plus marks their controls with other gene embeddings.
    """
    table = Table(caption_justify="left", caption=_caption(report), caption_style="")
    table.add_column("method", min_width=20)
    for title in (*(COLUMNS[name] for name in shown(report)), "to best control", "s", "MiB"):
        # Fits the longest word, or a spread such as ±0.012: rows fit into 110 characters.
        width = max(5 if title in ("s", "MiB") else 6, *(len(word) for word in title.split()))
        table.add_column(title, justify="right", width=width)
    ordered = lines(report)
    for at, line in enumerate(ordered):
        style = "bold" if line.setting.is_model else ""
        table.add_row(*_cells(line, report, ordered), style=style)
        following = ordered[at + 1] if at + 1 < len(ordered) else None
        if following is not None and _kind(following) != _kind(line):
            table.add_section()
    return table


def _kind(line: Line) -> str:
    if line.setting.peer:
        return "peer"
    if line.beside is not None:
        return line.beside.method
    return line.setting.method if line.setting.is_model else "control"


def _cells(line: Line, report: Report, ordered: Sequence[Line]) -> list[str]:
    name = escape(("+ " if line.beside is not None else "") + label(line))
    if line.first.scores is None:
        return [name, f"not run: {escape(line.first.why_absent)}"]
    figures = [with_spread(line, figure) for figure in shown(report)]
    return [name, *figures, ahead(line, ordered), *cost(line)]


def label(line: Line) -> str:
    """Return the name of a line with distinguishing settings."""
    setting = line.setting
    parts = [setting.method]
    if setting.is_model:
        parts += [part for part in (setting.language_model,) if part]
        parts += ["refined"] if setting.refined else []
    if len(line.rows) > 1:
        parts.append(f"{len(line.rows)} seeds")
    return " · ".join(parts)


def with_spread(line: Line, name: str) -> str:
    """Format a figure with its standard deviation over seeds below it, ``-`` if missing."""
    mean, sd = line.mean(name), line.sd(name)
    if mean is None:
        return "-"
    return f"{mean:.3f}" if sd is None else f"{mean:.3f}\n±{sd:.3f}"


def ahead(line: Line, ordered: Sequence[Line]) -> str:
    """Format a model's macro-F1 minus that of its best control; empty for other lines."""
    if not line.setting.is_model:
        return ""
    own, best = line.mean("macro_f1"), best_control(line, ordered).mean("macro_f1")
    return "" if own is None or best is None else f"{own - best:+.3f}"


def cost(line: Line) -> list[str]:
    """Format the mean seconds over a line's rows and their peak memory in MiB."""
    seconds = [row.seconds for row in line.rows if row.seconds is not None]
    peaks = [row.peak_bytes for row in line.rows if row.peak_bytes is not None]
    return [
        f"{sum(seconds) / len(seconds):.1f}" if seconds else "-",
        f"{max(peaks) / 2**20:.0f}" if peaks else "-",
    ]


def _caption(report: Report) -> str:
    sentences = [*intervals_over(report), *absent_types(report), *report.notes]
    for line in lines(report):
        if line.setting.is_model:
            sentences += unknown_of(line)
    return "\n".join(escape(sentence) for sentence in sentences)


def to_json(reports: Sequence[Report]) -> dict[str, object]:
    """Return reports in types that `json` writes.

    Parameters
    ----------
    reports
        One per question.

    Returns
    -------
    dict
        ``schema`` and ``reports``.
    """
    return {"schema": SCHEMA, "reports": [report.to_json() for report in reports]}
