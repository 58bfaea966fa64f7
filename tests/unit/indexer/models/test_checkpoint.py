"""Loading checkpoints: every shape they come in, compared with a BERT in plain numpy."""

import contextlib
import json
import math
import os
import shutil
import socket
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import safetensors.torch
import torch
import transformers
from tests.contract.embedding_model import TEXTS
from tests.unit.indexer.models.conftest import TINY

from cellkin.indexer.models.checkpoint import load_folder
from cellkin.indexer.models.recipe import Pooling, Recipe
from cellkin.wire.errors import InputFileError, IntegrityError, NotFoundError

Array = npt.NDArray[np.float64]
CASED = replace(TINY, lower_case=False)


def wordpieces(text: str, words: list[str], lower_case: bool) -> list[int]:
    """Cut a text into WordPieces by their rules, without any library."""
    if lower_case:
        text = unicodedata.normalize("NFD", text.lower())
        text = "".join(sign for sign in text if unicodedata.category(sign) != "Mn")
    spaced = "".join(
        f" {sign} " if unicodedata.category(sign)[0] == "P" or sign in "$+<=>^`|~" else sign
        for sign in text
    )
    index = {word: i for i, word in enumerate(words)}
    ids = [index["[CLS]"]]
    for word in spaced.split():
        pieces, begin = [], 0
        while begin < len(word):
            end = len(word)
            mark = "##" if begin else ""
            while end > begin and mark + word[begin:end] not in index:
                end -= 1
            if end == begin:
                pieces = [index["[UNK]"]]
                break
            pieces.append(index[mark + word[begin:end]])
            begin = end
        ids += pieces
    return [*ids, index["[SEP]"]]


def bert(folder: Path, ids: list[int]) -> Array:
    """Return the states of the last layer, (n_tokens, dim), by the formulas of the paper."""
    config = json.loads((folder / "config.json").read_bytes())
    state = safetensors.torch.load_file(folder / "model.safetensors")
    weights = {name: tensor.double().numpy() for name, tensor in state.items()}

    def linear(x: Array, name: str) -> Array:
        out: Array = x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]
        return out

    def layer_norm(x: Array, name: str) -> Array:
        mean, variance = x.mean(1, keepdims=True), x.var(1, keepdims=True)
        scaled = (x - mean) / np.sqrt(variance + config["layer_norm_eps"])
        out: Array = scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]
        return out

    erf = np.vectorize(math.erf)
    part = "embeddings"
    x = weights[f"{part}.word_embeddings.weight"][ids]
    x = x + weights[f"{part}.position_embeddings.weight"][: len(ids)]
    x = layer_norm(x + weights[f"{part}.token_type_embeddings.weight"][0], f"{part}.LayerNorm")
    for layer in range(config["num_hidden_layers"]):
        part = f"encoder.layer.{layer}"
        query, key, value = (
            linear(x, f"{part}.attention.self.{name}") for name in ("query", "key", "value")
        )
        width = config["hidden_size"] // config["num_attention_heads"]
        heads = []
        for start in range(0, config["hidden_size"], width):
            head = slice(start, start + width)
            scores = np.exp(query[:, head] @ key[:, head].T / math.sqrt(width))
            heads.append(scores / scores.sum(1, keepdims=True) @ value[:, head])
        mixed = linear(np.hstack(heads), f"{part}.attention.output.dense")
        x = layer_norm(x + mixed, f"{part}.attention.output.LayerNorm")
        inner = linear(x, f"{part}.intermediate.dense")
        inner = inner * 0.5 * (1 + erf(inner / math.sqrt(2)))
        x = layer_norm(x + linear(inner, f"{part}.output.dense"), f"{part}.output.LayerNorm")
    return x


def unit(vector: Array) -> Array:
    out: Array = vector / np.linalg.norm(vector)
    return out


@pytest.mark.parametrize("cased", [True, False])
def test_vectors_are_those_of_a_plain_bert(
    make_checkpoint: Callable[..., Path],
    vocabularies: dict[bool, list[str]],
    tmp_path: Path,
    cased: bool,
) -> None:
    folder = make_checkpoint(tmp_path / "model", cased=cased)
    model = load_folder(folder, replace(TINY, lower_case=not cased), "cpu")
    texts = [*TEXTS, "Abnormality: café-au-lait RHO"]
    expected = [
        unit(bert(folder, wordpieces(text, vocabularies[cased], not cased)).mean(0))
        for text in texts
    ]
    np.testing.assert_allclose(model.embed(texts), expected, atol=1e-5)


