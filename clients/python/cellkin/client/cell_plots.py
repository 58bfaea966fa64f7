"""Plots of cells in two dimensions; see `cellkin.client.pl`."""

from typing import Any

import anndata
import numpy as np
import numpy.typing as npt
import pandas as pd

from cellkin.client.drawing import (
    Palette,
    axes_of,
    categories_of,
    colors_of,
    column,
    legend,
    points,
    require_legend,
    without_frame,
)
from cellkin.client.results.layouts import Layout
from cellkin.client.results.tables import needed
from cellkin.pages.palette import label_colors
from cellkin.wire.errors import InvalidArgumentError, NotFoundError
from cellkin.wire.terms import UNKNOWN_LABEL

_BASES: tuple[str, ...] = ("X_umap", "X_tsne", "X_cellkin_layout", "X_pca")
_FAINT = 0.75
"""Share of white in the colors of a reference behind a query."""
_EDGE = "#5b6675"


def labels(
    adata: anndata.AnnData,
    *,
    key: str = "cellkin",
    color: str | None = None,
    basis: str | None = None,
    title: str | None = None,
    palette: Palette | None = None,
    size: float | None = None,
    legend_loc: str = "right margin",
    ax: Any = None,
) -> Any:
    """Plot cells in two dimensions, colored by their labels or another column.

    Parameters
    ----------
    adata
        Cells with the results of `cellkin.client.tl.annotate`.
    key
        Prefix of the names of the results.
    color
        The column of ``obs`` to color by: categories, or numbers; None for the labels.
    basis
        The coordinates: the first two columns of ``obsm[basis]`` or ``obsm['X_' + basis]``; None
        for the first one present of UMAP, t-SNE, the reference's layout and PCA.
    title
        Title; None for the index, or for another column its name.
    palette
        Colors by category, or in their order; for numbers, the name of a color map. None for those
        in ``uns['cellkin_label_colors']``, which ``scanpy.pl`` uses too.
    size
        Area of a point, in square points; None by the number of cells.
    legend_loc
        Where the categories are named: ``right margin``, ``on data`` or ``none``.
    ax
        matplotlib axes to draw on; None for new ones.

    Returns
    -------
    matplotlib.axes.Axes
        One point per cell; unknown cells are gray and behind the others, which are drawn in a
        random order of fixed seed.

    Raises
    ------
    NotFoundError
        If the column or coordinates are missing.
    InvalidArgumentError
        If the palette has no color for a category, ``legend_loc`` is not supported, or the
        coordinates have fewer than two columns.
    MissingDependencyError
        If matplotlib is not installed.
    """
    require_legend(legend_loc)
    name = color or f"{key}_label"
    values = column(adata, name, "" if color else "cellkin.client.tl.annotate")
    where = _basis(adata, basis)
    at = np.asarray(adata.obsm[where], np.float64)[:, :2]
    ax = axes_of(ax)
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        _draw_numbers(ax, at, values.to_numpy(np.float64), name, palette, size)
    else:
        _draw_categories(ax, at, adata, values, palette, size, legend_loc)
    short = where.removeprefix("X_").replace("_", " ")
    _finish(ax, short, title if title is not None else _title(adata, key, color))
    return ax


def on_reference(
    adata: anndata.AnnData,
    layout: Layout,
    *,
    key: str = "cellkin",
    color: str | None = None,
    title: str | None = None,
    palette: Palette | None = None,
    size: float | None = None,
    legend_loc: str = "right margin",
    ax: Any = None,
) -> Any:
    """Plot cells on the layout of the reference they were labeled by.

    Parameters
    ----------
    adata
        Cells with the results of `cellkin.client.tl.place`, and of `cellkin.client.tl.annotate`
        unless ``color`` is given.
    layout
        The layout of the index, from `cellkin.client.Client.get_layout`.
    key
        Prefix of the names of the results.
    color, title, palette, size, legend_loc, ax
        As for `labels`.

    Returns
    -------
    matplotlib.axes.Axes
        The reference's cells in faint colors of their labels, and the query's cells on top.

    Raises
    ------
    NotFoundError
        If the column or positions are missing.
    InvalidArgumentError
        As `labels`, or if the cells were placed in the layout of another index.
    MissingDependencyError
        If matplotlib is not installed.
    """
    require_legend(legend_loc)
    name = color or f"{key}_label"
    values = column(adata, name, "" if color else "cellkin.client.tl.annotate")
    where = f"X_{key}_layout"
    if where not in adata.obsm:
        raise NotFoundError(
            f"no positions obsm[{where!r}]; run cellkin.client.tl.place first. There is: "
            + (", ".join(adata.obsm) or "none")
        )
    placed = adata.uns.get(where, {}).get("versions", {}).get("index", layout.versions.index)
    if placed != layout.versions.index:
        raise InvalidArgumentError(
            f"the cells were placed in the layout of {placed}, and this one is of "
            f"{layout.versions.index}; give client.get_layout({placed!r})",
            field="layout",
        )
    ax = axes_of(ax, 7.2, 5.2)
    of = label_colors(layout.label_names)
    faint = np.array([_faint(of[label]) for label in layout.label_names])
    points(ax, layout.positions, faint[layout.labels], None)
    at = np.asarray(adata.obsm[where], np.float64)
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        _draw_numbers(ax, at, values.to_numpy(np.float64), name, palette, size)
    else:
        _draw_categories(ax, at, adata, values, palette, size, legend_loc, edge=_EDGE)
    if title is None:
        title = f"{len(at):,} cells on the {len(layout.positions):,} of {layout.versions.index}"
    _finish(ax, "layout", title)
    return ax


