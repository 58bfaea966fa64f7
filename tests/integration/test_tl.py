"""AnnData in scanpy's manner: one answer whatever holds the cells, resumed or not, and again."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from tests.integration.live import Live

import cellkin.client as ck
from cellkin.client.annotate import annotate_file, write_annotation
from cellkin.client.labels import checkpoint, labeling
from cellkin.client.labels.annotation import Annotation
from cellkin.client.transport.errors import AnswerWarning
from cellkin.matrices.cells import open_cells
from cellkin.wire.errors import (
    CheckpointError,
    GenesUnmatchedError,
    InvalidArgumentError,
    NotFoundError,
    VersionMismatchError,
)
from cellkin.wire.terms import ExpressionUnits

pytestmark = [
    pytest.mark.integration,
    # The store's vectors are random, which is said of every label by text; one test looks for it.
    pytest.mark.filterwarnings("ignore:the gene vectors of random-64-7:UserWarning"),
    pytest.mark.filterwarnings("ignore:cells are compared by text though:UserWarning"),
]
MakeCells = Callable[..., anndata.AnnData]


@pytest.fixture(scope="module")
def client(live: Live) -> Iterator[ck.Client]:
    with ck.Client(live.address) as client:
        yield client


@pytest.fixture
def adata(make_cells: MakeCells) -> anndata.AnnData:
    return make_cells(90, 41)


@pytest.fixture
def path(adata: anndata.AnnData, tmp_path: Path) -> Path:
    adata.write_h5ad(tmp_path / "query.h5ad")
    return tmp_path / "query.h5ad"


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 8 cells, parts of 16."""
    monkeypatch.setattr(labeling, "MAX_CELLS", 8)
    monkeypatch.setattr(checkpoint, "PART_CELLS", 16)


def assert_same(found: pd.DataFrame, right: pd.DataFrame, atol: float = 0) -> None:
    assert list(found.columns) == list(right.columns)
    for name in right:
        left, other = (
            c.astype(object).fillna("") if c.dtype == object or c.dtype.name == "category" else c
            for c in (found[name], right[name])
        )
        if atol and left.dtype.kind == "f":
            np.testing.assert_allclose(left, other, atol=atol, err_msg=name)
        else:
            np.testing.assert_array_equal(left.to_numpy(), other.to_numpy(), name)


def results(adata: anndata.AnnData) -> pd.DataFrame:
    columns = [name for name in adata.obs if name.startswith("cellkin_")]
    frame = adata.obs[columns].rename(columns=lambda name: name.removeprefix("cellkin_"))
    frame.insert(0, "cell_id", adata.obs_names)
    return frame


@pytest.mark.parametrize("space", [None, "text"])
@pytest.mark.usefixtures("small_blocks")
def test_one_answer_whatever_holds_the_cells(
    client: ck.Client, adata: anndata.AnnData, path: Path, space: str | None
) -> None:
    given: dict[str, Any] = {"client": client, "space": space}
    right = annotate_file(client, path, "trio", space=space)
    frame = right.to_pandas()
    assert (frame["winner"] == adata.obs["cell_type"].to_numpy()).mean() > 0.9
    in_memory = ck.tl.annotate(adata, "trio", copy=True, **given)
    assert "cellkin" not in adata.uns
    assert_same(results(in_memory), frame)
    told = in_memory.uns["cellkin"]
    listed = right.manifest()
    assert list(told.pop("labels")) == listed.pop("labels") == right.report.labels
    records = told.pop("warnings").to_dict("records")
    assert records == [
        each | {"labels": ", ".join(each["labels"])} for each in listed.pop("warnings")
    ]
    assert told == listed
    by_path = ck.tl.annotate(path, "trio", **given)
    assert by_path.predictions.vectors.shape == (90, 0)
    assert_same(by_path.to_pandas(), frame)
    backed = anndata.read_h5ad(path, backed="r")
    assert ck.tl.annotate(backed, "trio", **given) is None
    assert_same(results(backed), frame)
    backed.file.close()
    # Cut into other blocks, probabilities and novelties may differ in their last bits.
    parts = (adata[start : start + 35].copy() for start in range(0, 90, 35))
    assert_same(ck.tl.annotate(parts, "trio", **given).to_pandas(), frame, atol=1e-5)
    for form in (sp.csc_matrix(adata.X), adata.X.toarray(), sp.csr_array(adata.X)):
        other = anndata.AnnData(form, obs=adata.obs.copy(), var=adata.var.copy())
        ck.tl.annotate(other, "trio", **given)
        assert_same(results(other), frame)
    part = ck.tl.annotate(adata[10:40], "trio", copy=True, **given)
    assert_same(results(part), frame[10:40], atol=1e-5)


