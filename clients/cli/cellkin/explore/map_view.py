"""A map of cells that can be moved, zoomed and clicked."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import panel as pn
from bokeh.core.property.descriptors import UnsetValueError
from bokeh.events import RangesUpdate, Tap
from bokeh.models import ColumnDataSource, HoverTool, Range1d
from bokeh.plotting import figure

from cellkin.explore.coloring import Coloring
from cellkin.explore.picture import Window, draw
from cellkin.explore.session import Session

MOST_POINTS = 4_000
"""More points of a layer in view are drawn as a picture."""
_WIDTH, _HEIGHT = 900, 620
_MOST_PIXELS = 1_600
_TILES = 30
_WAIT_S = 0.08
"""Moves that follow each other sooner are drawn together."""
_CLICK_PIXELS = 12
_MARGIN = 0.04
_NO_IMAGE: dict[str, list[Any]] = {"image": [], "x": [], "y": [], "dw": [], "dh": []}
_NO_POINTS: dict[str, list[Any]] = {"x": [], "y": [], "color": [], "text": []}
_NO_TILES: dict[str, list[Any]] = {"left": [], "right": [], "bottom": [], "top": [], "text": []}


@dataclass(frozen=True)
class Layer:
    """Points of a map.

    Parameters
    ----------
    name
        What they are.
    positions
        (n, 2) float32; points at NaN are not drawn.
    coloring
        Their colors.
    describe
        Returns one text for each of (n_rows,) int64 rows.
    picked
        Called with the row of a point that was clicked.
    shown
        (n_colors,) bool, the colors that are drawn; None for all.
    size
        Diameter of a point in pixels, where points are few.
    """

    name: str
    positions: npt.NDArray[np.float32]
    coloring: Coloring
    describe: Callable[[npt.NDArray[np.int64]], Sequence[str]]
    picked: Callable[[int], Awaitable[None]]
    shown: npt.NDArray[np.bool_] | None = None
    size: float = 5.0

    def rows_in(self, window: Window) -> npt.NDArray[np.int64]:
        """Return the (n_rows,) int64 rows of points that are drawn."""
        held = window.holds(self.positions)
        if self.shown is not None:
            held &= self.shown[self.coloring.codes]
        return np.flatnonzero(held)


@dataclass
class _Drawn:
    """What a window shows."""

    images: dict[str, list[Any]] = field(default_factory=lambda: _copied(_NO_IMAGE))
    points: list[dict[str, list[Any]]] = field(default_factory=list)
    tiles: dict[str, Any] = field(default_factory=lambda: _copied(_NO_TILES))


class MapView:
    """A map; `view` is what is shown.

    Parameters
    ----------
    session
        The session.
    label
        What it is a map of, for screen readers.
    n_layers
        Most layers it will have.
    """

    def __init__(self, session: Session, label: str, n_layers: int) -> None:
        self._session = session
        self._layers: list[Layer] = []
        self._waiting: asyncio.Task[None] | None = None
        self._ends = (0.0, 1.0, 0.0, 1.0)
        self._images = ColumnDataSource(_copied(_NO_IMAGE))
        self._tiles = ColumnDataSource(_copied(_NO_TILES))
        self._points = [ColumnDataSource(_copied(_NO_POINTS)) for _ in range(n_layers)]
        self._mark = ColumnDataSource({"x": [], "y": []})
        self.figure = self._figure(label)
        self.view = pn.pane.Bokeh(self.figure, sizing_mode="stretch_width", height=_HEIGHT)

    def _figure(self, label: str) -> Any:
        made = figure(
            tools="pan,wheel_zoom,box_zoom,reset", active_scroll="wheel_zoom",
            toolbar_location="above", x_range=Range1d(0, 1), y_range=Range1d(0, 1),
            sizing_mode="stretch_width", height=_HEIGHT, name=label, toolbar_sticky=False,
        )  # fmt: skip
        made.axis.visible = False
        made.grid.visible = False
        made.outline_line_color = None
        made.toolbar.logo = None
        made.image_rgba("image", "x", "y", "dw", "dh", source=self._images)
        quads = made.quad(
            "left", "right", "bottom", "top", source=self._tiles, fill_alpha=0, line_alpha=0
        )
        dots = [
            made.scatter("x", "y", color="color", size=5, line_alpha=0, source=source)
            for source in self._points
        ]
        made.scatter(
            "x", "y", source=self._mark, size=16, fill_alpha=0, line_color="black", line_width=2
        )
        made.add_tools(HoverTool(renderers=[quads, dots[-1]], tooltips="@text", limit=1))
        made.on_event(RangesUpdate, self._moved)
        made.on_event(Tap, self._tapped)
        self._dots = dots
        return made

    async def show(self, layers: Sequence[Layer], *, fit: bool = True) -> None:
        """Show layers, the last on top.

        Parameters
        ----------
        layers
            The layers.
        fit
            Whether to show all of them, instead of the window that is shown now.
        """
        self._layers = list(layers)
        self.mark(None)
        if fit and layers:
            self._fit()
        await self.redraw()

    def mark(self, position: npt.NDArray[np.float32] | None) -> None:
        """Draw a ring around a (2,) float32 position, or nowhere."""
        at = [] if position is None or not np.isfinite(position).all() else [position]
        data = {"x": [float(p[0]) for p in at], "y": [float(p[1]) for p in at]}
        self._session.change(lambda: self._mark.update(data=data))

    async def redraw(self) -> None:
        """Draw the window that is shown."""
        layers = tuple(self._layers)
        drawn = await self._session.ask(_drawn, layers, self._window())

        def replace() -> None:
            self._images.data = drawn.images
            self._tiles.data = drawn.tiles
            for at, source in enumerate(self._points):
                there = at < len(drawn.points)
                source.data = drawn.points[at] if there else _copied(_NO_POINTS)
                if there:
                    self._dots[at].glyph.size = layers[at].size

        self._session.change(replace)

    def _window(self) -> Window:
        try:
            width, height = self.figure.inner_width, self.figure.inner_height
        except UnsetValueError:
            width = height = 0
        if width <= 0 or height <= 0:  # the browser has not shown it yet
            width, height = _WIDTH, _HEIGHT
        return Window(*self._ends, min(width, _MOST_PIXELS), min(height, _MOST_PIXELS))

    def _fit(self) -> None:
        placed = [layer.positions[np.isfinite(layer.positions[:, 0])] for layer in self._layers]
        lows = np.min([each.min(axis=0) for each in placed if len(each)], axis=0)
        highs = np.max([each.max(axis=0) for each in placed if len(each)], axis=0)
        margins = np.maximum((highs - lows) * _MARGIN, 1e-3)
        (x0, y0), (x1, y1) = (lows - margins).tolist(), (highs + margins).tolist()
        self._ends = (x0, x1, y0, y1)
        axes = ((self.figure.x_range, x0, x1), (self.figure.y_range, y0, y1))

        def move() -> None:
            for axis, low, high in axes:
                axis.update(start=low, end=high, reset_start=low, reset_end=high)

        self._session.change(move)

    def _moved(self, event: Any) -> None:
        self._ends = (event.x0, event.x1, event.y0, event.y1)
        if self._waiting is not None:
            self._waiting.cancel()

        async def later() -> None:
            await asyncio.sleep(_WAIT_S)
            await self.redraw()

        self._waiting = asyncio.ensure_future(later())

    def _tapped(self, event: Any) -> None:
        # Bokeh awaits no handler of events.
        self._session.start(partial(self._pick, event.x, event.y))

    async def _pick(self, x: float, y: float) -> None:
        found = await self._session.ask(_nearest, tuple(self._layers), self._window(), x, y)
        if found is not None:
            layer, row = found
            self.mark(layer.positions[row])
            await layer.picked(row)


def _drawn(layers: tuple[Layer, ...], window: Window) -> _Drawn:
    drawn = _Drawn()
    for layer in layers:
        rows = layer.rows_in(window)
        few = len(rows) <= MOST_POINTS
        drawn.points.append(_points(layer, rows) if few else _copied(_NO_POINTS))
        if few:
            continue
        codes = layer.coloring.codes[rows]
        image = draw(layer.positions[rows], codes, layer.coloring.palette, window)
        place = (window.x0, window.y0, window.x1 - window.x0, window.y1 - window.y0)
        for name, value in zip(_NO_IMAGE, (image, *place), strict=True):
            drawn.images[name].append(value)
        if layer is layers[-1]:
            drawn.tiles = _tiles(layer, rows, window)
    return drawn


def _points(layer: Layer, rows: npt.NDArray[np.int64]) -> dict[str, list[Any]]:
    colors = layer.coloring.colors
    return {
        "x": layer.positions[rows, 0],
        "y": layer.positions[rows, 1],
        "color": [colors[code] for code in layer.coloring.codes[rows].tolist()],
        "text": list(layer.describe(rows)),
    }


def _tiles(layer: Layer, rows: npt.NDArray[np.int64], window: Window) -> dict[str, Any]:
    """Return squares that tell the most frequent color of their points."""
    coloring, positions = layer.coloring, layer.positions[rows]
    wide, high = (window.x1 - window.x0) / _TILES, (window.y1 - window.y0) / _TILES
    column = np.minimum(((positions[:, 0] - window.x0) / wide).astype(np.int64), _TILES - 1)
    row = np.minimum(((positions[:, 1] - window.y0) / high).astype(np.int64), _TILES - 1)
    n_colors, at = len(coloring.palette), row * _TILES + column
    flat = np.bincount(at * n_colors + coloring.codes[rows], minlength=_TILES**2 * n_colors)
    counts = flat.reshape(_TILES**2, n_colors)
    held = np.flatnonzero(counts.any(axis=1))
    left = window.x0 + wide * (held % _TILES)
    bottom = window.y0 + high * (held // _TILES)
    return {
        "left": left, "right": left + wide, "bottom": bottom, "top": bottom + high,
        "text": [_of_tile(coloring, counts[tile]) for tile in held.tolist()],
    }  # fmt: skip


def _of_tile(coloring: Coloring, counts: npt.NDArray[np.int64]) -> str:
    total, most = int(counts.sum()), int(counts.argmax())
    if not coloring.names:
        return f"{total:,} cells"
    return f"{coloring.names[most]}: {counts[most] / total:.0%} of {total:,} cells"


def _nearest(
    layers: tuple[Layer, ...], window: Window, x: float, y: float
) -> tuple[Layer, int] | None:
    """Return the point at a place, of the upper layer first."""
    scale = np.array(
        [window.width / (window.x1 - window.x0), window.height / (window.y1 - window.y0)]
    )
    for layer in reversed(layers):
        rows = layer.rows_in(window)
        if not len(rows):
            continue
        apart = ((layer.positions[rows] - np.array([x, y])) * scale) ** 2
        pixels = apart.sum(axis=1)
        nearest = int(pixels.argmin())
        if pixels[nearest] <= _CLICK_PIXELS**2:
            return layer, int(rows[nearest])
    return None


def _copied(columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
    return {name: list(values) for name, values in columns.items()}
