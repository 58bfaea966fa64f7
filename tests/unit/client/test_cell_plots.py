"""Pictures of labels: one color a label everywhere, and what the other pictures show."""

from pathlib import Path
from typing import Any

import anndata
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from tests.unit.client.fake import FakeServer, client_of
from tests.unit.client.test_labeling import cells, labeled

from cellkin.client import pl, tl
from cellkin.client.annotate import write_annotation
from cellkin.client.labels.annotation import Annotation
from cellkin.client.results.layouts import Layout, LayoutCertificate
from cellkin.client.results.versions import Versions
from cellkin.pages.palette import COLORS, UNKNOWN_COLOR, label_colors
from cellkin.wire.errors import InvalidArgumentError, NotFoundError

mpl.use("agg")
N = 90
EXPECTED = {"alpha": COLORS[0], "beta": COLORS[1], "unknown": UNKNOWN_COLOR}
MADE = LayoutCertificate("umap", "umap-learn 0.5", 0, "text", 4, 4, 5, 0.9, 0.9, 0.5, 5, 4)


@pytest.fixture
def axes() -> Axes:
    return Figure().add_subplot()


@pytest.fixture
def adata() -> anndata.AnnData:
    """Cells of alpha and beta; those whose winner is delta are unknown."""
    found = cells(N)
    tl.annotate(found, "trio", client=client_of(FakeServer(9)))
    at = np.random.default_rng(0).normal(size=(N, 2))
    found.obsm["X_umap"] = found.obsm["X_cellkin_layout"] = at
    found.obs["own"] = pd.Categorical(found.obs["cellkin_winner"].astype(str))
    return found


def drawn_colors(axes: Any) -> dict[tuple[float, ...], str]:
    """Return the color of the point at each position."""
    return {
        tuple(np.round(at, 5)): to_hex(color)
        for dots in axes.collections
        if len(dots.get_offsets())  # legends of scanpy have none
        for at, color in zip(dots.get_offsets(), dots.get_facecolors(), strict=True)
    }


def right(adata: anndata.AnnData, colors: dict[str, str]) -> dict[tuple[float, ...], str]:
    places = np.round(adata.obsm["X_umap"], 5)
    return {
        tuple(at): colors[label]
        for at, label in zip(places, adata.obs["cellkin_label"], strict=True)
    }


