"""Plots of genes, of contrasts and of gene sets; see `cellkin.client.pl`."""

from typing import Any

import numpy as np
import numpy.typing as npt

from cellkin.client.drawing import (
    INK,
    MANY_POINTS,
    SOFT,
    axes_of,
    halo,
    rows_height,
    short,
    without_frame,
)
from cellkin.client.results.contrasts import Contrast
from cellkin.client.results.enrichment import EnrichedSets, SetEnrichment
from cellkin.client.results.genes import GeneNeighborhood
from cellkin.client.results.tables import needed
from cellkin.wire.errors import InvalidArgumentError
from cellkin.wire.species import taxon_name

FDR = 0.05
"""False discovery rate at which genes and sets are called."""
_LEAST_FDR = 1e-300
"""Smaller ones, such as 0, are drawn here."""
_LINKED = 8
_NAME = (38, 8)
"""Width and height of a written name, in points."""
_UP, _DOWN = "#c2570c", "#1e5ebe"


def contrast(found: Contrast, *, n_named: int = 10, ax: Any = None) -> Any:
    """Plot the genes of a contrast as a volcano.

    Parameters
    ----------
    found
        Result of `cellkin.client.tl.contrast`.
    n_named
        Genes to name on each side.
    ax
        matplotlib axes to draw on; None for new ones.

    Returns
    -------
    matplotlib.axes.Axes
        One point per measured gene: log2 fold change, and false discovery rate on a logarithmic
        axis; genes of a rate of at most 0.05 are colored by their group.

    Raises
    ------
    MissingDependencyError
        If matplotlib is not installed.
    """
    ax = axes_of(ax)
    measured = ~found.predicted_from_text
    x = found.log2_fold_changes[measured]
    y = _heights(found.fdrs[measured])
    called = found.fdrs[measured] <= FDR
    up = found.statistics[measured] > 0
    for here, color, label in (
        (~called, SOFT, f"FDR above {FDR:g}"),
        (called & up, _UP, found.name_a),
        (called & ~up, _DOWN, found.name_b),
    ):
        ax.scatter(
            x[here], y[here], s=8, color=color, linewidths=0, label=f"{label} ({here.sum():,})",
            rasterized=len(x) > MANY_POINTS,
        )  # fmt: skip
    named = found.strongest(n_named)
    places = np.stack([found.log2_fold_changes[named], _heights(found.fdrs[named])], axis=1)
    _name_apart(ax, places, [found.genes[at].symbol for at in named])
    ax.axhline(_heights(FDR), color=SOFT, linewidth=0.8, linestyle=":")
    ax.set(xlabel="log2 fold change", ylabel="-log10 FDR", title=_versus(found))
    # Not where there is most room: finding it takes long among many points.
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=3, fontsize=8, frameon=False)
    return ax


def enrichment(found: EnrichedSets | Contrast, *, n_sets: int = 20, ax: Any = None) -> Any:
    """Plot the most significant gene sets as bars.

    Parameters
    ----------
    found
        Result of `cellkin.client.tl.enrich` or `cellkin.client.tl.contrast`.
    n_sets
        Sets to draw; of a contrast half of them for each group.
    ax
        matplotlib axes to draw on; None for new ones.

    Returns
    -------
    matplotlib.axes.Axes
        One bar per set, the larger of its false discovery rates on a logarithmic axis: to the right
        for a positive effect (group a), to the left for a negative one; gray if it is not called.

    Raises
    ------
    InvalidArgumentError
        If there is no set.
    MissingDependencyError
        If matplotlib is not installed.
    """
    shown = _most_significant(found, n_sets)
    ax = axes_of(ax)
    directed = isinstance(found, Contrast)
    signs = np.array([-1 if directed and each.effect < 0 else 1 for each in shown])
    lengths = signs * _heights([_fdr(each) for each in shown])
    colors = [
        SOFT if not each.called else _UP if sign > 0 else _DOWN
        for each, sign in zip(shown, signs, strict=True)
    ]
    places = np.arange(len(shown))
    ax.barh(places, lengths, color=colors)
    ax.set_yticks(places, [short(each.name) for each in shown], fontsize=8)
    ax.invert_yaxis()
    for line in {-1, 1} & set(signs.tolist()):
        ax.axvline(line * _heights(FDR), color=SOFT, linewidth=0.8, linestyle=":")
    ax.set_xlabel("-log10 FDR")
    if isinstance(found, Contrast):
        ax.xaxis.set_major_formatter(lambda value, _: f"{abs(value):g}")
        left, right = short(found.name_b), short(found.name_a)
        ax.set_xlabel(f"\N{LEFTWARDS ARROW} {left}    -log10 FDR    {right} \N{RIGHTWARDS ARROW}")
        ax.set_title(_versus(found))
    return ax


