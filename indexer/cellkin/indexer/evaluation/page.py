"""Write an evaluation as a static, self-contained page without scripts."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from cellkin.indexer.evaluation.page_table import table
from cellkin.indexer.evaluation.report import label, to_json
from cellkin.indexer.evaluation.rows import Line, Report, lines
from cellkin.indexer.evaluation.words import (
    HOW_TO_READ,
    absent_types,
    intervals_over,
    unknown_of,
    verdict,
)
from cellkin.indexer.pages import PAGES
from cellkin.store.quality import WEAK_AUROC
from cellkin.wire.errors import InvalidArgumentError, MissingDependencyError

if TYPE_CHECKING:
    from cellkin.indexer.evaluation.figures import Stroke

# Confusion matrices of more types take the full width of the page.
_WIDE = 20


class Drawing(NamedTuple):
    """An ``<svg>`` element and its caption."""

    svg: str
    caption: str


class Pictures(NamedTuple):
    """Drawings of one method, in two columns."""

    name: str
    left: list[Drawing]
    right: list[Drawing]


def write_page(reports: Sequence[Report], path: Path) -> None:
    """Write reports as a page.

    Parameters
    ----------
    reports
        At least one, one per question.
    path
        The ``.html`` file; overwritten.

    Raises
    ------
    MissingDependencyError
        If jinja2 or matplotlib is not installed.
    InvalidArgumentError
        If there is no report.
    """
    path.write_text(page(reports), encoding="utf-8")


def page(reports: Sequence[Report]) -> str:
    """Render the page that `write_page` writes."""
    if not reports:
        raise InvalidArgumentError("a page of no reports; give at least one")
    require_page_libraries()
    from cellkin.pages.render import render

    return render(
        PAGES / "evaluation.html.j2",
        to_json(reports),
        title=reports[0].title,
        sections=[_section(report, f"q{at}") for at, report in enumerate(reports)],
        explanations=HOW_TO_READ,
    )


def require_page_libraries() -> None:
    """Raise an error if a library for pages is missing.

    Raises
    ------
    MissingDependencyError
        If jinja2 or matplotlib is not installed.
    """
    for package in ("jinja2", "matplotlib"):
        if find_spec(package) is None:
            raise MissingDependencyError(
                f'a report page needs {package}; pip install "cellkin[evaluate]"'
            )


def _section(report: Report, key: str) -> dict[str, Any]:
    ordered = lines(report)
    counts = f"{sum(report.reference_counts):,} cells of {len(report.types)} types"
    query = f" Query: {report.query}." if report.query else ""
    return {
        "heading": report.question[:1].upper() + report.question[1:],
        "subject": f"Reference: {report.reference}, {counts}.{query}",
        "verdict": verdict(report),
        "table": table(report),
        "notes": _notes(report),
        "curves": _curves(ordered, key),
        "legend": _legend(ordered),
        "methods": _methods(report, key),
        "layout": "pair" if len(report.types) <= _WIDE else "stack",
        "versions": report.versions,
    }


def _notes(report: Report) -> list[tuple[str, bool]]:
    """Return sentences, and whether each is a warning."""
    notes = [(s, False) for s in [*intervals_over(report), *absent_types(report)]]
    for line in lines(report):
        if line.setting.is_model and line.first.left_out:
            weak = any(left.auroc < WEAK_AUROC for left in line.first.left_out)
            notes += [(s, weak) for s in unknown_of(line)]
    return notes + [(s, False) for s in report.notes]


def _curves(ordered: Sequence[Line], key: str) -> list[Drawing]:
    """Return the drawings that compare all methods."""
    from cellkin.indexer.evaluation.figures import draw_few_shot, draw_risk_coverage

    drawn = []
    if any(line.first.scores and line.first.scores.risk_coverage for line in ordered):
        drawn.append(
            Drawing(
                draw_risk_coverage(ordered, f"{key}-risk"),
                "Risk and coverage. From the left, only the most probable labels are kept; at the "
                "right edge all are. A low curve that stays low is a probability worth having.",
            )
        )
    if any(line.first.few_shot for line in ordered):
        drawn.append(
            Drawing(
                draw_few_shot(ordered, f"{key}-few"),
                "Few cells. Macro-F1 when only so many cells of each type are known (fewer for a "
                "type that has fewer); bars are a standard deviation over draws.",
            )
        )
    return drawn


def _legend(ordered: Sequence[Line]) -> "list[tuple[str, Stroke]]":
    from cellkin.indexer.evaluation.figures import strokes

    return [
        (label(line), stroke)
        for line, stroke in zip(ordered, strokes(ordered), strict=True)
        if line.first.few_shot or line.first.figure("risk_area") is not None
        if line.setting.control != "majority"
    ]


def _methods(report: Report, key: str) -> list[Pictures]:
    """Return the drawings of each method that has any."""
    found = [
        Pictures(label(line), *_of_line(report, line, f"{key}-m{at}"))
        for at, line in enumerate(lines(report))
    ]
    return [pictures for pictures in found if pictures.left or pictures.right]


def _of_line(report: Report, line: Line, key: str) -> tuple[list[Drawing], list[Drawing]]:
    from cellkin.indexer.evaluation.figures import draw_confusion, draw_reliability, draw_unknown

    row = line.first
    left: list[Drawing] = []
    right: list[Drawing] = []
    if row.confusion is not None:
        left.append(
            Drawing(
                draw_confusion(row.confusion, report.types, f"{key}-confusion"),
                "Confusion. Each row is a known type; its squares add up to 1. On the diagonal "
                "labels are correct, off it they are wrong.",
            )
        )
        if row.scores is not None and row.scores.ece is not None:
            right.append(
                Drawing(
                    draw_reliability(row.scores.reliability, row.scores.ece, f"{key}-reliability"),
                    "Reliability. Points on the dashed line are calibrated; the upright bars are "
                    "the gap. Below are the cells at each probability.",
                )
            )
    if row.left_out:
        right.append(
            Drawing(
                draw_unknown(row.left_out, f"{key}-unknown"),
                "Unknown. Each type was left out of the reference in turn. Left of the dashed line "
                f"({WEAK_AUROC}), its cells are not told from known ones well enough to trust.",
            )
        )
    return left, right