def test_layers_and_raw_are_read(client: ck.Client, adata: anndata.AnnData) -> None:
    right = ck.tl.annotate(adata, "trio", client=client, copy=True)
    adata.layers["counts"] = adata.X.copy()
    adata.raw = adata
    counts = adata.X.toarray()
    adata.X = counts - counts.mean(axis=0)
    with (
        ck.Client("127.0.0.1:9") as nobody,
        pytest.raises(
            InvalidArgumentError, match=r"centered or scaled data .* has layer='counts', raw"
        ),
    ):
        # Refused before anything is sent.
        ck.tl.annotate(adata, "trio", client=nobody)
    by_layer = ck.tl.annotate(adata, "trio", client=client, layer="counts", copy=True)
    assert_same(results(by_layer), results(right))
    assert by_layer.uns["cellkin"]["layer"] == "counts"
    by_raw = ck.tl.annotate(adata, "trio", client=client, use_raw=True, copy=True)
    assert_same(results(by_raw), results(right))
    assert "cellkin_gene_id" in by_raw.raw.var
    for wrong in ({"layer": "x"}, {"layer": "counts", "use_raw": True}):
        with pytest.raises(InvalidArgumentError):
            ck.tl.annotate(adata, "trio", client=client, **wrong)


class Listening(ck.Client):
    """A client that remembers which messages it sent."""

    sent: list[Any]

    def _ask(self, call: Any) -> Any:
        self.sent.append(call.request)
        return super()._ask(call)

    def _open(self, stream: Any) -> Any:
        def message(block: Any) -> Any:
            self.sent.append(stream.message(block))
            return self.sent[-1]

        def then(report: Any) -> Any:
            self.sent.append(stream.then(report))
            return self.sent[-1]

        self.sent += stream.opening
        return super()._open(replace(stream, message=message, then=then))


@pytest.fixture
def listening(live: Live) -> Iterator[Listening]:
    with Listening(live.address) as client:
        client.sent = []
        yield client


def payloads(sent: list[Any]) -> list[str | None]:
    return [message and message.WhichOneof("payload") for message in sent]


