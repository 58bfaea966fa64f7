"""One request a query: what is sent, what is kept, what is said of the labels."""

from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from tests.unit.client.fake import FakeServer, client_of

from cellkin.client import tl
from cellkin.client.labels import labeling
from cellkin.client.labels.annotation import Annotation
from cellkin.client.labels.labeling import Settings, label
from cellkin.client.queries import BlockwiseQuery, Query, WholeQuery
from cellkin.client.transport.errors import AnswerWarning
from cellkin.matrices.held import held_cells
from cellkin.matrices.options import X
from cellkin.v1 import cell_service_pb2 as wire
from cellkin.wire.errors import CheckpointError, InvalidArgumentError

FOREIGN: dict[str, Any] = {
    "foreign": True,
    "center": wire.CENTER_QUERY,
    "warnings": [
        wire.Warning(reason="WEAK_LABELS", message="delta is weak", labels=["delta"]),
    ],
    "sample_check": wire.SampleCheck(
        verdict=wire.SAMPLE_VERDICT_BELONGS, n_cells=250, n_genes=3, confirmed_share=0.75,
        labels=[
            wire.LabelCheck(label="alpha", n_cells=200, similarity=0.75, confirmed=True,
                            novelty_limit=4),
            wire.LabelCheck(label="delta", n_cells=50, similarity=0.25, novelty_limit=np.inf),
        ],
    ),
}  # fmt: skip


def cells(n: int) -> anndata.AnnData:
    counts = sp.csr_matrix(1 + np.arange(n * 3, dtype=np.float32).reshape(n, 3) % 5)
    return anndata.AnnData(
        counts,
        pd.DataFrame(index=[f"c{at}" for at in range(n)]),
        pd.DataFrame(index=["A", "B", "C"]),
    )


def query(n: int) -> Query:
    return WholeQuery(held_cells(cells(n)))


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labeling, "MAX_CELLS", 100)


def test_few_cells_take_one_round_trip() -> None:
    server = FakeServer(wanted=3072)
    found = label(client_of(server), query(150), Settings("trio", taxon=9606))
    assert server.names() == ["header", "cells", "cells"]
    assert server.sent[0][0].header.taxon == 9606
    assert len(found.cell_ids) == len(found.predictions.winners) == 150
    assert found.predictions.winners.tolist() == [at % 3 for at in range(150)]
    np.testing.assert_allclose(found.mass, np.asarray(cells(150).X.sum(axis=0)).ravel())


def test_a_background_of_many_cells_is_drawn_evenly() -> None:
    server = FakeServer(wanted=256, report=FOREIGN)
    found = label(client_of(server), query(1000), Settings("trio"))
    assert server.names() == ["header", "background", *["cells"] * 10]
    assert len(server.sent[0][1].background.indptr) // 8 - 1 == 256
    assert (found.report.own_mean, found.report.background_cells) == (True, 0)
    server = FakeServer(wanted=0)
    label(client_of(server), query(1000), Settings("trio"))
    assert server.names() == ["header", *["cells"] * 10]
    server = FakeServer(wanted=3072)
    one_by_one = BlockwiseQuery([cells(150), cells(150)], X)
    label(client_of(server), one_by_one, Settings("trio"))
    assert server.names() == ["header", *["cells"] * 4]


def test_a_run_goes_on_with_the_same_query_alone(tmp_path: Path) -> None:
    server, folder = FakeServer(wanted=256, report=FOREIGN), tmp_path / "kept"
    whole = label(client_of(server), query(1000), Settings("trio"), resume=folder)
    again = label(client_of(server), query(1000), Settings("trio"), resume=folder)
    assert server.names(1) == ["header", "background"], "no cell is asked about twice"
    assert again.predictions.winners.tobytes() == whole.predictions.winners.tobytes()
    assert again.cell_ids == whole.cell_ids
    assert server.opened == 0
    for change in ({"novelty_limit": 1.0}, {"false_alarms": 0.1}, {"probabilities": True}):
        with pytest.raises(CheckpointError, match=f"{next(iter(change))} was"):
            label(client_of(server), query(1000), Settings("trio", **change), resume=folder)
    assert server.opened == 0, "a refused folder ends the stream"
    server.report = FOREIGN | {"k": 11}
    with pytest.raises(CheckpointError, match="k was 10, is 11"):
        label(client_of(server), query(1000), Settings("trio"), resume=folder)


def test_nothing_is_written_without_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    label(client_of(FakeServer(wanted=256)), query(300), Settings("trio"))
    assert list(tmp_path.iterdir()) == []