def texts(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_colors_are_of_the_reference(adata: anndata.AnnData, axes: Any) -> None:
    assert list(adata.uns["cellkin_label_colors"]) == [*COLORS[:3], UNKNOWN_COLOR]
    assert list(adata.uns["cellkin_winner_colors"]) == [*COLORS[:3]]
    pl.labels(adata, ax=axes)
    assert drawn_colors(axes) == right(adata, EXPECTED)
    legend: Any = axes.get_legend()
    shown = [text.get_text() for text in legend.get_texts()]
    assert shown == ["alpha (30)", "beta (30)", "unknown (30)"]
    # Unknown cells are behind the others.
    dots: Any = axes.collections[0]
    assert [to_hex(color) for color in dots.get_facecolors()[:30]] == [UNKNOWN_COLOR] * 30
    # A part of the cells keeps the colors, although AnnData drops categories without cells.
    part = adata[adata.obs["cellkin_label"] != "alpha"].copy()
    alone = Figure().add_subplot()
    pl.labels(part, ax=alone)
    assert drawn_colors(alone) == right(part, EXPECTED)


@pytest.mark.filterwarnings("ignore:The set_bad function:PendingDeprecationWarning")
def test_scanpy_draws_the_same_colors(adata: anndata.AnnData, axes: Any) -> None:
    scanpy = pytest.importorskip("scanpy")
    other = Figure().add_subplot()
    scanpy.pl.umap(adata, color="cellkin_label", ax=other, show=False)
    pl.labels(adata, ax=axes)
    assert drawn_colors(other) == drawn_colors(axes)


def test_copies_of_files_have_the_colors(tmp_path: Path) -> None:
    cells(6).write_h5ad(tmp_path / "query.h5ad")
    found = labeled(6, {}).clustered("own", np.array(["a", "b"] * 3, object))
    write_annotation(found, tmp_path / "query.h5ad", tmp_path / "labels.h5ad", "mine")
    copy = anndata.read_h5ad(tmp_path / "labels.h5ad")
    for name in ("label", "winner", "runner_up", "cluster_label"):
        names = copy.obs[f"mine_{name}"].cat.categories
        colors = label_colors(["alpha", "beta", "delta"])
        assert list(copy.uns[f"mine_{name}_colors"]) == [colors[each] for each in names]


@pytest.mark.parametrize("n", [14, 46])
def test_many_labels_have_distinct_colors(axes: Any, n: int) -> None:
    names = [f"type {at}" for at in range(n)]
    many = anndata.AnnData(np.zeros((n, 1), np.float32))
    many.obs["cellkin_label"] = pd.Categorical(names, categories=names)
    many.obsm["X_umap"] = np.arange(2.0 * n).reshape(n, 2)
    pl.labels(many, ax=axes)
    assert set(drawn_colors(axes).values()) == set(COLORS[:n])


def test_what_is_asked_for_is_drawn(adata: anndata.AnnData, axes: Any) -> None:
    mine = {"alpha": "#ff0000", "beta": "#0000ff", "delta": "#00ff00"}
    pl.labels(
        adata, palette=mine, title="mine", size=7, legend_loc="on data", basis="umap", ax=axes
    )
    assert drawn_colors(axes) == right(adata, mine | {"unknown": UNKNOWN_COLOR})
    assert axes.get_title() == "mine"
    assert axes.get_xlabel() == "umap 1"
    dots: Any = axes.collections[0]
    assert dots.get_sizes().tolist() == [7]
    assert texts(axes) == ["alpha", "beta"]
    assert axes.get_legend() is None


def test_numbers_and_other_columns(adata: anndata.AnnData, axes: Any) -> None:
    adata.obs["depth"] = np.where(np.arange(N) % 9 == 0, np.nan, np.arange(N))
    pl.labels(adata, color="depth", ax=axes)
    missing, there = axes.collections[:2]
    assert (len(missing.get_offsets()), len(there.get_offsets())) == (10, 80)
    assert np.asarray(there.get_array()).max() == N - 1
    adata.obs["donor"] = [None if at < 5 else "d1" for at in range(N)]
    other = Figure().add_subplot()
    pl.labels(adata, color="donor", ax=other)
    assert sorted(drawn_colors(other).values()).count(UNKNOWN_COLOR) == 5


@pytest.mark.parametrize(
    ("given", "error", "match"),
    [
        ({"basis": "X_tsne"}, NotFoundError, "no coordinates X_tsne in obsm; compute"),
        ({"basis": "tsne"}, NotFoundError, "no coordinates tsne or X_tsne in obsm"),
        ({"basis": "X_line"}, InvalidArgumentError, "fewer than two columns"),
        ({"color": "depth"}, NotFoundError, r"no obs\['depth'\]\. There is: cellkin_label"),
        ({"key": "mine"}, NotFoundError, r"run cellkin\.client\.tl\.annotate first"),
        ({"legend_loc": "left"}, InvalidArgumentError, "give one of 'right margin', 'on data'"),
        ({"palette": {"alpha": "red"}}, InvalidArgumentError, "no color for 'beta'"),
        ({"palette": ["red"]}, InvalidArgumentError, "give a list of 4 colors"),
        ({"palette": "tab20"}, InvalidArgumentError, "the palette is 'tab20'"),
    ],
    ids=lambda value: str(value)[:20] if isinstance(value, dict) else "",
)
def test_what_is_wrong_is_said(
    adata: anndata.AnnData, axes: Any, given: dict[str, Any], error: type[Exception], match: str
) -> None:
    adata.obsm["X_line"] = np.ones((N, 1))
    with pytest.raises(error, match=match):
        pl.labels(adata, ax=axes, **given)


@pytest.mark.parametrize("plot", [pl.composition, pl.confusion])
def test_groups_without_cells_are_refused(adata: anndata.AnnData, plot: Any) -> None:
    adata.obs["own"] = pd.Categorical([None] * N, categories=["a"])
    with pytest.raises(InvalidArgumentError, match=r"no cell has a value in obs\['own'\]"):
        plot(adata, "own")


def test_no_cells_are_an_empty_picture(adata: anndata.AnnData, axes: Any) -> None:
    assert pl.labels(adata[:0].copy(), ax=axes) is axes
    assert pl.confidence(adata[:0].copy(), ax=axes) is axes


def test_a_query_on_its_reference(adata: anndata.AnnData, axes: Any) -> None:
    positions = np.array([[9, 9], [8, 9], [9, 8], [8, 8]], np.float32)
    layout = Layout(
        Versions(index="trio@2026-01-01.1"), MADE, ("alpha", "beta", "delta"), (), positions,
        np.array([0, 1, 2, 0], np.int32), np.full(4, -1, np.int32), np.zeros(4, np.uint8),
    )  # fmt: skip
    pl.on_reference(adata, layout, ax=axes)
    reference, query = axes.collections[:2]
    assert (len(reference.get_offsets()), len(query.get_offsets())) == (4, N)
    faint = [tuple(color[:3]) for color in np.asarray(reference.get_facecolors())]
    assert faint[0] == pytest.approx([0.75 + part / 4 for part in to_rgb(COLORS[0])])
    assert axes.get_title() == "90 cells on the 4 of trio@2026-01-01.1"
    adata.uns["X_cellkin_layout"] = {"versions": {"index": "duo@2026-01-01.1"}}
    with pytest.raises(InvalidArgumentError, match="placed in the layout of duo@"):
        pl.on_reference(adata, layout, ax=axes)
    del adata.obsm["X_cellkin_layout"]
    with pytest.raises(NotFoundError, match=r"run cellkin\.client\.tl\.place first"):
        pl.on_reference(adata, layout, ax=axes)


def test_confidence_has_a_line_for_each_label(adata: anndata.AnnData, axes: Any) -> None:
    pl.confidence(adata, ax=axes)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["alpha", "beta", "delta"]
    assert texts(axes) == [
        "30 cells, 0% unknown", "30 cells, 0% unknown", "30 cells, 100% unknown",
    ]  # fmt: skip
    medians = [line for line in axes.lines if line.get_marker() == "o"]
    assert [line.get_xdata()[0] for line in medians] == [0.75] * 3
    assert [to_hex(line.get_color()) for line in medians[:2]] == list(COLORS[:2])


def test_agreement_is_a_matrix(adata: anndata.AnnData, axes: Any) -> None:
    adata.obs.loc[adata.obs_names[:3], "own"] = None
    pl.confusion(adata, "own", ax=axes)
    shares = np.asarray(axes.images[0].get_array())
    np.testing.assert_allclose(shares, np.eye(3))
    columns, rows = (
        [label.get_text() for label in each]
        for each in (axes.get_xticklabels(), axes.get_yticklabels())
    )
    assert columns == ["alpha", "beta", "unknown"]
    assert rows == ["alpha (29)", "beta (29)", "delta (29)"]
    assert axes.get_title() == "100.0% of 58 labels agree"


def test_clusters_are_bars_of_labels(adata: anndata.AnnData, axes: Any) -> None:
    adata.obs["leiden"] = np.where(np.arange(N) % 3 == 1, "1", "0")
    pl.composition(adata, "leiden", ax=axes)
    widths = {bars.get_label(): [bar.get_width() for bar in bars] for bars in axes.containers}
    assert widths == {"alpha": [0.5, 0], "beta": [0, 1], "unknown": [0.5, 0]}
    assert texts(axes) == ["60", "30"]


def test_reliability_is_of_cells_of_known_types(adata: anndata.AnnData, axes: Any) -> None:
    adata.obs["type"] = np.where(np.arange(N) % 2, adata.obs["own"].astype(str), "beta")
    share = float((adata.obs["type"] == adata.obs["own"].astype(str)).mean())
    pl.reliability(adata, "type", ax=axes)
    assert axes.collections[-1].get_offsets().tolist() == [pytest.approx([0.75, share])]
    assert texts(axes) == ["90"]
    assert axes.get_title().startswith("90 cells, calibration error 0.")
    adata.obs["type"] = "T cell"
    with pytest.raises(InvalidArgumentError, match="is called like a label; give types by"):
        pl.reliability(adata, "type", ax=axes)


def test_colors_do_not_depend_on_the_query(adata: anndata.AnnData) -> None:
    part = tl.annotate(cells(3)[:2].copy(), "trio", client=client_of(FakeServer(9)), copy=True)
    for name in ("cellkin_label_colors", "cellkin_winner_colors", "cellkin_runner_up_colors"):
        np.testing.assert_array_equal(part.uns[name], adata.uns[name])
    assert label_colors(["b"])["b"] == COLORS[0]
    assert isinstance(tl.annotate([cells(9)], "trio", client=client_of(FakeServer(9))), Annotation)
