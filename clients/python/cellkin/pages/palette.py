"""Colors of labels: one for each, the same in every picture and page.

The first six are those of Okabe and Ito. Each further one is the color of sRGB, neither near white,
black or gray nor glaring, that is farthest from all before it in OKLab, where distances as seen
without green cones count double.
"""

from collections.abc import Iterable

from cellkin.wire.terms import UNKNOWN_LABEL

COLORS = (
    "#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#780040", "#585800",
    "#402098", "#30e090", "#885870", "#8878f0", "#f8a0f8", "#d0d828", "#005068", "#802890",
    "#80b018", "#887840", "#b02800", "#80b898", "#b048a8", "#603010", "#f88070", "#68e8e0",
    "#b89068", "#6048c0", "#6090b0", "#f8c080", "#007840", "#c0a8d8", "#0048b0", "#c03868",
    "#600078", "#c070e0", "#803840", "#b8c068", "#f8b0c0", "#2880e8", "#604870", "#981860",
    "#a85800", "#b0e0a8", "#e05060", "#007078", "#8860c0", "#a07090", "#a090c0", "#6098f8",
    "#f888b8", "#606098", "#483060", "#609010", "#105828", "#880800", "#00c0c0", "#989840",
    "#18b888", "#208880", "#a890f8", "#00d0f8", "#404088", "#e0a098", "#5868d0", "#0098d8",
    "#70a078", "#98d858", "#30a0a0", "#805020", "#a05048", "#d85890", "#a078c8", "#f08838",
    "#88d0b0", "#984888", "#e0c0f8", "#6080c8", "#683058", "#c88000", "#00d8d0", "#d890e8",
    "#b07048", "#f0b800", "#3858a8", "#603898", "#088828", "#f86880", "#a01038", "#e8d060",
    "#487858", "#386088", "#b86060", "#f068a8", "#80a0d8", "#78c850", "#7848a0", "#d0c890",
    "#c0a050", "#0068d0", "#004088", "#d890b0",
)  # fmt: skip
"""Hexadecimal sRGB colors, any first of which are far apart."""
UNKNOWN_COLOR = "#d3d3d3"
"""Light gray; no label has a color near it."""


def label_colors(labels: Iterable[str]) -> dict[str, str]:
    """Return the color of each label.

    Parameters
    ----------
    labels
        All labels of a reference, in its order, so that a label has the same color in every query.
        After 100 labels colors repeat.

    Returns
    -------
    dict
        By label: a hexadecimal sRGB color; gray for ``unknown``, which is always there and last.
    """
    names = [label for label in dict.fromkeys(labels) if label != UNKNOWN_LABEL]
    colors = {name: COLORS[at % len(COLORS)] for at, name in enumerate(names)}
    return colors | {UNKNOWN_LABEL: UNKNOWN_COLOR}
