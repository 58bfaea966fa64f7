"""Drawings of pages, as SVG with selectable text."""

import io
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from cellkin.pages.theme import LIGHT

SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 10.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": LIGHT["soft"],
    "axes.labelcolor": LIGHT["ink"],
    "text.color": LIGHT["ink"],
    "xtick.color": LIGHT["soft"],
    "ytick.color": LIGHT["soft"],
    "xtick.labelcolor": LIGHT["ink"],
    "ytick.labelcolor": LIGHT["ink"],
    "axes.grid": True,
    "grid.color": LIGHT["grid"],
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "axes.linewidth": 0.8,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "legend.frameon": False,
}
"""Settings of matplotlib for figures of pages."""


def svg(figure: Figure, key: str) -> str:
    """Return a figure as an ``<svg>`` element whose identifiers are unique on a page.

    Colors and font are replaced by those of the page in ``page.css.j2``.

    Parameters
    ----------
    figure
        The figure, drawn with `SETTINGS`.
    key
        Prefix of the identifiers, unique on the page.
    """
    for number, artist in enumerate(figure.findobj()):
        artist.set_gid(f"{key}-{number}")
    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": key}):
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(buffer, format="svg", metadata=nothing)
    text = buffer.getvalue()
    return text[text.index("<svg") :]
