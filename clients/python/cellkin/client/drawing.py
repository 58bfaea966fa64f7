"""Axes, points, legends and colors that pictures share; see `cellkin.client.pl`."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from cellkin.client.queries import require_anndata
from cellkin.client.results.tables import needed
from cellkin.pages.palette import label_colors
from cellkin.pages.theme import LIGHT
from cellkin.wire.errors import InvalidArgumentError, NotFoundError
from cellkin.wire.terms import UNKNOWN_LABEL

Palette: TypeAlias = Mapping[str, str] | Sequence[str]
"""Colors of matplotlib: by label, or in the order of the categories."""
SOFT, INK = "#9aa6b5", LIGHT["ink"]
MANY_POINTS = 2000
"""More points are drawn as an image, also in SVG, where each takes 90 bytes."""
_LEGENDS = ("right margin", "on data", "none")
_LEGEND_ROWS = 18
_MOST_SIGNS = 40


def axes_of(ax: Any, width: float = 6.4, height: float = 4.8) -> Any:
    """Return the axes to draw on, new ones if there are none.

    Parameters
    ----------
    ax
        matplotlib axes, or None.
    width, height
        Size of new ones, in inches.
    """
    if ax is not None:
        return ax
    pyplot = needed("matplotlib.pyplot", "plot")
    return pyplot.subplots(figsize=(width, height), layout="constrained")[1]


def rows_height(n_rows: int) -> float:
    """Return the height of axes with one line per row, in inches."""
    return max(2.4, 1.2 + 0.27 * n_rows)


def without_frame(ax: Any) -> None:
    """Hide the upper and right edge of axes."""
    ax.spines[["top", "right"]].set_visible(False)


def short(name: str) -> str:
    """Return a name that fits beside an axis."""
    return name if len(name) <= _MOST_SIGNS else name[: _MOST_SIGNS - 1] + "…"


def halo() -> list[Any]:
    """Return the effect by which text is legible on points: an edge in the color of paper."""
    effects = needed("matplotlib.patheffects", "plot")
    return [effects.withStroke(linewidth=2.5, foreground=LIGHT["paper"])]


def column(adata: Any, name: str, made_by: str = "") -> pd.Series:
    """Return a column of ``obs``.

    Parameters
    ----------
    adata
        The cells.
    name
        Name of the column.
    made_by
        What writes it, for the message; empty for any column.

    Raises
    ------
    NotFoundError
        If it is missing; the message lists the existing ones.
    """
    require_anndata(adata)
    if name not in adata.obs:
        hint = f"; run {made_by} first" if made_by else ""
        listed = ", ".join(map(str, adata.obs)) or "none"
        raise NotFoundError(f"no obs[{name!r}]{hint}. There is: {listed}")
    found: pd.Series = adata.obs[name]
    return found


def categories_of(values: pd.Series) -> pd.Categorical:
    """Return values as categories, in their order, or ascending if they have none."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        return pd.Categorical(values)
    return pd.Categorical(values.astype(str).where(values.notna()))


def colors_of(
    adata: Any, name: str, categories: Sequence[Any], palette: Palette | None
) -> dict[str, str]:
    """Return the color of each category of a column.

    Parameters
    ----------
    adata
        The cells.
    name
        Name of the column.
    categories
        Its categories.
    palette
        The colors; None for those in ``uns[name + '_colors']``, as scanpy stores them, or the
        palette of cellkin if there are none.

    Raises
    ------
    InvalidArgumentError
        If the palette has no color for a category.
    """
    names = [str(each) for each in categories]
    if palette is None:
        kept = adata.uns.get(f"{name}_colors", ())
        palette = list(kept) if len(kept) == len(names) else label_colors(names)
    if isinstance(palette, Mapping):
        lacking = [each for each in names if each not in palette and each != UNKNOWN_LABEL]
        if lacking:
            raise InvalidArgumentError(
                f"the palette has no color for {lacking[0]!r}; give one for each of "
                f"{', '.join(names)}",
                field="palette",
            )
        return {each: palette.get(each, label_colors(())[UNKNOWN_LABEL]) for each in names}
    if isinstance(palette, str) or len(palette) < len(names):
        raise InvalidArgumentError(
            f"the palette is {palette!r}; give a list of {len(names)} colors, or a color by label",
            field="palette",
        )
    return dict(zip(names, map(str, palette), strict=False))


def require_legend(where: str) -> None:
    """Raise if a place of a legend is not supported.

    Raises
    ------
    InvalidArgumentError
        If it is not.
    """
    if where not in _LEGENDS:
        raise InvalidArgumentError(
            f"legend_loc is {where!r}; give one of {', '.join(map(repr, _LEGENDS))}",
            field="legend_loc",
        )


def points(ax: Any, at: npt.NDArray[Any], colors: Any, size: float | None, **how: Any) -> Any:
    """Draw points.

    Parameters
    ----------
    ax
        The axes.
    at
        (n, 2) positions.
    colors
        Colors, or values of a color map.
    size
        Area of a point; None by the number of points, as scanpy does.
    how
        Other arguments of ``Axes.scatter``.
    """
    area = float(np.clip(120_000 / max(1, len(at)), 0.5, 20)) if size is None else size
    how = {"linewidths": 0, "rasterized": len(at) > MANY_POINTS} | how
    return ax.scatter(at[:, 0], at[:, 1], s=area, c=colors, **how)


def legend(
    ax: Any,
    where: str,
    colors: Mapping[str, str],
    counts: Mapping[str, int],
    at: npt.NDArray[Any],
    names: npt.NDArray[Any],
) -> None:
    """Draw the names of the categories that have points.

    Parameters
    ----------
    ax
        The axes.
    where
        ``right margin``, ``on data`` or ``none``.
    colors, counts
        By category, in order: color, and number of points.
    at, names
        (n, 2) positions of the points, and the category of each.
    """
    there = [name for name in colors if counts.get(name)]
    if where == "on data":
        for name in there:
            if name != UNKNOWN_LABEL:
                x, y = np.nanmedian(at[names == name], axis=0)
                ax.text(
                    x, y, short(name), ha="center", va="center", fontsize=8, fontweight="bold",
                    color=INK, path_effects=halo(),
                )  # fmt: skip
    if where == "right margin":
        dot = needed("matplotlib.lines", "plot").Line2D
        handles = [
            dot([], [], marker="o", linestyle="", markersize=6, color=colors[name])
            for name in there
        ]
        ax.legend(
            handles, [f"{short(name)} ({counts[name]:,})" for name in there], loc="center left",
            bbox_to_anchor=(1, 0.5), frameon=False, fontsize=8, handletextpad=0.1,
            ncols=max(1, -(-len(there) // _LEGEND_ROWS)),
        )  # fmt: skip
