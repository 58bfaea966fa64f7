"""What is said and drawn of labels: one line, and colors."""

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cellkin.pages.palette import label_colors
from cellkin.wire.terms import UNKNOWN_LABEL, UnknownReason

if TYPE_CHECKING:
    from cellkin.client.labels.annotation import Annotation

_COLORED = ("label", "winner", "runner_up", "cluster_label")


def summary(annotation: "Annotation") -> str:
    """Return the labels of cells in one line.

    Parameters
    ----------
    annotation
        The labels.
    """
    report, n_cells = annotation.report, len(annotation.cell_ids)
    n_labels = len(set(annotation.counts()) - {UNKNOWN_LABEL})
    parts = [
        f"{n_cells:,} cells labeled by {report.versions.index}: {n_labels} labels, "
        + _unknown(annotation.predictions.reasons),
        f"compared by {report.space}, which {_shared(annotation)}",
    ]
    if n_warnings := len(annotation.weaknesses()):
        parts.append("1 warning" if n_warnings == 1 else f"{n_warnings} warnings")
    return "; ".join(parts)


def category_colors(annotation: "Annotation", key: str) -> dict[str, npt.NDArray[np.object_]]:
    """Return the colors of columns of labels, as scanpy reads them from ``uns``.

    Parameters
    ----------
    annotation
        The labels.
    key
        Prefix of the names of the columns.

    Returns
    -------
    dict
        By name, such as ``cellkin_label_colors``: hexadecimal colors of the column's categories, by
        `cellkin.pages.palette.label_colors` of the reference's labels.
    """
    of = label_colors(annotation.report.labels)
    columns = annotation.obs("")
    return {
        f"{key}_{name}_colors": np.array([of[label] for label in columns[name].categories], object)
        for name in _COLORED
        if name in columns
    }


def _unknown(reasons: npt.NDArray[Any]) -> str:
    """Return the share of unknown cells, and its parts by reason."""
    n_cells = len(reasons)
    counts = [(int((reasons == reason).sum()), reason.label) for reason in UnknownReason]
    parts = [f"{n / n_cells:.0%} {why}" for n, why in sorted(counts, reverse=True) if n and why]
    share = int(np.count_nonzero(reasons)) / max(1, n_cells)
    return f"{share:.0%} unknown" + (f" ({', '.join(parts)})" if parts else "")


def _shared(annotation: "Annotation") -> str:
    report = annotation.report
    if report.space == "expression":
        return f"has {report.shared_expression:.0%} of the reference's expression in shared genes"
    return f"uses {report.match.n_used:,} of {report.match.n_given:,} genes"