def test_a_query_is_one_request_and_all_genes_are_reported(
    listening: Listening, client: ck.Client, adata: anndata.AnnData, tmp_path: Path
) -> None:
    strange = anndata.AnnData(
        sp.csr_matrix(np.full((90, 30), 5, np.float32)),
        obs=adata.obs,
        var=pd.DataFrame(index=[f"probe{i}" for i in range(29)] + ["SHARED"]),
    )
    mixed = anndata.concat([adata, strange], axis=1, merge="same")
    mixed = mixed[:, np.random.default_rng(1).permutation(mixed.n_vars)].copy()
    ck.tl.annotate(mixed, "trio", client=listening)
    # So few cells do not wait for the report, so nothing is asked after it.
    assert payloads(listening.sent) == ["header", "cells", None]
    assert list(listening.sent[0].header.genes) == list(mixed.var_names)
    assert mixed.uns["cellkin"]["gene_match"]["genes_given"] == "150"
    assert (mixed.var["cellkin_match"] == "unmatched").sum() == 29
    assert (mixed.var["cellkin_match"] == "ambiguous, not used").sum() == 1
    mixed.write_h5ad(tmp_path / "mixed.h5ad")
    with open_cells(tmp_path / "mixed.h5ad") as cells:
        _, answers = client.stream_predict_subtypes(
            "trio", cells.gene_names, cells.blocks(), units=ExpressionUnits.LINEAR
        )
        (whole,) = answers
    winners = mixed.obs["cellkin_winner_probability"].to_numpy()
    assert winners.tobytes() == whole.probabilities.tobytes()
    assert mixed.obs["cellkin_novelty"].to_numpy().tobytes() == whole.novelties.tobytes()
    shares = mixed.obsm["cellkin_route_shares"]
    assert shares.tobytes() == whole.route_shares.tobytes()
    known = ck.tl.annotate(adata, "trio", client=client, copy=True).obs
    assert list(known["cellkin_label"]) == list(mixed.obs["cellkin_label"])
    np.testing.assert_allclose(winners, known["cellkin_winner_probability"], atol=1e-6)
    total = np.asarray(mixed.X.sum(axis=1)).ravel()
    unlike = np.asarray(mixed[:, mixed.var["cellkin_text"] == "own summary"].X.sum(axis=1)).ravel()
    np.testing.assert_allclose(mixed.obs["cellkin_matched_share"], unlike / total, atol=1e-6)
    routes = dict(zip(mixed.uns["cellkin"]["routes"], shares.T, strict=True))
    np.testing.assert_allclose(routes["ambiguous, not used"], 5 / total, atol=1e-6)
    alien = anndata.AnnData(strange.X, var=pd.DataFrame(index=[f"q{i}" for i in range(30)]))
    with pytest.raises(GenesUnmatchedError):
        ck.tl.annotate(alien, "trio", client=client)


@pytest.mark.filterwarnings("ignore:the genes are foreign")
@pytest.mark.filterwarnings("ignore:the sample does not belong", "ignore:it was not possible to")
def test_a_background_is_sent_for_foreign_genes_alone(
    listening: Listening, make_cells: MakeCells
) -> None:
    ck.tl.annotate(make_cells(260, 44), "trio", client=listening)
    assert payloads(listening.sent) == ["header", None, "cells"]
    listening.sent = []
    mouse = make_cells(260, 43, [f"Gene{i}" for i in range(1, 121)])
    ck.tl.annotate(mouse, "trio", client=listening)
    assert payloads(listening.sent) == ["header", "background", "cells"]
    background = listening.sent[1].background
    assert len(background.indptr) // 8 - 1 == 260


def warned(caught: Any) -> list[str]:
    return [str(each.message) for each in caught if each.category is AnswerWarning]


def test_foreign_cells_have_their_own_mean_subtracted_and_are_checked(
    client: ck.Client, make_cells: MakeCells, tmp_path: Path
) -> None:
    mouse = make_cells(260, 43, [f"Gene{i}" for i in range(1, 121)])
    mouse.write_h5ad(tmp_path / "mouse.h5ad")
    with pytest.warns(AnswerWarning) as caught:
        ck.tl.annotate(mouse, "trio", client=client)
    told = mouse.uns["cellkin"]
    assert (told["space"], told["foreign"], told["own_mean"]) == ("text", True, True)
    reasons = ["FOREIGN_SAMPLE", "CONTROL_EMBEDDING"]
    assert list(told["warnings"]["reason"])[:2] == reasons
    assert warned(caught)[:2] == list(told["warnings"]["message"])[:2]
    assert told["calibration_error"] == 0
    with pytest.warns(AnswerWarning):
        by_path = ck.tl.annotate(tmp_path / "mouse.h5ad", "trio", client=client)
    assert_same(results(mouse), by_path.to_pandas())
    few = mouse[:150].copy()
    with pytest.warns(AnswerWarning) as caught:
        ck.tl.annotate(few, "trio", client=client)
    assert any("was not checked" in said for said in warned(caught))
    assert not few.uns["cellkin"]["own_mean"]
    assert few.uns["cellkin"]["sample_check"] == {}
    # Of cells that come one by one the mean is not known.
    with pytest.warns(AnswerWarning):
        assert not ck.tl.annotate([mouse], "trio", client=client).report.own_mean