def gene_neighborhood(found: GeneNeighborhood, *, title: str | None = None, ax: Any = None) -> Any:
    """Plot the neighbors of a gene, a set or a text, best at the top.

    Parameters
    ----------
    found
        Result of `cellkin.client.Client.search_genes`.
    title
        Title; None for what was asked, and the embedding.
    ax
        matplotlib axes to draw on; None for new ones.

    Returns
    -------
    matplotlib.axes.Axes
        One point per neighbor at its cosine similarity, with the share of random pairs of genes
        that are less similar, in percent. It is likeness of description, no evidence of
        interaction.

    Raises
    ------
    MissingDependencyError
        If matplotlib is not installed.
    """
    ax = axes_of(ax, 6.4, rows_height(len(found.hits)))
    places = np.arange(len(found.hits))
    several = len({hit.taxon for hit in found.hits}) > 1
    names = [
        (hit.symbol or str(hit.gene_id)) + (f" ({taxon_name(hit.taxon)})" if several else "")
        for hit in found.hits
    ]
    ax.hlines(places, 0, 1, colors="#dfe3e9", linewidth=0.8, transform=ax.get_yaxis_transform())
    ax.scatter(found.similarities, places, s=45, color=_DOWN, zorder=3)
    for row, share in enumerate(found.background_percentiles.tolist()):
        ax.text(
            1.02, row, _percent(share), va="center", fontsize=8,
            transform=ax.get_yaxis_transform(),
        )  # fmt: skip
    ax.text(
        1.02, -0.75, "of random pairs\nare less similar", va="bottom", fontsize=7, color=INK,
        transform=ax.get_yaxis_transform(),
    )  # fmt: skip
    ax.set_yticks(places, names)
    ax.set_ylim(max(len(places), 1) - 0.5, -0.5)
    ax.margins(x=0.12)
    ax.set(xlabel="cosine similarity of descriptions")
    asked = f"nearest to {short(found.question)}\nby {found.versions.embedding}"
    ax.set_title(asked if title is None else title, loc="left")
    without_frame(ax)
    return ax


