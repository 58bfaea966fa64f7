"""The encoder: a vector is a function of its text alone, however the work is divided."""

import _thread
import math
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.contract.embedding_model import TEXTS, EmbeddingModelTests
from tests.unit.indexer.models.conftest import TINY

from cellkin.indexer.models import encoder
from cellkin.indexer.models.checkpoint import load_folder
from cellkin.indexer.models.contract import EmbeddingModel
from cellkin.indexer.models.encoder import TransformerModel, pool
from cellkin.indexer.models.recipe import Pooling
from cellkin.wire.errors import FailedPreconditionError, InputFileError, InvalidArgumentError

# Of every length from one word to three windows.
MANY = [" ".join((TEXTS[i % 7] + " ") * 4).split() for i in range(7)]
LONG = [" ".join(words[: 1 + 5 * i]) for i, words in enumerate(MANY)] + TEXTS


def batched(model: TransformerModel) -> TransformerModel:
    """The same model, computing as on an accelerator."""
    return TransformerModel(
        model.info, model._tokenizer, model._module, model._pooling, 64, batched=True
    )


class TestEachByItself(EmbeddingModelTests):
    @pytest.fixture
    def model(self, tiny: TransformerModel) -> EmbeddingModel:
        return tiny


class TestInBatches(EmbeddingModelTests):
    @pytest.fixture
    def model(self, tiny: TransformerModel, monkeypatch: pytest.MonkeyPatch) -> EmbeddingModel:
        # Small, so that a few texts fill a batch and begin another.
        monkeypatch.setattr(encoder, "_BATCH_TOKENS", 128)
        return batched(tiny)


@pytest.mark.parametrize("in_batches", [False, True])
@given(rows=st.lists(st.integers(0, len(LONG) - 1), min_size=1, max_size=20))
@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_choice_of_texts_gives_the_same_bits(
    tiny: TransformerModel, rows: list[int], in_batches: bool
) -> None:
    model = batched(tiny) if in_batches else tiny
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoder, "_BATCH_TOKENS", 128)
        whole = model.embed(LONG)
        part = model.embed([LONG[row] for row in rows])
    assert part.tobytes() == whole[rows].tobytes()