def test_cells_that_are_mostly_too_far_are_warned_of(
    client: ck.Client, make_cells: MakeCells
) -> None:
    cells = make_cells(60, 44)
    cells.var_names = list(np.random.default_rng(0).permutation(cells.var_names))
    with pytest.warns(AnswerWarning, match="farther from the reference than its own"):
        ck.tl.annotate(cells, "trio", client=client)
    assert next(iter(cells.uns["cellkin"]["warnings"]["reason"])) == "MOST_CELLS_TOO_FAR"
    assert cells.obs["cellkin_unknown"].mean() > 0.5


class Interrupted(Exception):
    """What ends a run."""


def interrupted(blocks: Iterator[Any], after: int) -> Iterator[Any]:
    for at, block in enumerate(blocks):
        if at == after:
            raise Interrupted
        yield block


@pytest.mark.parametrize("holder", ["AnnData", "path", "blocks"])
@pytest.mark.usefixtures("small_blocks")
def test_an_interrupted_run_goes_on(
    live: Live,
    client: ck.Client,
    adata: anndata.AnnData,
    path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    holder: str,
) -> None:
    folder = tmp_path / "kept"

    def run(asked: ck.Client, stop: int | None = None, **given: Any) -> pd.DataFrame:
        held = {"AnnData": adata, "path": path, "blocks": [adata[:50].copy(), adata[50:].copy()]}
        with pytest.MonkeyPatch.context() as patch:
            if stop is not None:
                blocks = labeling._Sent.__iter__
                patch.setattr(
                    labeling._Sent, "__iter__", lambda self: interrupted(blocks(self), stop)
                )
            found = ck.tl.annotate(held[holder], "trio", client=asked, **given)
        return found.to_pandas() if isinstance(found, Annotation) else results(adata)

    whole = run(client)
    with pytest.raises(Interrupted):
        run(client, stop=7, resume=folder)
    state = json.loads((folder / "manifest.json").read_text())
    n_done = sum(part["n_cells"] for part in state["parts"])
    assert 0 < n_done < 90
    for other in ({"min_probability": 0.7}, {"novelty_limit": 9.0}, {"probabilities": True}):
        with pytest.raises(CheckpointError, match=f"{next(iter(other))} was"):
            run(client, resume=folder, **other)
    sent = 0
    send = labeling._Sent.__iter__

    def counted(self: Any) -> Iterator[Any]:
        nonlocal sent
        for cells in send(self):
            sent += cells.shape[0]
            yield cells

    monkeypatch.setattr(labeling._Sent, "__iter__", counted)
    assert_same(run(client, resume=str(folder)), whole)
    assert sent == 90 - n_done
    assert_same(run(client, resume=folder), whole)
    assert sent == 90 - n_done, "what is finished is not asked again"
    adata.X.data[0] += 1
    if holder != "path":
        with pytest.raises(CheckpointError, match="is of other cells"):
            run(client, resume=folder)