def gene_network(found: EnrichedSets | Contrast, *, n_sets: int = 8, ax: Any = None) -> Any:
    """Plot called gene sets with the genes that their effects rest on, as a network.

    Parameters
    ----------
    found
        Result of `cellkin.client.tl.enrich` or `cellkin.client.tl.contrast`.
    n_sets
        Sets to draw, the most significant that are called; of a contrast half of them for each
        group.
    ax
        matplotlib axes to draw on; None for new ones.

    Returns
    -------
    matplotlib.axes.Axes
        Sets as squares and genes as points, each set linked to the first 8 of its leading genes; of
        a contrast, genes are colored by their statistic. Links are membership, not interaction.

    Raises
    ------
    InvalidArgumentError
        If no set is called.
    MissingDependencyError
        If matplotlib or networkx is not installed.
    """
    networkx = needed("networkx", "plot")
    shown = [each for each in _most_significant(found, n_sets) if each.called]
    if not shown:
        raise InvalidArgumentError("no gene set is called, so there is no network to draw")
    links = [
        ((each.name, True), (gene, False))
        for each in shown
        for gene in each.leading_genes[:_LINKED]
    ]
    graph = networkx.Graph(links)
    graph.add_nodes_from((each.name, True) for each in shown)
    places = networkx.spring_layout(graph, seed=0, k=4 / max(1, len(graph)) ** 0.5)
    ax = axes_of(ax, 8.0, 6.0)
    genes = [node for node in graph if not node[1]]
    colors, limits = _gene_colors(found, [name for name, _ in genes])
    networkx.draw_networkx_edges(graph, places, ax=ax, edge_color="#dfe3e9")
    drawn = {"ax": ax, "linewidths": 0}
    networkx.draw_networkx_nodes(
        graph, places, genes, node_size=60, node_color=colors, **limits, **drawn
    )
    squares = [node for node in graph if node[1]]
    networkx.draw_networkx_nodes(
        graph, places, squares, node_size=110, node_shape="s", node_color="#0b7d6c", **drawn
    )
    for (name, is_set), (x, y) in places.items():
        weight = "bold" if is_set else "normal"
        ax.annotate(
            short(name), (x, y), xytext=(0, 5), textcoords="offset points", ha="center",
            fontsize=7, fontweight=weight, path_effects=halo(), zorder=5 if is_set else 4,
        )  # fmt: skip
    ax.set_axis_off()
    return ax


def _name_apart(ax: Any, places: npt.NDArray[Any], names: list[str]) -> None:
    """Write names beside points, the highest first, lower where others stand; lines lead there."""
    ax.margins(0.08)
    ax.autoscale_view()
    at = ax.transData.transform(places) * 72 / ax.figure.dpi
    taken: list[tuple[float, float]] = []
    for row in np.argsort(-places[:, 1], kind="stable"):
        x, y = at[row]
        down = 0.0
        while any(
            abs(x - left) < _NAME[0] and abs(y - down - top) < _NAME[1] for left, top in taken
        ):
            down += 1
        taken.append((x, y - down))
        line = {"arrowstyle": "-", "color": SOFT, "linewidth": 0.5} if down > _NAME[1] else None
        ax.annotate(
            names[row], places[row], xytext=(3, 1 - down), textcoords="offset points", fontsize=7,
            arrowprops=line,
        )  # fmt: skip


def _percent(share: float) -> str:
    """Return a share in percent, rounded down."""
    return ">99.9%" if share > 0.999 else f"{np.floor(1000 * share) / 10:.1f}%"


def _most_significant(found: EnrichedSets | Contrast, n_sets: int) -> list[SetEnrichment]:
    """Return the most significant sets, called ones first; of a contrast half of each group's."""
    if isinstance(found, Contrast):
        parts, n_sets = [found.sets.directed(True), found.sets.directed(False)], -(-n_sets // 2)
    else:
        parts = [found]
    shown = [
        each
        for part in parts
        for each in sorted(part.sets, key=lambda each: (not each.called, _fdr(each)))[:n_sets]
    ]
    if not shown:
        raise InvalidArgumentError(
            "no gene set was tested; name collections, such as collections=['go-bp']"
        )
    return shown


def _fdr(each: SetEnrichment) -> float:
    return float(np.nanmax([each.fdr, each.permuted_fdr]))


def _heights(fdrs: Any) -> Any:
    return -np.log10(np.maximum(fdrs, _LEAST_FDR))


def _gene_colors(
    found: EnrichedSets | Contrast, symbols: list[str]
) -> tuple[str | list[float], dict[str, Any]]:
    """Return the colors of genes, and the limits of their color map if there is one."""
    if not isinstance(found, Contrast):
        return SOFT, {}
    of = {gene.symbol: float(x) for gene, x in zip(found.genes, found.statistics, strict=True)}
    values = [of.get(symbol, 0.0) for symbol in symbols]
    most = max(map(abs, values), default=1.0) or 1.0
    return values, {"cmap": "coolwarm", "vmin": -most, "vmax": most}


def _versus(found: Contrast) -> str:
    return f"{short(found.name_a)} against {short(found.name_b)}"
