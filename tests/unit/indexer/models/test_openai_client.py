"""Trouble with a server: what is tried again, what is refused, what is not believed."""

import logging
import re
import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

import numpy as np
import pytest
from tests.contract.embedding_model import TEXTS
from tests.unit.indexer.models.openai_server import (
    DIM,
    KEY,
    Exchange,
    FakeOpenAI,
    expected,
    model_at,
)

from cellkin.indexer.models import openai_client
from cellkin.indexer.models.openai_api import OpenAIModel
from cellkin.indexer.models.openai_client import EmbeddingsClient, Endpoint
from cellkin.indexer.models.openai_packing import Limits
from cellkin.wire.errors import (
    CellkinError,
    DimensionMismatchError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    UnavailableError,
)


def limited(exchange: Exchange) -> None:
    exchange.fail(429, "slow down", "rate_limit_exceeded", retry_after_ms="150")


def reset_later(exchange: Exchange) -> None:
    exchange.fail(429, "slow down", x_ratelimit_reset_tokens="0m0.15s", retry_after="0")


def broken(exchange: Exchange) -> None:
    exchange.fail(500, "oops")


def cut_early(exchange: Exchange) -> None:
    exchange.handler.close_connection = True


def cut_in_the_headers(exchange: Exchange) -> None:
    exchange.cut_off(0)


def cut_in_the_answer(exchange: Exchange) -> None:
    exchange.cut_off(30)


def half_an_answer(exchange: Exchange) -> None:
    exchange.handler.send_response(200)
    exchange.handler.end_headers()
    exchange.handler.wfile.write(b'{"data": [')
    exchange.handler.close_connection = True


@pytest.mark.parametrize(
    "misdeed",
    [
        limited,
        reset_later,
        broken,
        cut_early,
        cut_in_the_headers,
        cut_in_the_answer,
        half_an_answer,
    ],
)
def test_passing_trouble_is_tried_again(
    server: FakeOpenAI, misdeed: Callable[[Exchange], None]
) -> None:
    server.misdeeds.extend([misdeed, misdeed])
    np.testing.assert_allclose(model_at(server).embed(TEXTS), expected(TEXTS), atol=1e-6)
    assert len(server.bodies) == 3
    waits_s = np.diff(server.times_s)
    assert (waits_s >= (0.15 if misdeed in (limited, reset_later) else 0)).all()


def test_all_requests_wait_when_one_is_told_to(server: FakeOpenAI) -> None:
    def slow(exchange: Exchange) -> None:
        time.sleep(0.1)
        exchange.send(exchange.right())

    server.misdeeds.extend([limited, slow, slow, slow])
    model_at(server, inputs=1).embed([str(i) for i in range(8)])
    # Those that were under way are answered before the wait is over; their successors wait too.
    assert server.times_s[4] - server.times_s[0] >= 0.15


def test_little_remaining_allowance_is_waited_for(server: FakeOpenAI) -> None:
    def nearly_used_up(exchange: Exchange) -> None:
        headers = {
            "x-ratelimit-limit-tokens": "1000",
            "x-ratelimit-remaining-tokens": "2",
            "x-ratelimit-reset-tokens": "200ms",
        }
        exchange.send(exchange.right(), headers=headers)

    def not_limited(exchange: Exchange) -> None:
        headers = {
            "x-ratelimit-limit-tokens": "0",
            "x-ratelimit-remaining-tokens": "0",
            "x-ratelimit-reset-tokens": "60s",
        }
        exchange.send(exchange.right(), headers=headers)

    server.misdeeds.extend([nearly_used_up, not_limited])
    with EmbeddingsClient(Endpoint(server.url, "m")) as client:
        for _ in range(3):
            client.embed(["four"], 4)
    first_s, second_s = np.diff(server.times_s)
    assert first_s >= 0.2
    assert second_s < 10


def test_trouble_that_does_not_pass(server: FakeOpenAI) -> None:
    server.misdeeds.extend([broken] * 8)
    with pytest.raises(UnavailableError) as caught:
        model_at(server).embed(TEXTS)
    assert server.host in caught.value.message
    assert "HTTP 500: oops" in caught.value.message
    assert len(server.bodies) == 8


def test_no_server(no_openai: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_client, "_FIRST_BACKOFF_S", 0.001)
    with FakeOpenAI() as gone:
        host, endpoint = gone.host, Endpoint(gone.url, "m")
    with pytest.raises(UnavailableError) as caught:
        OpenAIModel("m", endpoint, DIM, Limits()).embed(["a"])
    assert host in caught.value.message
    assert "refused" in caught.value.message


@pytest.mark.parametrize("as_date", [False, True])
def test_a_wait_of_hours_is_not_waited(server: FakeOpenAI, as_date: bool) -> None:
    retry_after = formatdate(time.time() + 7200.9, usegmt=True) if as_date else "7200"
    server.misdeeds.append(lambda e: e.fail(429, "day limit", retry_after=retry_after))
    with pytest.raises(UnavailableError) as caught:
        model_at(server).embed(TEXTS)
    assert re.search(r"wait (7199|7200|7201) s", caught.value.message)
    assert "day limit" in caught.value.message
    assert len(server.bodies) == 1


