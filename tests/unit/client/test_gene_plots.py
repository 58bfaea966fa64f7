"""Pictures of contrasts and gene sets show what is in the result."""

from dataclasses import replace
from typing import Any

import anndata
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from tests.unit.client.test_contrasts import A_CONTRAST

from cellkin.client import pl
from cellkin.client.results.enrichment import EnrichedSets
from cellkin.client.results.genes import read_neighborhood
from cellkin.v1 import gene_service_pb2 as wire
from cellkin.v1.cell_service_pb2 import Warning as WireWarning
from cellkin.wire.errors import InvalidArgumentError, NotFoundError

mpl.use("agg")
UNCALLED = EnrichedSets(A_CONTRAST.sets.sets[2:])


@pytest.fixture
def axes() -> Axes:
    return Figure().add_subplot()


def texts(axes: Any) -> set[str]:
    return {text.get_text() for text in axes.texts}


def test_a_volcano_has_the_measured_genes(axes: Axes) -> None:
    assert pl.contrast(A_CONTRAST, ax=axes) is axes
    assert texts(axes) == {"RHO", "PDE6B", "GAPDH", "ARR3"}
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == [
        "FDR above 0.05 (1)", "rod (2)", "others (1)",
    ]  # fmt: skip
    # A rate of 0 has a finite height.
    none = replace(A_CONTRAST, fdrs=np.zeros(5))
    pl.contrast(none, ax=Figure().add_subplot())


def test_bars_point_to_their_group(axes: Axes) -> None:
    pl.enrichment(A_CONTRAST, ax=axes)
    widths = [bar.get_width() for bar in axes.patches]  # type: ignore[attr-defined]
    np.testing.assert_allclose(widths, [5.5229, 0.0458, -5.5229], atol=1e-3)
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["phototransduction", "glycolysis", "cone <development>"]
    colors = [bar.get_facecolor() for bar in axes.patches]
    assert len(set(colors)) == 3
    alone = Figure().add_subplot()
    pl.enrichment(A_CONTRAST.sets, ax=alone)
    assert min(bar.get_width() for bar in alone.patches) > 0  # type: ignore[attr-defined]
    with pytest.raises(InvalidArgumentError, match="no gene set was tested"):
        pl.enrichment(EnrichedSets(()))


def test_dots_are_as_large_as_detection(axes: Axes) -> None:
    pl.dotplot(A_CONTRAST, n_genes=1, ax=axes)
    dots: Any = axes.collections[0]
    np.testing.assert_allclose(dots.get_sizes(), 4 + 116 * np.array([0.9, 0.9, 0.4, 0.4]), 1e-6)
    np.testing.assert_allclose(dots.get_array(), [2, 2, 1, 1])
    assert [label.get_text() for label in axes.get_xticklabels()] == ["RHO", "ARR3"]


def test_a_network_links_called_sets_and_their_genes(axes: Axes) -> None:
    pl.gene_network(A_CONTRAST, ax=axes)
    assert texts(axes) == {"RHO", "PDE6B", "ARR3", "phototransduction", "cone <development>"}
    edges: Any = axes.collections[0]
    assert len(edges.get_segments()) == 3
    pl.gene_network(A_CONTRAST.sets, ax=Figure().add_subplot())
    with pytest.raises(InvalidArgumentError, match="no gene set is called"):
        pl.gene_network(UNCALLED)


def test_dots_of_explained_groups(axes: Axes) -> None:
    genes = pd.DataFrame(
        {
            "group": ["rod"] * 3 + ["cone"] * 2, "gene": ["RHO", "SAG", "XIST", "ARR3", "GNAT2"],
            "contribution": [2.0, 1.0, -3.0, 1.5, 0.5], "mean_in": [3.0, 2.0, 0.0, 2.5, 1.0],
            "mean_out": [0.1] * 5, "detected_in": [1.0, 0.8, 0.1, 0.9, 0.5],
            "detected_out": [0.1] * 5,
        }
    )  # fmt: skip
    adata = anndata.AnnData(np.zeros((1, 1), np.float32))
    with pytest.raises(NotFoundError, match=r"run cellkin\.client\.tl\.explain with by="):
        pl.dotplot(adata)
    adata.uns["cellkin_explained"] = {"genes": genes, "groups": pd.DataFrame()}
    pl.dotplot(adata, n_genes=2, ax=axes)
    # Genes against the label are left out.
    assert texts(axes) == {"RHO", "SAG", "ARR3", "GNAT2"}
    assert [label.get_text() for label in axes.get_yticklabels()] == ["rod", "cone"]
    dots: Any = axes.collections[0]
    np.testing.assert_allclose(dots.get_array(), [3, 2, 2.5, 1, *[0.1] * 4])


@pytest.mark.parametrize(
    ("asked", "text", "title"),
    [(["INS"], "", "nearest to INS (human)"), ([], "insulin secretion", "nearest to insulin secr")],
)
def test_neighbors_have_their_percentile(
    axes: Axes, asked: list[str], text: str, title: str
) -> None:
    def gene(symbol: str) -> wire.GeneRecord:
        return wire.GeneRecord(gene_id=7, taxon=9606, symbol=symbol)

    hits = [
        wire.GeneHit(gene=gene("IGF1"), similarity=0.8, background_percentile=0.99987),
        wire.GeneHit(gene=gene("GCG"), similarity=0.7, background_percentile=0.5),
    ]
    partial = WireWarning(reason="PARTIAL_EMBEDDING", message="others are not found")
    message = wire.SearchGenesResponse(
        gene_set=map(gene, asked), hits=hits, n_searched=90, warnings=[partial]
    )
    found = read_neighborhood((), message, text)
    pl.gene_neighborhood(found, ax=axes)
    assert axes.get_title(loc="left").startswith(title)
    assert {">99.9%", "50.0%"} < texts(axes)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["IGF1", "GCG"]
    assert repr(found).startswith(f"<GeneNeighborhood: 2 genes {title}")
    assert "it is no evidence that genes interact" in found._repr_html_()
    assert [warning.reason for warning in found.warnings] == ["PARTIAL_EMBEDDING"]
    assert "others are not found" in found._repr_html_()