def test_a_long_text_is_the_mean_of_its_windows(
    checkpoint: Path, vocabularies: dict[bool, list[str]]
) -> None:
    model = load_folder(checkpoint, replace(TINY, max_tokens=16), "cpu")
    cls, *content, sep = wordpieces(TEXTS[3], vocabularies[False], True)
    n_windows = math.ceil(len(content) / 14)
    assert n_windows > 2
    bounds = [len(content) * part // n_windows for part in range(n_windows + 1)]
    states = [bert(checkpoint, [cls, *content[begin:end], sep]) for begin, end in pairwise(bounds)]
    np.testing.assert_allclose(
        model.embed([TEXTS[3]])[0], unit(np.vstack(states).mean(0)), atol=1e-5
    )
    counts = model.count([TEXTS[3], "il2"])
    assert (counts.n_texts, counts.n_long) == (2, 1)
    assert counts.n_tokens == len(content) + 2 * n_windows + model.count(["il2"]).n_tokens


def _without_model_type(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_bytes())
    for key in ("model_type", "architectures", "transformers_version"):
        config.pop(key, None)
    (folder / "config.json").write_text(json.dumps(config))


def _pretraining_heads(folder: Path) -> None:
    state = safetensors.torch.load_file(folder / "model.safetensors")
    state = {f"bert.{name}": tensor for name, tensor in state.items()}
    state["cls.predictions.transform.dense.weight"] = torch.zeros(64, 64)
    state["cls.seq_relationship.weight"] = torch.zeros(2, 64)
    safetensors.torch.save_file(state, folder / "model.safetensors", {"format": "pt"})


def _legacy_names(folder: Path) -> None:
    state = safetensors.torch.load_file(folder / "model.safetensors")
    legacy = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): tensor
        for name, tensor in state.items()
    }
    assert legacy.keys() != state.keys()
    safetensors.torch.save_file(legacy, folder / "model.safetensors", {"format": "pt"})


def _without_tokenizer_config(folder: Path) -> None:
    (folder / "tokenizer_config.json").unlink()


def _without_pooler(folder: Path) -> None:
    state = safetensors.torch.load_file(folder / "model.safetensors")
    state = {name: tensor for name, tensor in state.items() if not name.startswith("pooler")}
    safetensors.torch.save_file(state, folder / "model.safetensors", {"format": "pt"})


def _shards(folder: Path) -> None:
    state = safetensors.torch.load_file(folder / "model.safetensors")
    names = sorted(state)
    files = {name: f"model-0000{1 + (i % 2)}-of-00002.safetensors" for i, name in enumerate(names)}
    for file in set(files.values()):
        part = {name: state[name] for name in names if files[name] == file}
        safetensors.torch.save_file(part, folder / file, {"format": "pt"})
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": files})
    )
    (folder / "model.safetensors").unlink()


@pytest.mark.parametrize(
    "change",
    [
        _without_model_type,
        _pretraining_heads,
        _legacy_names,
        _without_tokenizer_config,
        _without_pooler,
        _shards,
    ],
)
def test_checkpoints_of_every_shape_give_the_same_vectors(
    make_checkpoint: Callable[..., Path], tmp_path: Path, change: Callable[[Path], None]
) -> None:
    folder = make_checkpoint(tmp_path / "model", cased=True)
    expected = load_folder(folder, CASED, "cpu")
    change(folder)
    found = load_folder(folder, CASED, "cpu")
    assert found.embed(TEXTS).tobytes() == expected.embed(TEXTS).tobytes()
    assert found.info.settings == expected.info.settings
    if change in (_without_model_type, _without_tokenizer_config):
        assert found.info == expected.info
    else:
        assert found.info.revision != expected.info.revision


def test_what_identifies_a_model(checkpoint: Path) -> None:
    info = load_folder(checkpoint, replace(TINY, pooling=Pooling.CLS), "cpu").info
    assert (info.name, info.dim) == ("tiny", 64)
    assert info.revision.startswith("sha256:")
    assert len(info.revision) == 71
    vocabulary = info.settings["vocabulary"]
    assert info.settings == {
        "pooling": "cls",
        "max_tokens": 64,
        "long_texts": "windows",
        "lower_case": True,
        "dtype": "float32",
        "vocabulary": vocabulary,
    }


