"""Labels over the wire: the space that is chosen, the mean that is taken off, who votes."""

import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import anndata
import grpc
import numpy as np
import pytest
import scipy.sparse as sp
from tests.integration.live import GENES, Live, block, live_server

from cellkin.client import Client
from cellkin.client.annotate import annotate_file, write_annotation
from cellkin.client.results.predictions import (
    Predictions,
    QueryReport,
    read_predictions,
    read_report,
)
from cellkin.client.transport.errors import error_from_rpc
from cellkin.indexer.cells.job import index_cells
from cellkin.indexer.cells.sources import Reference
from cellkin.space.recipe import TEXT_V2
from cellkin.store.catalog import Kind
from cellkin.store.store import Store
from cellkin.v1 import cell_service_pb2 as wire
from cellkin.wire import codec
from cellkin.wire.errors import FailedPreconditionError, InvalidArgumentError
from cellkin.wire.names import VersionName
from cellkin.wire.terms import UnknownReason

pytestmark = pytest.mark.integration
Make = Callable[..., anndata.AnnData]
LINEAR = wire.EXPRESSION_UNITS_LINEAR
TEXT, EXPRESSION = wire.SPACE_KIND_TEXT, wire.SPACE_KIND_EXPRESSION
OWN = wire.CENTER_QUERY
MOUSE = [f"Gene{i}" for i in range(1, 121)]


def refused(call: Callable[[], Any]) -> Any:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return error_from_rpc(caught.value, "here")


def header(**given: Any) -> wire.QueryHeader:
    return wire.QueryHeader(**{"index": "trio", "genes": GENES, "units": LINEAR} | given)


def predict(live: Live, counts: Any, **given: Any) -> tuple[QueryReport, Predictions]:
    request = wire.PredictSubtypesRequest(header=header(**given), cells=block(counts))
    answer = live.cells.PredictSubtypes(request)
    return read_report(answer.report), read_predictions(answer.predictions)


def stream(live: Live, *messages: dict[str, Any]) -> list[wire.StreamPredictSubtypesResponse]:
    requests = (wire.StreamPredictSubtypesRequest(**message) for message in messages)
    return list(live.cells.StreamPredictSubtypes(requests))


@pytest.fixture(scope="module")
def counts(make_cells: Make) -> Any:
    return make_cells(60, 31).X


@pytest.mark.parametrize("n_genes", [120, 80, 50, 20])
def test_expression_is_chosen_where_genes_are_shared(live: Live, counts: Any, n_genes: int) -> None:
    # Genes of every type: the first of each forty.
    columns = [i for i in range(120) if i % 40 < n_genes / 3]
    report, found = predict(live, counts[:, columns], genes=[GENES[i] for i in columns])
    assert report.shared_expression == pytest.approx(n_genes / 120, abs=0.08)
    # A panel of the reference's own genes, however small, is no other species.
    assert (report.space, report.recipe, report.foreign) == ("expression", "expression", False)
    few = "FEW_SHARED_GENES" in [warning.reason for warning in report.warnings]
    assert few == (report.shared_expression < 0.5)
    assert not report.own_mean
    assert ((found.probabilities >= 0) & (found.probabilities <= 1)).all()
    for space, name in ((TEXT, "text"), (EXPRESSION, "expression")):
        asked, _ = predict(live, counts[:, columns], genes=[GENES[i] for i in columns], space=space)
        assert asked.space == name


@pytest.mark.parametrize("space", [TEXT, EXPRESSION])
def test_labels_are_right_and_said_to_be_sure(live: Live, counts: Any, space: int) -> None:
    report, found = predict(live, counts, space=space)
    right = np.array(report.labels)[found.winners] == np.array(["alpha", "beta", "delta"] * 20)
    assert right.mean() > 0.95
    assert found.probabilities[right].mean() > 0.8
    assert 0 <= report.calibration_error < 0.2
    assert np.isfinite(report.novelty_limit)
    assert (found.reasons == UnknownReason.KNOWN).mean() > 0.8
    assert report.ancestors == []
    assert (found.fallbacks == -1).all()


