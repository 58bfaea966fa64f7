"""An evaluation as one static page: no script, no other file, nothing fetched."""

import json
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cellkin.indexer.evaluation.page_table import html_table
from cellkin.indexer.evaluation.report import label, to_json
from cellkin.indexer.evaluation.rows import Line, Report, Row, lines
from cellkin.indexer.evaluation.words import (
    HOW_TO_READ,
    absent_types,
    intervals_over,
    unknown_of,
    verdict,
)
from cellkin.store.quality import WEAK_AUROC
from cellkin.wire.errors import InvalidArgumentError, MissingDependencyError

# The confusion matrix of more types takes the width of the page.
_WIDE = 20


def write_page(reports: Sequence[Report], path: Path) -> None:
    """Write reports as a page.

    Parameters
    ----------
    reports
        One a question, at least one; each has its controls, or it could not have been made.
    path
        The ``.html`` file; written over.

    Raises
    ------
    MissingDependencyError
        If matplotlib is not installed.
    InvalidArgumentError
        If there is no report.
    """
    path.write_text(page(reports), encoding="utf-8")


def page(reports: Sequence[Report]) -> str:
    """Return the page that `write_page` writes."""
    if not reports:
        raise InvalidArgumentError("a page of no reports; give at least one")
    _require_matplotlib()
    title = reports[0].title
    sections = [_section(report, f"q{at}") for at, report in enumerate(reports)]
    return document(
        f"{title}: evaluation",
        title,
        "How well cells are labeled, each method beside its controls.",
        [*sections, _how_to_read()],
        to_json(reports),
    )


def document(title: str, heading: str, subject: str, sections: Sequence[str], data: Any) -> str:
    """Return a page of sections in the style of all pages.

    Parameters
    ----------
    title, heading, subject
        Of the window, of the page, and the line below that: plain text.
    sections
        HTML.
    data
        What programs read of the page: anything JSON takes.
    """
    css = files("cellkin.indexer.evaluation").joinpath("page.css").read_text(encoding="utf-8")
    # A closing tag inside the data would end it.
    kept = json.dumps(data, separators=(",", ":")).replace("</", "<\\/")
    body = "\n".join(sections)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>
{css}</style>
</head>
<body>
<main>
<h1>{escape(heading)}</h1>
<p class="soft">{escape(subject)}</p>
{body}
</main>
<script type="application/json" id="figures">{kept}</script>
</body>
</html>
"""


def _section(report: Report, key: str) -> str:
    ordered = lines(report)
    parts = [
        f"<h2>{escape(_capital(report.question))}</h2>",
        f'<p class="soft">{_subject(report)}</p>',
        f'<p class="verdict">{escape(verdict(report))}</p>',
        html_table(report, ordered),
        _notes(report, ordered),
        _curves(ordered, key),
        *_models(report, ordered, key),
        _versions(report),
    ]
    return "<section>\n" + "\n".join(part for part in parts if part) + "\n</section>"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _subject(report: Report) -> str:
    counts = f"{sum(report.reference_counts):,} cells of {len(report.types)} types"
    query = f" Query: {escape(report.query)}." if report.query else ""
    return f"Reference: {escape(report.reference)}, {counts}.{query}"


def _notes(report: Report, ordered: Sequence[Line]) -> str:
    sentences = [(s, False) for s in [*intervals_over(report), *absent_types(report)]]
    for line in ordered:
        if line.setting.is_model and line.first.left_out:
            weak = any(left.auroc < WEAK_AUROC for left in line.first.left_out)
            sentences += [(s, weak) for s in unknown_of(line)]
    sentences += [(s, False) for s in report.notes]
    items = "".join(
        f'<li class="{"weak" if weak else "plain"}">{escape(sentence)}</li>'
        for sentence, weak in sentences
    )
    return f'<ul class="notes">{items}</ul>' if items else ""


def _curves(ordered: Sequence[Line], key: str) -> str:
    """Return the pictures that set all methods side by side."""
    from cellkin.indexer.evaluation.figures import draw_few_shot, draw_risk_coverage

    drawn = []
    if any(row.scores is not None and row.scores.risk_coverage for row in _firsts(ordered)):
        drawn.append(
            _drawing(
                draw_risk_coverage(ordered, f"{key}-risk"),
                "Risk and coverage. From the left, only the most probable labels are kept; at the "
                "right edge all are. A low curve that stays low is a probability worth having.",
            )
        )
    if any(row.few_shot for row in _firsts(ordered)):
        drawn.append(
            _drawing(
                draw_few_shot(ordered, f"{key}-few"),
                "Few cells. Macro-F1 when only so many cells of each type are known (fewer for a "
                "type that has fewer); bars are a standard deviation over draws.",
            )
        )
    if not drawn:
        return ""
    return f'<div class="grid">{"".join(drawn)}</div>{_legend(ordered)}'


def _firsts(ordered: Sequence[Line]) -> list[Row]:
    return [line.first for line in ordered]


def _legend(ordered: Sequence[Line]) -> str:
    from cellkin.indexer.evaluation.figures import strokes, swatch

    items = [
        f"<li>{swatch(stroke)}{escape(label(line))}</li>"
        for line, stroke in zip(ordered, strokes(ordered), strict=True)
        if line.first.few_shot or line.first.figure("risk_area") is not None
        if line.setting.control != "majority"
    ]
    return f'<ul class="legend">{"".join(items)}</ul>'


def _drawing(svg: str, caption: str) -> str:
    return (
        f'<figure><div class="drawing">{svg}</div><figcaption>{escape(caption)}</figcaption>'
        "</figure>"
    )


def _models(report: Report, ordered: Sequence[Line], key: str) -> list[str]:
    """Return the pictures of each method that has some; the first model's are open."""
    pair = "pair" if len(report.types) <= _WIDE else "stack"
    parts: list[str] = []
    for at, line in enumerate(ordered):
        left, right = _of_line(report, line, f"{key}-m{at}")
        if left or right:
            start = "<details open>" if not parts else "<details>"
            parts.append(
                f"{start}<summary>{escape(label(line))}</summary>"
                f'<div class="{pair}"><div>{left}</div><div>{right}</div></div></details>'
            )
    return parts


