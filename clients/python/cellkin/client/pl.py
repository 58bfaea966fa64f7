"""Plots of results, in scanpy's style: each function draws on axes and returns them.

They need matplotlib, and `gene_network` networkx (extra ``plot``), imported on first use.
"""

from typing import Any

import anndata
import numpy as np

from cellkin.client.gene_plots import axes_of, contrast, dotplot, enrichment, gene_network
from cellkin.client.queries import require_anndata
from cellkin.client.results.genes import GeneNeighborhood
from cellkin.wire.errors import NotFoundError
from cellkin.wire.species import taxon_name
from cellkin.wire.terms import UNKNOWN_LABEL

__all__ = [
    "confidence",
    "contrast",
    "dotplot",
    "enrichment",
    "gene_neighborhood",
    "gene_network",
    "labels",
]
_BINS = 40
_BASES = ("X_umap", "X_tsne", "X_pca", "X_cellkin")
_UNKNOWN_COLOR = "lightgray"


def confidence(adata: anndata.AnnData, *, key: str = "cellkin", ax: Any = None) -> Any:
    """Plot a histogram of label probabilities, split by known and unknown cells.

    Parameters
    ----------
    adata
        Cells with the results of `cellkin.client.tl.annotate`.
    key
        Prefix of the names of the results.
    ax
        matplotlib axes to draw on; None for new ones.

    Returns
    -------
    matplotlib.axes.Axes
        Histogram of the calibrated probability of the most probable label in [0, 1], with a line at
        the minimum probability of a label.

    Raises
    ------
    NotFoundError
        If the results are missing.
    MissingDependencyError
        If matplotlib is not installed.
    """
    chances = _column(adata, f"{key}_winner_probability").to_numpy()
    unknown = _column(adata, f"{key}_unknown").to_numpy(bool)
    ax = axes_of(ax)
    ax.hist(
        [chances[~unknown], chances[unknown]], bins=_BINS, range=(0, 1), stacked=True,
        label=[f"known ({(~unknown).sum()})", f"unknown ({unknown.sum()})"],
        color=["C0", _UNKNOWN_COLOR],
    )  # fmt: skip
    if key in adata.uns:
        least = float(adata.uns[key]["min_probability"])
        ax.axvline(least, color="black", linewidth=0.8, linestyle=":")
    ax.set(xlabel="calibrated probability of the most probable label", ylabel="cells", xlim=(0, 1))
    ax.legend()
    return ax


def gene_neighborhood(found: GeneNeighborhood, *, ax: Any = None) -> Any:
    """Plot the neighbors of a gene, best at the top.

    Parameters
    ----------
    found
        Result of `cellkin.client.Client.search_genes`.
    ax
        matplotlib axes to draw on; None for new ones.

    Returns
    -------
    matplotlib.axes.Axes
        One bar per neighbor, its cosine similarity in [-1, 1].

    Raises
    ------
    MissingDependencyError
        If matplotlib is not installed.
    """
    ax = axes_of(ax)
    places = np.arange(len(found.hits))
    ax.barh(places, found.similarities)
    ax.set_yticks(places, [hit.symbol or str(hit.gene_id) for hit in found.hits])
    ax.invert_yaxis()
    asked = ", ".join(f"{gene.symbol} ({taxon_name(gene.taxon)})" for gene in found.genes)
    ax.set(xlabel="cosine", title=f"{asked or 'query'} in {found.versions.embedding}")
    return ax


def labels(
    adata: anndata.AnnData, *, key: str = "cellkin", basis: str | None = None, ax: Any = None
) -> Any:
    """Plot the labels of cells in two dimensions.

    Parameters
    ----------
    adata
        Cells with the results of `cellkin.client.tl.annotate`.
    key
        Prefix of the names of the results.
    basis
        The coordinates: the first two columns of ``obsm[basis]`` or ``obsm['X_' + basis]``; None
        for the first one present of UMAP, t-SNE, PCA and ``X_cellkin``.
    ax
        matplotlib axes to draw on; None for new ones.

    Returns
    -------
    matplotlib.axes.Axes
        One point per cell; unknown cells are gray and behind the others.

    Raises
    ------
    NotFoundError
        If the results or coordinates are missing.
    MissingDependencyError
        If matplotlib is not installed.
    """
    called = _column(adata, f"{key}_label").astype(str).to_numpy()
    name = _basis(adata, basis)
    at = np.asarray(adata.obsm[name])[:, :2]
    ax = axes_of(ax)
    known = sorted(set(called) - {UNKNOWN_LABEL})
    size = np.clip(120_000 / max(1, len(at)), 0.5, 20)
    for place, label in enumerate([UNKNOWN_LABEL, *known]):
        here = called == label
        color = _UNKNOWN_COLOR if label == UNKNOWN_LABEL else f"C{(place - 1) % 10}"
        if here.any():
            ax.scatter(*at[here].T, s=size, color=color, label=label, linewidths=0)
    short = name.removeprefix("X_")
    ax.set(xlabel=f"{short} 1", ylabel=f"{short} 2", xticks=[], yticks=[])
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return ax


def _column(adata: Any, name: str) -> Any:
    require_anndata(adata)
    if name not in adata.obs:
        raise NotFoundError(
            f"no obs[{name!r}]; run cellkin.client.tl.annotate first. There is: "
            + (", ".join(map(str, adata.obs)) or "none")
        )
    return adata.obs[name]


def _basis(adata: Any, basis: str | None) -> str:
    wanted = _BASES if basis is None else (basis, f"X_{basis}")
    for name in wanted:
        if name in adata.obsm:
            return name
    raise NotFoundError(
        f"no coordinates {' or '.join(wanted)} in obsm; compute some, such as by scanpy.tl.umap. "
        f"There is: {', '.join(adata.obsm) or 'none'}"
    )
