"""Plot of expression and detection of genes; see `cellkin.client.pl`."""

from typing import Any

import anndata
import numpy as np
import pandas as pd

from cellkin.client.drawing import SOFT, axes_of, rows_height, short, without_frame
from cellkin.client.queries import require_anndata
from cellkin.client.results.contrasts import Contrast
from cellkin.wire.errors import NotFoundError


def dotplot(
    found: Contrast | anndata.AnnData,
    *,
    n_genes: int | None = None,
    key: str = "cellkin_explained",
    ax: Any = None,
) -> Any:
    """Plot expression and detection of the genes of a contrast or of explained groups.

    Parameters
    ----------
    found
        Result of `cellkin.client.tl.contrast`; or AnnData with the results of
        `cellkin.client.tl.explain` by groups.
    n_genes
        Genes of each side of a contrast, 10 by default, or of each group, 5 by default.
    key
        Name of the results of an explanation.
    ax
        matplotlib axes to draw on; None for new ones.

    Returns
    -------
    matplotlib.axes.Axes
        One dot per gene for each of the two groups, or for the cells of the explained group and for
        all other cells: its size is the share of cells in which the gene is detected, its color the
        mean log1p of counts per 10,000. Explained groups have one row each, with the genes that
        contribute most to their label.

    Raises
    ------
    NotFoundError
        If there are no explained groups.
    MissingDependencyError
        If matplotlib is not installed.
    """
    if not isinstance(found, Contrast):
        return _dots_of_groups(_explained(found, key), n_genes or 5, ax)
    ax = axes_of(ax, 7.2, 3.0)
    at = found.strongest(n_genes or 10)
    x, y = np.tile(np.arange(len(at)), 2), np.repeat([0, 1], len(at))
    means = np.concatenate([found.means_a[at], found.means_b[at]])
    _dots(ax, x, y, means, np.concatenate([found.detected_a[at], found.detected_b[at]]))
    ax.set_xticks(
        range(len(at)), [found.genes[gene].symbol for gene in at], rotation=90, fontsize=8
    )
    ax.set_ylim(1.6, -0.6)
    ax.set_yticks([0, 1], [short(found.name_a), short(found.name_b)])
    return ax


def _dots_of_groups(genes: pd.DataFrame, n_genes: int, ax: Any) -> Any:
    """Draw one row per group: its genes, each with a dot for the group and one for the others."""
    genes = genes[genes["contribution"] > 0]
    genes = genes.groupby("group", sort=False, observed=True).head(n_genes)
    groups = list(dict.fromkeys(genes["group"].astype(str)))
    rows = genes["group"].astype(str).map({name: at for at, name in enumerate(groups)}).to_numpy()
    ranks = genes.groupby("group", sort=False, observed=True).cumcount().to_numpy()
    ax = axes_of(ax, 2.4 + 1.3 * n_genes, rows_height(len(groups)) + 0.3)
    for name, row, rank in zip(genes["gene"], rows, ranks, strict=True):
        ax.text(rank + 0.6, row, name, ha="right", va="center", fontsize=8)
    both = [pd.concat([genes[f"{what}_in"], genes[f"{what}_out"]]) for what in ("mean", "detected")]
    _dots(ax, np.concatenate([ranks + 0.7, ranks + 0.88]), np.tile(rows, 2), *both)
    ax.set_yticks(range(len(groups)), map(short, groups))
    ax.set(xlim=(0, n_genes), ylim=(max(len(groups), 1) - 0.5, -0.5), xticks=[])
    ax.set_xlabel("left dot: in the group; right dot: other cells")
    return ax


def _dots(ax: Any, x: Any, y: Any, means: Any, shares: Any) -> None:
    """Draw dots by mean and detection, with their legends."""
    dots = ax.scatter(x, y, s=4 + 116 * np.asarray(shares), c=means, cmap="viridis", linewidths=0)
    ax.grid(visible=False)
    without_frame(ax)
    ax.figure.colorbar(dots, ax=ax, label="mean log1p(CP10k)")
    handles = [
        ax.scatter([], [], s=4 + 116 * share, color=SOFT, linewidths=0) for share in (0.25, 0.5, 1)
    ]
    ax.legend(
        handles, ["25% of cells", "50%", "100%"], loc="lower left", bbox_to_anchor=(0, 1.01),
        ncols=3, frameon=False, fontsize=8,
    )  # fmt: skip


def _explained(adata: Any, key: str) -> pd.DataFrame:
    """Return the genes of explained groups."""
    require_anndata(adata)
    told = adata.uns.get(key, {})
    if "groups" not in told:
        raise NotFoundError(
            f"no groups in uns[{key!r}]; run cellkin.client.tl.explain with by=COLUMN first"
        )
    genes: pd.DataFrame = told["genes"]
    return genes
