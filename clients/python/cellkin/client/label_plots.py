"""Plots of labels, their probabilities and their agreement; see `cellkin.client.pl`."""

from typing import Any

import anndata
import numpy as np
import numpy.typing as npt
import pandas as pd

from cellkin.client.drawing import (
    INK,
    SOFT,
    Palette,
    axes_of,
    categories_of,
    colors_of,
    column,
    rows_height,
    short,
    without_frame,
)
from cellkin.client.labels.annotation import label_names
from cellkin.wire.errors import InvalidArgumentError
from cellkin.wire.terms import UNKNOWN_LABEL

_ANNOTATE = "cellkin.client.tl.annotate"
_BINS = 10
_Z = 1.96
"""Of a 95 % interval."""
_LEAST_SHARE = 0.005
"""Smaller shares are not written into a matrix."""


def confidence(
    adata: anndata.AnnData,
    *,
    key: str = "cellkin",
    title: str | None = None,
    palette: Palette | None = None,
    ax: Any = None,
) -> Any:
    """Plot the probabilities of the most probable label, one line per label.

    Parameters
    ----------
    adata
        Cells with the results of `cellkin.client.tl.annotate`.
    key
        Prefix of the names of the results.
    title
        Title; None for none.
    palette
        As for `labels`.
    ax
        matplotlib axes to draw on; None for new ones.

    Returns
    -------
    matplotlib.axes.Axes
        For each most probable label: the calibrated probability in [0, 1] of its cells, as a point
        at the median and lines over the middle 50 % and 90 %, of known cells in the label's color
        and of unknown cells in gray below; and the number of cells and the share of unknown ones. A
        dotted line is at the minimum probability of a label.

    Raises
    ------
    NotFoundError
        If the results are missing.
    MissingDependencyError
        If matplotlib is not installed.
    """
    winners = categories_of(column(adata, f"{key}_winner", _ANNOTATE))
    chances = column(adata, f"{key}_winner_probability", _ANNOTATE).to_numpy(np.float64)
    unknown = column(adata, f"{key}_unknown", _ANNOTATE).to_numpy(bool)
    colors = colors_of(adata, f"{key}_winner", list(winners.categories), palette)
    there = [at for at in range(len(winners.categories)) if (winners.codes == at).any()]
    ax = axes_of(ax, 6.8, rows_height(len(there)))
    for row, code in enumerate(there):
        here = winners.codes == code
        color = list(colors.values())[code]
        _draw_range(ax, row - 0.13, chances[here & ~unknown], color)
        _draw_range(ax, row + 0.2, chances[here & unknown], SOFT)
        share = unknown[here].mean()
        told = f"{here.sum():,} cells, {share:.0%} unknown"
        ax.text(1.02, row, told, va="center", fontsize=8, transform=ax.get_yaxis_transform())
    if key in adata.uns:
        least = float(adata.uns[key]["min_probability"])
        ax.axvline(least, color=INK, linewidth=0.8, linestyle=":")
    names = [short(str(winners.categories[code])) for code in there]
    ax.set_yticks(range(len(names)), names)
    ax.set(
        xlabel="calibrated probability of the most probable label (gray: of unknown cells)",
        xlim=(0, 1.02), ylim=(max(len(names), 1) - 0.5, -0.5), title=title or "",
    )  # fmt: skip
    without_frame(ax)
    return ax


