"""The dialog of a stream: what is sent when, by a client that waits and one that is awaited."""

import asyncio
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from tests.unit.client import fake
from tests.unit.client.fake import FakeServer, awaiting_client_of, client_of

from cellkin.client.calls.messages import to_message
from cellkin.client.results.predictions import Predictions, QueryReport
from cellkin.client.transport.connection import MAX_IN_FLIGHT
from cellkin.v1 import cell_service_pb2 as wire
from cellkin.wire.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    VersionMismatchError,
)
from cellkin.wire.terms import ExpressionUnits

GENES = ["A", "B", "C"]
Answer = tuple[QueryReport, list[Predictions]]


def cells(n: int) -> sp.csr_matrix:
    return sp.csr_matrix(np.ones((n, 3), np.float32))


def blocking(server: FakeServer, blocks: Any, **given: Any) -> Answer:
    client = client_of(server)
    report, answers = client.stream_predict_subtypes(
        "trio", GENES, blocks, units=ExpressionUnits.LINEAR, **given
    )
    return report, list(answers)


def awaited(server: FakeServer, blocks: Any, **given: Any) -> Answer:
    async def ask() -> Answer:
        client = awaiting_client_of(server)
        report, answers = await client.stream_predict_subtypes(
            "trio", GENES, blocks, units=ExpressionUnits.LINEAR, **given
        )
        return report, [answer async for answer in answers]

    return asyncio.run(ask())


BOTH = pytest.mark.parametrize("ask", [blocking, awaited])


@BOTH
def test_a_background_is_drawn_when_the_server_asks(ask: Any) -> None:
    server = FakeServer(wanted=300, report={"foreign": True, "center": wire.CENTER_QUERY})
    wanted: list[int] = []

    def draw(n: int) -> sp.csr_matrix:
        wanted.append(n)
        return cells(n)

    report, answers = ask(server, [cells(2), cells(3)], background=draw)
    assert wanted == [300]
    assert (report.foreign, report.own_mean, report.background_cells) == (True, True, 0)
    assert server.names() == ["header", "background", "cells", "cells"]
    assert server.sent[0][0].header.center == wire.CENTER_UNSPECIFIED
    assert [len(answer.winners) for answer in answers] == [2, 3]
    assert (server.opened, server.closed) == (0, 1)


@BOTH
@pytest.mark.parametrize(("wanted", "background"), [(0, cells), (300, None), (300, lambda n: None)])
def test_cells_follow_the_report_where_there_is_no_background(
    ask: Any, wanted: int, background: Any
) -> None:
    server = FakeServer(wanted)
    report, answers = ask(server, [cells(2)], background=background)
    assert server.names() == ["header", "cells"]
    assert (len(answers), report.background_cells) == (1, wanted)


def test_a_matrix_is_sent_whatever_the_server_asks() -> None:
    server = FakeServer()
    blocking(server, [cells(2)], background=cells(200))
    assert server.names() == ["header", "background", "cells"]
    assert server.sent[0][0].header.center == wire.CENTER_QUERY


@BOTH
def test_blocks_ahead_do_not_wait_for_the_report(ask: Any) -> None:
    taken = 0

    def blocks() -> Iterator[sp.csr_matrix]:
        nonlocal taken
        for _ in range(6):
            taken += 1
            yield cells(1)

    server = FakeServer()
    first: list[int] = []
    original = server._report

    def reported(*given: Any) -> Any:
        first.append(taken)
        return original(*given)

    server._report = reported  # type: ignore[assignment,method-assign]
    _, answers = ask(server, blocks(), n_ahead=4)
    assert (first, taken, len(answers)) == ([4], 6, 6)
    taken, first[:] = 0, []
    ask(server, blocks())
    assert (first, taken) == ([0], 6)
    with pytest.raises(InvalidArgumentError, match="leave out one of them"):
        ask(server, blocks(), n_ahead=1, background=cells)


@BOTH
@pytest.mark.parametrize("n_ahead", [0, 3, 4])
def test_no_more_blocks_are_in_flight_than_allowed(
    ask: Any, n_ahead: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_sent = n_answered = 0
    in_flight: list[int] = []
    made, answered = to_message, fake.predictions

    def sending(*given: Any, **named: Any) -> Any:
        nonlocal n_sent
        n_sent += 1
        in_flight.append(n_sent - n_answered)
        return made(*given, **named)

    def answering(*given: Any) -> Any:
        nonlocal n_answered
        n_answered += 1
        return answered(*given)

    monkeypatch.setattr("cellkin.client.calls.cells.to_message", sending)
    monkeypatch.setattr(fake, "predictions", answering)
    _, answers = ask(FakeServer(), [cells(1)] * 9, n_ahead=n_ahead)
    assert (len(answers), max(in_flight)) == (9, MAX_IN_FLIGHT)


def test_a_report_of_another_version_ends_the_stream() -> None:
    server = FakeServer(wanted=300)

    def never(n: int) -> sp.csr_matrix:
        raise AssertionError

    client = client_of(server).using(pins={"index": "trio@2001-01-01.1"})
    with pytest.raises(VersionMismatchError):
        client.stream_predict_subtypes(
            "trio", GENES, [], units=ExpressionUnits.LINEAR, background=never
        )
    assert (server.opened, server.closed) == (0, 0)


def test_a_stream_of_which_nothing_is_taken_ends() -> None:
    server = FakeServer()
    _, answers = client_of(server).stream_predict_subtypes(
        "trio", GENES, [cells(1)], units=ExpressionUnits.LINEAR
    )
    assert server.opened == 1
    answers.close()
    assert server.opened == 0


def test_a_closed_client_says_so() -> None:
    client = client_of(FakeServer())
    other = client.using(timeout_s=3)
    client.close()
    for closed in (client, other):
        with pytest.raises(FailedPreconditionError, match="the client was closed; make a new one"):
            closed.get_cell_index("trio")
        with pytest.raises(FailedPreconditionError, match="was closed"):
            closed.stream_predict_subtypes("trio", GENES, [], units=ExpressionUnits.LINEAR)

    async def awaited_too() -> None:
        ours = awaiting_client_of(FakeServer())
        ours._channel.channel.close = lambda: asyncio.sleep(0)
        await ours.close()
        with pytest.raises(FailedPreconditionError, match="was closed"):
            await ours.get_cell_index("trio")
        with pytest.raises(FailedPreconditionError, match="was closed"):
            await ours.stream_predict_subtypes("trio", GENES, [], units=ExpressionUnits.LINEAR)

    asyncio.run(awaited_too())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"novelty_limit": 3.0, "false_alarms": 0.1}, "3 and false_alarms 0.1; give one of them"),
        ({"index": 3}, r"index is 3 \(int\); give a string"),
    ],
)
def test_requests_that_are_not_sent(given: dict[str, Any], message: str) -> None:
    asked = {"index": "trio", "genes": GENES, "cells": cells(1), "units": ExpressionUnits.LINEAR}
    with pytest.raises(InvalidArgumentError, match=message):
        client_of(FakeServer()).predict_subtypes(**asked | given)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, None),
        ({"novelty_limit": 0.0}, ("novelty_limit", 0.0)),
        ({"false_alarms": 0.25}, ("false_alarms", 0.25)),
    ],
)
def test_strictness_is_said_only_if_it_is_given(
    given: dict[str, float], said: tuple[str, float] | None
) -> None:
    server = FakeServer()
    blocking(server, [], **given, return_probabilities=True)
    header = server.sent[0][0].header
    which = header.WhichOneof("strictness")
    assert (None if which is None else (which, getattr(header, which))) == said
    assert header.return_probabilities
