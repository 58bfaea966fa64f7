"""OpenAI's protocol, against a server that misbehaves."""

import itertools
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from tests.contract.embedding_model import TEXTS, EmbeddingModelTests
from tests.unit.indexer.models.openai_server import DIM, Exchange, FakeOpenAI, vector

from cellkin.indexer.models import openai_api, openai_request
from cellkin.indexer.models.contract import CostEstimate, EmbeddingModel, PaidModel
from cellkin.indexer.models.openai_api import (
    OpenAIModel,
    ada_002,
    large_3,
    load_compatible,
    small_3,
)
from cellkin.indexer.models.openai_packing import Limits
from cellkin.indexer.models.openai_request import Endpoint
from cellkin.wire.errors import (
    CellkinError,
    DimensionMismatchError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    UnavailableError,
)

KEY = "my-secret-0123456789"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Back off for milliseconds, and take nothing from the environment of the tests."""
    monkeypatch.setattr(openai_request, "_FIRST_BACKOFF_S", 0.001)
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server() -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as running:
        yield running


def model_at(server: FakeOpenAI, **limits: int) -> OpenAIModel:
    endpoint = Endpoint(server.url, "gene-embedder", DIM, key=KEY)
    return OpenAIModel("gene-embedder", endpoint, DIM, Limits(**limits))


def expected(texts: list[str], dim: int = DIM) -> Any:
    return np.array([vector(text, dim) for text in texts], np.float32)


class TestOpenAIModel(EmbeddingModelTests):
    @pytest.fixture
    def model(self, server: FakeOpenAI) -> EmbeddingModel:
        return model_at(server, inputs=2)

    def test_it_is_paid(self, model: EmbeddingModel) -> None:
        assert isinstance(model, PaidModel)


def test_one_request_as_the_protocol_has_it(server: FakeOpenAI) -> None:
    vectors = model_at(server).embed(TEXTS)
    np.testing.assert_allclose(vectors, expected(TEXTS), atol=1e-6)
    assert server.bodies == [{"model": "gene-embedder", "input": TEXTS, "encoding_format": "float"}]
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"
    assert server.headers[0]["Content-Type"] == "application/json"


def test_new_lines_become_spaces(server: FakeOpenAI) -> None:
    model_at(server).embed(["two\nlines "])
    assert server.inputs == [["two lines"]]


def test_requests_are_packed_by_inputs_and_by_tokens(server: FakeOpenAI) -> None:
    model_at(server, inputs=3).embed(["a"] * 7)
    assert sorted(map(len, server.inputs)) == [1, 3, 3]
    server.bodies.clear()
    model_at(server, request_tokens=10).embed(["12345", "12345", "1", "123456789012", "1"])
    assert sorted(server.inputs) == [["1"], ["1"], ["12345", "12345"], ["123456789012"]]


def test_several_requests_are_under_way_at_once(server: FakeOpenAI) -> None:
    server.delay_s = 0.05
    model_at(server, inputs=1).embed([str(i) for i in range(8)])
    assert server.most_at_once == 4


def test_a_long_text_is_the_mean_of_its_windows_by_length(server: FakeOpenAI) -> None:
    model = model_at(server, input_tokens=20)
    text = "a gene that encodes a protein of the retina"
    windows = ["a gene that encodes", "a protein of the", "retina"]
    total = (expected(windows) * [[19], [16], [6]]).sum(0)
    vectors = model.embed(["short", text])
    assert server.inputs == [["short", *windows]]
    np.testing.assert_allclose(vectors[1], total / np.linalg.norm(total), atol=1e-6)
    np.testing.assert_allclose(vectors[0], expected(["short"])[0], atol=1e-6)
    assert model.count(["short", text]).n_long == 1


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


def test_no_server() -> None:
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


def test_requests_the_server_finds_too_large_are_halved(server: FakeOpenAI) -> None:
    server.max_inputs = 3
    texts = [f"gene {i}" for i in range(200)]
    vectors = model_at(server, inputs=20).embed(texts)
    np.testing.assert_allclose(vectors, expected(texts), atol=1e-6)
    sizes = [len(inputs) for inputs in server.inputs]
    assert sum(size for size in sizes if size <= 3) == 200
    # It learns: not each of the ten requests is sent whole, as halves and as quarters.
    assert sum(size > 3 for size in sizes) < 30


@pytest.mark.parametrize(
    ("status", "message", "code"),
    [
        (400, "Requested 309209 tokens, max 300000 tokens per request", "max_tokens_per_request"),
        (400, "This model's maximum context length is 8192 tokens, however you requested 9", ""),
        (413, "Payload Too Large", ""),
        (422, "batch size 64 > maximum allowed batch size 32", ""),
    ],
)
def test_refusals_for_size_are_known(
    server: FakeOpenAI, status: int, message: str, code: str
) -> None:
    server.misdeeds.append(lambda e: e.fail(status, message, code))
    np.testing.assert_allclose(model_at(server).embed(TEXTS), expected(TEXTS), atol=1e-6)
    assert [len(inputs) for inputs in server.inputs[:1]] == [7]
    assert sorted(len(inputs) for inputs in server.inputs[1:]) == [3, 4]


def test_a_single_text_too_long_for_the_server(server: FakeOpenAI) -> None:
    server.misdeeds.append(lambda e: e.fail(413, "input is too long"))
    with pytest.raises(InvalidArgumentError) as caught:
        model_at(server).embed(["rhodopsin"])
    assert caught.value.message == (
        f"{server.host}, model gene-embedder: a single text of 9 bytes is too long for it: "
        "input is too long"
    )


def test_what_is_paid_for_is_handed_over_before_the_error(server: FakeOpenAI) -> None:
    texts = [f"gene {i}" for i in range(12)]
    server.delay_s = 0.02
    server.misdeeds.extend([None, None, lambda e: e.fail(400, "no"), None, None])
    kept: dict[int, Any] = {}

    def run() -> None:
        missing = [row for row in range(12) if row not in kept]
        for rows, vectors in model_at(server, inputs=2).embed_parts([texts[r] for r in missing]):
            kept.update((missing[row], part) for row, part in zip(rows, vectors, strict=True))

    with pytest.raises(InvalidArgumentError):
        run()
    n_answered = len(server.bodies) - 1
    assert len(kept) == 2 * n_answered
    assert 4 <= len(kept) < 12
    server.bodies.clear()
    run()
    sent = sorted(itertools.chain(*server.inputs))
    assert len(sent) == 12 - 2 * n_answered
    found = np.stack([kept[row] for row in range(12)])
    np.testing.assert_allclose(found, expected(texts), atol=1e-6)


def test_giving_up_sends_nothing_more(server: FakeOpenAI) -> None:
    parts = model_at(server, inputs=1).embed_parts([str(i) for i in range(100)])
    rows, _ = next(parts)
    assert rows.dtype == np.int64
    begin_s = time.monotonic()
    parts.close()  # type: ignore[attr-defined]
    assert time.monotonic() - begin_s < 1
    n_sent = len(server.bodies)
    assert n_sent < 20
    time.sleep(0.05)
    assert len(server.bodies) == n_sent


def test_giving_up_does_not_wait_for_another_try(server: FakeOpenAI) -> None:
    server.misdeeds.extend([None, lambda e: e.fail(503, "later", retry_after="60")])
    parts = model_at(server, inputs=1).embed_parts(["a", "b"])
    next(parts)
    begin_s = time.monotonic()
    parts.close()  # type: ignore[attr-defined]
    assert time.monotonic() - begin_s < 5


def test_openai_itself_is_asked_for_base64(
    server: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openai_request, "OPENAI_HOST", "127.0.0.1")
    as_text = model_at(server).embed(TEXTS)
    server.ignores_base64 = True
    as_numbers = model_at(server).embed(TEXTS)
    assert [body["encoding_format"] for body in server.bodies] == ["base64", "base64"]
    assert as_text.tobytes() == as_numbers.tobytes()


@pytest.fixture
def at_server(server: FakeOpenAI, monkeypatch: pytest.MonkeyPatch) -> FakeOpenAI:
    """The server, named by the environment."""
    monkeypatch.setenv("OPENAI_BASE_URL", server.url + "/")
    monkeypatch.setenv("OPENAI_API_KEY", f" {KEY}\n")
    return server


@pytest.mark.parametrize(
    ("preset", "argument", "name", "dim"),
    [
        (ada_002, "", "text-embedding-ada-002", 1536),
        (small_3, "", "text-embedding-3-small", 1536),
        (small_3, "512", "text-embedding-3-small-512", 512),
        (large_3, "", "text-embedding-3-large", 3072),
        (large_3, "256", "text-embedding-3-large-256", 256),
    ],
)
def test_the_models_of_openai(
    at_server: FakeOpenAI, preset: openai_api.OpenAIPreset, argument: str, name: str, dim: int
) -> None:
    at_server.dim = preset.dim
    model = preset(argument)
    assert (model.info.name, model.info.dim, model.info.revision) == (name, dim, preset.model)
    np.testing.assert_allclose(model.embed(["il2"]), expected(["il2"], dim), atol=1e-6)
    assert at_server.bodies[0].get("dimensions") == (dim if argument else None)
    assert at_server.headers[0]["Authorization"] == f"Bearer {KEY}"


def test_a_server_that_ignores_the_dimensions(at_server: FakeOpenAI) -> None:
    def whole(exchange: Exchange) -> None:
        del exchange.body["dimensions"]
        at_server.dim = 1536
        exchange.send(exchange.right())

    at_server.misdeeds.append(whole)
    with pytest.raises(DimensionMismatchError) as caught:
        small_3("512").embed(["il2"])
    assert caught.value.message == (
        f"{at_server.host}, model text-embedding-3-small: the vectors have 1536 dimensions, "
        "512 were expected"
    )


@pytest.mark.parametrize(
    ("preset", "argument", "message"),
    [
        (
            ada_002,
            "512",
            "model text-embedding-ada-002:512: text-embedding-ada-002 has 1536 dimensions and "
            "cannot give fewer; text-embedding-3-small and -3-large can",
        ),
        (
            small_3,
            "1537",
            "model text-embedding-3-small:1537: after the colon come dimensions, 1 to 1536",
        ),
        (
            large_3,
            "many",
            "model text-embedding-3-large:many: after the colon come dimensions, 1 to 3072",
        ),
    ],
)
def test_dimensions_that_are_not_possible(
    preset: openai_api.OpenAIPreset, argument: str, message: str
) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        preset(argument)
    assert caught.value.message == message


def test_no_key() -> None:
    with pytest.raises(FailedPreconditionError) as caught:
        small_3()
    assert caught.value.message == (
        "model text-embedding-3-small: set OPENAI_API_KEY to your key of OpenAI, or "
        "OPENAI_BASE_URL to another server with this model"
    )


def test_a_key_that_cannot_be_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret\nmore")
    with pytest.raises(InvalidArgumentError) as caught:
        small_3()
    assert caught.value.message == ("OPENAI_API_KEY has signs that a key cannot have: set it anew")


def test_a_base_url_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "user:password@host")
    with pytest.raises(InvalidArgumentError) as caught:
        load_compatible("m")
    assert caught.value.message == ("OPENAI_BASE_URL is not a URL such as http://127.0.0.1:8000/v1")


def test_any_compatible_server(at_server: FakeOpenAI) -> None:
    model = load_compatible("BAAI/bge-m3:latest")
    assert (model.info.name, model.info.dim) == ("baai-bge-m3-latest", DIM)
    assert model.info.revision == "BAAI/bge-m3:latest"
    assert model.info.settings["server"] == at_server.host
    texts = [f"gene {i}" for i in range(33)]
    np.testing.assert_allclose(model.embed(texts), expected(texts), atol=1e-6)
    # One text to see the width, then no more than any server takes.
    assert [len(inputs) for inputs in at_server.inputs[:1]] == [1]
    assert sorted(len(inputs) for inputs in at_server.inputs[1:]) == [1, 32]
    assert model.estimate(texts).dollars is None


@pytest.mark.parametrize("argument", ["", "some-model"])
def test_a_compatible_server_must_be_named(argument: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        load_compatible(argument)
    assert caught.value.message == (
        f"model openai:{argument}: name the model as openai:MODEL, and its server by "
        "OPENAI_BASE_URL, such as http://127.0.0.1:8000/v1; those of OpenAI itself have names of "
        "their own, such as text-embedding-3-small"
    )


def test_the_cost_is_known_before(server: FakeOpenAI) -> None:
    def halves(texts: Any) -> list[int]:
        return [len(text) // 2 for text in texts]

    endpoint = Endpoint(server.url, "m", DIM)
    limits = Limits(inputs=2)
    counted = OpenAIModel("m", endpoint, DIM, limits, halves, dollars_per_million=0.5)
    assert counted.estimate(["1234"] * 5) == CostEstimate(3, 10, 5e-6, exact=True)
    bounded = OpenAIModel("m", endpoint, DIM, limits, dollars_per_million=0.5)
    assert bounded.estimate(["1234"] * 5) == CostEstimate(3, 20, 1e-5, exact=False)
    assert OpenAIModel("m", endpoint, DIM, limits).estimate(["1234"]).dollars is None
    assert server.bodies == []


def test_prices_are_those_of_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr(openai_api, "token_counter", lambda: lambda texts: [1_000_000] * len(texts))
    dollars = [preset().estimate(["gene"]).dollars for preset in (ada_002, small_3, large_3)]
    assert dollars == [0.10, 0.02, 0.13]