def labeled(n: int, report: dict[str, Any], **settings: Any) -> Annotation:
    server = FakeServer(wanted=3072, report=report)
    found = label(client_of(server), query(n), Settings("trio", **settings))
    return Annotation.of(found, X)


def test_labels_as_tables() -> None:
    found = labeled(250, FOREIGN)
    columns = found.label_columns()
    assert columns["label"] == ["alpha", "beta", "unknown"]
    assert columns["n_cells"].tolist() == [84, 83, 83]
    assert columns["share"].tolist() == [84 / 250, 83 / 250, 83 / 250]
    np.testing.assert_array_equal(columns["mean_probability"], [0.75, 0.75, np.nan])
    assert columns["forced"] == ["", "", "delta"]
    assert columns["n_forced"].tolist() == [0, 0, 83]
    assert found.forced_counts() == {"delta": 83}
    table = found.to_pandas()
    assert list(table.columns[:7]) == [
        "cell_id", "label", "winner", "probability", "winner_probability", "runner_up",
        "runner_up_probability",
    ]  # fmt: skip
    assert table["runner_up"][:3].tolist() == ["beta", "delta", "alpha"]
    np.testing.assert_array_equal(table["probability"][:3], [0.75, 0.75, np.nan])
    assert "cellkin_probabilities" not in found.obsm("cellkin")


def test_what_weakens_labels_is_said() -> None:
    unconfirmed = "labels that expression did not confirm, so that their cells are unknown: delta"
    assert labeled(250, FOREIGN).weaknesses() == ["delta is weak", unconfirmed]
    foreign = wire.SampleCheck(verdict=wire.SAMPLE_VERDICT_FOREIGN, labels=[wire.LabelCheck()])
    warned = wire.Warning(reason="FOREIGN_SAMPLE", message="the sample does not belong here")
    told = {"sample_check": foreign, "warnings": [warned]}
    assert labeled(250, told).weaknesses() == ["the sample does not belong here"]
    assert labeled(250, {}).weaknesses() == []


def test_annotate_warns_once_a_call() -> None:
    adata = cells(250)
    for _ in range(2):
        with pytest.warns(AnswerWarning) as caught:
            tl.annotate(adata, "trio", client=client_of(FakeServer(9, FOREIGN)))
        assert [str(each.message) for each in caught][:1] == ["delta is weak"]
        assert len(caught) == 2
        assert {each.filename for each in caught} == {__file__}


@pytest.mark.filterwarnings("ignore:Writing zarr v2 data:UserWarning", "ignore:delta is weak")
@pytest.mark.filterwarnings("ignore:labels that expression")
def test_what_was_said_is_kept_in_files(tmp_path: Path) -> None:
    adata = cells(250)
    tl.annotate(adata, "trio", client=client_of(FakeServer(9, FOREIGN)), false_alarms=0.25)
    adata.write_h5ad(tmp_path / "a.h5ad")
    adata.write_zarr(tmp_path / "a.zarr")
    bare = cells(20)
    tl.annotate(bare, "trio", client=client_of(FakeServer()))
    bare.write_h5ad(tmp_path / "b.h5ad")
    bare.write_zarr(tmp_path / "b.zarr")
    for read, ending in ((anndata.read_h5ad, "h5ad"), (anndata.read_zarr, "zarr")):
        told = read(tmp_path / f"a.{ending}").uns["cellkin"]
        assert told["strictness"] == {"false_alarms": 0.25}
        assert told["warnings"].to_dict("records") == [
            {"reason": "WEAK_LABELS", "message": "delta is weak", "labels": "delta"}
        ]
        check = told["sample_check"]
        assert (check["verdict"], check["confirmed_share"]) == ("belongs", 0.75)
        assert list(check["labels"]["label"]) == ["alpha", "delta"]
        assert check["labels"]["confirmed"].tolist() == [True, False]
        told = read(tmp_path / f"b.{ending}").uns["cellkin"]
        assert list(told["warnings"].columns) == ["reason", "message", "labels"]
        assert (len(told["warnings"]), told["sample_check"], told["strictness"]) == (0, {}, {})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (pd.DataFrame({"a": [1]}), "given as DataFrame; give AnnData, a path, or an iterable"),
        (np.ones((2, 2)), "given as ndarray; give AnnData"),
        (3, "given as int; give AnnData"),
        (["x"], "a block of cells is a str; give AnnData objects"),
    ],
)
def test_cells_that_are_none_are_refused(given: Any, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        tl.annotate(given, "trio", client=client_of(FakeServer()))