def _draw_categories(
    ax: Any,
    at: npt.NDArray[np.float64],
    adata: Any,
    values: pd.Series,
    palette: Palette | None,
    size: float | None,
    legend_loc: str,
    edge: str = "none",
) -> None:
    """Draw one point per cell: unknown and missing ones first, the others in a random order."""
    grouped = categories_of(values)
    colors = colors_of(adata, str(values.name), list(grouped.categories), palette)
    gray = label_colors(())[UNKNOWN_LABEL]
    names = np.array([*map(str, grouped.categories), UNKNOWN_LABEL], object)[grouped.codes]
    known = np.array([*(name != UNKNOWN_LABEL for name in colors), False])[grouped.codes]
    order = np.random.default_rng(0).permutation(len(at))
    order = np.concatenate([order[~known[order]], order[known[order]]])
    to_rgba = needed("matplotlib.colors", "plot").to_rgba_array
    drawn = to_rgba([*colors.values(), gray])[grouped.codes]
    width = 0 if edge == "none" else 0.4
    points(ax, at[order], drawn[order], size, linewidths=width, edgecolors=edge)
    counts = pd.Series(names).value_counts().to_dict()
    missing = {} if UNKNOWN_LABEL in colors else {UNKNOWN_LABEL: gray}
    legend(ax, legend_loc, colors | missing, counts, at, names)


def _draw_numbers(
    ax: Any,
    at: npt.NDArray[np.float64],
    values: npt.NDArray[np.float64],
    name: str,
    palette: Any,
    size: float | None,
) -> None:
    """Draw one point per cell, missing values first and the largest last."""
    gray = label_colors(())[UNKNOWN_LABEL]
    missing = np.isnan(values)
    points(ax, at[missing], gray, size)
    order = np.flatnonzero(~missing)[np.argsort(values[~missing], kind="stable")]
    drawn = points(ax, at[order], values[order], size, cmap=palette or "viridis")
    ax.figure.colorbar(drawn, ax=ax, label=name)


def _finish(ax: Any, basis: str, title: str) -> None:
    ax.set(xlabel=f"{basis} 1", ylabel=f"{basis} 2", xticks=[], yticks=[], title=title)
    without_frame(ax)


def _title(adata: Any, key: str, color: str | None) -> str:
    if color is not None:
        return color
    index = adata.uns.get(key, {}).get("versions", {}).get("index", "")
    return f"{adata.n_obs:,} cells by {index}" if index else f"{adata.n_obs:,} cells"


def _faint(color: str) -> tuple[float, ...]:
    """Return a hexadecimal color mixed with white."""
    parts = (int(color[at : at + 2], 16) / 255 for at in (1, 3, 5))
    return tuple(part + (1 - part) * _FAINT for part in parts)


def _basis(adata: Any, basis: str | None) -> str:
    wanted = _BASES
    if basis is not None:
        wanted = (basis,) if basis.startswith("X_") else (basis, f"X_{basis}")
    for name in wanted:
        if name in adata.obsm and np.shape(adata.obsm[name])[1] < 2:
            raise InvalidArgumentError(
                f"obsm[{name!r}] has fewer than two columns; give coordinates in two dimensions",
                field="basis",
            )
        if name in adata.obsm:
            return name
    raise NotFoundError(
        f"no coordinates {' or '.join(wanted)} in obsm; compute some, such as by scanpy.tl.umap or "
        f"cellkin.client.tl.place. There is: {', '.join(adata.obsm) or 'none'}"
    )
