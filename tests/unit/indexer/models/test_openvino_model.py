"""OpenVINO: the same contract as torch, the same vectors but for rounding, and a checked cache."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.contract.embedding_model import TEXTS, EmbeddingModelTests
from tests.unit.indexer.models.conftest import TINY
from tests.unit.indexer.models.test_encoder import LONG

from cellkin.indexer import devices
from cellkin.indexer.models import encoder, loading
from cellkin.indexer.models.contract import EmbeddingModel, unit_rows
from cellkin.indexer.models.converted import key
from cellkin.indexer.models.encoder import TransformerModel
from cellkin.indexer.models.half import as_half, from_half
from cellkin.indexer.models.loading import load_encoder
from cellkin.indexer.models.recipe import Pooling, Recipe, Runtime
from cellkin.wire.errors import IntegrityError, MissingDependencyError

pytest.importorskip("openvino", reason="OpenVINO is not installed: cellkin[fast]")
from cellkin.indexer.models import openvino_model
from cellkin.indexer.models.openvino_model import OpenVinoModel, load_openvino

RECIPE = replace(TINY, max_tokens=64)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache") / "encoders"


@pytest.fixture(scope="module")
def fast(checkpoint: Path, cache: Path) -> OpenVinoModel:
    return load_openvino(checkpoint, RECIPE, cache)


class TestByOpenVino(EmbeddingModelTests):
    @pytest.fixture
    def model(self, fast: OpenVinoModel) -> EmbeddingModel:
        return fast


def test_the_first_inference_is_in_the_thread_that_loads(
    checkpoint: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two first inferences at the same time were seen to wait for each other forever.
    threads: list[threading.Thread] = []
    pooled = OpenVinoModel._pool

    def pool(model: OpenVinoModel, *batch: Any) -> Any:
        threads.append(threading.current_thread())
        return pooled(model, *batch)

    monkeypatch.setattr(OpenVinoModel, "_pool", pool)
    load_openvino(checkpoint, RECIPE, cache)
    assert threads == [threading.current_thread()]


@given(rows=st.lists(st.integers(0, len(LONG) - 1), min_size=1, max_size=20))
@settings(max_examples=20, deadline=None)
def test_any_choice_of_texts_gives_the_same_bits(fast: OpenVinoModel, rows: list[int]) -> None:
    part = fast.embed([LONG[row] for row in rows])
    assert part.tobytes() == fast.embed(LONG)[rows].tobytes()


@pytest.mark.parametrize("threads", ["1", "3"])
def test_the_number_of_threads_does_not_change_a_bit(
    checkpoint: Path,
    cache: Path,
    fast: OpenVinoModel,
    threads: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    other = load_openvino(checkpoint, RECIPE, cache)
    assert other.embed(LONG).tobytes() == fast.embed(LONG).tobytes()


def test_vectors_are_those_of_torch_but_for_rounding(
    fast: OpenVinoModel, tiny: TransformerModel
) -> None:
    assert ((fast.embed(LONG) * tiny.embed(LONG)).sum(1)).min() > 0.999
    assert fast.count(LONG) == tiny.count(LONG)


def test_runtime_and_precision_are_part_of_the_version(
    fast: OpenVinoModel, tiny: TransformerModel
) -> None:
    assert fast.info.revision == tiny.info.revision
    own = dict(fast.info.settings)
    assert str(own.pop("runtime")).startswith("openvino 20")
    assert own.pop("vectors") == "float16"
    assert own.pop("dtype") in {"bfloat16", "float32"}
    assert own | {"dtype": "float32"} == tiny.info.settings


@pytest.mark.parametrize("pooling", list(Pooling))
def test_poolings_equal_those_of_torch(pooling: Pooling) -> None:
    rng = np.random.default_rng(0)
    states = rng.standard_normal((3, 5, 4)).astype(np.float32)
    mask = (np.arange(5) < np.array([5, 3, 2])[:, None]).astype(np.int64)
    states[mask == 0] = 1e6
    expected = encoder.pool(torch.from_numpy(states), torch.from_numpy(mask), pooling).numpy()
    found = openvino_model.pool(states, mask, pooling)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("dim", [100, 384, 768])
def test_rounding_to_half_precision_is_done_once(dim: int) -> None:
    vectors = unit_rows(np.random.default_rng(dim).standard_normal((500, dim), np.float32), "any")
    once = from_half(as_half(vectors), "any")
    assert from_half(as_half(once), "any").tobytes() == once.tobytes()
    assert (once * vectors).sum(1).min() > 1 - 1e-6


def test_nothing_is_reported_to_the_maker(tmp_path: Path) -> None:
    code = (
        "import os, sys; os.register_at_fork(before=lambda: print('forked'))\n"
        "import cellkin.indexer.models.openvino_model\n"
        "print(sorted(m for m in sys.modules if m.startswith('openvino_telemetry')"
        " and sys.modules[m] is not None))"
    )
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "HOME": str(tmp_path)}
    variables.pop("CI", None)  # where nothing is reported in any case
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=variables, check=True
    )
    assert (run.stdout, run.stderr) == ("[]\n", "")
    assert list(tmp_path.iterdir()) == []


class TestCache:
    def test_an_encoder_is_converted_once(
        self, checkpoint: Path, fast: OpenVinoModel, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delattr("cellkin.indexer.models.converted._convert")
        assert load_openvino(checkpoint, RECIPE, cache).info == fast.info

    @pytest.mark.parametrize("name", ["model.bin", "record.json"])
    def test_what_is_damaged_is_made_again(
        self,
        checkpoint: Path,
        fast: OpenVinoModel,
        cache: Path,
        caplog: pytest.LogCaptureFixture,
        name: str,
    ) -> None:
        (place,) = cache.iterdir()
        data = bytearray((place / name).read_bytes())
        data[100] ^= 1
        (place / name).unlink()  # the model in use has the file itself in memory
        (place / name).write_bytes(data)
        again = load_openvino(checkpoint, RECIPE, cache)
        assert "converted encoder damaged" in caplog.text
        assert again.embed(TEXTS).tobytes() == fast.embed(TEXTS).tobytes()
        caplog.clear()
        load_openvino(checkpoint, RECIPE, cache)
        assert not caplog.text

    def test_another_recipe_or_other_weights_are_another_encoder(
        self, make_checkpoint: Callable[..., Path], checkpoint: Path, tmp_path: Path
    ) -> None:
        other = make_checkpoint(tmp_path / "other", seed=1)
        keys = [
            key(checkpoint, RECIPE),
            key(checkpoint, replace(RECIPE, pooling=Pooling.CLS)),
            key(other, RECIPE),
        ]
        (other / "tokenizer_config.json").write_text("{}")
        keys.append(key(other, RECIPE))
        assert len({*keys}) == 4

    def test_a_cache_that_cannot_be_written_is_done_without(
        self, checkpoint: Path, fast: OpenVinoModel, tmp_path: Path
    ) -> None:
        (tmp_path / "file").touch()
        model = load_openvino(checkpoint, RECIPE, tmp_path / "file/encoders")
        assert model.embed(TEXTS).tobytes() == fast.embed(TEXTS).tobytes()

    def test_changed_weights_are_noticed(self, checkpoint: Path, cache: Path) -> None:
        with pytest.raises(IntegrityError):
            load_openvino(checkpoint, replace(RECIPE, weights_sha256="0" * 64), cache)


def chosen(folder: Path, recipe: Recipe, runtime: str = "auto") -> Any:
    """Return what `TestChoice` has in place of the model."""
    return load_encoder(folder, recipe, runtime)


class TestChoice:
    @pytest.fixture(autouse=True)
    def loaders(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(openvino_model, "load_openvino", lambda *_: "openvino")
        monkeypatch.setattr("cellkin.indexer.models.checkpoint.load_folder", lambda *_: "torch")
        monkeypatch.setattr(devices, "resolve", lambda _: "cpu")

    def test_openvino_is_taken_where_it_is_installed(
        self, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert chosen(checkpoint, TINY) == "openvino"
        monkeypatch.setattr(loading, "find_spec", lambda _: None)
        assert chosen(checkpoint, TINY) == "torch"
        with pytest.raises(MissingDependencyError, match=r"cellkin\[fast\]"):
            load_encoder(checkpoint, TINY, Runtime.OPENVINO)

    def test_torch_is_taken_where_it_is_asked_for_or_there_is_cuda(
        self, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert chosen(checkpoint, TINY, "torch") == "torch"
        monkeypatch.setattr(devices, "resolve", lambda _: "cuda:0")
        assert chosen(checkpoint, TINY) == "torch"
        assert chosen(checkpoint, TINY, "openvino") == "openvino"

    def test_an_encoder_that_was_not_measured_is_computed_by_torch(
        self, checkpoint: Path, tmp_path: Path
    ) -> None:
        config = json.loads((checkpoint / "config.json").read_text()) | {"model_type": "mpnet"}
        (tmp_path / "config.json").write_text(json.dumps(config))
        assert chosen(tmp_path, replace(TINY, bert=False)) == "torch"