def test_foreign_genes_are_compared_by_text(live: Live, counts: Any) -> None:
    report, _ = predict(live, counts, genes=MOUSE)
    assert (report.match.taxon, report.space, report.shared_expression) == (10090, "text", 0)
    error = refused(lambda: predict(live, counts, genes=MOUSE, space=EXPRESSION))
    assert isinstance(error, FailedPreconditionError)
    assert "share no gene by identifier" in error.message
    assert error.metadata["shared_expression"] == "0.000"


@pytest.mark.parametrize(("n_cells", "own_mean"), [(199, False), (200, True), (330, True)])
def test_a_foreign_file_has_its_own_mean_taken_off_where_it_has_enough_cells(
    live: Live, make_cells: Make, tmp_path: Path, n_cells: int, own_mean: bool
) -> None:
    path = tmp_path / "mouse.h5ad"
    make_cells(n_cells, 5, MOUSE).write_h5ad(path)
    with Client(live.address) as client:
        found = annotate_file(client, path, "trio")
    assert (found.report.space, found.report.own_mean) == ("text", own_mean)
    assert len(found.predictions.winners) == n_cells
    assert found.manifest()["own_mean"] == own_mean
    # Random vectors pair no genes that are expressed alike; fewer cells are not checked.
    check = found.report.sample_check
    assert (check.verdict if check else None) == ("foreign" if own_mean else None)
    assert (found.predictions.reasons == UnknownReason.NOT_CONFIRMED).all()


def test_too_few_cells_have_no_mean_of_their_own(live: Live, make_cells: Make) -> None:
    few = make_cells(199, 6).X
    for call in (
        lambda: predict(live, few, space=TEXT, center=OWN),
        lambda: stream(
            live, {"header": header(space=TEXT, center=OWN)}, {"background": block(few)}
        ),
    ):
        error = refused(call)
        assert isinstance(error, FailedPreconditionError)
        assert "would be that of 199 cells" in error.message
        assert error.metadata == {"n_cells": "199", "least": "200"} | error.metadata
    hollow = sp.vstack([few, sp.csr_matrix((5, 120), dtype=np.float32)], format="csr")
    error = refused(lambda: predict(live, hollow, space=TEXT, center=OWN))
    assert error.metadata["n_cells"] == "199", "empty cells have no place in a mean"


def test_the_mean_of_the_reference_itself_changes_nothing(
    own_store: Path, make_cells: Make
) -> None:
    data = make_cells(240, 41)
    path = own_store.parent / "other.h5ad"
    data.write_h5ad(path)
    store = Store.open(str(own_store))
    reference = Reference([path], "cell_type", "donor")
    index_cells(store, "other", reference, VersionName("random-64-7"), TEXT_V2)
    with live_server(own_store) as live:
        asked = {"index": "other", "space": TEXT, "return_vectors": True}
        _, by_reference = predict(live, data.X, **asked)
        report, by_own = predict(live, data.X, **asked, center=OWN)
        assert report.own_mean
        assert report.recipe == "text-v2"
        np.testing.assert_allclose(by_own.vectors, by_reference.vectors, atol=1e-4)
        assert np.array_equal(by_own.winners, by_reference.winners)
        # Of alpha cells alone the mean is that of alpha.
        alpha = sp.vstack([data.X[::3]] * 3, format="csr")
        _, off = predict(live, alpha, **asked, center=OWN)
        assert (
            np.abs(off.vectors - by_reference.vectors[np.tile(np.arange(0, 240, 3), 3)]).max() > 0.1
        )


def test_a_background_is_the_mean_of_all_blocks(live: Live, make_cells: Make) -> None:
    cells = make_cells(240, 8, MOUSE).X
    head = header(genes=MOUSE, center=OWN, return_vectors=True)
    report, first, second = stream(
        live, {"header": head}, {"background": block(cells)},
        {"cells": block(cells[:100])}, {"cells": block(cells[100:])},
    )  # fmt: skip
    assert read_report(report.report).own_mean
    parts = [read_predictions(part.predictions) for part in (first, second)]
    found = Predictions.join(parts)
    _, whole = predict(live, cells, genes=MOUSE, center=OWN, return_vectors=True)
    assert found.vectors.tobytes() == whole.vectors.tobytes()
    assert np.array_equal(found.winners, whole.winners)


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        (
            [{"header": header(space=TEXT, center=OWN)}, {"cells": block(np.ones((1, 120)))}],
            "after a header with CENTER_QUERY comes the background",
        ),
        (
            [{"header": header()}, {"background": block(np.ones((1, 120)))}],
            "after the header every message is a block of cells",
        ),
        (
            [{"header": header(center=OWN)}],
            "the query's own mean is subtracted in the text space alone",
        ),
        ([{"header": header(min_probability=0)}], "min_probability is 0; give a number in (0, 1]"),
    ],
)
def test_queries_that_make_no_sense_are_refused(
    live: Live, messages: list[dict[str, Any]], message: str
) -> None:
    error = refused(lambda: stream(live, *messages))
    assert isinstance(error, InvalidArgumentError)
    assert message in error.message


