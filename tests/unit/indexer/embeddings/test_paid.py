"""Embedding by a model that costs money: asked before, never paid twice."""

import io
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner, Result
from tests.unit.indexer.models.openai_server import DIM, FakeOpenAI, vector

from cellkin.indexer.commands import genes_embed
from cellkin.indexer.embeddings import job
from cellkin.indexer.models.openai_api import OpenAIModel
from cellkin.indexer.models.openai_client import Endpoint
from cellkin.indexer.models.openai_packing import Limits
from cellkin.store.catalog import Kind
from cellkin.store.store import Store
from cellkin.wire.errors import FailedPreconditionError, InvalidArgumentError
from cellkin.wire.names import VersionName

GENES = VersionName("genes")
# Of `make_corpus`: the tokens of a text are taken to be its bytes at most.
N_TEXTS, N_BYTES = 216, 6822


@pytest.fixture
def server() -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as running:
        yield running


@pytest.fixture
def store(
    tmp_path: Path,
    make_corpus: Callable[[], pa.Table],
    server: FakeOpenAI,
    monkeypatch: pytest.MonkeyPatch,
) -> Store:
    """A store of 216 texts, and a model of 27 requests for them at 25 dollars a million tokens."""
    endpoint = Endpoint(server.url, "paid")
    model = OpenAIModel("paid", endpoint, DIM, Limits(inputs=8), dollars_per_million=25)
    monkeypatch.setattr(job, "load_model", lambda spec, **_: model)
    store = Store.create(str(tmp_path / "s"))
    store.publish_corpus("genes", make_corpus(), {})
    return store


def embed(store: Store, *options: str) -> Result:
    return CliRunner().invoke(
        genes_embed.embed, ["--store", store.uri, "--model", "paid", *options]
    )


def test_what_was_answered_is_not_sent_again(store: Store, server: FakeOpenAI) -> None:
    server.misdeeds.extend([*[None] * 9, lambda e: e.fail(400, "no")])
    with pytest.raises(InvalidArgumentError):
        job.embed_genes(store, "paid", GENES)
    # Of those under way when one was refused, each was answered.
    n_answered = len(server.bodies) - 1
    assert n_answered >= 9
    server.bodies.clear()
    report = job.embed_genes(store, "paid", GENES)
    assert len(server.bodies) == 27 - n_answered
    assert (report.n_resumed, report.n_embedded) == (8 * n_answered, N_TEXTS - 8 * n_answered)
    corpus = store.corpus(store.catalog.resolve(Kind.CORPUS, GENES)).to_pylist()
    texts = {row["gene_id"]: row["text"] for row in corpus}
    embedding = store.embedding(report.entry)
    want = [vector(texts[gene_id], DIM) for gene_id in embedding.gene_ids.tolist()]
    np.testing.assert_allclose(embedding.vectors, want, atol=1e-6)


def test_every_answer_is_kept_when_it_comes(
    store: Store, server: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(done: int, total: int) -> None:
        if done >= 16:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        job.embed_genes(store, "paid", GENES, interrupt)
    server.bodies.clear()
    report = job.embed_genes(store, "paid", GENES)
    assert (report.n_resumed, len(server.bodies)) == (16, 25)


def test_each_text_is_sent_once(store: Store, server: FakeOpenAI) -> None:
    job.embed_genes(store, "paid", GENES)
    sent = list(itertools.chain(*server.inputs))
    assert len(sent) == len(set(sent)) == N_TEXTS
    server.bodies.clear()
    assert job.embed_genes(store, "paid", GENES).n_reused == N_TEXTS
    assert server.bodies == []


def test_a_dry_run_says_the_cost_and_sends_nothing(store: Store, server: FakeOpenAI) -> None:
    done = embed(store, "--dry-run")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == (
        f"model paid: 216 distinct texts, 0 of them with a vector; to embed: 216 texts, at most "
        f"{N_BYTES:,} tokens\ncost: at most $0.1706 in 27 requests\n"
    )
    assert json.loads(embed(store, "--dry-run", "--json").stdout) == {
        "model": "paid",
        "n_texts": 216,
        "n_to_embed": 216,
        "n_tokens": N_BYTES,
        "tokens_exact": False,
        "n_long": 0,
        "n_requests": 27,
        "dollars": N_BYTES * 25 / 1e6,
    }
    assert server.bodies == []
    assert store.catalog.entries(Kind.EMBEDDING) == []


def test_where_nobody_can_be_asked_nothing_is_spent(store: Store, server: FakeOpenAI) -> None:
    done = embed(store)
    assert isinstance(done.exception, FailedPreconditionError)
    assert done.exception.message == (
        f"embedding paid costs at most $0.1706 for at most {N_BYTES:,} tokens, and nobody is there "
        "to be asked: pass --yes to spend it, or --dry-run to see more"
    )
    assert server.bodies == []


def test_yes_is_an_answer(store: Store, server: FakeOpenAI) -> None:
    done = embed(store, "--yes")
    assert done.exit_code == 0, done.exception
    assert "216 embedded now" in done.stdout
    assert " texts/s, at most " in done.stdout
    assert done.stdout.splitlines()[0].endswith(" tokens/s")
    assert len(server.bodies) == 27
    # Nothing is left to pay for, so nobody is asked.
    assert embed(store).exit_code == 0


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("answer", "n_requests"), [("y\n", 27), ("n\n", 0), ("", 0)])
def test_on_a_terminal_the_user_is_asked(
    store: Store,
    server: FakeOpenAI,
    answer: str,
    n_requests: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    arguments = ["--store", store.uri, "--model", "paid"]
    if n_requests:
        genes_embed.embed.main(arguments, standalone_mode=False)
    else:
        with pytest.raises(click.Abort):
            genes_embed.embed.main(arguments, standalone_mode=False)
    assert "cost: at most $0.1706 in 27 requests\nSend them? [y/N]: " in capsys.readouterr().err
    assert len(server.bodies) == n_requests


def test_a_price_that_is_not_known_is_asked_for_too(
    store: Store, server: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = OpenAIModel("paid", Endpoint(server.url, "paid"), DIM, Limits(input_tokens=20))
    monkeypatch.setattr(job, "load_model", lambda spec, **_: model)
    done = embed(store)
    assert isinstance(done.exception, FailedPreconditionError)
    assert done.exception.message.startswith(
        "embedding paid costs an amount that is not known here for at most 6,606 tokens, "
    )
    assert embed(store, "--dry-run").stdout.endswith(
        "cost: an amount that is not known here in 1 requests\n"
        "longer than the window, so read in parts: 216 texts\n"
    )


def test_a_control_has_nothing_to_embed(store: Store, server: FakeOpenAI) -> None:
    done = CliRunner().invoke(
        genes_embed.embed, ["--store", store.uri, "--model", "random:8:1", "--dry-run"]
    )
    assert done.stdout == (
        "model random-8-1: 0 distinct texts, 0 of them with a vector; to embed: 0 texts, 0 tokens\n"
    )
    assert store.catalog.entries(Kind.EMBEDDING) == []
