"""Legends: names with boxes to show or hide their points, or a scale."""

import html
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import panel as pn
import panel_material_ui as pmui

from cellkin.explore.coloring import Coloring


class Legend:
    """A legend; `view` is what is shown, and `shown` which colors are drawn.

    Parameters
    ----------
    changed
        Called when the user shows or hides a name.
    """

    def __init__(self, changed: Callable[[], Awaitable[None]]) -> None:
        self._changed = changed
        self._boxes: Any = None
        self.view = pn.Column()
        self.shown: npt.NDArray[np.bool_] | None = None

    def show(self, coloring: Coloring) -> None:
        """Show all names of a coloring, or its scale."""
        self.shown = None
        if not coloring.names:
            self.view.objects = [pn.pane.HTML(_scale(coloring), margin=(5, 10))]
            return
        counts = coloring.counts.tolist()
        at = [place for place, n in enumerate(counts) if n]
        options = {f"{coloring.names[place]} ({counts[place]:,})": place for place in at}
        colors = [coloring.colors[place] for place in at]
        self._boxes = pn.widgets.CheckBoxGroup(
            options=options, value=at, stylesheets=[_swatches(colors)], margin=(0, 10)
        )
        self._n_colors = len(counts)
        self._boxes.param.watch(self._ticked, "value")
        every, none = (
            pmui.Button(label=label, variant="text", size="small", margin=0)
            for label in ("all", "none")
        )
        every.on_click(lambda _: self._boxes.param.update(value=at))
        none.on_click(lambda _: self._boxes.param.update(value=[]))
        self.view.objects = [pn.Row(every, none), self._boxes]

    async def _ticked(self, event: Any) -> None:
        shown = np.zeros(self._n_colors, bool)
        shown[event.new] = True
        self.shown = None if len(event.new) == len(self._boxes.options) else shown
        await self._changed()


def _swatches(colors: list[str]) -> str:
    """Return styles that color the boxes."""
    each = "".join(
        f".bk-input-group label:nth-of-type({at}) input {{ accent-color: {color}; }}"
        f".bk-input-group label:nth-of-type({at}) span::before {{ background: {color}; }}"
        for at, color in enumerate(colors, 1)
    )
    return (
        ".bk-input-group label { display: flex; align-items: center; font-size: 13px; }"
        ".bk-input-group label span::before { content: ''; display: inline-block; width: 11px;"
        " height: 11px; border-radius: 50%; margin-right: 6px; }" + each
    )


def _scale(coloring: Coloring) -> str:
    colors = coloring.colors[:-1]
    low, high = (f"{end:.2f}" for end in coloring.ends)
    return (
        f"<div>{html.escape(coloring.title)}</div>"
        f"<div style='height: 12px; width: 180px; border-radius: 3px;"
        f" background: linear-gradient(to right, {', '.join(colors)})'></div>"
        f"<div style='display: flex; justify-content: space-between; width: 180px'>"
        f"<span>{low}</span><span>{high}</span></div>"
    )
