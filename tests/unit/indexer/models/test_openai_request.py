"""Trouble with a server: what is tried again, what is refused, what is not believed."""

import logging
import time
from collections.abc import Callable
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

from cellkin.indexer.models import openai_request
from cellkin.indexer.models.openai_api import (
    OpenAIModel,
)
from cellkin.indexer.models.openai_packing import Limits
from cellkin.indexer.models.openai_protocol import Endpoint
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
    model = openai_request.Client(Endpoint(server.url, "m", DIM))
    for _ in range(3):
        model.embed(["four"], 4)
    first_s, second_s = np.diff(server.times_s)
    assert first_s >= 0.2
    assert second_s < 10


def test_trouble_that_does_not_pass(server: FakeOpenAI) -> None:
    server.misdeeds.extend([broken] * 8)
    with pytest.raises(UnavailableError) as caught:
        model_at(server).embed(TEXTS)
    assert caught.value.message == (
        f"{server.host} did not answer in 8 tries, the last time: HTTP 500: oops. "
        "Run again later: what is embedded is kept"
    )
    assert len(server.bodies) == 8


def test_no_server(no_openai: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_request, "_FIRST_BACKOFF_S", 0.001)
    with FakeOpenAI() as gone:
        host, endpoint = gone.host, Endpoint(gone.url, "m", DIM)
    with pytest.raises(UnavailableError) as caught:
        OpenAIModel("m", endpoint, DIM, Limits()).embed(["a"])
    assert caught.value.message == (
        f"{host} did not answer in 8 tries, the last time: [Errno 111] Connection refused. "
        "Run again later: what is embedded is kept"
    )


def test_a_wait_of_hours_is_not_waited(server: FakeOpenAI) -> None:
    server.misdeeds.append(lambda e: e.fail(429, "day limit", retry_after="7200"))
    with pytest.raises(UnavailableError) as caught:
        model_at(server).embed(TEXTS)
    assert caught.value.message == (
        f"{server.host} asks to wait 7200 s (HTTP 429: day limit); run again then: "
        "what is embedded is kept"
    )


def refused(server: FakeOpenAI, kind: type[CellkinError], **limits: int) -> str:
    """Return the message of a failure that must come at the first request."""
    with pytest.raises(kind) as caught:
        model_at(server, **limits).embed(TEXTS[:3])
    assert len(server.bodies) == 1
    assert type(caught.value) is kind
    return caught.value.message


def test_a_used_up_quota_is_not_tried_again(server: FakeOpenAI) -> None:
    server.misdeeds.append(lambda e: e.fail(429, "You exceeded", "insufficient_quota"))
    assert refused(server, FailedPreconditionError) == (
        f"{server.host}: the quota of the account is used up (insufficient_quota); add credit and "
        "run again: what is embedded is kept"
    )


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_is_not_repeated(server: FakeOpenAI, status: int) -> None:
    server.misdeeds.append(lambda e: e.fail(status, f"Incorrect API key provided: {KEY}"))
    assert refused(server, FailedPreconditionError) == (
        f"{server.host} refuses the key (HTTP {status}): set OPENAI_API_KEY to one that may use "
        "gene-embedder"
    )


def test_an_unknown_model(server: FakeOpenAI) -> None:
    server.misdeeds.append(lambda e: e.fail(404, "no such model"))
    assert refused(server, NotFoundError) == (
        f"{server.host}, model gene-embedder: HTTP 404: no such model "
        "(set OPENAI_BASE_URL to the URL up to /v1)"
    )


def test_another_refusal_is_told_without_the_key(server: FakeOpenAI) -> None:
    server.misdeeds.append(lambda e: e.fail(400, f"bad input, key {KEY} or sk-ab***yz"))
    assert refused(server, InvalidArgumentError) == (
        f"{server.host}, model gene-embedder: HTTP 400: bad input, key *** or ***"
    )


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
    assert message == (
        f"{server.host}, model gene-embedder: HTTP 302: Found: redirects are not "
        "followed, for the key would go with them; set OPENAI_BASE_URL to the final URL"
    )


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
    ("change", "kind", "message"),
    [
        (
            lambda data: data[1]["embedding"].__setitem__(0, float("nan")),
            FailedPreconditionError,
            "1 of 3 vectors have values that are not finite; none was kept",
        ),
        (
            lambda data: [item["embedding"].pop() for item in data],
            DimensionMismatchError,
            "the vectors have 7 dimensions, 8 were expected",
        ),
        (
            lambda data: data[2]["embedding"].pop(),
            DimensionMismatchError,
            "the vectors have 7 and 8 dimensions, 8 were expected",
        ),
        (
            lambda data: data.pop(),
            FailedPreconditionError,
            "3 texts were sent, but the answer has 2 vectors with 2 of their numbers",
        ),
        (
            lambda data: data[0].update(index=1),
            FailedPreconditionError,
            "3 texts were sent, but the answer has 3 vectors with 2 of their numbers",
        ),
        (
            lambda data: data[0].pop("embedding"),
            FailedPreconditionError,
            "the answer is not one to an embeddings request (KeyError: 'embedding'); is the base "
            "URL right?",
        ),
    ],
)
def test_wrong_answers_are_not_believed(
    server: FakeOpenAI,
    change: Callable[[list[dict[str, Any]]], object],
    kind: type[CellkinError],
    message: str,
) -> None:
    server.misdeeds.append(changed(change))
    assert refused(server, kind) == f"{server.host}, model gene-embedder: {message}"


def test_a_vector_of_zeros_is_refused(server: FakeOpenAI) -> None:
    server.misdeeds.append(changed(lambda data: data[0].update(embedding=[0.0] * DIM)))
    assert refused(server, FailedPreconditionError) == (
        "model gene-embedder gave 1 of 3 vectors with values that are not finite or all zero, the "
        "first in row 0; none was kept"
    )