def _of_line(report: Report, line: Line, key: str) -> tuple[str, str]:
    from cellkin.indexer.evaluation.figures import draw_confusion, draw_reliability, draw_unknown

    row, left, right = line.first, "", ""
    if row.confusion is not None:
        left = _drawing(
            draw_confusion(row.confusion, report.types, f"{key}-confusion"),
            "Confusion. Each row is a known type; its squares add up to 1. On the diagonal labels "
            "are right, off it they are wrong.",
        )
        if row.scores is not None and row.scores.ece is not None:
            right += _drawing(
                draw_reliability(row.scores.reliability, row.scores.ece, f"{key}-reliability"),
                "Reliability. Points on the dashed line mean what they say; the upright bars are "
                "the gap. Below are the cells at each probability.",
            )
    if row.left_out:
        right += _drawing(
            draw_unknown(row.left_out, f"{key}-unknown"),
            "Unknown. Each type was taken out of the reference in turn. Left of the dashed line "
            f"({WEAK_AUROC}), its cells are not told from known ones well enough to trust.",
        )
    return left, right


def _versions(report: Report) -> str:
    if not report.versions:
        return ""
    items = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>"
        for name, value in report.versions.items()
    )
    return f'<details><summary>Versions</summary><dl class="versions">{items}</dl></details>'


def _how_to_read() -> str:
    items = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in HOW_TO_READ.items()
    )
    return f"<section><h2>How to read this</h2><dl>{items}</dl></section>"


def _require_matplotlib() -> None:
    if find_spec("matplotlib") is None:
        raise MissingDependencyError(
            'a report page needs matplotlib; pip install "cellkin[evaluate]"'
        )
