"""Drawings of a report page, as SVG with selectable text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from cellkin.indexer.evaluation.rows import LeftOutType, Line
from cellkin.indexer.measures import Counts, ReliabilityBin
from cellkin.pages.drawing import SETTINGS, svg
from cellkin.pages.theme import LIGHT
from cellkin.store.quality import WEAK_AUROC

_MODELS = ("s1", "s2", "s3", "s4", "s5")
_CONTROLS = ("c1", "c2", "c3", "c4", "c5", "c6")
_DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1)), (0, (1, 1)))
# In confusion matrices of more types the numbers would overlap.
_MOST_NUMBERED = 20


@dataclass(frozen=True)
class Stroke:
    """Style of a method's curve: role of its color, dashes as for matplotlib, and width."""

    role: str
    dashes: str | tuple[int, tuple[int, ...]]
    width: float

    @property
    def css_dashes(self) -> str:
        """The dashes as ``stroke-dasharray``."""
        if isinstance(self.dashes, tuple):
            return " ".join(str(2 * n) for n in self.dashes[1])
        return {"-": "none", "--": "6 3", "-.": "6 2 1.5 2", ":": "1.5 2.5"}[self.dashes]


def strokes(ordered: Sequence[Line]) -> list[Stroke]:
    """Choose a stroke for each method: saturated colors for models, muted ones for others."""
    given: list[Stroke] = []
    n_models = n_others = 0
    for line in ordered:
        if line.setting.is_model:
            at, n_models = n_models, n_models + 1
            dashes = _DASHES[at // len(_MODELS) % len(_DASHES)]
            given.append(Stroke(_MODELS[at % len(_MODELS)], dashes, 2.2))
        else:
            at, n_others = n_others, n_others + 1
            # Shift dashes with each cycle of colors, so that no combination is repeated.
            dashes = _DASHES[(at + at // len(_CONTROLS) + 1) % len(_DASHES)]
            given.append(Stroke(_CONTROLS[at % len(_CONTROLS)], dashes, 1.4))
    return given


def draw_confusion(counts: Counts, types: Sequence[str], key: str) -> str:
    """Draw a confusion matrix, each row as shares of the true type.

    Types without cells have no row. The columns are the same types, other types that occur as
    labels, and cells without a label, if any.

    Parameters
    ----------
    counts
        (n_types, n_types + 1) int64, see `cellkin.indexer.measures.confusion`.
    types
        Their names.
    key
        Prefix of the identifiers in this drawing, which must be unique on a page.

    Returns
    -------
    str
        An ``<svg>`` element.
    """
    with mpl.rc_context(SETTINGS):
        return svg(_confusions({"": counts}, types), key)


def save_confusions(counts: Mapping[str, Counts], types: Sequence[str], path: Path) -> None:
    """Draw the confusion matrices of several methods side by side into an image file.

    Parameters
    ----------
    counts
        (n_types, n_types + 1) int64 by title, all of the same cells.
    types
        Their names.
    path
        The file, in any format of matplotlib, such as ``.png``.
    """
    with mpl.rc_context(SETTINGS):
        _confusions(counts, types).savefig(path, dpi=150, facecolor="white")


def _confusions(counts: Mapping[str, Counts], types: Sequence[str]) -> Figure:
    first = next(iter(counts.values()))
    sizes, labeled = first.sum(axis=1), sum(matrix.sum(axis=0) for matrix in counts.values())
    order = [int(t) for t in np.argsort(-sizes, kind="stable") if sizes[t]]
    extra = [t for t in range(len(types)) if not sizes[t] and labeled[t]]
    columns = order + extra + ([len(types)] if labeled[-1] else [])
    names = [*types, "no label"]
    numbered = len(columns) <= _MOST_NUMBERED
    side = 0.36 if numbered else 0.22
    width, height = 2.2 + side * len(columns) * len(counts), 1.6 + side * len(order)
    figure = Figure(figsize=(width, height), layout="constrained")
    panels = figure.subplots(1, len(counts), sharey=True, squeeze=False)[0]
    for axes, (title, matrix) in zip(panels, counts.items(), strict=True):
        axes.grid(visible=False)
        for row, true in enumerate(order):
            for column, label in enumerate(columns):
                _square(axes, row, column, float(matrix[true, label] / sizes[true]), numbered)
        axes.set_xlim(-0.5, len(columns) - 0.5)
        axes.set_ylim(len(order) - 0.5, -0.5)
        axes.set_aspect("equal")
        axes.set_xticks(range(len(columns)), [names[t] for t in columns], rotation=45, ha="right")
        axes.set_yticks(range(len(order)), [f"{names[t]} ({sizes[t]:,})" for t in order])
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set_title(title)
        axes.set_xlabel("label")
    panels[0].set_ylabel("known type (cells)")
    return figure


def _square(axes: Axes, row: int, column: int, share: float, numbered: bool) -> None:
    diagonal = row == column
    axes.add_patch(
        Rectangle(
            (column - 0.47, row - 0.47),
            0.94,
            0.94,
            facecolor=LIGHT["accent" if diagonal else "warn"],
            # Empty squares remain visible as a faint grid.
            alpha=0.05 + 0.95 * share if share else 0.04,
            linewidth=0,
        )
    )
    if numbered and share >= 0.005:
        text = "1" if share > 0.995 else f"{share:.2f}".removeprefix("0")
        color = LIGHT["paper" if share > 0.5 else "ink"]
        axes.text(column, row, text, ha="center", va="center", color=color, fontsize=8.5)


def draw_reliability(bins: Sequence[ReliabilityBin], ece: float, key: str) -> str:
    """Draw the reliability diagram: accuracy by probability.

    Parameters
    ----------
    bins
        See `cellkin.indexer.measures.reliability`.
    ece
        Their expected calibration error.
    key
        As in `draw_confusion`.
    """
    filled = [b for b in bins if b.accuracy is not None and b.probability is not None]
    most = max(b.n_cells for b in filled)
    with mpl.rc_context(SETTINGS):
        figure = Figure(figsize=(4.6, 4.4), layout="constrained")
        axes, below = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
        axes.plot([0, 1], [0, 1], color=LIGHT["soft"], linestyle="--", linewidth=1)
        for b in filled:
            gap = (b.probability or 0.0) - (b.accuracy or 0.0)
            axes.bar(
                (b.low + b.high) / 2,
                b.accuracy or 0.0,
                width=(b.high - b.low) * 0.92,
                color=LIGHT["accent"],
                alpha=0.25,
                linewidth=0,
            )
            axes.plot([b.probability] * 2, [b.accuracy, (b.accuracy or 0.0) + gap], **_WHISKER)
        axes.plot(
            [b.probability for b in filled],
            [b.accuracy for b in filled],
            "o",
            color=LIGHT["accent"],
            markersize=5,
        )
        axes.set_ylim(0, 1.02)
        axes.set_xlim(0, 1)
        axes.set_ylabel("share of right labels")
        axes.set_title(f"ECE {ece:.3f}", fontsize=12, weight="bold", loc="left")
        for b in filled:
            center = (b.low + b.high) / 2
            below.bar(center, b.n_cells, (b.high - b.low) * 0.92, color=LIGHT["soft"], alpha=0.5)
        below.set_ylabel("cells")
        below.set_yticks([0, most], ["0", f"{most:,}"])
        below.set_xlabel("stated probability")
        figure.align_ylabels()
        return svg(figure, key)


_WHISKER: dict[str, Any] = {"color": LIGHT["warn"], "linewidth": 1.6, "alpha": 0.8}


def draw_risk_coverage(ordered: Sequence[Line], key: str) -> str:
    """Draw the risk-coverage curve of each method.

    Parameters
    ----------
    ordered
        All lines; those without a curve are left out, as is the majority, whose curve is flat and
        far above all others.
    key
        As in `draw_confusion`.
    """
    with mpl.rc_context(SETTINGS):
        figure = Figure(figsize=(5.4, 3.9), layout="constrained")
        axes = figure.subplots()
        top = 0.0
        for line, stroke in zip(ordered, strokes(ordered), strict=True):
            scores = line.first.scores
            if scores is None or not scores.risk_coverage or line.setting.control == "majority":
                continue
            risks = [point.risk for point in scores.risk_coverage]
            _curve(axes, [p.coverage for p in scores.risk_coverage], risks, stroke)
            top = max(top, risks[-1])
        axes.set_xlim(0, 1)
        axes.set_ylim(0, min(1.0, top * 1.15 + 0.005))
        axes.set_xlabel("share of cells labeled, most probable first")
        axes.set_ylabel("share of these labels that is wrong")
        return svg(figure, key)


def draw_few_shot(ordered: Sequence[Line], key: str) -> str:
    """Draw macro-F1 by the number of reference cells per type, for each method.

    Parameters
    ----------
    ordered
        All lines; those without a curve are left out.
    key
        As in `draw_confusion`.
    """
    with mpl.rc_context(SETTINGS):
        figure = Figure(figsize=(5.4, 3.9), layout="constrained")
        axes = figure.subplots()
        shots: set[int] = set()
        for line, stroke in zip(ordered, strokes(ordered), strict=True):
            points = line.first.few_shot
            if not points:
                continue
            at = [point.n_shots for point in points]
            _curve(axes, at, [point.macro_f1 for point in points], stroke)
            axes.plot(at, [p.macro_f1 for p in points], "o", color=LIGHT[stroke.role], ms=4)
            for p in points:
                if p.sd is not None:
                    ends = [p.macro_f1 - p.sd, p.macro_f1 + p.sd]
                    axes.plot([p.n_shots] * 2, ends, color=LIGHT[stroke.role], linewidth=0.9)
            shots |= set(at)
        axes.set_xscale("log")
        axes.set_xticks(sorted(shots), [str(n) for n in sorted(shots)])
        axes.minorticks_off()
        axes.set_xlabel("known cells of each type")
        axes.set_ylabel("macro-F1")
        return svg(figure, key)


def draw_unknown(left_out: Sequence[LeftOutType], key: str) -> str:
    """Draw the AUROC of each left-out type, weak ones in another color.

    Parameters
    ----------
    left_out
        At least one type.
    key
        As in `draw_confusion`.
    """
    ranked = sorted(left_out, key=lambda t: t.auroc)
    low = min(0.5, *(t.auroc for t in ranked))
    with mpl.rc_context(SETTINGS):
        figure = Figure(figsize=(4.6, 0.9 + 0.27 * len(ranked)), layout="constrained")
        axes = figure.subplots()
        axes.grid(visible=False, axis="y")
        for row, left in enumerate(ranked):
            role = "warn" if left.auroc < WEAK_AUROC else "accent"
            axes.plot([low, left.auroc], [row, row], color=LIGHT[role], linewidth=1.4, alpha=0.5)
            axes.plot(left.auroc, row, "o", color=LIGHT[role], markersize=6)
            axes.text(1.012, row, f"{left.auroc:.2f}", va="center", fontsize=9.5)
        axes.axvline(WEAK_AUROC, color=LIGHT["soft"], linestyle="--", linewidth=1)
        axes.set_yticks(range(len(ranked)), [f"{t.name} ({t.n_cells:,})" for t in ranked])
        axes.set_ylim(-0.6, len(ranked) - 0.4)
        axes.set_xlim(low, 1.005)
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("AUROC of unknown when the type is left out")
        return svg(figure, key)


def _curve(axes: Axes, x: Sequence[float], y: Sequence[float], stroke: Stroke) -> None:
    axes.plot(
        x, y, color=LIGHT[stroke.role], linestyle=stroke.dashes, linewidth=stroke.width, zorder=3
    )
