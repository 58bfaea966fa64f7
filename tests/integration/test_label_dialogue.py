"""A query for labels as any client leads it: what is asked for, what is warned of, what is sent."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import anndata
import grpc
import numpy as np
import pytest
from tests.integration.live import GENES, Live, block

from cellkin.client.transport.errors import error_from_rpc
from cellkin.space.labeler import WANTED_CELLS
from cellkin.v1 import cell_service_pb2 as wire
from cellkin.wire import codec
from cellkin.wire.background import background_runs
from cellkin.wire.errors import InvalidArgumentError
from cellkin.wire.terms import UnknownReason

pytestmark = pytest.mark.integration
Make = Callable[..., anndata.AnnData]
MOUSE = [f"Gene{i}" for i in range(1, 121)]
TEXT = wire.SPACE_KIND_TEXT


def header(**given: Any) -> wire.QueryHeader:
    units = wire.EXPRESSION_UNITS_LINEAR
    return wire.QueryHeader(**{"index": "trio", "genes": GENES, "units": units} | given)


def stream(live: Live, *messages: dict[str, Any]) -> list[wire.StreamPredictSubtypesResponse]:
    requests = (wire.StreamPredictSubtypesRequest(**message) for message in messages)
    return list(live.cells.StreamPredictSubtypes(requests))


def ask(live: Live, counts: Any, **given: Any) -> wire.PredictSubtypesResponse:
    request = wire.PredictSubtypesRequest(header=header(**given), cells=block(counts))
    return live.cells.PredictSubtypes(request)


def refused(call: Callable[[], Any]) -> Any:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return error_from_rpc(caught.value, "here")


def floats(data: bytes) -> Any:
    return codec.decode(data, np.float32, "floats")


def integers(data: bytes) -> Any:
    return codec.decode(data, np.int32, "integers")


def reasons(warnings: Iterable[wire.Warning]) -> list[str]:
    return [warning.reason for warning in warnings]


def test_the_report_asks_for_a_background_and_comes_again_after_it(
    live: Live, make_cells: Make
) -> None:
    cells = make_cells(240, 8, MOUSE).X
    messages = [
        {"header": header(genes=MOUSE)}, {"background": block(cells)}, {"cells": block(cells[:9])},
    ]  # fmt: skip
    first, second, answer = stream(live, *messages)
    assert first.report.foreign
    assert first.report.background_cells == WANTED_CELLS
    assert first.report.center == wire.CENTER_REFERENCE
    assert "SAMPLE_NOT_CHECKED" in reasons(first.report.warnings)
    assert second.report.center == wire.CENTER_QUERY
    assert second.report.background_cells == 0
    assert len(integers(answer.predictions.winners)) == 9


def test_whoever_sends_no_background_has_the_references_mean_subtracted(
    live: Live, make_cells: Make
) -> None:
    cells = make_cells(240, 8, MOUSE).X
    _, answer = stream(live, {"header": header(genes=MOUSE)}, {"cells": block(cells)})
    plain = ask(live, cells, genes=MOUSE, center=wire.CENTER_REFERENCE)
    assert answer.predictions.winners == plain.predictions.winners
    found = codec.decode(answer.predictions.unknown_reasons, np.uint8, "reasons")
    assert (found == UnknownReason.NOT_CONFIRMED).all()
    assert "SAMPLE_NOT_CHECKED" in reasons(plain.report.warnings)
    # Who knows that the sample is of the tissue gives a limit.
    known = ask(live, cells[:50], genes=MOUSE, novelty_limit=1e6).predictions
    assert not codec.decode(known.unknown_reasons, np.uint8, "reasons").all()


def test_one_request_is_its_own_background_if_it_has_enough_cells(
    live: Live, make_cells: Make
) -> None:
    cells = make_cells(240, 8, MOUSE).X
    for n, center in ((199, wire.CENTER_REFERENCE), (200, wire.CENTER_QUERY)):
        answer = ask(live, cells[:n], genes=MOUSE)
        assert answer.report.center == center, n
        assert len(integers(answer.predictions.winners)) == n


def test_a_background_of_too_few_cells_leaves_the_references_mean(
    live: Live, make_cells: Make
) -> None:
    cells = make_cells(240, 8, MOUSE).X
    first, second, answer = stream(
        live, {"header": header(genes=MOUSE)}, {"background": block(cells[:150])},
        {"cells": block(cells)},
    )  # fmt: skip
    assert (first.report.background_cells, second.report.background_cells) == (WANTED_CELLS, 0)
    assert second.report.center == wire.CENTER_REFERENCE
    assert len(integers(answer.predictions.winners)) == 240


@pytest.mark.parametrize(
    "late",
    [
        [{"header": header(genes=MOUSE)}, {"cells": block(np.ones((1, 120)))},
         {"background": block(np.ones((250, 120)))}],
        [{"header": header()}, {"background": block(np.ones((250, 120)))}],
    ],
    ids=["after cells", "where none is wanted"],
)  # fmt: skip
def test_a_background_out_of_place_is_refused(live: Live, late: list[dict[str, Any]]) -> None:
    error = refused(lambda: stream(live, *late))
    assert isinstance(error, InvalidArgumentError)
    assert "every message is a block of cells" in error.message


def test_the_second_label_and_all_probabilities(live: Live, make_cells: Make) -> None:
    counts = make_cells(60, 31).X
    answer = ask(live, counts, return_probabilities=True)
    found = answer.predictions
    n_labels = len(answer.report.labels)
    every = floats(found.label_probabilities).reshape(60, n_labels)
    np.testing.assert_allclose(every.sum(axis=1), 1, atol=1e-5)
    order = np.argsort(-every, axis=1, kind="stable")
    assert np.array_equal(order[:, 0], integers(found.winners))
    assert np.array_equal(order[:, 1], integers(found.runners_up))
    rows = np.arange(60)
    np.testing.assert_array_equal(every[rows, order[:, 0]], floats(found.probabilities))
    np.testing.assert_array_equal(every[rows, order[:, 1]], floats(found.runner_up_probabilities))
    assert ask(live, counts).predictions.label_probabilities == b""
    hollow = ask(live, np.zeros((1, 120)), return_probabilities=True).predictions
    assert integers(hollow.runners_up).tolist() == [-1]
    assert floats(hollow.runner_up_probabilities).tolist() == [0]


def test_how_strict_novelty_is_can_be_said(live: Live, make_cells: Make) -> None:
    counts = make_cells(60, 31).X
    usual = ask(live, counts)
    novelties = floats(usual.predictions.novelties)
    limit = float(np.median(novelties))
    strict = ask(live, counts, novelty_limit=limit)
    assert strict.report.novelty_limit == pytest.approx(limit)
    found = codec.decode(strict.predictions.unknown_reasons, np.uint8, "reasons")
    assert np.array_equal(found == UnknownReason.TOO_FAR, novelties > np.float32(limit))
    limits = [ask(live, counts, false_alarms=rate).report.novelty_limit for rate in (0.01, 0.3)]
    assert limits[0] > limits[1]
    assert ask(live, counts, false_alarms=0.07).report.novelty_limit == pytest.approx(
        usual.report.novelty_limit
    )
    for rate in (0, 0.9, float("nan")):
        error = refused(partial(ask, live, counts, false_alarms=rate))
        assert isinstance(error, InvalidArgumentError)
        assert "from 0.001 to 0.5" in error.message


def test_a_batch_that_is_not_there_cannot_be_excluded(live: Live, make_cells: Make) -> None:
    counts = make_cells(6, 31).X
    error = refused(lambda: ask(live, counts, exclude_batches=["d0", "nobody"]))
    assert isinstance(error, InvalidArgumentError)
    assert "has no batch 'nobody'; it has d0, d1" in error.message
    assert error.metadata["batch"] == "nobody"


def test_labels_by_the_text_of_a_control_are_warned_of(live: Live, make_cells: Make) -> None:
    counts = make_cells(60, 31).X
    by_text, by_expression = ask(live, counts, space=TEXT), ask(live, counts)
    assert "CONTROL_EMBEDDING" in reasons(by_text.report.warnings)
    assert "TEXT_INSTEAD_OF_EXPRESSION" in reasons(by_text.report.warnings)
    assert "CONTROL_EMBEDDING" not in reasons(by_expression.report.warnings)


def test_foreign_cells_have_no_calibration_of_the_references_own(
    live: Live, make_cells: Make
) -> None:
    foreign = ask(live, make_cells(199, 8, MOUSE).X, genes=MOUSE).report
    assert foreign.calibration_error == 0
    assert "PROBABILITIES_NOT_MEASURED" in reasons(foreign.warnings)
    refused_whole = ask(live, make_cells(240, 8, MOUSE).X, genes=MOUSE).report
    assert reasons(refused_whole.warnings)[0] == "FOREIGN_SAMPLE"
    assert refused_whole.sample_check.verdict == wire.SAMPLE_VERDICT_FOREIGN
    own = ask(live, make_cells(60, 31).X, space=TEXT).report
    assert "PROBABILITIES_NOT_MEASURED" not in reasons(own.warnings)
    assert not own.foreign


@pytest.mark.parametrize("space", [TEXT, wire.SPACE_KIND_EXPRESSION])
def test_an_explanation_against_another_label_is_the_difference(
    live: Live, make_cells: Make, space: "wire.SpaceKind.ValueType"
) -> None:
    counts = make_cells(6, 31).X

    def explain(**given: Any) -> list[wire.CellExplanation]:
        request = wire.ExplainCellRequest(
            header=header(space=space), cells=block(counts), n_genes=1000, **given
        )
        return list(live.cells.ExplainCell(request).explanations)

    alpha, beta = explain(label="alpha"), explain(label="beta")
    for cell, between in enumerate(explain(label="alpha", against="beta")):
        assert between.label == "alpha"
        assert between.score == pytest.approx(alpha[cell].score - beta[cell].score, abs=1e-4)
        one = {each.gene_id: each.contribution for each in alpha[cell].contributions}
        other = {each.gene_id: each.contribution for each in beta[cell].contributions}
        for each in between.contributions:
            wanted = one[each.gene_id] - other[each.gene_id]
            assert each.contribution == pytest.approx(wanted, abs=1e-5)
    (mean,) = explain(label="alpha", mean=True)
    assert mean.score == pytest.approx(np.mean([each.score for each in alpha]), abs=1e-4)
    total = sum(each.contribution for each in mean.contributions) + mean.remainder
    assert total == pytest.approx(mean.score, abs=1e-5)


def test_a_background_is_spread_evenly() -> None:
    assert background_runs(199, WANTED_CELLS) == []
    for n in (200, 330, 3072, 3073, 100_000):
        runs = background_runs(n, WANTED_CELLS)
        rows = np.concatenate([np.arange(a, b) for a, b in runs])
        assert (np.diff(rows) > 0).all()
        assert (rows[0], rows[-1]) == (0, n - 1)
        assert len(rows) == min(n, WANTED_CELLS)
