"""Models by preset, folder and hub name."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError
from tests.contract.embedding_model import TEXTS, EmbeddingModelTests
from tests.unit.indexer.models.conftest import TINY

from cellkin.indexer.models import presets
from cellkin.indexer.models.checkpoint import load_folder
from cellkin.indexer.models.contract import EmbeddingModel
from cellkin.indexer.models.presets import Preset, load_transformers
from cellkin.wire.errors import (
    InputFileError,
    InvalidArgumentError,
    NotFoundError,
    UnavailableError,
)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, checkpoint: Path) -> list[dict[str, Any]]:
    """What the hub is asked for; it answers with the tiny checkpoint."""
    questions: list[dict[str, Any]] = []

    def answer(repo_id: str, **options: Any) -> str:
        questions.append({"repo_id": repo_id, **options})
        return str(checkpoint)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", answer)
    return questions


@pytest.mark.parametrize(
    ("preset", "name", "lower_case", "pooling"),
    [
        (presets.biobert, "biobert", False, "mean"),
        (presets.scibert, "scibert", True, "mean"),
        (presets.pubmedbert, "pubmedbert", True, "mean"),
        (presets.sapbert, "sapbert", True, "cls"),
        (presets.medcpt, "medcpt", True, "cls"),
    ],
)
def test_presets_state_casing_and_pooling(
    preset: Preset, name: str, lower_case: bool, pooling: str
) -> None:
    recipe = preset.recipe
    assert (recipe.name, recipe.lower_case, recipe.pooling) == (name, lower_case, pooling)
    assert (recipe.max_tokens, recipe.dim, recipe.bert) == (512, 768, True)


class TestPresetFromFolder(EmbeddingModelTests):
    """The way of BioBERT, on a cased checkpoint whose files state nothing of its casing."""

    @pytest.fixture
    def model(self, make_checkpoint: Callable[..., Path], tmp_path: Path) -> EmbeddingModel:
        folder = make_checkpoint(tmp_path / "biobert", cased=True)
        (folder / "tokenizer_config.json").unlink()
        recipe = replace(presets.biobert.recipe, dim=64, max_tokens=64)
        return Preset(presets.biobert.hub_id, recipe)(str(folder))

    def test_case_matters(self, model: EmbeddingModel) -> None:
        upper, lower = model.embed(["IL2", "il2"])
        assert (upper != lower).any()
        assert model.info.settings["lower_case"] is False


def test_a_preset_is_looked_up_in_the_cache_only(asked: list[dict[str, Any]]) -> None:
    Preset("org/model", TINY)()
    assert asked == [
        {
            "repo_id": "org/model",
            "revision": None,
            "allow_patterns": ["*.json", "*.txt", "*.model", "*.safetensors"],
            "local_files_only": True,
        }
    ]


def test_a_download_must_be_allowed_and_may_name_a_revision(asked: list[dict[str, Any]]) -> None:
    Preset("org/model", TINY)("org/other@refs/pr/7", allow_download=True)
    assert (asked[0]["repo_id"], asked[0]["revision"]) == ("org/other", "refs/pr/7")
    assert asked[0]["local_files_only"] is False


def test_a_model_of_another_width_is_not_the_preset(checkpoint: Path) -> None:
    with pytest.raises(InputFileError) as caught:
        presets.scibert(str(checkpoint))
    assert "scibert have 768 dimensions" in caught.value.message
    assert "checkpoint 64" in caught.value.message


def test_weights_that_are_not_on_this_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # The real library, with a cache that is empty: it must not ask the network.
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(NotFoundError) as caught:
        presets.biobert()
    for fragment in ("dmis-lab/biobert-v1.1", "biobert:FOLDER", "HF_HOME", "--allow-download"):
        assert fragment in caught.value.message


def test_a_download_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise LocalEntryNotFoundError("no connection")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(UnavailableError) as caught:
        presets.biobert(allow_download=True)
    assert "dmis-lab/biobert-v1.1" in caught.value.message
    assert "LocalEntryNotFoundError" in caught.value.message


def test_neither_folder_nor_hub_name(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError) as caught:
        load_transformers(f"{tmp_path}/no")
    assert f"'{tmp_path}/no' is neither a folder nor a name on the hub" in caught.value.message


def test_an_encoder_must_be_named() -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        load_transformers()
    assert "transformers:FOLDER" in caught.value.message


def test_a_model_is_named_after_its_folder(checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "My Encoder@2_v1.0"
    shutil.copytree(checkpoint, folder)
    model = load_transformers(str(folder), runtime="torch")
    assert model.info.name == "my-encoder-2_v1.0"
    assert model.embed(TEXTS).tobytes() == load_folder(checkpoint, TINY).embed(TEXTS).tobytes()


def test_a_model_is_named_after_its_hub_name(asked: list[dict[str, Any]]) -> None:
    assert load_transformers("Org/Gene-BERT@v2").info.name == "gene-bert"
    assert (asked[0]["repo_id"], asked[0]["revision"]) == ("Org/Gene-BERT", "v2")