def refused(server: FakeOpenAI, kind: type[CellkinError], **limits: int) -> str:
    """Return the message of a failure that must come at the first request."""
    with pytest.raises(kind) as caught:
        model_at(server, **limits).embed(TEXTS[:3])
    assert len(server.bodies) == 1
    assert type(caught.value) is kind
    return caught.value.message


def test_a_used_up_quota_is_not_tried_again(server: FakeOpenAI) -> None:
    server.misdeeds.append(lambda e: e.fail(429, "You exceeded", "insufficient_quota"))
    assert "insufficient_quota" in refused(server, FailedPreconditionError)


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_is_not_repeated(server: FakeOpenAI, status: int) -> None:
    server.misdeeds.append(lambda e: e.fail(status, f"Incorrect API key provided: {KEY}"))
    message = refused(server, FailedPreconditionError)
    assert str(status) in message
    assert KEY not in message


def test_an_unknown_model(server: FakeOpenAI) -> None:
    server.misdeeds.append(lambda e: e.fail(404, "no such model"))
    message = refused(server, NotFoundError)
    assert "no such model" in message
    assert "gene-embedder" in message


def test_another_refusal_is_told_without_the_key(server: FakeOpenAI) -> None:
    server.misdeeds.append(lambda e: e.fail(400, f"bad input, key {KEY} or sk-ab***yz"))
    message = refused(server, InvalidArgumentError)
    assert message.endswith("HTTP 400: bad input, key *** or ***")


def test_the_key_is_shown_and_logged_nowhere(
    server: FakeOpenAI, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    server.misdeeds.extend([limited, broken])
    model = model_at(server)
    model.embed(TEXTS)
    captured = capfd.readouterr()
    shown = [repr(model.info), repr(model), repr(model._endpoint), caplog.text, *captured]
    assert not any("secret" in text for text in shown)


def test_a_redirect_is_not_followed(server: FakeOpenAI) -> None:
    with FakeOpenAI() as elsewhere:
        location = f"{elsewhere.url}/embeddings"
        server.misdeeds.append(lambda e: e.send({}, 302, {"Location": location}))
        message = refused(server, FailedPreconditionError)
        assert elsewhere.headers == []
    assert "HTTP 302" in message
    assert "not followed" in message


def changed(change: Callable[[list[dict[str, Any]]], object]) -> Callable[[Exchange], None]:
    """An answer whose data was changed."""

    def misdeed(exchange: Exchange) -> None:
        answer = exchange.right()
        change(answer["data"])
        exchange.send(answer)

    return misdeed


def test_reordered_answers_are_put_in_order(server: FakeOpenAI) -> None:
    server.misdeeds.append(changed(lambda data: data.reverse()))
    np.testing.assert_allclose(model_at(server).embed(TEXTS), expected(TEXTS), atol=1e-6)


@pytest.mark.parametrize(
    ("change", "kind", "fragment"),
    [
        (
            lambda data: data[1]["embedding"].__setitem__(0, float("nan")),
            FailedPreconditionError,
            "1 of 3 vectors",
        ),
        (
            lambda data: data[1]["embedding"].__setitem__(0, float("inf")),
            FailedPreconditionError,
            "1 of 3 vectors",
        ),
        (
            lambda data: [item["embedding"].pop() for item in data],
            DimensionMismatchError,
            "7 dimensions, expected 8",
        ),
        (lambda data: data[2]["embedding"].pop(), DimensionMismatchError, "[7, 8]"),
        (lambda data: data.pop(), FailedPreconditionError, "2 vectors, for 2 of"),
        (lambda data: data.clear(), FailedPreconditionError, "0 vectors"),
        (lambda data: data[0].update(index=1), FailedPreconditionError, "3 vectors, for 2 of"),
        (lambda data: data[0].update(index=None), FailedPreconditionError, "not an answer"),
        (lambda data: data[0].pop("embedding"), FailedPreconditionError, "KeyError: 'embedding'"),
        (lambda data: data[0].update(embedding="!"), FailedPreconditionError, "not an answer"),
    ],
)
def test_wrong_answers_are_not_believed(
    server: FakeOpenAI,
    change: Callable[[list[dict[str, Any]]], object],
    kind: type[CellkinError],
    fragment: str,
) -> None:
    server.misdeeds.append(changed(change))
    message = refused(server, kind)
    assert fragment in message
    assert "gene-embedder" in message


def test_a_vector_of_zeros_is_refused(server: FakeOpenAI) -> None:
    server.misdeeds.append(changed(lambda data: data[0].update(embedding=[0.0] * DIM)))
    assert "all zero, the first in row 0" in refused(server, FailedPreconditionError)
