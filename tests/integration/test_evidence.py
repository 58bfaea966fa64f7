"""What is said beside a label: probabilities of all labels, hits, explanations of groups."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
from tests.integration.live import Live

import cellkin.client as ck
from cellkin.wire.errors import InvalidArgumentError, NotFoundError
from cellkin.wire.terms import ExpressionUnits

pytestmark = pytest.mark.integration
MakeCells = Callable[..., anndata.AnnData]


@pytest.fixture(scope="module")
def client(live: Live) -> Iterator[ck.Client]:
    with ck.Client(live.address) as client:
        yield client


@pytest.fixture
def adata(make_cells: MakeCells) -> anndata.AnnData:
    return make_cells(90, 41)


@pytest.mark.filterwarnings("ignore:Writing zarr v2 data:UserWarning")
def test_the_probability_is_that_of_the_label(
    client: ck.Client, adata: anndata.AnnData, tmp_path: Path
) -> None:
    ck.tl.annotate(adata, "trio", client=client, novelty_limit=0.5, probabilities=True)
    obs, uns = adata.obs, adata.uns["cellkin"]
    unknown = obs["cellkin_unknown"].to_numpy()
    assert 0 < unknown.sum() < 90
    assert obs["cellkin_probability"].isna().tolist() == unknown.tolist()
    known = obs[~unknown]
    assert (known["cellkin_probability"] == known["cellkin_winner_probability"]).all()
    assert list(known["cellkin_label"].astype(str)) == list(known["cellkin_winner"].astype(str))
    every = pd.DataFrame(adata.obsm["cellkin_probabilities"], columns=uns["labels"])
    assert every.shape == (90, 3)
    np.testing.assert_allclose(every.sum(axis=1), 1, atol=1e-5)
    ranked = np.sort(every, axis=1)
    np.testing.assert_allclose(ranked[:, 2], obs["cellkin_winner_probability"], atol=1e-6)
    np.testing.assert_allclose(ranked[:, 1], obs["cellkin_runner_up_probability"], atol=1e-6)
    seconds = [row.nlargest(2).iloc[1] for _, row in every.iterrows()]
    at = [every.loc[i, name] for i, name in enumerate(obs["cellkin_runner_up"])]
    assert at == pytest.approx(seconds)
    assert uns["strictness"] == {"novelty_limit": 0.5}
    assert uns["novelty_limit"] == 0.5
    adata.write_h5ad(tmp_path / "out.h5ad")
    assert ck.reproduce(tmp_path / "out.h5ad", client=client).same
    adata.write_zarr(tmp_path / "out.zarr")
    for back in (
        anndata.read_h5ad(tmp_path / "out.h5ad"),
        anndata.read_zarr(tmp_path / "out.zarr"),
    ):
        told = back.uns["cellkin"]
        assert list(told["labels"]) == ["alpha", "beta", "delta"]
        assert list(told["warnings"].columns) == ["reason", "message", "labels"]
        assert told["sample_check"] == {}
        np.testing.assert_array_equal(back.obsm["cellkin_probabilities"], every)


def test_strictness_is_a_limit_or_a_share(client: ck.Client, adata: anndata.AnnData) -> None:
    def limit(**given: Any) -> float:
        found = ck.tl.annotate(adata, "trio", client=client, copy=True, **given)
        return float(found.uns["cellkin"]["novelty_limit"])

    assert limit(novelty_limit=2.5) == 2.5
    assert limit(false_alarms=0.3) < limit(false_alarms=0.02)
    with pytest.raises(InvalidArgumentError, match=r"novelty_limit 1 and false_alarms 0\.1"):
        limit(novelty_limit=1.0, false_alarms=0.1)
    with pytest.raises(InvalidArgumentError, match=r"from 0\.001 to 0\.5"):
        limit(false_alarms=0.9)


def test_hits_as_a_table(client: ck.Client, adata: anndata.AnnData, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"run cellkin\.client\.tl\.search_cells first"):
        ck.tl.hits_table(adata)
    ck.tl.search_cells(adata, "trio", k=4, client=client)
    table = ck.tl.hits_table(adata)
    assert list(table.columns) == ["cell", "rank", "neighbor", "label", "batch", "cosine"]
    right = client.search_cells(
        "trio", adata.X, k=4, genes=list(adata.var_names), units=ExpressionUnits.LINEAR
    ).hits
    assert list(table["neighbor"]) == list(right.cell_ids)
    assert list(table["batch"]) == list(right.batches)
    assert table["rank"].tolist() == [1, 2, 3, 4] * 90
    assert list(table["cell"].unique()) == list(adata.obs_names)
    np.testing.assert_array_equal(table["cosine"], right.similarities)
    adata.write_h5ad(tmp_path / "out.h5ad")
    back = anndata.read_h5ad(tmp_path / "out.h5ad")
    pd.testing.assert_frame_equal(ck.tl.hits_table(back), table)
    part = ck.tl.hits_table(adata[[7, 3]])
    assert list(part["cell"].unique()) == [adata.obs_names[7], adata.obs_names[3]]
    only = [ck.CellFilter("id", ["cell1-4"])]
    ck.tl.search_cells(adata, "trio", k=2, filters=only, key_added="one", client=client)
    assert ck.tl.hits_table(adata, "one")["neighbor"].tolist() == ["cell1-4"] * 90


@pytest.mark.parametrize("space", ["text", "expression"])
@pytest.mark.filterwarnings("ignore:the gene vectors of random-64-7")
@pytest.mark.filterwarnings("ignore:cells are compared by text though")
def test_groups_are_explained_against_their_runners_up(
    client: ck.Client, adata: anndata.AnnData, tmp_path: Path, space: str
) -> None:
    given: dict[str, Any] = {"client": client, "space": space}
    ck.tl.annotate(adata, "trio", novelty_limit=0.5, **given)
    ck.tl.explain(adata, "trio", by="cellkin_label", n_genes=6, **given)
    told = adata.uns["cellkin_explained"]
    genes, groups = told["genes"], told["groups"].set_index("group")
    assert list(genes.columns) == [
        "group", "label", "against", "n_cells", "gene", "contribution", "weight", "gene_id",
        "mean_in", "mean_out", "detected_in", "detected_out", "text",
    ]  # fmt: skip
    counts = adata.obs["cellkin_label"].value_counts()
    assert dict(groups["n_cells"]) == {name: n for name, n in counts.items() if n}
    assert (groups["n_explained"] == groups["n_cells"]).all()
    assert "unknown" in groups.index
    for name, row in groups.iterrows():
        assert row["label"] == name or (name, row["chosen"]) == ("unknown", "most probable label")
        assert row["against"] not in ("", row["label"])
        part = genes[genes["group"] == name]
        assert len(part) == 6
        inside = (adata.obs["cellkin_label"] == name).to_numpy()
        detected = (adata[:, part["gene"]].X > 0).toarray()
        np.testing.assert_allclose(part["detected_in"], detected[inside].mean(axis=0), atol=1e-6)
        np.testing.assert_allclose(part["detected_out"], detected[~inside].mean(axis=0), atol=1e-6)
        assert part["contribution"].sum() + row["remainder"] == pytest.approx(
            row["score"], abs=1e-5
        )
    # The same as the client says of the same cells.
    name = next(name for name in groups.index if name != "unknown")
    mean = client.explain_cell(
        "trio", list(adata.var_names), adata[adata.obs["cellkin_label"] == name].X.tocsr(),
        units=ExpressionUnits.LINEAR, space=space, label=name,
        against=groups.loc[name, "against"], mean=True, n_genes=6,
    )  # fmt: skip
    assert list(genes.loc[genes["group"] == name, "gene"]) == list(mean.cells[0].symbols)
    assert groups.loc[name, "score"] == pytest.approx(mean.cells[0].score)
    adata.write_h5ad(tmp_path / "out.h5ad")
    assert told["by"] == "cellkin_label"


def test_groups_of_any_column(client: ck.Client, adata: anndata.AnnData) -> None:
    adata.obs["leiden"] = pd.Categorical(
        ["x"] * 45 + ["y"] * 44 + [None], categories=["x", "y", "z"]
    )
    with pytest.raises(NotFoundError, match=r"the group 'x' is called none of the index's labels"):
        ck.tl.explain(adata, "trio", by="leiden", client=client)
    ck.tl.explain(adata, "trio", by="cell_type", client=client)
    groups = adata.uns["cellkin_explained"]["groups"]
    assert list(groups["label"]) == ["alpha", "beta", "delta"]
    assert list(groups["against"]) == ["", "", ""], "nothing is known of runners-up"
    ck.tl.explain(adata, "trio", by="leiden", label="beta", against="alpha", client=client)
    groups = adata.uns["cellkin_explained"]["groups"]
    assert list(groups["n_cells"]) == [45, 44]
    assert list(groups["chosen"]) == ["asked for"] * 2
    assert list(groups["against"]) == ["alpha"] * 2
    with pytest.raises(NotFoundError, match="no obs column 'louvain'; there is: cell_type"):
        ck.tl.explain(adata, "trio", by="louvain", client=client)
    with pytest.raises(InvalidArgumentError, match="has no label 'gamma'"):
        ck.tl.explain(adata, "trio", by="leiden", label="gamma", client=client)


def test_a_cell_is_explained_against_another_label(
    client: ck.Client, adata: anndata.AnnData
) -> None:
    some = adata[:5].copy()
    scores = {}
    for label, against in (("alpha", ""), ("beta", ""), ("alpha", "beta")):
        ck.tl.explain(some, "trio", label=label, against=against, client=client)
        scores[label, against] = some.uns["cellkin_explained"]["cells"]["score"].to_numpy()
    np.testing.assert_allclose(
        scores["alpha", "beta"], scores["alpha", ""] - scores["beta", ""], atol=1e-5
    )


@pytest.mark.parametrize("cells", [pd.DataFrame({"a": [1]}), np.ones((2, 3)), 7, ["a", "b"]])
def test_cells_held_by_anything_else_are_refused(client: ck.Client, cells: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"give AnnData|is a str; give AnnData objects"):
        ck.tl.annotate(cells, "trio", client=client)
    for tool in (ck.tl.embed, ck.tl.search_cells, ck.tl.explain):
        with pytest.raises(InvalidArgumentError, match="give AnnData"):
            tool(cells, "trio", client=client)


def test_an_index_that_is_no_name_is_refused(client: ck.Client, adata: anndata.AnnData) -> None:
    tools = (ck.tl.annotate, ck.tl.embed, ck.tl.search_cells, ck.tl.explain)
    for tool in tools:
        with pytest.raises(InvalidArgumentError, match="index is 3"):
            tool(adata, 3, client=client)