def plainly(model: TransformerModel, text: str) -> np.ndarray:
    """The vector of a text by the steps of the first release, which are not to change a bit."""
    content = model._tokenizer(text, add_special_tokens=False, truncation=False)["input_ids"]
    first, last = model._tokenizer("")["input_ids"]
    n_windows = max(1, math.ceil(len(content) / 62))
    bounds = [len(content) * part // n_windows for part in range(n_windows + 1)]
    total, n_tokens = np.zeros(64), 0
    for begin, end in pairwise(bounds):
        ids = torch.tensor([[first, *content[begin:end], last]])
        rows = ids.expand(256 // ids.shape[1], -1).contiguous()
        with torch.inference_mode():
            states = model._module(input_ids=rows, attention_mask=torch.ones_like(rows))[0]
        total += (states.sum(1) / ids.shape[1])[0].numpy() * np.float64(ids.shape[1])
        n_tokens += ids.shape[1]
    mean = (total / n_tokens).astype(np.float32)
    unit: np.ndarray = (mean / np.linalg.norm(mean.astype(np.float64))).astype(np.float32)
    return unit


def test_vectors_have_the_bits_of_the_first_release(tiny: TransformerModel) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    expected = np.stack([plainly(tiny, text) for text in LONG])
    torch.set_num_threads(before)
    assert tiny.embed(LONG).tobytes() == expected.tobytes()


def test_batches_differ_from_single_texts_by_rounding_only(tiny: TransformerModel) -> None:
    np.testing.assert_allclose(batched(tiny).embed(LONG), tiny.embed(LONG), atol=1e-6)


def test_a_batch_never_fills_up_nor_passes_the_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder, "_BATCH_TOKENS", 160)
    lengths = np.array([64, 3, 16, 17, 64, 64, 16, 60, 61], np.int64)
    batches = list(encoder._fixed_batches(lengths, 60 + 4))
    assert sorted(row for rows, _, _ in batches for row in rows) == list(range(9))
    for rows, width, n_rows in batches:
        assert len(rows) < n_rows
        assert width <= 64
        assert all(width - 16 < lengths[row] <= width for row in rows)
    assert {(width, n_rows) for _, width, n_rows in batches} == {(64, 2), (32, 5), (16, 10)}


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_the_number_of_threads_does_not_change_a_bit(
    tiny: TransformerModel, n_threads: int, threads: int
) -> None:
    assert torch.get_num_threads() == n_threads
    expected = tiny.embed(LONG)
    torch.set_num_threads(threads)
    assert tiny.embed(LONG).tobytes() == expected.tobytes()
    assert torch.get_num_threads() == threads
    # A thread that begins later has as many.
    with ThreadPoolExecutor(1) as executor:
        assert executor.submit(torch.get_num_threads).result() == threads


class _Interrupted:
    """An encoder at whose third window the user presses Ctrl-C."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, *, input_ids: torch.Tensor, **_: Any) -> Any:
        self.calls += 1
        if self.calls == 3:
            _thread.interrupt_main()
        time.sleep(0.005)
        return SimpleNamespace(last_hidden_state=torch.ones(*input_ids.shape, 64))


@pytest.fixture
def _heeds_ctrl_c() -> Iterator[None]:
    """Ctrl-C as in a terminal; a test run in the background may ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_heeds_ctrl_c")
def test_an_interrupt_ends_the_work_at_once(tiny: TransformerModel, n_threads: int) -> None:
    module = _Interrupted()
    model = TransformerModel(tiny.info, tiny._tokenizer, module, Pooling.MEAN, 64, batched=False)
    with pytest.raises(KeyboardInterrupt):
        model.embed(TEXTS * 100)
    assert module.calls < 100
    assert torch.get_num_threads() == n_threads


class _Broken:
    """An encoder whose states are not numbers."""

    device = torch.device("cpu")

    def __call__(self, *, input_ids: torch.Tensor, **_: Any) -> Any:
        return SimpleNamespace(last_hidden_state=torch.full((*input_ids.shape, 64), torch.nan))


def test_vectors_that_are_not_finite_are_refused(tiny: TransformerModel) -> None:
    model = TransformerModel(tiny.info, tiny._tokenizer, _Broken(), Pooling.MEAN, 64, batched=False)
    with pytest.raises(FailedPreconditionError) as caught:
        model.embed(TEXTS[:2])
    assert caught.value.message == (
        "model tiny gave 2 of 2 vectors with values that are not finite or all zero, the first in "
        "row 0; none was kept"
    )


class _Words:
    """A tokenizer of words that has no special tokens, and no token for other signs."""

    def __call__(self, texts: list[str], **_: Any) -> dict[str, list[list[int]]]:
        return {"input_ids": [[1] * sum(map(str.isalpha, text.split())) for text in texts]}


@pytest.mark.parametrize("in_batches", [False, True])
def test_a_text_without_tokens_is_refused(tiny: TransformerModel, in_batches: bool) -> None:
    model = TransformerModel(
        tiny.info, _Words(), tiny._module, Pooling.MEAN, 64, batched=in_batches
    )
    assert model.embed(["gene one"]).shape == (1, 64)
    with pytest.raises(InvalidArgumentError, match=r"text 1 of 2 is '\?\?', .*no token"):
        model.embed(["gene one", "??"])


def test_a_window_that_special_tokens_fill_is_refused(tiny: TransformerModel) -> None:
    with pytest.raises(InputFileError, match="window of 2 tokens and 2 special"):
        TransformerModel(tiny.info, tiny._tokenizer, tiny._module, Pooling.MEAN, 2, batched=False)


@pytest.fixture
def states() -> tuple[torch.Tensor, torch.Tensor]:
    """States of three rows of 5, 3 and 2 tokens padded to 5, with rubbish in the padding."""
    generator = torch.Generator().manual_seed(0)
    mask = torch.zeros(3, 5, dtype=torch.int64)
    for row, length in enumerate((5, 3, 2)):
        mask[row, :length] = 1
    values = torch.randn(3, 5, 4, generator=generator)
    values[mask == 0] = 1e6
    return values, mask


@pytest.mark.parametrize("pooling", list(Pooling))
def test_poolings_are_what_they_are_called(
    states: tuple[torch.Tensor, torch.Tensor], pooling: Pooling
) -> None:
    values, mask = states
    pooled = pool(values, mask, pooling).numpy()
    for row, length in enumerate((5, 3, 2)):
        tokens = values[row, :length].numpy()
        expected = {
            Pooling.MEAN: tokens.mean(0),
            Pooling.CLS: tokens[0],
            Pooling.LAST: tokens[-1],
            Pooling.MAX: tokens.max(0),
        }[pooling]
        np.testing.assert_allclose(pooled[row], expected, rtol=1e-6)


@pytest.mark.parametrize("pooling", [p for p in Pooling if p is not Pooling.MEAN])
def test_each_pooling_is_a_model_of_its_own(
    checkpoint: Path, tiny: TransformerModel, pooling: Pooling
) -> None:
    model = load_folder(checkpoint, replace(TINY, pooling=pooling), "cpu")
    assert model.info != tiny.info
    assert np.abs(model.embed(TEXTS) - tiny.embed(TEXTS)).max() > 0.01
    np.testing.assert_allclose(batched(model).embed(TEXTS), model.embed(TEXTS), atol=1e-6)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
class TestOnCuda(EmbeddingModelTests):
    @pytest.fixture
    def model(self, checkpoint: Path) -> EmbeddingModel:
        return load_folder(checkpoint, TINY, "cuda")

    def test_it_is_near_the_cpu(self, model: EmbeddingModel, tiny: TransformerModel) -> None:
        assert model.info.settings["dtype"] in {"bfloat16", "float16"}
        cosines = (model.embed(LONG) * tiny.embed(LONG)).sum(1)
        assert cosines.min() > 0.999