def test_clusters_get_a_label_each(
    client: ck.Client, adata: anndata.AnnData, tmp_path: Path
) -> None:
    adata.obs["leiden"] = pd.Categorical([str(i % 3) for i in range(90)])
    adata.obs.loc[adata.obs_names[0], "leiden"] = None
    ck.tl.annotate(adata, "trio", client=client, clusters="leiden", key_added="ck")
    table = adata.uns["ck"]["clusters"]
    assert list(table["label"]) == ["alpha", "beta", "delta"]
    assert table["n_cells"].sum() == 89
    assert table["confidence"].between(0.5, 1).all()
    split = adata.uns["ck"]["cluster_split"]
    assert list(split.groupby("cluster")["n_cells"].sum()) == list(table["n_cells"])
    adata.write_h5ad(tmp_path / "out.h5ad")
    back = anndata.read_h5ad(tmp_path / "out.h5ad").uns["ck"]["clusters"]
    assert list(back["split"]) == list(table["split"])
    labels = adata.obs["ck_cluster_label"]
    assert pd.isna(labels.iloc[0])
    assert (labels.iloc[1:].astype(str) == adata.obs["cell_type"].iloc[1:]).all()
    with pytest.raises(NotFoundError, match="no obs column 'louvain'; there is: cell_type"):
        ck.tl.annotate(adata, "trio", client=client, clusters="louvain")
    with pytest.raises(InvalidArgumentError, match="cells come in blocks; give AnnData"):
        ck.tl.annotate([adata], "trio", client=client, clusters="leiden")


def test_clusters_of_a_file_get_a_label_each(
    client: ck.Client, adata: anndata.AnnData, path: Path
) -> None:
    ck.tl.annotate(adata, "trio", client=client, clusters="cell_type")
    by_path = ck.tl.annotate(path, "trio", client=client, clusters="cell_type")
    assert_same(by_path.to_pandas().drop(columns="cluster"), results(adata))
    assert by_path.clusters.to_pandas().equals(
        pd.DataFrame(adata.uns["cellkin"]["clusters"]).reset_index(drop=True)
    )
    with (
        ck.Client("127.0.0.1:9") as nobody,
        pytest.raises(NotFoundError, match="no obs column 'leiden'; there is: cell_type"),
    ):
        # Refused before anything is sent.
        ck.tl.annotate(path, "trio", client=nobody, clusters="leiden")
    # Of an earlier call nothing is left.
    ck.tl.annotate(adata, "trio", client=client)
    assert "cellkin_cluster_label" not in adata.obs


@pytest.mark.parametrize(
    ("ask", "fragment"),
    [
        (lambda a, c: ck.tl.annotate(a, 3, client=c), r"index is 3 \(int\)"),
        (lambda a, c: ck.tl.annotate(a, "trio", client="here"), "client is 'here'"),
        (lambda a, c: ck.tl.annotate(pd.DataFrame(), "trio", client=c), "given as DataFrame"),
        (lambda a, c: ck.tl.annotate(a, "trio", client=c, min_probability="x"), "give a number"),
        (lambda a, c: ck.tl.annotate(a, "trio", client=c, exclude_batches="d0"), "list of str"),
        (lambda a, c: ck.tl.search_cells(a, "trio", client=c, k=0), "k is 0"),
        (
            lambda a, c: ck.tl.search_cells(a, "trio", client=c, filters=["x"]),  # type: ignore[list-item]
            "of CellFilter",
        ),
        (lambda a, c: ck.tl.explain(a[:2].copy(), "trio", client=c, n_genes=0), "n_genes is 0"),
        (lambda a, c: ck.reproduce(pd.DataFrame(), client=c), "given as DataFrame"),
        (lambda a, c: ck.pl.labels(pd.DataFrame()), "given as DataFrame"),
        (lambda a, c: c.set_alias("index", "x", "y"), "kind is 'index'"),
    ],
)
def test_wrong_arguments_are_errors_of_cellkin(
    client: ck.Client, adata: anndata.AnnData, ask: Any, fragment: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=fragment):
        ask(adata, client)


@pytest.mark.filterwarnings("ignore:Observation names are not unique")
def test_cells_of_one_name_are_labeled_and_warned_of(
    client: ck.Client, adata: anndata.AnnData
) -> None:
    right = ck.tl.annotate([adata], "trio", client=client)
    adata.obs_names = ["cell"] * 90
    with pytest.warns(AnswerWarning, match="89 of 90 cells have the name of a cell before"):
        found = ck.tl.annotate([adata], "trio", client=client)
    assert list(found.labels) == list(right.labels)


