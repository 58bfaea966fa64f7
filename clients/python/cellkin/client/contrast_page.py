"""A contrast as a static, self-contained page with pictures."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cellkin.client.results.contrasts import Contrast
from cellkin.client.results.tables import Tabular, needed, shown

_TEMPLATE = Path(__file__).parent / "contrast.html.j2"
_GENES, _SETS, _REGULATORS = 25, 20, 20
_GENE_COLUMNS = (
    "gene", "statistic", "fdr", "log2_fold_change", "contribution", "mean_a", "mean_b",
    "detected_a", "detected_b", "pseudobulk_p_value", "text", "name",
)  # fmt: skip
_TEXT_COLUMNS = ("gene", "statistic", "text", "name")
_SET_COLUMNS = (
    "collection", "set", "n_genes", "effect", "fdr", "permuted_fdr", "called", "leading_genes",
)  # fmt: skip


@dataclass(frozen=True)
class Part:
    """A table of the page.

    Parameters
    ----------
    heading, note
        What it shows, and how to read it.
    heads, rows
        Names of the columns, and the rows as texts.
    """

    heading: str
    note: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]


def contrast_page(found: Contrast) -> str:
    """Render a contrast as a page.

    Parameters
    ----------
    found
        The contrast.

    Returns
    -------
    str
        HTML with the strongest genes of each group, the most significant sets and regulators,
        pictures, all versions, and the same tables as JSON.

    Raises
    ------
    MissingDependencyError
        If jinja2, matplotlib or networkx is not installed (extra ``plot``).
    """
    require_page_libraries()
    from cellkin.pages.render import render

    parts = list(_parts(found))
    versions = {name: value for name, value in found.manifest()["versions"].items() if value}
    return render(
        _TEMPLATE,
        found.manifest() | {"tables": [asdict(part) for part in parts]},
        found=found,
        drawings=list(_drawings(found)),
        parts=parts,
        versions=versions | {"gene sets and regulons": ", ".join(found.collections) or "none"},
    )


def require_page_libraries() -> None:
    """Raise an error if a library for pages is missing.

    Raises
    ------
    MissingDependencyError
        If jinja2, matplotlib or networkx is not installed.
    """
    for module in ("jinja2", "matplotlib", "networkx"):
        needed(module, "plot")


def _drawings(found: Contrast) -> Iterator[tuple[str, str]]:
    """Yield pictures as SVG, each with its caption."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    from cellkin.client import pl
    from cellkin.pages.drawing import SETTINGS, svg

    pictures: list[tuple[Any, str]] = [
        (
            pl.contrast,
            f"Genes by fold change and false discovery rate (FDR); right: {found.name_a}.",
        ),
        (
            pl.dotplot,
            "The genes that differ most: size is the share of cells with the gene, color the mean.",
        ),
    ]
    if found.sets.sets:
        said = "Gene sets by the larger of their FDRs under both nulls; gray: not called."
        pictures.append((pl.enrichment, said))
    if found.sets.called:
        said = "Called sets (squares) and their leading genes. Links are membership in a set."
        pictures.append((pl.gene_network, said))
    with mpl.rc_context(SETTINGS):
        for number, (draw, caption) in enumerate(pictures):
            figure = Figure(figsize=(6.4, 4.8), layout="tight")
            draw(found, ax=figure.add_subplot())
            yield svg(figure, f"f{number}"), caption


def _parts(found: Contrast) -> Iterator[Part]:
    """Yield the tables."""
    strongest = found.strongest(_GENES)
    up = [at for at in strongest if found.statistics[at] > 0]
    down = [at for at in strongest[::-1] if found.statistics[at] < 0]
    unit = "Means are of log1p of counts per 10,000; statistics are positive in group a."
    for name, rows in ((found.name_a, up), (found.name_b, down)):
        yield _part(f"Genes of {name}", unit, found, _GENE_COLUMNS, rows)
    note = (
        "A set is called if its FDR is at most 0.05 under both nulls: genes exchangeable, and "
        "group labels permuted over cells."
    )
    for name, positive in ((found.name_a, True), (found.name_b, False)):
        sets = found.sets.directed(positive)
        if sets.sets:
            first = range(min(_SETS, len(sets.sets)))
            yield _part(f"Gene sets of {name}", note, sets, _SET_COLUMNS, first)
    if found.regulators.regulators:
        note = "Activity by a univariate linear model (ULM) of the statistics; positive in group a."
        first = range(min(_REGULATORS, len(found.regulators.regulators)))
        yield _part("Regulators", note, found.regulators, (), first)
    if found.predicted_from_text.any():
        note = (
            "These genes were not measured: their statistic is predicted from measured genes of "
            "similar text. It is no test and no evidence, only a place to look."
        )
        by_size = sorted(
            (at for at, by_text in enumerate(found.predicted_from_text) if by_text),
            key=lambda at: -abs(found.statistics[at]),
        )
        yield _part("Predicted from text", note, found, _TEXT_COLUMNS, by_size[:_GENES])


def _part(
    heading: str, note: str, table: Tabular, names: Sequence[str], rows: Sequence[int]
) -> Part:
    columns = table.columns()
    names = names or list(columns)
    heads = [name.replace("_", " ") for name in names]
    return Part(heading, note, heads, [[shown(columns[n][at]) for n in names] for at in rows])