def test_batches_that_are_excluded_do_not_vote(live: Live, counts: Any) -> None:
    report, found = predict(live, counts, space=TEXT, exclude_batches=["d0"])
    only = wire.CellFilter(column="batch", values=["d0"], exclude=True)
    asked = wire.SearchHeader(index="trio", k=report.k, genes=GENES, units=LINEAR, filters=[only])
    hits = live.cells.SearchCells(
        wire.SearchCellsRequest(header=asked, queries=wire.SearchQueries(cells=block(counts)))
    ).hits
    assert set(hits.batches) == {"d1"}
    similarities = np.array(hits.similarities).reshape(60, report.k)
    labels = np.array(hits.labels).reshape(60, report.k)
    weights = 1 / np.maximum(1 - similarities, 1e-4)
    shares = np.stack([(weights * (labels == name)).sum(axis=1) for name in report.labels], axis=1)
    shares /= weights.sum(axis=1, keepdims=True)
    assert np.array_equal(found.winners, shares.argmax(axis=1))
    np.testing.assert_allclose(found.supports, shares.max(axis=1), atol=1e-4)
    winners = np.array(report.labels)[found.winners]
    assert np.array_equal(found.n_votes, (labels == winners[:, None]).sum(axis=1))
    assert ((found.probabilities >= 0) & (found.probabilities <= 1)).all()


@pytest.mark.parametrize("space", [TEXT, EXPRESSION])
def test_not_all_batches_can_be_excluded(live: Live, counts: Any, space: int) -> None:
    error = refused(lambda: predict(live, counts, space=space, exclude_batches=["d0", "d1"]))
    assert isinstance(error, InvalidArgumentError)
    assert "none is left to vote" in error.message


@pytest.mark.parametrize("space", [TEXT, EXPRESSION])
def test_blocks_and_the_order_of_cells_do_not_change_labels(
    live: Live, counts: Any, space: int
) -> None:
    _, whole = predict(live, counts, space=space, return_vectors=True)
    order = np.random.default_rng(0).permutation(60)
    for cuts in ([0, 60], [0, 1, 8, 8, 41, 60]):
        shuffled = counts[order]
        blocks = [{"cells": block(shuffled[a:b])} for a, b in pairwise(cuts)]
        head = {"header": header(space=space, return_vectors=True)}
        _, *answers = stream(live, head, *blocks)
        found = Predictions.join([read_predictions(answer.predictions) for answer in answers])
        for exact in ("winners", "n_votes", "reasons", "fallbacks"):
            assert np.array_equal(getattr(found, exact), getattr(whole, exact)[order]), exact
        for near in ("probabilities", "supports", "novelties"):
            np.testing.assert_allclose(
                getattr(found, near), getattr(whole, near)[order], atol=1e-4, err_msg=near
            )
        assert found.vectors.tobytes() == whole.vectors[order].tobytes()


def test_an_index_by_text_alone_answers_by_text(
    store_path: Path, make_cells: Make, counts: Any, tmp_path: Path
) -> None:
    store = Path(shutil.copytree(store_path, tmp_path / "store"))
    make_cells(90, 52).write_h5ad(tmp_path / "cells.h5ad")
    reference = Reference([tmp_path / "cells.h5ad"], "cell_type", "donor")
    embedding = VersionName("random-64-7")
    index_cells(Store.open(str(store)), "plain", reference, embedding, TEXT_V2, expression=False)
    with live_server(store) as live:
        report, found = predict(live, counts, index="plain")
        with pytest.raises(grpc.RpcError) as caught:
            predict(live, counts, index="plain", space=EXPRESSION)
    assert report.space == "text"
    # The genes are those of the reference, so cells may be too far from it.
    assert report.shared_expression > 0.9
    assert np.isfinite(report.novelty_limit)
    assert len(found.winners) == counts.shape[0]
    assert caught.value.code() == grpc.StatusCode.FAILED_PRECONDITION