def confusion(
    adata: anndata.AnnData,
    groupby: str,
    *,
    key: str = "cellkin",
    title: str | None = None,
    ax: Any = None,
) -> Any:
    """Plot the labels of cells against a column of one's own, as a matrix.

    Parameters
    ----------
    adata
        Cells with the results of `cellkin.client.tl.annotate`.
    groupby
        The column of ``obs`` with one's own labels, such as curated types; cells without a value
        are left out.
    key
        Prefix of the names of the results.
    title
        Title; None for the share of cells with a label that have the same name in both, if any.
    ax
        matplotlib axes to draw on; None for new ones.

    Returns
    -------
    matplotlib.axes.Axes
        One row per own label and one column per label of cellkin, ``unknown`` last: the share of
        the row's cells, in percent. Rows are in the order of the columns that they agree with most.

    Raises
    ------
    NotFoundError
        If a column is missing.
    InvalidArgumentError
        If no cell has a value in ``groupby``.
    MissingDependencyError
        If matplotlib is not installed.
    """
    own = _groups(adata, groupby)
    called = categories_of(column(adata, f"{key}_label", _ANNOTATE))
    counts = _crossed(own, called)
    columns = np.flatnonzero(counts.sum(axis=0))
    rows = np.flatnonzero(counts.sum(axis=1))
    shares = (counts / np.maximum(counts.sum(axis=1, keepdims=True), 1))[np.ix_(rows, columns)]
    names = [str(called.categories[at]) for at in columns]
    # Unknown is the last column if its row has no label.
    known = np.array([name != UNKNOWN_LABEL for name in names]) * shares
    best = np.where(known.any(axis=1), known.argmax(axis=1), len(names))
    order = np.argsort(best, kind="stable")
    shares, rows = shares[order], rows[order]
    ax = axes_of(ax, 2.6 + 0.36 * len(columns), rows_height(len(rows)) + 0.8)
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (row, at), share in np.ndenumerate(shares):
        if share >= _LEAST_SHARE:
            color = "white" if share > 0.6 else INK
            told = f"{100 * share:.0f}"
            ax.text(at, row, told, ha="center", va="center", fontsize=7, color=color)
    ax.set_xticks(range(len(names)), map(short, names), rotation=90)
    totals = counts.sum(axis=1)[rows]
    ax.set_yticks(
        range(len(rows)),
        [f"{short(str(own.categories[at]))} ({n:,})" for at, n in zip(rows, totals, strict=True)],
    )
    ax.set(
        xlabel="label, % of the row",
        ylabel=groupby,
        title=_agreement(own, called) if title is None else title,
    )
    return ax


def composition(
    adata: anndata.AnnData,
    groupby: str,
    *,
    key: str = "cellkin",
    title: str | None = None,
    palette: Palette | None = None,
    ax: Any = None,
) -> Any:
    """Plot the labels of each group of cells, such as of each cluster, as stacked bars.

    Parameters
    ----------
    adata
        Cells with the results of `cellkin.client.tl.annotate`.
    groupby
        The column of ``obs`` with the groups, such as ``leiden``, a sample or a condition; cells
        without a value are left out.
    key
        Prefix of the names of the results.
    title
        Title; None for none.
    palette
        As for `labels`.
    ax
        matplotlib axes to draw on; None for new ones.

    Returns
    -------
    matplotlib.axes.Axes
        One bar per group: the share of its cells with each label, and ``unknown`` in gray at the
        end; the number of its cells at the right.

    Raises
    ------
    NotFoundError
        If a column is missing.
    InvalidArgumentError
        If no cell has a value in ``groupby``.
    MissingDependencyError
        If matplotlib is not installed.
    """
    groups = _groups(adata, groupby)
    called = categories_of(column(adata, f"{key}_label", _ANNOTATE))
    colors = colors_of(adata, f"{key}_label", list(called.categories), palette)
    counts = _crossed(groups, called)
    totals = counts.sum(axis=1)
    rows = np.flatnonzero(totals)
    names = list(colors)
    # Unknown cells at the end, wherever the column has them.
    order = sorted(range(len(names)), key=lambda at: names[at] == UNKNOWN_LABEL)
    ax = axes_of(ax, 7.2, rows_height(len(rows)))
    left = np.zeros(len(rows))
    for at in order:
        shares = counts[rows, at] / totals[rows]
        if shares.any():
            ax.barh(
                range(len(rows)), shares, left=left, color=colors[names[at]],
                label=short(names[at]), height=0.8,
            )  # fmt: skip
        left += shares
    for row, n in enumerate(totals[rows].tolist()):
        ax.text(1.01, row, f"{n:,}", va="center", fontsize=8)
    ax.set_yticks(range(len(rows)), [short(str(groups.categories[at])) for at in rows])
    ax.set(
        xlabel="share of cells", ylabel=groupby, xlim=(0, 1), ylim=(len(rows) - 0.5, -0.5),
        title=title or "",
    )  # fmt: skip
    ax.legend(loc="center left", bbox_to_anchor=(1.1, 0.5), frameon=False, fontsize=8)
    without_frame(ax)
    return ax


