"""Charts of the pages."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import panel as pn
from bokeh.models import ColumnDataSource, HoverTool, LabelSet, LinearColorMapper, Span
from bokeh.plotting import figure

from cellkin.client import CellExplanation, Contrast
from cellkin.pages.theme import LIGHT

UP, DOWN, OTHER = LIGHT["s2"], LIGHT["s1"], "#9aa6b5"
"""Colors of group a (or for a label), group b (or against it), and neither."""
_FDR, _LEAST_FDR = 0.05, 1e-300
_NAMED = 10


def contributions(found: CellExplanation, against: str) -> Any:
    """Draw the contributions of genes to a label, as bars."""
    genes = [f"{symbol} " for symbol in found.symbols]
    order = np.argsort(found.contributions, kind="stable")
    names = list(dict.fromkeys(genes[at] for at in order))
    source = ColumnDataSource(
        {
            "gene": genes,
            "value": found.contributions,
            "weight": found.weights,
            "color": [UP if part > 0 else DOWN for part in found.contributions.tolist()],
        }
    )
    versus = f", against {against}" if against else ""
    made = figure(
        y_range=names, height=60 + 20 * len(names), toolbar_location=None, tools="",
        sizing_mode="stretch_width", title=f"for {found.label}{versus}",
    )  # fmt: skip
    bars = made.hbar("gene", right="value", height=0.75, color="color", source=source)
    made.add_tools(
        HoverTool(
            renderers=[bars],
            tooltips=[
                ("gene", "@gene"),
                ("contribution", "@value{+0.0000}"),
                ("weight", "@weight"),
            ],
        )
    )
    made.ygrid.visible = False
    made.xaxis.axis_label = "contribution"
    return shown(made)


def volcano(found: Contrast) -> Any:
    """Draw the genes of a contrast: fold change and false discovery rate."""
    measured = ~found.predicted_from_text
    rates = np.maximum(found.fdrs[measured], _LEAST_FDR)
    up = found.statistics[measured] > 0
    called = rates <= _FDR
    symbols = np.array([gene.symbol for gene in found.genes], object)
    source = ColumnDataSource(
        {
            "x": found.log2_fold_changes[measured],
            "y": -np.log10(rates),
            "color": np.where(called, np.where(up, UP, DOWN), OTHER),
            "gene": symbols[measured],
            "fdr": rates,
        }
    )
    made = figure(
        height=420, sizing_mode="stretch_width", tools="pan,wheel_zoom,box_zoom,reset",
        toolbar_location="above", x_axis_label="log2 fold change", y_axis_label="-log10 FDR",
        output_backend="webgl",
    )  # fmt: skip
    made.toolbar.logo = None
    dots = made.scatter("x", "y", color="color", size=5, line_alpha=0, source=source)
    made.add_tools(
        HoverTool(
            renderers=[dots],
            tooltips=[("gene", "@gene"), ("log2 fold change", "@x{+0.00}"), ("FDR", "@fdr{0.0e}")],
        )
    )
    made.add_layout(
        Span(location=-np.log10(_FDR), dimension="width", line_color=OTHER, line_dash="dotted")
    )
    strongest = found.strongest(_NAMED)
    named = ColumnDataSource(
        {
            "x": found.log2_fold_changes[strongest],
            "y": -np.log10(np.maximum(found.fdrs[strongest], _LEAST_FDR)),
            "gene": symbols[strongest],
        }
    )
    made.add_layout(
        LabelSet(x="x", y="y", text="gene", source=named, x_offset=4, y_offset=2,
                 text_font_size="11px")
    )  # fmt: skip
    return shown(made)


def heat(counts: pd.DataFrame) -> Any:
    """Draw a table of cells as shares of each row.

    Parameters
    ----------
    counts
        Cells of the values of a column (rows) by label (columns).
    """
    shares = counts.div(counts.sum(axis=1).clip(lower=1), axis=0)
    rows, columns = list(map(str, counts.index)), list(map(str, counts.columns))
    flat = pd.DataFrame(
        {
            "row": np.repeat(rows, len(columns)),
            "column": np.tile(columns, len(rows)),
            "cells": counts.to_numpy().ravel(),
            "share": shares.to_numpy().ravel(),
        }
    )
    flat["text"] = [f"{share:.0%}" if share >= 0.005 else "" for share in flat["share"]]
    flat["ink"] = np.where(flat["share"] > 0.6, "white", "#1a2330")
    colors = LinearColorMapper(_ramp("#f7f9fc", DOWN, 32), low=0, high=1)
    made = figure(
        x_range=columns, y_range=rows[::-1], height=120 + 24 * len(rows), tools="",
        width=min(200 + 44 * len(columns), 900), toolbar_location=None, x_axis_label="label",
        y_axis_label=str(counts.index.name),
    )  # fmt: skip
    source = ColumnDataSource(flat)
    tiles = made.rect(
        "column", "row", width=0.96, height=0.94, source=source, line_alpha=0,
        fill_color={"field": "share", "transform": colors},
    )  # fmt: skip
    made.text(
        "column", "row", text="text", text_color="ink", source=source, text_align="center",
        text_baseline="middle", text_font_size="11px",
    )  # fmt: skip
    made.add_tools(
        HoverTool(
            renderers=[tiles],
            tooltips=[("own", "@row"), ("label", "@column"), ("cells", "@cells{0,0}"),
                      ("share of the row", "@share{0.0%}")],
        )
    )  # fmt: skip
    made.xaxis.major_label_orientation = 0.8
    made.grid.visible = False
    return pn.pane.Bokeh(made, margin=(5, 10))


def network(
    names: Sequence[str], links: Sequence[tuple[int, int]], places: Sequence[tuple[float, float]],
    texts: Sequence[str],
) -> Any:  # fmt: skip
    """Draw genes as points, the first one marked, and links between them.

    Parameters
    ----------
    names
        Symbols.
    links
        Pairs of positions in the names.
    places
        Where each point is.
    texts
        What is told when a point is under the pointer.
    """
    made = figure(
        height=460, sizing_mode="stretch_width", tools="pan,wheel_zoom,reset",
        toolbar_location="above",
    )  # fmt: skip
    made.toolbar.logo = None
    made.axis.visible = False
    made.grid.visible = False
    made.outline_line_color = None
    made.multi_line(
        [[places[a][0], places[b][0]] for a, b in links],
        [[places[a][1], places[b][1]] for a, b in links],
        color="#c3cad4", line_width=1.2,
    )  # fmt: skip
    source = ColumnDataSource(
        {
            "x": [place[0] for place in places],
            "y": [place[1] for place in places],
            "gene": list(names),
            "text": list(texts),
            "color": [UP if not at else DOWN for at in range(len(names))],
        }
    )
    dots = made.scatter("x", "y", size=11, color="color", line_color="white", source=source)
    made.add_layout(
        LabelSet(x="x", y="y", text="gene", source=source, x_offset=7, y_offset=4,
                 text_font_size="12px")
    )  # fmt: skip
    made.add_tools(HoverTool(renderers=[dots], tooltips="@text"))
    made.x_range.range_padding = made.y_range.range_padding = 0.15
    return shown(made)


def shown(made: Any) -> Any:
    """Return a figure as a part of a page."""
    return pn.pane.Bokeh(made, sizing_mode="stretch_width", margin=(5, 10))


def _ramp(low: str, high: str, n: int) -> list[str]:
    """Return n colors from one to another."""
    ends = [[int(color[at : at + 2], 16) for at in (1, 3, 5)] for color in (low, high)]
    steps = np.linspace(0, 1, n)[:, None] * (np.array(ends[1]) - ends[0]) + ends[0]
    return ["#" + "".join(f"{round(part):02x}" for part in step) for step in steps.tolist()]
