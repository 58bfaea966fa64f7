"""Sentences that explain figures."""

from cellkin.indexer.evaluation.rows import Line, Report, best_control, lines
from cellkin.store.quality import WEAK_AUROC

HOW_TO_READ = {
    "Accuracy": "The share of cells whose label is the known type. Common types decide it: a "
    "method that never finds a rare type can still have a high accuracy.",
    "Macro-F1": "The F1 of each type (the harmonic mean of how many of its cells were found and "
    "how many of the cells labeled so are right), averaged over types. Rare types count as much "
    "as common ones.",
    "Rare F1": "The same average over the rarest third of the reference's types.",
    "Hierarchical F1": "Labels as paths, such as neuron/RGC/alpha: a label that is right in its "
    "first steps only is partly right.",
    "ECE": "The expected calibration error: by how much the stated probability and the share of "
    "right labels differ on average. At .03, cells said to be 90 % sure are right about 87 to 93 "
    "times in 100. Lower is better.",
    "Unknown AUROC": "Types were taken out of the reference in turn. How often does a cell of the "
    "missing type look newer than a cell of a known type? 1 is always, .5 is a coin.",
    "Risk area": "Labels are kept from the most probable down. The area is the mean error over "
    "all amounts kept: a method that knows what it does not know keeps it low.",
    "To best control": "The model's macro-F1 minus that of the best of its controls. Around zero "
    "or below, the model adds nothing here.",
    "Controls": "PCA with nearest neighbors, prototypes and a regression see expression alone. "
    "Random and permuted gene vectors go through the very same recipe as the text: what they reach "
    "is the recipe's merit and not the text's. Majority calls every cell the commonest type.",
}
"""Explanations by column title."""


def intervals_over(report: Report) -> list[str]:
    """Describe what the intervals were resampled over, with a caution for few batches."""
    for row in report.rows:
        if row.scores is not None and "macro_f1" in row.scores.intervals:
            interval = row.scores.intervals["macro_f1"]
            break
    else:
        return []
    if interval.over == "cells":
        return [
            f"Intervals are 95 %, drawn over {interval.n:,} cells: they say nothing of how another "
            "donor would differ."
        ]
    rough = "; with so few they are rough" if interval.n < 10 else ""
    return [f"Intervals are 95 %, drawn over {interval.n} batches{rough}."]


def absent_types(report: Report) -> list[str]:
    """Describe the cells of types that the reference lacks, and the figures that count them."""
    n_absent = max((r.scores.n_absent for r in report.rows if r.scores is not None), default=0)
    if not n_absent:
        return []
    n_cells = max(r.scores.n_cells for r in report.rows if r.scores is not None)
    return [
        f"{n_absent:,} of {n_cells:,} cells are of a type that the cells learned from lack: no "
        "label can be right for them, and they count in the unknown and risk figures only."
    ]


def unknown_of(line: Line) -> list[str]:
    """List the left-out types whose cells are not reliably found unknown."""
    left_out = line.first.left_out
    if not left_out:
        return []
    weak = sorted((t for t in left_out if t.auroc < WEAK_AUROC), key=lambda t: t.auroc)
    mean = sum(t.auroc for t in left_out) / len(left_out)
    start = f"{line.setting.method}: unknown types have a mean AUROC of {mean:.2f}"
    if not weak:
        return [f"{start}, the worst of {len(left_out)} {min(t.auroc for t in left_out):.2f}."]
    names = ", ".join(f"{t.name} ({t.auroc:.2f})" for t in weak)
    return [
        f"{start}. Too weak to trust for {names}: if the reference lacked such a type, many of "
        f"its cells would be given the name of another."
    ]


def verdict(report: Report) -> str:
    """Compare the best model with its best control in one or two sentences."""
    ordered = lines(report)
    models = [line for line in ordered if line.setting.is_model]
    if not models:
        return "Only controls and other tools were run: there is no model to judge."
    model = max(models, key=lambda line: line.mean("macro_f1") or 0.0)
    control = best_control(model, ordered)
    own, best = model.mean("macro_f1") or 0.0, control.mean("macro_f1") or 0.0
    figures = (
        f"The best model here, {model.setting.method}, has a macro-F1 of {own:.3f}; the best of "
        f"its controls, {control.setting.method}, {best:.3f}."
    )
    if _overlap(model, control):
        return f"{figures} Their intervals overlap, so this is no evidence of a difference."
    if own > best:
        return f"{figures} It is ahead by {own - best:.3f}, beyond both intervals."
    return f"{figures} It is behind by {best - own:.3f}, beyond both intervals: use the control."


def _overlap(one: Line, other: Line) -> bool:
    """Return whether the intervals of macro-F1 overlap; True if one is missing."""
    first, second = one.interval("macro_f1"), other.interval("macro_f1")
    if first is None or second is None:
        return True
    return max(first[0], second[0]) <= min(first[1], second[1])
