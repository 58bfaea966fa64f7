"""Models of OpenAI and of servers that speak its protocol."""

import itertools
import time
from typing import Any

import numpy as np
import pytest
from tests.contract.embedding_model import TEXTS, EmbeddingModelTests
from tests.unit.indexer.models.openai_server import (
    DIM,
    KEY,
    Exchange,
    FakeOpenAI,
    expected,
    model_at,
)

from cellkin.indexer.models import openai_api, openai_client
from cellkin.indexer.models.contract import CostEstimate, EmbeddingModel, PaidModel
from cellkin.indexer.models.openai_api import (
    OpenAIModel,
    ada_002,
    large_3,
    load_compatible,
    small_3,
)
from cellkin.indexer.models.openai_client import Endpoint
from cellkin.indexer.models.openai_packing import Limits
from cellkin.wire.errors import (
    DimensionMismatchError,
    FailedPreconditionError,
    InvalidArgumentError,
)

pytestmark = pytest.mark.usefixtures("no_openai")


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
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"
    assert server.headers[0]["content-type"] == "application/json"


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
    assert "9 bytes" in caught.value.message
    assert "input is too long" in caught.value.message


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
    monkeypatch.setattr(openai_client, "OPENAI_HOST", "127.0.0.1")
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
    assert at_server.headers[0]["authorization"] == f"Bearer {KEY}"


def test_a_server_that_ignores_the_dimensions(at_server: FakeOpenAI) -> None:
    def whole(exchange: Exchange) -> None:
        del exchange.body["dimensions"]
        at_server.dim = 1536
        exchange.send(exchange.right())

    at_server.misdeeds.append(whole)
    with pytest.raises(DimensionMismatchError) as caught:
        small_3("512").embed(["il2"])
    assert "1536 dimensions, expected 512" in caught.value.message


@pytest.mark.parametrize(
    ("preset", "argument", "expected"),
    [
        (ada_002, "512", "nothing"),
        (ada_002, "1536", "nothing"),
        (small_3, "1537", "1 to 1536 dimensions"),
        (small_3, "0", "1 to 1536 dimensions"),
        (large_3, "many", "1 to 3072 dimensions"),
    ],
)
def test_dimensions_that_are_not_possible(
    preset: openai_api.OpenAIPreset, argument: str, expected: str
) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        preset(argument)
    assert f"{preset.model}:{argument}" in caught.value.message
    assert f"expected {expected}" in caught.value.message


def test_no_key() -> None:
    with pytest.raises(FailedPreconditionError) as caught:
        small_3()
    assert "OPENAI_API_KEY" in caught.value.message


def test_a_key_that_cannot_be_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret\nmore")
    with pytest.raises(InvalidArgumentError) as caught:
        small_3()
    assert "OPENAI_API_KEY" in caught.value.message
    assert "secret" not in caught.value.message


@pytest.mark.parametrize("url", ["user:password@host", "http://[::1/v1", "http://host:port/v1"])
def test_an_invalid_base_url(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    with pytest.raises(InvalidArgumentError) as caught:
        load_compatible("m")
    assert "OPENAI_BASE_URL" in caught.value.message
    assert url not in caught.value.message


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


def test_a_server_without_a_key(at_server: FakeOpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    load_compatible("m").embed(["a"])
    assert not any("authorization" in headers for headers in at_server.headers)


def test_azure(server: FakeOpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", server.url.removesuffix("/v1"))
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", KEY)
    with pytest.raises(FailedPreconditionError, match="OPENAI_API_VERSION"):
        load_compatible("my-deployment")
    monkeypatch.setenv("OPENAI_API_VERSION", "2024-10-21")
    model = load_compatible("my-deployment")
    assert (model.info.name, model.info.dim) == ("my-deployment", DIM)
    np.testing.assert_allclose(model.embed(TEXTS), expected(TEXTS), atol=1e-6)
    path = "/openai/deployments/my-deployment/embeddings?api-version=2024-10-21"
    assert server.paths == [path, path]
    assert server.headers[0]["api-key"] == KEY
    assert "authorization" not in server.headers[0]


def test_a_proxy(server: FakeOpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://models.invalid/v1")
    monkeypatch.setenv("HTTP_PROXY", server.url.removesuffix("/v1"))
    np.testing.assert_allclose(load_compatible("m").embed(["a"]), expected(["a"]), atol=1e-6)
    assert server.paths == ["http://models.invalid/v1/embeddings"] * 2
    monkeypatch.setenv("HTTP_PROXY", "gopher://127.0.0.1")
    with pytest.raises(FailedPreconditionError, match="proxy"):
        load_compatible("m")


@pytest.mark.parametrize("argument", ["", "some-model"])
def test_a_compatible_server_must_be_named(argument: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        load_compatible(argument)
    assert "openai:MODEL" in caught.value.message
    assert "OPENAI_BASE_URL" in caught.value.message


def test_the_cost_is_known_before(server: FakeOpenAI) -> None:
    def halves(texts: Any) -> list[int]:
        return [len(text) // 2 for text in texts]

    endpoint = Endpoint(server.url, "m")
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
