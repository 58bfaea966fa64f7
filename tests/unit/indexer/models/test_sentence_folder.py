"""Folders of sentence-transformers."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from cellkin.indexer.models.presets import load_transformers
from cellkin.indexer.models.recipe import Pooling, Recipe
from cellkin.indexer.models.sentence_folder import read_sentence_folder
from cellkin.wire.errors import InputFileError

RECIPE = Recipe("any")


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def modules(*kinds: str) -> list[dict[str, str]]:
    """The entries of a modules.json; the encoder is in the folder itself, as usual."""
    return [
        {
            "type": f"sentence_transformers.models.{kind}",
            "path": "" if kind == "Transformer" else f"{i}_{kind}",
        }
        for i, kind in enumerate(kinds)
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "modules.json", modules("Transformer", "Pooling", "Normalize"))
    write(tmp_path / "1_Pooling/config.json", {"pooling_mode_cls_token": True})
    return tmp_path


def _refused(folder: Path) -> str:
    with pytest.raises(InputFileError) as caught:
        read_sentence_folder(folder, RECIPE)
    return caught.value.message


def test_a_plain_folder_changes_nothing(tmp_path: Path) -> None:
    assert read_sentence_folder(tmp_path, RECIPE) == (tmp_path, RECIPE)


@pytest.mark.parametrize(
    ("config", "pooling"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, Pooling.CLS),
        ({"pooling_mode_mean_tokens": True}, Pooling.MEAN),
        ({"pooling_mode_max_tokens": True}, Pooling.MAX),
        ({"pooling_mode_lasttoken": True}, Pooling.LAST),
        ({"pooling_mode": "lasttoken"}, Pooling.LAST),
    ],
)
def test_the_pooling_is_the_authors(folder: Path, config: Any, pooling: Pooling) -> None:
    write(folder / "1_Pooling/config.json", config)
    assert read_sentence_folder(folder, RECIPE)[1].pooling is pooling


@pytest.mark.parametrize(
    ("config", "found"),
    [
        (
            {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True},
            "cls and mean",
        ),
        ({"pooling_mode_weightedmean_tokens": True}, "weightedmean"),
        ({}, "not stated"),
    ],
)
def test_poolings_that_are_not_known(folder: Path, config: Any, found: str) -> None:
    write(folder / "1_Pooling/config.json", config)
    message = _refused(folder)
    assert f"{folder}/1_Pooling/config.json" in message
    assert f"the pooling is {found};" in message


def test_modules_that_are_not_known(folder: Path) -> None:
    write(folder / "modules.json", modules("Transformer", "Pooling", "Dense"))
    message = _refused(folder)
    assert f"{folder}/modules.json" in message
    assert "Transformer, Pooling, Dense" in message


def test_an_encoder_of_static_words(folder: Path) -> None:
    write(folder / "modules.json", modules("StaticEmbedding"))
    assert "the modules are StaticEmbedding;" in _refused(folder)


def test_a_default_prompt(folder: Path) -> None:
    write(folder / "config_sentence_transformers.json", {"default_prompt_name": "query"})
    assert "prompt 'query'" in _refused(folder)


def test_a_file_that_is_not_json(folder: Path) -> None:
    (folder / "modules.json").write_text("[")
    assert _refused(folder).startswith(f"{folder}/modules.json: not JSON: ")


@pytest.mark.parametrize(
    "content", [1, {"0": "x"}, ["x"], [{"type": "a.Transformer"}], [{"type": 1, "path": ""}], None]
)
def test_modules_that_are_malformed(folder: Path, content: Any) -> None:
    write(folder / "modules.json", content)
    assert f"{folder}/modules.json: not a list of modules" in _refused(folder)


@pytest.mark.parametrize("name", ["config_sentence_transformers.json", "1_Pooling/config.json"])
def test_settings_that_are_no_object(folder: Path, name: str) -> None:
    write(folder / name, [])
    assert f"{folder}/{name}: not a JSON object" in _refused(folder)


def test_an_encoder_in_a_folder_of_its_own(folder: Path) -> None:
    entries = modules("Transformer", "Pooling")
    entries[0]["path"] = "0_Transformer"
    write(folder / "modules.json", entries)
    write(
        folder / "0_Transformer/sentence_bert_config.json",
        {"max_seq_length": 128, "do_lower_case": True},
    )
    encoder, recipe = read_sentence_folder(folder, RECIPE)
    assert encoder == folder / "0_Transformer"
    assert (recipe.max_tokens, recipe.lower_case, recipe.name) == (128, True, "any")


def test_window_and_pooling_reach_the_model(folder: Path, checkpoint: Path) -> None:
    shutil.copytree(checkpoint, folder, dirs_exist_ok=True)
    write(folder / "sentence_bert_config.json", {"max_seq_length": 32, "do_lower_case": False})
    info = load_transformers(str(folder)).info
    assert (info.settings["max_tokens"], info.settings["pooling"]) == (32, "cls")
    assert info.settings["lower_case"] is True