def reliability(
    adata: anndata.AnnData,
    groupby: str,
    *,
    key: str = "cellkin",
    title: str | None = None,
    ax: Any = None,
) -> Any:
    """Plot how often labels of a probability are right, for cells whose types are known.

    Parameters
    ----------
    adata
        Cells with the results of `cellkin.client.tl.annotate`.
    groupby
        The column of ``obs`` with the types, called like the labels of the reference; cells without
        a value are left out.
    key
        Prefix of the names of the results.
    title
        Title; None for the expected calibration error.
    ax
        matplotlib axes to draw on; None for new ones.

    Returns
    -------
    matplotlib.axes.Axes
        One point per tenth of the calibrated probability that has cells, larger for more: its mean,
        and the share of cells whose most probable label is right, with a 95 % interval and their
        number. On the diagonal probabilities are right; unknown cells count.

    Raises
    ------
    NotFoundError
        If a column is missing.
    InvalidArgumentError
        If no type is called like a label.
    MissingDependencyError
        If matplotlib is not installed.
    """
    own = column(adata, groupby)
    winners = column(adata, f"{key}_winner", _ANNOTATE)
    given = (own.notna() & winners.notna()).to_numpy()
    types, called = own[given].astype(str).to_numpy(), winners[given].astype(str).to_numpy()
    if not set(types) & set(winners.astype("category").cat.categories.astype(str)):
        raise InvalidArgumentError(
            f"no value of obs[{groupby!r}] is called like a label; give types by the names of the "
            f"reference: {', '.join(sorted(set(called)))}",
            field="groupby",
        )
    chances = column(adata, f"{key}_winner_probability", _ANNOTATE).to_numpy(np.float64)[given]
    bins = np.minimum((chances * _BINS).astype(int), _BINS - 1)
    parts = [np.flatnonzero(bins == at) for at in np.unique(bins)]
    right = types == called
    means = np.array([chances[part].mean() for part in parts])
    shares = np.array([right[part].mean() for part in parts])
    sizes = np.array([len(part) for part in parts])
    error = float(np.abs(means - shares) @ sizes / sizes.sum())
    ax = axes_of(ax, 4.8, 4.8)
    ax.plot([0, 1], [0, 1], color=SOFT, linewidth=0.8, linestyle=":")
    low, high = _interval(shares, sizes)
    ax.vlines(means, low, high, color="#1e5ebe", linewidth=1)
    ax.scatter(means, shares, 20 + 180 * sizes / sizes.max(), color="#1e5ebe", linewidths=0)
    for mean, least, n in zip(means, low, sizes.tolist(), strict=True):
        ax.annotate(
            f"{n:,}", (mean, least), xytext=(0, -9), textcoords="offset points", ha="center",
            fontsize=7, color=INK,
        )  # fmt: skip
    ax.set(
        xlabel="calibrated probability of the most probable label", xlim=(0, 1.04),
        ylabel="share of cells that are right", ylim=(-0.06, 1.04), aspect="equal",
        title=f"{len(types):,} cells, calibration error {error:.3f}" if title is None else title,
    )  # fmt: skip
    without_frame(ax)
    return ax


def _groups(adata: Any, groupby: str) -> pd.Categorical:
    """Return a column as categories that some cells have."""
    groups = categories_of(column(adata, groupby))
    if not (groups.codes >= 0).any():
        raise InvalidArgumentError(
            f"no cell has a value in obs[{groupby!r}]; give a column with groups of cells",
            field="groupby",
        )
    return groups


def _draw_range(ax: Any, at: float, values: npt.NDArray[np.float64], color: str) -> None:
    """Draw the median and the middle 50 % and 90 % of values."""
    if not len(values):
        return
    least, low, middle, high, most = np.quantile(values, (0.05, 0.25, 0.5, 0.75, 0.95))
    ax.plot([least, most], [at, at], color=color, linewidth=1.2, solid_capstyle="butt")
    ax.plot([low, high], [at, at], color=color, linewidth=4, solid_capstyle="butt")
    ax.plot([middle], [at], "o", color=color, markersize=6, markeredgecolor="white")


def _crossed(rows: pd.Categorical, columns: pd.Categorical) -> npt.NDArray[np.int64]:
    """Return the number of cells by two columns, without those that miss either."""
    shape = (len(rows.categories), len(columns.categories))
    there = (rows.codes >= 0) & (columns.codes >= 0)
    flat = rows.codes[there].astype(np.int64) * shape[1] + columns.codes[there]
    return np.bincount(flat, minlength=shape[0] * shape[1]).reshape(shape)


def _agreement(own: pd.Categorical, called: pd.Categorical) -> str:
    types, names = label_names(own), label_names(called)
    both = np.array([each is not None for each in types]) & (names != UNKNOWN_LABEL)
    if not set(types) & set(names) or not both.any():
        return ""
    return f"{(types == names)[both].mean():.1%} of {both.sum():,} labels agree"


def _interval(
    shares: npt.NDArray[np.float64], sizes: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return Wilson's 95 % interval of shares of cells."""
    z2 = _Z**2 / sizes
    middle = (shares + z2 / 2) / (1 + z2)
    half = _Z * np.sqrt(shares * (1 - shares) / sizes + z2 / (4 * sizes)) / (1 + z2)
    return np.minimum(middle - half, shares), np.maximum(middle + half, shares)