def test_vectors_hits_and_explanations(
    client: ck.Client, adata: anndata.AnnData, tmp_path: Path
) -> None:
    ck.tl.embed(adata, "trio", client=client, space="text", resume=tmp_path / "kept")
    vectors = adata.obsm["X_cellkin"]
    assert vectors.shape == (90, 64)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert adata.uns["X_cellkin"]["space"] == "text"
    ck.tl.search_cells(adata, "trio", k=4, client=client, space="text")
    right = client.search_cells("trio", vectors, k=4).hits
    assert adata.obsm["cellkin_hits"].ravel().tolist() == right.rows.tolist()
    np.testing.assert_array_equal(adata.obsm["cellkin_hits_similarity"].ravel(), right.similarities)
    met = adata.uns["cellkin_hits"]["cells"].set_index("row")
    assert list(met.loc[right.rows, "cell_id"]) == list(right.cell_ids)
    only = [ck.CellFilter("id", ["cell1-4"])]
    ck.tl.search_cells(adata, "trio", k=2, filters=only, key_added="one", client=client)
    assert adata.obsm["one"].tolist() == [[4, -1]] * 90
    assert np.isnan(adata.obsm["one_similarity"][:, 1]).all()
    ck.tl.explain(adata, "trio", n_genes=5, client=client)
    told = adata.uns["cellkin_explained"]
    assert list(told["cells"].index) == list(adata.obs_names)
    parts = told["genes"].groupby("cell")["contribution"].sum()[adata.obs_names]
    cells = told["cells"]
    np.testing.assert_allclose(parts + cells["remainder"], cells["score"], atol=1e-5)
    assert list(told["genes"]["cell"].unique()) == list(adata.obs_names)
    assert told["space"] == "expression"
    ck.tl.search_cells(adata, "trio", k=4, key_added="shared", client=client)
    assert adata.uns["shared"]["space"] == "expression"
    adata.write_h5ad(tmp_path / "out.h5ad")
    back = anndata.read_h5ad(tmp_path / "out.h5ad")
    assert back.uns["cellkin_hits"]["versions"] == adata.uns["cellkin_hits"]["versions"]


def test_labels_are_reproduced(
    client: ck.Client, adata: anndata.AnnData, path: Path, tmp_path: Path
) -> None:
    given: dict[str, Any] = {"min_probability": 0.8, "space": "text", "exclude_batches": ["d1"]}
    ck.tl.annotate(adata, "trio", client=client, **given)
    again = ck.reproduce(adata, client=client)
    assert again.same
    assert (again.n_cells, again.largest_change, again.cell_ids) == (90, 0, ())
    assert again.versions.server == again.server_before
    write_annotation(annotate_file(client, path, "trio"), path, tmp_path / "out.h5ad")
    assert ck.reproduce(tmp_path / "out.h5ad", client=client).same
    other = adata.copy()
    was = str(other.obs["cellkin_label"].iloc[4])
    other.obs["cellkin_label"] = other.obs["cellkin_label"].astype(str)
    other.obs.iloc[4, other.obs.columns.get_loc("cellkin_label")] = "gamma"
    changed = ck.reproduce(other, client=client)
    assert not changed.same
    assert changed.to_pandas().to_numpy().tolist() == [["cell41-4", "gamma", was]]
    moved = adata.copy()
    moved.uns["cellkin"]["versions"]["corpus"] = "genes@2001-01-01.1"
    with pytest.raises(VersionMismatchError):
        ck.reproduce(moved, client=client)
    with pytest.raises(NotFoundError, match=r"no uns\['x'\]"):
        ck.reproduce(adata, client=client, key="x")
    del moved.uns["cellkin"]["taxon"]
    with pytest.raises(InvalidArgumentError, match="is no manifest of"):
        ck.reproduce(moved, client=client)


