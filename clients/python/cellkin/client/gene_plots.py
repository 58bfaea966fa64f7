"""Plots of contrasts and of gene sets; see `cellkin.client.pl`."""

from typing import Any

import numpy as np

from cellkin.client.results.contrasts import Contrast
from cellkin.client.results.enrichment import EnrichedSets, SetEnrichment
from cellkin.client.results.tables import needed
from cellkin.wire.errors import InvalidArgumentError

FDR = 0.05
"""False discovery rate at which genes and sets are called."""
_LEAST_FDR = 1e-300
"""Smaller ones, such as 0, are drawn here."""
_NAMED = 40
_LINKED = 8
_POINTS = 2000
"""More points are drawn as an image, also in SVG, where each takes 90 bytes."""
_UP, _DOWN, _OTHER = "#c2570c", "#1e5ebe", "#9aa6b5"


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
        (~called, _OTHER, f"FDR above {FDR:g}"),
        (called & up, _UP, found.name_a),
        (called & ~up, _DOWN, found.name_b),
    ):
        ax.scatter(
            x[here], y[here], s=8, color=color, linewidths=0, label=f"{label} ({here.sum():,})",
            rasterized=len(x) > _POINTS,
        )  # fmt: skip
    for at in found.strongest(n_named):
        place = (found.log2_fold_changes[at], _heights(found.fdrs[at]))
        ax.annotate(
            found.genes[at].symbol, place, xytext=(2, 2), textcoords="offset points", fontsize=7
        )
    ax.axhline(_heights(FDR), color=_OTHER, linewidth=0.8, linestyle=":")
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
        _OTHER if not each.called else _UP if sign > 0 else _DOWN
        for each, sign in zip(shown, signs, strict=True)
    ]
    places = np.arange(len(shown))
    ax.barh(places, lengths, color=colors)
    ax.set_yticks(places, [_short(each.name) for each in shown], fontsize=8)
    ax.invert_yaxis()
    for line in {-1, 1} & set(signs.tolist()):
        ax.axvline(line * _heights(FDR), color=_OTHER, linewidth=0.8, linestyle=":")
    ax.set(xlabel="-log10 FDR, negative in group b" if directed else "-log10 FDR")
    if isinstance(found, Contrast):
        ax.set_title(_versus(found))
    return ax


def dotplot(found: Contrast, *, n_genes: int = 10, ax: Any = None) -> Any:
    """Plot expression and detection of the genes that differ most.

    Parameters
    ----------
    found
        Result of `cellkin.client.tl.contrast`.
    n_genes
        Genes of each side.
    ax
        matplotlib axes to draw on; None for new ones.

    Returns
    -------
    matplotlib.axes.Axes
        One dot per gene and group: its size is the share of cells in which the gene is detected,
        its color the mean log1p of counts per 10,000.

    Raises
    ------
    MissingDependencyError
        If matplotlib is not installed.
    """
    ax = axes_of(ax)
    chosen = found.strongest(n_genes)
    x = np.tile(np.arange(len(chosen)), 2)
    y = np.repeat([0, 1], len(chosen))
    shares = np.concatenate([found.detected_a[chosen], found.detected_b[chosen]])
    means = np.concatenate([found.means_a[chosen], found.means_b[chosen]])
    dots = ax.scatter(x, y, s=10 + 190 * shares, c=means, cmap="viridis", linewidths=0)
    symbols = [found.genes[at].symbol for at in chosen]
    ax.set_xticks(np.arange(len(chosen)), symbols, rotation=90, fontsize=8)
    ax.set_yticks([0, 1], [_short(found.name_a), _short(found.name_b)])
    ax.set_ylim(1.6, -0.6)
    ax.grid(visible=False)
    ax.figure.colorbar(dots, ax=ax, label="mean log1p(CP10k)")
    for share in (0.25, 0.5, 1.0):
        ax.scatter([], [], s=10 + 190 * share, color=_OTHER, linewidths=0, label=f"{share:.0%}")
    ax.legend(title="detected", loc="lower left", bbox_to_anchor=(0, 1.02), ncols=3, frameon=False)
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
    ax = axes_of(ax)
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
            _short(name), (x, y), xytext=(0, 5), textcoords="offset points", ha="center",
            fontsize=7, fontweight=weight,
        )  # fmt: skip
    ax.set_axis_off()
    return ax


def axes_of(ax: Any) -> Any:
    """Return the axes to draw on, new ones if there are none."""
    if ax is not None:
        return ax
    return needed("matplotlib.pyplot", "plot").subplots()[1]


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
        return _OTHER, {}
    of = {gene.symbol: float(x) for gene, x in zip(found.genes, found.statistics, strict=True)}
    values = [of.get(symbol, 0.0) for symbol in symbols]
    most = max(map(abs, values), default=1.0) or 1.0
    return values, {"cmap": "coolwarm", "vmin": -most, "vmax": most}


def _versus(found: Contrast) -> str:
    return f"{_short(found.name_a)} against {_short(found.name_b)}"


def _short(name: str) -> str:
    return name if len(name) <= _NAMED else name[: _NAMED - 1] + "…"