def test_other_weights_and_another_vocabulary_are_another_model(
    make_checkpoint: Callable[..., Path], checkpoint: Path, tmp_path: Path
) -> None:
    info = load_folder(checkpoint, TINY, "cpu").info
    other_seed = make_checkpoint(tmp_path / "seed", seed=1)
    assert load_folder(other_seed, TINY, "cpu").info.revision != info.revision
    swapped = make_checkpoint(tmp_path / "swapped")
    words = (swapped / "vocab.txt").read_text(encoding="utf-8").split("\n")
    words[-1], words[-2] = words[-2], words[-1]
    (swapped / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    found = load_folder(swapped, TINY, "cpu").info
    assert found.revision == info.revision
    assert found.settings["vocabulary"] != info.settings["vocabulary"]


def test_loading_says_nothing_and_asks_no_network(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    asked: list[object] = []

    def refuse(*target: object) -> None:
        asked.append(target)
        raise OSError("there is no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    load_folder(checkpoint, TINY, "cpu").embed([*TEXTS, "gene " * 200])
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")
    assert asked == []


def test_loading_leaves_the_log_of_transformers_as_it_was(checkpoint: Path) -> None:
    log = transformers.utils.logging
    before = log.get_verbosity()
    log.set_verbosity_info()
    log.enable_progress_bar()
    try:
        load_folder(checkpoint, TINY, "cpu")
        assert log.get_verbosity() == log.INFO
        assert log.is_progress_bar_enabled()
    finally:
        log.set_verbosity(before)


def _refused(folder: Path, recipe: Recipe) -> str:
    with pytest.raises(InputFileError) as caught:
        load_folder(folder, recipe, "cpu")
    return caught.value.message


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError) as caught:
        load_folder(tmp_path / "no", TINY, "cpu")
    assert f"{tmp_path}/no" in caught.value.message


def test_a_folder_of_something_else(tmp_path: Path) -> None:
    assert f"{tmp_path}: config.json is missing" in _refused(tmp_path, TINY)
    (tmp_path / "config.json").write_text("{")
    assert _refused(tmp_path, TINY).startswith(f"{tmp_path}/config.json: not JSON: ")


def test_pickled_weights_are_not_read_and_the_message_converts_them(
    make_checkpoint: Callable[..., Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = make_checkpoint(tmp_path / "OLD", cased=True)
    expected = load_folder(folder, CASED, "cpu").embed(TEXTS)
    _without_tokenizer_config(folder)
    torch.save(
        safetensors.torch.load_file(folder / "model.safetensors"), folder / "pytorch_model.bin"
    )
    (folder / "model.safetensors").unlink()
    message = _refused(folder, CASED)
    code = (
        "from transformers import BertModel as M, BertTokenizerFast as T; "
        "M.from_pretrained('OLD').save_pretrained('NEW'); "
        "T.from_pretrained('OLD', do_lower_case=False).save_pretrained('NEW')"
    )
    assert f"{folder}: model.safetensors is missing" in message
    with contextlib.chdir(tmp_path):
        exec(code, {})
    capfd.readouterr()
    assert load_folder(tmp_path / "NEW", CASED, "cpu").embed(TEXTS).tobytes() == expected.tobytes()


def test_weights_that_are_missing(make_checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "model")
    state = safetensors.torch.load_file(folder / "model.safetensors")
    del state["encoder.layer.1.output.dense.weight"], state["encoder.layer.1.output.dense.bias"]
    safetensors.torch.save_file(state, folder / "model.safetensors", {"format": "pt"})
    message = _refused(folder, TINY)
    assert "2 weights of tiny are missing" in message
    assert "encoder.layer.1.output.dense.bias" in message


def test_weights_cut_short(make_checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "model")
    os.truncate(folder / "model.safetensors", 1000)
    assert _refused(folder, TINY).startswith(f"{folder}: the weights cannot be read: ")


def test_a_missing_vocabulary(make_checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "model")
    (folder / "vocab.txt").unlink()
    assert "vocab" in _refused(folder, TINY)


def test_weights_of_another_digest(checkpoint: Path) -> None:
    digest = load_folder(checkpoint, TINY, "cpu").info.revision.removeprefix("sha256:")
    load_folder(checkpoint, replace(TINY, weights_sha256=digest), "cpu")
    with pytest.raises(IntegrityError) as caught:
        load_folder(checkpoint, replace(TINY, weights_sha256="0" * 64), "cpu")
    assert f"{checkpoint}/model.safetensors" in caught.value.message
    assert digest in caught.value.message
    assert "0" * 64 in caught.value.message


@pytest.mark.parametrize(
    "index", ["{", "[]", "{}", '{"weight_map": []}', '{"weight_map": {"a": 1}}']
)
def test_a_damaged_index_of_shards(tmp_path: Path, index: str) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors.index.json").write_text(index)
    message = _refused(tmp_path, TINY)
    assert message.startswith(f"{tmp_path}/model.safetensors.index.json: ")
    assert "damaged" in message


def test_a_config_that_is_no_object(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("[]")
    assert f"{tmp_path}/config.json: not a JSON object" in _refused(tmp_path, TINY)


def test_a_shard_that_is_missing_or_of_another_digest(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    index = tmp_path / "model.safetensors.index.json"
    index.write_text('{"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}')
    (tmp_path / "1.safetensors").touch()
    assert "1 of 2 files of weights are missing, such as 2.safetensors" in _refused(tmp_path, TINY)
    (tmp_path / "2.safetensors").touch()
    with pytest.raises(IntegrityError, match=r"index\.json: the SHA-256"):
        load_folder(tmp_path, replace(TINY, weights_sha256="0" * 64), "cpu")


def test_a_vocabulary_of_another_model(
    make_checkpoint: Callable[..., Path],
    vocabularies: dict[bool, list[str]],
    tmp_path: Path,
) -> None:
    folder = make_checkpoint(tmp_path / "model")
    n_words = len(vocabularies[False])
    with (folder / "vocab.txt").open("a", encoding="utf-8") as file:
        file.write("\nonemore")
    expected = (
        f"{folder}: the vocabulary has {n_words + 1} tokens but the weights have {n_words}: "
        "they belong to different models"
    )
    assert _refused(folder, TINY) == expected
    assert _refused(folder, Recipe("any")) == expected


@pytest.mark.parametrize(
    ("cased", "recipe", "message"),
    [
        (
            True,
            TINY,
            "lower-cases, but its vocabulary has capitals; put the model's own vocab.txt "
            'and {"do_lower_case": false} as tokenizer_config.json there',
        ),
        (
            False,
            CASED,
            "keeps case, but its vocabulary has no capitals; put the model's own "
            'vocab.txt and {"do_lower_case": true} as tokenizer_config.json there',
        ),
        (
            True,
            Recipe("any"),
            "lower-cases, but its vocabulary has capitals; put the model's own "
            'vocab.txt and {"do_lower_case": false} as tokenizer_config.json there',
        ),
    ],
)
def test_casing_that_is_not_the_vocabularys(
    make_checkpoint: Callable[..., Path],
    tmp_path: Path,
    cased: bool,
    recipe: Recipe,
    message: str,
) -> None:
    folder = make_checkpoint(tmp_path / "model", cased=cased)
    _without_tokenizer_config(folder)
    assert _refused(folder, recipe) == f"{folder}: the tokenizer {message}"


def test_vectors_of_another_width(checkpoint: Path) -> None:
    message = _refused(checkpoint, replace(TINY, dim=768))
    assert "768 dimensions" in message
    assert "64" in message


def test_an_encoder_that_is_not_a_bert(
    checkpoint: Path, tmp_path: Path, vocabularies: dict[bool, list[str]]
) -> None:
    folder = tmp_path / "mpnet"
    config = transformers.MPNetConfig(
        vocab_size=len(vocabularies[False]),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=40,
    )
    transformers.MPNetModel(config).save_pretrained(folder)
    shutil.copy(checkpoint / "vocab.txt", folder)
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "BertTokenizerFast", "do_lower_case": True})
    )
    model = load_folder(folder, Recipe("mpnet"), "cpu")
    # Two of the positions stand before the first token.
    assert model.info.settings["max_tokens"] == 38
    assert model.embed(["gene " * 300]).shape == (1, 32)