def test_pictures(client: ck.Client, adata: anndata.AnnData) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    with pytest.raises(NotFoundError, match=r"run cellkin\.client\.tl\.annotate first"):
        ck.pl.labels(adata)
    ck.tl.annotate(adata, "trio", client=client)
    with pytest.raises(NotFoundError, match="no coordinates X_umap or X_tsne"):
        ck.pl.labels(adata)
    ck.tl.embed(adata, "trio", client=client)
    ax = ck.pl.labels(adata, basis="cellkin")
    assert sum(len(points.get_offsets()) for points in ax.collections) == 90
    assert ck.pl.labels(adata, basis="X_cellkin", ax=ax) is ax
    assert len(ck.pl.confidence(adata).get_yticklabels()) == 3
    found = client.search_genes("GENE5", taxon=9606, embedding="random:64:7", k=3)
    axes = ck.pl.gene_neighborhood(found)
    shown = [at for at, _ in axes.collections[-1].get_offsets()]
    assert shown == pytest.approx(found.similarities.tolist())
    assert axes.get_title(loc="left").startswith("nearest to GENE5 (human)\nby random-64-7@")
    matplotlib.pyplot.close("all")


def test_labels_are_tables(client: ck.Client, adata: anndata.AnnData) -> None:
    adata.X.data[adata.X.indptr[4] : adata.X.indptr[5]] = 0
    found = ck.tl.annotate([adata], "trio", client=client)
    table = found.to_arrow()
    assert table.column_names == list(found.to_pandas().columns)
    assert table["winner"].null_count == 1
    assert table["reason"][4].as_py() == "no gene matched"


def test_no_cells_have_no_labels(client: ck.Client, adata: anndata.AnnData) -> None:
    none = adata[:0].copy()
    ck.tl.annotate(none, "trio", client=client)
    assert list(none.obs["cellkin_label"].cat.categories) == ["alpha", "beta", "delta", "unknown"]
    assert ck.reproduce(none, client=client).same
    ck.tl.search_cells(none, "trio", k=3, client=client)
    assert none.obsm["cellkin_hits"].shape == (0, 3)


def test_the_environment_says_which_server(
    live: Live, adata: anndata.AnnData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CELLKIN_ADDRESS", live.address)
    ck.tl.annotate(adata, "trio")
    assert ck.reproduce(adata).same


def test_blocks_that_do_not_belong_together_are_refused(
    client: ck.Client, adata: anndata.AnnData
) -> None:
    with pytest.raises(InvalidArgumentError, match="no block of cells was given"):
        ck.tl.annotate([], "trio", client=client)
    with pytest.raises(InvalidArgumentError, match="the block after 90 cells has other genes"):
        ck.tl.annotate([adata, adata[:, ::-1].copy()], "trio", client=client)


def test_blocks_of_several_units_are_each_read_by_their_own(
    client: ck.Client, adata: anndata.AnnData
) -> None:
    logged = adata.copy()
    logged.X = adata.X.log1p()
    logged.obs_names = [f"{name}-log" for name in adata.obs_names]
    ck.tl.annotate(adata, "trio", client=client)
    with pytest.warns(AnswerWarning, match=r"several units \(90 linear, 90 log1p\)"):
        found = ck.tl.annotate([adata, logged], "trio", client=client)
    labels = adata.obs["cellkin_label"].astype(str).to_list()
    assert list(found.labels) == labels * 2


def test_rows_of_two_units_are_each_read_by_their_own(
    client: ck.Client, adata: anndata.AnnData
) -> None:
    mixed = adata.copy()
    mixed.X = sp.vstack([adata.X[:50], adata.X[50:].log1p()], format="csr")
    ck.tl.annotate(adata, "trio", client=client)
    with pytest.warns(AnswerWarning, match=r"40 are log1p of counts and 50 are counts"):
        ck.tl.annotate(mixed, "trio", client=client)
    assert (mixed.obs["cellkin_label"] == adata.obs["cellkin_label"]).all()
    assert mixed.uns["cellkin"]["units"].startswith("counts in ")