@pytest.fixture(scope="module")
def paths(store_path: Path, make_cells: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with an index whose labels are paths: two that nothing tells apart, and one more."""
    folder = tmp_path_factory.mktemp("paths")
    store = Path(shutil.copytree(store_path, folder / "store"))
    data = make_cells(180, 51)
    twins = np.random.default_rng(0).choice(["islet/A/one", "islet/A/two"], 180)
    other = {"beta": "islet/B", "delta": "acinar"}
    data.obs["path"] = [
        other.get(t, twin) for t, twin in zip(data.obs["cell_type"], twins, strict=True)
    ]
    data.write_h5ad(folder / "paths.h5ad")
    reference = Reference([folder / "paths.h5ad"], "path", "donor")
    index_cells(Store.open(str(store)), "paths", reference, VersionName("random-64-7"), TEXT_V2)
    return store


def test_a_cell_falls_back_to_what_is_sure(paths: Path, counts: Any, make_cells: Make) -> None:
    with live_server(paths) as live:
        report, found = predict(live, counts, index="paths", min_probability=0.9)
        path = paths.parent / "query.h5ad"
        make_cells(60, 31).write_h5ad(path)
        with Client(live.address) as client:
            annotation = annotate_file(client, path, "paths", min_probability=0.9)
    assert report.labels == ["acinar", "islet/A/one", "islet/A/two", "islet/B"]
    assert report.ancestors == ["islet", "islet/A"]
    unsure = found.reasons == UnknownReason.LOW_PROBABILITY
    alpha = np.arange(60) % 3 == 0
    assert unsure[alpha].mean() > 0.7
    assert unsure[~alpha].mean() < 0.3
    assert (found.fallbacks[~unsure] == -1).all()
    fallen = found.fallbacks[unsure & alpha]
    assert (fallen == report.ancestors.index("islet/A")).mean() > 0.8
    assert list(annotation.fallbacks.codes) == found.fallbacks.tolist()
    write_annotation(annotation, path, paths.parent / "out.h5ad")
    written = anndata.read_h5ad(paths.parent / "out.h5ad").obs
    assert set(written["cellkin_fallback"][unsure & alpha].dropna()) == {"islet/A"}
    assert (written["cellkin_label"][unsure] == "unknown").all()


def test_an_index_says_how_good_its_spaces_are(paths: Path) -> None:
    entry = Store.open(str(paths)).catalog.resolve(Kind.INDEX, VersionName("paths"))
    assert entry.manifest["format"] == 5
    assert set(entry.manifest["quality"]) == set(entry.manifest["certificates"])
    assert set(entry.manifest["quality"]) == {"text", "expression"}
    for quality in entry.manifest["quality"].values():
        assert quality["held_out"] == "2 batches in turn"
        assert quality["n_held_out"] == 180
        assert 0 <= quality["ece"] <= 1
        # Two labels that nothing tells apart are a third of the cells.
        assert 0.7 < quality["accuracy"] < 0.95
        assert sum(quality["mix"]) == pytest.approx(1)
        assert {left["label"] for left in quality["left_out"]} == {
            "acinar", "islet/A/one", "islet/A/two", "islet/B",
        }  # fmt: skip


def test_vectors_come_in_the_space_that_was_used(live: Live, counts: Any) -> None:
    request = wire.PredictSubtypesRequest(
        header=header(return_vectors=True, space=TEXT), cells=block(counts)
    )
    answer = live.cells.PredictSubtypes(request).predictions
    vectors = codec.decode(answer.vectors, np.float32, "vectors").reshape(-1, answer.dim)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert answer.dim == 64
    request.header.space = EXPRESSION
    answer = live.cells.PredictSubtypes(request).predictions
    assert answer.dim * 60 * 4 == len(answer.vectors)
    assert answer.dim != 64
